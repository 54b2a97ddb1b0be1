"""V-JEPA 2-AC (arXiv 2506.09985): what a frozen encoder will see after actions, which a robot plans with.

    L = mean |P(z_{1..T-1}, a, s) - z_{2..T}|  +  mean over J steps |what P says after its own frames - z|

z are layer-normalised tokens of frames, each seen alone; a are actions and s poses; P is causal over frames. The same
predictor on any frozen tokens makes patch world models like DINO-WM (2411.04983). What is read of a frame is computed
once: batches may hold tokens instead of pictures.

A state holds the pose beside the tokens, as trailing dimensions that no cost reads: [B, T, N, D + P].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.losses.frame_prediction import frame_prediction_loss
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig
from openjepa.models.action_statistics import StandardisesActions, set_moments
from openjepa.models.frozen_tokens import FrozenTokens, FrozenTokensConfig
from openjepa.models.vit import ViTConfig
from openjepa.nn.poses import integrate_poses
from openjepa.nn.random import global_stream
from openjepa.protocols import JEPALoss, TrajectoryBatch

PoseRule = Literal["none", "sum", "rigid"]


@dataclass(frozen=True)
class VJEPA2ACConfig:
    """Options of the method.

    Attributes:
        encoder: the frozen encoder.
        predictor: its `embed_dim` and `native_rows` are those of the encoder.
        poses: how the pose after an imagined action is known: `rigid`, 7 numbers as published (`nn.poses`); `sum`,
            where actions are displacements: the first numbers of a pose grow by the action, the others stay; or
            `none`, where there are no poses.
        rollout_steps: J, steps that the predictor takes on its own frames in the second part of the loss, >= 1.
        released: whether the second part is that of the code that the published weights were trained with
            (`losses.frame_prediction`).
        condition_std: first standard deviation of what actions and poses become, weights and biases, which keeps
            their size readable behind the layer norms; None begins as published.
        seed: of initial weights.
    """

    encoder: FrozenTokensConfig = field(default_factory=lambda: FrozenTokensConfig(vit=ViTConfig(img_size=(256, 256))))
    predictor: PoseActionPredictorConfig = field(default_factory=PoseActionPredictorConfig)
    poses: PoseRule = "rigid"
    rollout_steps: int = 2
    released: bool = False
    condition_std: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.poses not in ("none", "sum", "rigid"):
            raise ConfigError(f"`poses` must be none, sum or rigid; got {self.poses}.")
        if self.rollout_steps < 1 or self.seed < 0:
            raise ConfigError(
                f"`rollout_steps` must be >= 1 and `seed` >= 0; got {self.rollout_steps} and {self.seed}."
            )
        if self.condition_std is not None and self.condition_std <= 0:
            raise ConfigError(f"`condition_std` must be above 0, or None; got {self.condition_std}.")
        actions, poses = self.predictor.action_dim, self.predictor.pose_dim
        if self.poses == "rigid" and (actions, poses) != (7, 7):
            raise ConfigError(
                f"`poses` must be sum or none unless actions and poses have 7 numbers; got {actions} and {poses}."
            )
        if self.poses == "sum" and actions > poses:
            raise ConfigError(f"`poses` sum needs poses of at least {actions} numbers, as actions have; got {poses}.")
        seen = self.encoder.embed_dim, self.encoder.grid[0]
        if (self.predictor.embed_dim, self.predictor.native_rows) != seen:
            raise ConfigError(
                f"`predictor.embed_dim` and `predictor.native_rows` must be {seen[0]} and {seen[1]} for this encoder; "
                f"got {self.predictor.embed_dim} and {self.predictor.native_rows}."
            )


class VJEPA2AC(StandardisesActions):
    """A `Method` that trains a predictor on frozen tokens, and a `WorldModel` that plans.

    Args:
        config: the options.
    """

    pose_mean: Tensor
    pose_std: Tensor

    def __init__(self, config: VJEPA2ACConfig) -> None:
        c = config.predictor
        super().__init__(c.action_dim)
        self.config = config
        self.register_buffer("pose_mean", torch.zeros(c.pose_dim))
        self.register_buffer("pose_std", torch.ones(c.pose_dim))
        with global_stream(config.seed):
            self.encoder = FrozenTokens(config.encoder)
            self.predictor = PoseActionPredictor(c)
            if config.condition_std is not None:
                for condition in (self.predictor.action_encoder, self.predictor.pose_encoder):
                    nn.init.normal_(condition.weight, std=config.condition_std)
                    nn.init.normal_(condition.bias, std=config.condition_std)
        if config.poses == "none":
            self.predictor.pose_encoder.requires_grad_(False)

    @property
    def pose_dim(self) -> int:
        """Numbers of a pose in a state."""
        return 0 if self.config.poses == "none" else self.config.predictor.pose_dim

    def set_pose_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets by which mean [P] and std [P] of the training poses the predictor standardises them."""
        set_moments(self.pose_mean, self.pose_std, mean, std, "P")

    # ------------------------------------------------------------------------------------------------- training

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Both parts of the loss; `batch.frames` are pictures, or tokens [B, T, N, D] that the encoder gave."""
        z = self.features(batch.frames)
        steps = z.shape[1] - 1
        check_shape(batch.actions, f"B={len(z)} T={steps} A={len(self.action_mean)}", name="actions")
        found = frame_prediction_loss(
            self.predictor,
            z,
            self._standardised(batch.actions),
            self._told(self._poses(batch.proprio, z)[:, :-1]),
            rollout_steps=min(self.config.rollout_steps, steps),
            released=self.config.released,
            grid=self.config.encoder.grid,
        )
        terms = {"teacher_forcing": found.teacher_forcing.detach(), "rollout": found.rollout.detach()}
        return JEPALoss(found.loss, terms)

    def after_step(self, step: int) -> None:
        """Nothing: the encoder is frozen."""

    def features(self, frames: Tensor) -> Tensor:
        """Tokens [B, T, N, D] float32 of frames [B, T, C, H, W], or those that are given."""
        if frames.ndim == 4:
            check_shape(frames, f"B T N D={self.config.encoder.embed_dim}", name="tokens")
            return frames.float()
        sizes = check_shape(frames, "B T C H W", name="frames")
        return self.encoder(frames.flatten(0, 1)).unflatten(0, (sizes["B"], sizes["T"]))

    # ---------------------------------------------------------------------------------------------- world model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] uint8 and poses [B, T, P] to states [B, T, N, D + P].

        A goal needs no pose: without `proprio` it is unknown (NaN), and nothing can be rolled out from there.
        """
        z = self.features(frames)
        if not self.pose_dim:
            return z
        poses = self._poses(proprio, z) if proprio is not None else z.new_full((*z.shape[:2], self.pose_dim), torch.nan)
        return self._joined(z, poses)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`."""
        context = z.shape[1]
        if actions.shape[1] < context:
            raise ShapeError(f"`actions` must have at least {context} steps; got {actions.shape[1]}.")
        return self.begin(z, actions[:, : context - 1])(actions[:, context - 1 :])

    def begin(self, z: Tensor, context_actions: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Takes a context in once for all candidates; see `openjepa.planning.candidates.BeginningModel`."""
        sizes = check_shape(z, f"B T N D={self.config.encoder.embed_dim + self.pose_dim}", name="z")
        tokens, poses = z[..., : self.config.encoder.embed_dim], self._poses_of(z)
        if self.pose_dim and poses.device.type == "cpu" and bool(poses.isnan().any()):  # elsewhere one would wait
            raise ConfigError("`proprio` must be given where a plan begins: this model reads poses; got None.")
        if context_actions is None:
            context_actions = z.new_zeros(sizes["B"], 0, len(self.action_mean))
        grid = self.config.encoder.grid
        begun = self.predictor.begin(tokens, self._standardised(context_actions), self._told(poses), grid=grid)

        def on(candidates: Tensor) -> Tensor:
            start = poses[:, -1].repeat_interleave(len(candidates) // sizes["B"], 0)
            after = self._imagined(start, candidates)  # [B * S, H, P]
            path = begun.rollout(self._standardised(candidates), self._told(after[:, :-1]))
            return self._joined(path, after) if self.pose_dim else path

        return on

    def _imagined(self, pose: Tensor, actions: Tensor) -> Tensor:
        """Poses [B, H, P] after each of the actions [B, H, A], from a pose [B, P]."""
        if self.config.poses == "rigid":
            return integrate_poses(pose, actions)
        after = pose.unsqueeze(1).repeat(1, actions.shape[1], 1)
        if self.config.poses == "sum":
            after[..., : actions.shape[-1]] += actions.cumsum(1)
        return after

    def _poses(self, proprio: Tensor | None, z: Tensor) -> Tensor:
        """Poses [B, T, P] of states z [B, T, N, D]; zeros where the method knows none."""
        if not self.pose_dim:
            return z.new_zeros(*z.shape[:2], self.config.predictor.pose_dim)
        if proprio is None:
            raise ConfigError("`proprio` must be given: this model reads poses; got None. Or set `poses` to none.")
        check_shape(proprio, f"B={z.shape[0]} T={z.shape[1]} P={self.pose_dim}", name="proprio")
        return proprio.to(z)

    def _poses_of(self, z: Tensor) -> Tensor:
        """Poses [B, T, P] that states hold; zeros where they hold none."""
        dim = self.config.encoder.embed_dim
        return z[:, :, 0, dim:] if self.pose_dim else z.new_zeros(*z.shape[:2], self.config.predictor.pose_dim)

    def _told(self, poses: Tensor) -> Tensor:
        return (poses - self.pose_mean) / self.pose_std

    @staticmethod
    def _joined(z: Tensor, poses: Tensor) -> Tensor:
        """States [B, T, N, D + P] of tokens [B, T, N, D] and poses [B, T, P]."""
        return torch.cat([z, poses.unsqueeze(2).expand(-1, -1, z.shape[2], -1)], -1)
