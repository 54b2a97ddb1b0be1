"""The loss of V-JEPA 2-AC (arXiv 2506.09985): the next frame from true frames, and from the predictor's own.

The second part feeds predictions back, as the published code does since its correction of June 2025, and gradients flow
through all of it. Its first prediction is that of the first part, and counts in both. Before, the second frame that was
fed back was the prediction of the third, and the published weights were trained so: `released` is that behaviour.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.nn.tokens import normalize_features


class FramePredictor(Protocol):
    """What the loss asks of a predictor; `models.action_predictor.PoseActionPredictor` is one."""

    @property
    def __call__(self) -> Callable[..., Tensor]:
        """Tokens that follow those of true frames."""
        ...

    @property
    def rollout(self) -> Callable[..., Tensor]:
        """Tokens that follow the predictor's own."""
        ...


class FramePredictionLoss(NamedTuple):
    """The loss, which is the sum of the two parts, and the parts."""

    loss: Tensor
    teacher_forcing: Tensor
    rollout: Tensor


def frame_prediction_loss(
    predictor: FramePredictor,
    z: Tensor,
    actions: Tensor,
    poses: Tensor,
    cameras: Tensor | None = None,
    *,
    rollout_steps: int = 2,
    released: bool = False,
    **options: Any,
) -> FramePredictionLoss:
    """Mean absolute error of predicted frames, one step from true ones and `rollout_steps` from the first alone.

    Args:
        predictor: predicts the next frame of every frame.
        z: [B, T, N, D] normalised features of the frames, without gradients.
        actions: [B, T - 1, A].
        poses: [B, T, P] or [B, T - 1, P]; the last is not read.
        cameras: as the poses, where the predictor uses them.
        rollout_steps: J, from 1 to T - 1.
        released: whether the second frame of the roll-out is the teacher-forced prediction of the third, as in the code
            that the published weights were trained with; it asks for two actions.
        options: of the predictor, such as `grid`.

    Raises:
        ConfigError: for a roll-out that is longer than the clip.
    """
    steps = actions.shape[1]
    if not 1 <= rollout_steps <= steps:
        raise ConfigError(f"`rollout_steps` must be from 1 to {steps}, the actions of a clip; got {rollout_steps}.")

    def first(count: int) -> tuple[Tensor, Tensor, Tensor | None]:
        return actions[:, :count], poses[:, :count], None if cameras is None else cameras[:, :count]

    forced = normalize_features(predictor(z[:, :-1], *first(steps), **options))
    if released:
        if steps < 2:
            raise ConfigError(f"`released` needs clips of at least 2 actions; got {steps}.")
        rolled = forced[:, 1:2]
        for count in range(2, rollout_steps + 1):
            seen = torch.cat((z[:, :1], rolled), 1)
            rolled = torch.cat((rolled, normalize_features(predictor(seen, *first(count), **options))[:, -1:]), 1)
    else:
        rolled = predictor.rollout(z[:, :1], *first(rollout_steps), **options)
    teacher_forcing = latent_prediction_loss(forced, z[:, 1:], "l1")
    rollout = latent_prediction_loss(rolled, z[:, 1 : rollout_steps + 1], "l1")
    return FramePredictionLoss(teacher_forcing + rollout, teacher_forcing, rollout)
