"""V-JEPA 2-AC (arXiv 2506.09985) as a planner sees it: a frozen encoder and a predictor that also reads poses."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from openjepa.errors import ShapeError, check_shape
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.poses import integrate_poses
from openjepa.nn.tokens import normalize_features


class PosePredictor(Protocol):
    """What `PosedWorldModel` asks of a predictor; `PoseActionPredictor` is one."""

    def rollout(self, z: Tensor, actions: Tensor, poses: Tensor) -> Tensor:
        """Predicts H states [B, H, N, D] from z [B, T, N, D], actions and poses [B, T - 1 + H, 7]."""
        ...


class Begun(Protocol):
    """A context that was taken in; `models.action_predictor.BegunRollout` is one."""

    def rollout(self, actions: Tensor, poses: Tensor) -> Tensor:
        """Predicts H states [B * S, H, N, D] under actions [B * S, H, 7], with poses [B * S, H - 1, 7]."""
        ...


@runtime_checkable
class SharingPredictor(Protocol):
    """A predictor that takes a context in once for all candidate plans; `PoseActionPredictor` is one."""

    def begin(self, z: Tensor, actions: Tensor, poses: Tensor) -> Begun:
        """Takes in z [B, T, N, D], actions [B, T - 1, 7] and poses [B, T, 7]."""
        ...


@dataclass(frozen=True)
class PosedWorldModel:
    """A world model that starts from known poses; see `openjepa.protocols.WorldModel`.

    Poses after imagined actions are integrated, not predicted. They are bound like the goals of a cost: a new
    decision plans with `model.at(poses)`.

    Attributes:
        encoder: normalised clips [B, T, C, H, W] to tokens [B, N, D].
        predictor: e.g. a `PoseActionPredictor` in evaluation mode.
        poses: [B, T, 7] of the context frames, T = 1 for a single one.
    """

    encoder: Callable[[Tensor], Tensor]
    predictor: PosePredictor
    poses: Tensor

    def at(self, poses: Tensor) -> "PosedWorldModel":
        """The same model at other poses [B, T, 7]."""
        return replace(self, poses=poses)

    @torch.no_grad()
    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Encodes each frame alone, which fills a tubelet by repetition, and normalises its features.

        Args:
            frames: [B, T, C, H, W] uint8.
            proprio: not read; poses are bound by `at`.

        Returns:
            [B, T, N, D].
        """
        check_shape(frames, "B T C H W", name="frames")
        tokens = self.encoder(normalize_pixels(frames.flatten(0, 1).unsqueeze(1)))
        return normalize_features(tokens).unflatten(0, frames.shape[:2])

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predicts the states after z [B * S, T, N, D] under actions [B * S, T - 1 + H, 7]: [B * S, H, N, D]."""
        batch, context = self.poses.shape[:2]
        if len(z) % batch or z.shape[1] != context:
            raise ShapeError(
                f"`poses` must be those of the {z.shape[1]} context frames of {len(z)} candidates; got "
                f"{list(self.poses.shape)}. Bind them with `at`."
            )
        known = self.poses.repeat_interleave(len(z) // batch, 0)  # candidates of an environment share its pose
        poses = torch.cat((known, _imagined(known[:, -1], actions[:, context - 1 :])), 1)
        return self.predictor.rollout(z, actions, poses)

    def begin(self, z: Tensor, context_actions: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Takes the context in once for all candidates; see `openjepa.planning.candidates.BeginningModel`."""
        batch, context = self.poses.shape[:2]
        check_shape(z, f"B={batch} T={context} N D", name="z")
        actions = self.poses.new_zeros(batch, 0, self.poses.shape[-1]) if context_actions is None else context_actions
        if not isinstance(self.predictor, SharingPredictor):

            def anew(candidates: Tensor) -> Tensor:
                plans = len(candidates) // batch
                past = actions.repeat_interleave(plans, 0)
                return self.rollout(z.repeat_interleave(plans, 0), torch.cat((past, candidates), 1))

            return anew
        begun = self.predictor.begin(z, actions, self.poses)

        def on(candidates: Tensor) -> Tensor:
            start = self.poses[:, -1].repeat_interleave(len(candidates) // batch, 0)
            return begun.rollout(candidates, _imagined(start, candidates))

        return on


def _imagined(pose: Tensor, actions: Tensor) -> Tensor:
    """Poses [B, H - 1, 7] after all of H actions [B, H, 7] but the last, from a pose [B, 7]."""
    return integrate_poses(pose, actions[:, :-1]) if actions.shape[1] > 1 else pose.new_zeros(len(pose), 0, 7)
