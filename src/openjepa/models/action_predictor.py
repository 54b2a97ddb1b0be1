"""The action-conditioned predictor of V-JEPA 2-AC: the next frame's features from frames, actions and poses.

(arXiv 2506.09985.) Every frame t contributes [action a_t, pose s_t, (camera e_t,) its patch tokens];
attention is causal over frames, and because a_t stands inside block t, the output at frame t predicts frame
t + 1. Features are layer-normalised without weights on the way in and, by the caller, on the way out.

Positions are rotary. Condition tokens turn in time only. Published weights need the tiled layout of
frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openjepa.config import check_counts
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.linear import Linear
from openjepa.nn.rope import RopeLayout, rotary_table
from openjepa.nn.tokens import grid_positions, normalize_features
from openjepa.nn.transformer import Block, frame_causal_mask, init_weights, rescale_residuals, run_blocks


@dataclass(frozen=True)
class PoseActionPredictorConfig:
    """Shape of a `PoseActionPredictor`; the published one is 1024 wide, 24 deep, with 16 heads."""

    embed_dim: int = 384  # width D of the frame features
    predictor_dim: int = 192  # own width P
    depth: int = 6
    num_heads: int = 3
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    action_dim: int = 7  # change of xyz (m), of Euler angles (rad), of the gripper
    pose_dim: int = 7  # xyz (m), extrinsic xyz Euler angles (rad), gripper opening in [0, 1]
    camera_dim: int = 6  # width of camera extrinsics; their encoder is always stored
    use_camera: bool = False
    native_rows: int = 16  # rows of a square native frame; other frames stretch positions to it
    rope_layout: RopeLayout = "interleaved"  # published weights need "tiled"
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "embed_dim", "predictor_dim", "depth", "num_heads")
        if self.predictor_dim % self.num_heads:
            raise ConfigError(f"`num_heads` must divide `predictor_dim` {self.predictor_dim}; got {self.num_heads}.")

    @property
    def num_conditions(self) -> int:
        """Condition tokens of a frame."""
        return 3 if self.use_camera else 2


class PoseActionPredictor(nn.Module):
    """Predicts features of frames 1 ... T from frames 0 ... T - 1.

    Args:
        config: shape.
        generator: draws the initial weights; the global one where None.
    """

    def __init__(self, config: PoseActionPredictorConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        width = config.predictor_dim
        self.embed = Linear(config.embed_dim, width)
        self.action_encoder = Linear(config.action_dim, width)
        self.pose_encoder = Linear(config.pose_dim, width)
        self.camera_encoder = Linear(config.camera_dim, width)
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                layer_norm_eps=config.layer_norm_eps,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.proj = Linear(width, config.embed_dim)
        init_weights(self, generator)
        rescale_residuals(self.blocks)
        if not config.use_camera:  # stored for the layout's sake, never trained
            self.camera_encoder.requires_grad_(False)

    def forward(
        self,
        z: Tensor,
        actions: Tensor,
        poses: Tensor,
        cameras: Tensor | None = None,
        *,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Predicts the next frame of every frame.

        Args:
            z: [B, T, N, D] features of frames, N = h * w patches row by row.
            actions: [B, T, A], action t leads from frame t to frame t + 1.
            poses: [B, T, P], the robot's pose at frame t.
            cameras: [B, T, 6] camera extrinsics, where the model uses them.
            grid: rows and columns of a frame; square where None.

        Returns:
            [B, T, N, D], not normalised; entry t predicts frame t + 1.
        """
        sizes = check_shape(z, "B T N D", name="z", sizes={"D": self.config.embed_dim})
        frames = {"B": sizes["B"], "T": sizes["T"]}
        check_shape(actions, f"B T A={self.config.action_dim}", name="actions", sizes=frames)
        check_shape(poses, f"B T P={self.config.pose_dim}", name="poses", sizes=frames)
        if (cameras is not None) != self.config.use_camera:
            raise ConfigError(
                f"`cameras` must be given exactly where `use_camera` is on; it is {self.config.use_camera}."
            )
        conditions = [self.action_encoder(actions), self.pose_encoder(poses)]
        if cameras is not None:
            conditions.append(self.camera_encoder(cameras))
        count = len(conditions)
        x = torch.cat((torch.stack(conditions, 2), self.embed(z)), dim=2)  # [B, T, C + N, P]
        positions = self._positions(sizes["T"], sizes["N"], grid, z.device)
        head_dim = self.config.predictor_dim // self.config.num_heads
        rope = rotary_table(positions, head_dim, self.config.rope_layout)
        mask = None
        if sizes["T"] > 1:
            mask = frame_causal_mask(sizes["T"], x.shape[2], device=z.device)
        flat = x.flatten(1, 2)  # [B, T * (C + N), P]
        for out in run_blocks(
            self.blocks, flat, rope, mask, checkpointing=self.config.checkpoint_activations and self.training
        ):
            flat = out
        return self.proj(self.norm(flat.view_as(x)[:, :, count:]))

    def rollout(
        self,
        z: Tensor,
        actions: Tensor,
        poses: Tensor,
        cameras: Tensor | None = None,
        *,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Predicts step after step, feeding normalised predictions back.

        Args:
            z: [B, T, N, D] normalised features of the context frames.
            actions: [B, T - 1 + H, A].
            poses: [B, T - 1 + H, P], measured, or integrated from the actions by `integrate_poses`.
            cameras: [B, T - 1 + H, 6], where the model uses them.
            grid: rows and columns of a frame; square where None.

        Returns:
            [B, H, N, D] normalised predictions of the H frames after the context.
        """
        context = z.shape[1]
        if actions.shape[1] < context:
            raise ShapeError(
                f"`actions` must have at least {context} steps for {context} frames; got {actions.shape[1]}."
            )
        for step in range(context, actions.shape[1] + 1):
            seen = None if cameras is None else cameras[:, :step]
            z_next = self(z, actions[:, :step], poses[:, :step], seen, grid=grid)[:, -1:]
            z = torch.cat((z, normalize_features(z_next)), dim=1)
        return z[:, context:]

    def _positions(self, frames: int, tokens: int, grid: tuple[int, int] | None, device: torch.device) -> Tensor:
        """(t, row, column) of all tokens; condition tokens stand at (t, 0, 0). [T * (C + N), 3]."""
        rows, columns = grid or (_square_root(tokens),) * 2
        if rows * columns != tokens:
            raise ShapeError(f"`grid` must have {tokens} tokens; got {rows} x {columns}.")
        patches = grid_positions((frames, rows, columns), device).view(frames, tokens, 3)
        native = self.config.native_rows
        patches = patches * torch.tensor([1.0, native / rows, native / columns], device=device)
        conditions = torch.zeros(frames, self.config.num_conditions, 3, device=device)
        conditions[..., 0] = torch.arange(frames, device=device)[:, None]
        return torch.cat((conditions, patches), dim=1).flatten(0, 1)


def _square_root(tokens: int) -> int:
    side = round(tokens**0.5)
    if side * side != tokens:
        raise ShapeError(f"{tokens} tokens are no square frame. Give `grid`.")
    return side
