"""The action-conditioned predictor of V-JEPA 2-AC: the next frame's features from frames, actions and poses.

(arXiv 2506.09985.) Every frame t contributes [action a_t, pose s_t, (camera e_t,) its patch tokens];
attention is causal over frames, and because a_t stands inside block t, the output at frame t predicts frame
t + 1. Features are layer-normalised without weights on the way in and, by the caller, on the way out.

Positions are rotary. Condition tokens turn in time only. Published weights need the tiled layout of
frequencies.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from openjepa.config import check_counts
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.host import to_device
from openjepa.nn.linear import Linear
from openjepa.nn.rope import RopeLayout, RotaryTable, rotary_table
from openjepa.nn.tokens import grid_positions, normalize_features
from openjepa.nn.transformer import (
    Block,
    attend,
    frame_causal_mask,
    init_weights,
    rescale_residuals,
    run_blocks,
    stack_blocks,
)


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
    residual: bool = False  # predicts what changes, beginning with nothing; published weights predict the frame
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
        self.blocks = stack_blocks(config, width, config.depth)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.proj = Linear(width, config.embed_dim)
        init_weights(self, generator)
        rescale_residuals(self.blocks)
        if config.residual:  # the first prediction is that nothing changes
            nn.init.zeros_(self.proj.weight)
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
        self._check_cameras(cameras)
        taken = self.action_encoder(actions).unsqueeze(2)
        x = torch.cat((taken, self._conditions(poses, cameras), self.embed(z)), dim=2)  # [B, T, C + N, P]
        rope = self._rope(0, sizes["T"], sizes["N"], grid, z.device)
        mask = None
        if sizes["T"] > 1:
            mask = frame_causal_mask(sizes["T"], x.shape[2], device=z.device)
        flat = x.flatten(1, 2)  # [B, T * (C + N), P]
        for out in run_blocks(
            self.blocks, flat, rope, mask, checkpointing=self.config.checkpoint_activations and self.training
        ):
            flat = out
        return self._predicted(flat.view_as(x)[:, :, self.config.num_conditions :], z)

    def rollout(
        self,
        z: Tensor,
        actions: Tensor,
        poses: Tensor,
        cameras: Tensor | None = None,
        *,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Predicts step after step, feeding normalised predictions back; a step computes one frame.

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
        seen, new = (None, None) if cameras is None else (cameras[:, :context], cameras[:, context:])
        begun = self.begin(z, actions[:, : context - 1], poses[:, :context], seen, grid=grid)
        return begun.rollout(actions[:, context - 1 :], poses[:, context:], new)

    def begin(
        self,
        z: Tensor,
        actions: Tensor,
        poses: Tensor,
        cameras: Tensor | None = None,
        *,
        grid: tuple[int, int] | None = None,
    ) -> "BegunRollout":
        """Takes in the context, once for all candidate plans.

        Args:
            z: [B, T, N, D] normalised features of the context frames.
            actions: [B, T - 1, A] between them.
            poses: [B, T, P] at them.
            cameras: [B, T, 6], where the model uses them.
            grid: rows and columns of a frame; square where None.
        """
        sizes = check_shape(z, "B T N D", name="z", sizes={"D": self.config.embed_dim})
        batch, context = sizes["B"], sizes["T"]
        check_shape(actions, f"B={batch} T={context - 1} A={self.config.action_dim}", name="actions")
        check_shape(poses, f"B={batch} T={context} P={self.config.pose_dim}", name="poses")
        self._check_cameras(cameras)
        dtype = self.embed.weight.dtype
        patches = self.embed(z.to(dtype))  # [B, T, N, P]
        known = self._conditions(poses, cameras)  # [B, T, C - 1, P]
        past: list[Seen] | None = None
        if context > 1:
            done = self.action_encoder(actions.to(dtype)).unsqueeze(2)
            past = self._take_in(torch.cat((done, known[:, :-1], patches[:, :-1]), 2), grid)
        x = torch.cat((known[:, -1], patches[:, -1]), 1)  # [B, C - 1 + N, P], the same for all candidates
        rope = self._rope(context - 1, 1, sizes["N"], grid, z.device)
        first = self.blocks[0]
        assert isinstance(first, Block)
        heads = first.attn.heads(first.norm1(x), RotaryTable(*(part[1:] for part in rope)))
        return BegunRollout(self, past, x, heads, z[:, -1].to(dtype), context - 1, grid, z.dtype)

    def _take_in(self, x: Tensor, grid: tuple[int, int] | None) -> list["Seen"]:
        """Keys and values of frames [B, T, C + N, P] in every block."""
        frames, tokens = x.shape[1:3]
        rope = self._rope(0, frames, tokens - self.config.num_conditions, grid, x.device)
        mask = frame_causal_mask(frames, tokens, device=x.device) if frames > 1 else None
        x, past = x.flatten(1, 2), []
        for block in self.blocks:
            assert isinstance(block, Block)
            q, k, v = block.attn.heads(block.norm1(x), rope)
            past.append(Seen(k, v))
            if block is not self.blocks[-1]:  # nobody reads what comes out of the last
                x = block.after(x, attend(q, k, v, mask))
        return past

    def _predicted(self, x: Tensor, z: Tensor) -> Tensor:
        """Features [..., N, D] of the next frame from the last block's tokens [..., N, P] and this frame's own."""
        found = self.proj(self.norm(x))
        return z + found if self.config.residual else found

    def _conditions(self, poses: Tensor, cameras: Tensor | None) -> Tensor:
        """Tokens [B, T, C - 1, P] of poses, and of cameras where the model uses them."""
        found = [self.pose_encoder(poses.to(self.pose_encoder.weight.dtype))]
        if cameras is not None:
            found.append(self.camera_encoder(cameras.to(self.camera_encoder.weight.dtype)))
        return torch.stack(found, 2)

    def _check_cameras(self, cameras: Tensor | None) -> None:
        if (cameras is not None) != self.config.use_camera:
            raise ConfigError(
                f"`cameras` must be given exactly where `use_camera` is on; it is {self.config.use_camera}."
            )

    def _rope(
        self, first: int, frames: int, tokens: int, grid: tuple[int, int] | None, device: torch.device
    ) -> RotaryTable:
        """The rotary table of the tokens of some frames [frames * (C + N), head_dim]."""
        positions = self._positions(first, frames, tokens, grid, device)
        return rotary_table(positions, self.config.predictor_dim // self.config.num_heads, self.config.rope_layout)

    def _positions(
        self, first: int, frames: int, tokens: int, grid: tuple[int, int] | None, device: torch.device
    ) -> Tensor:
        """(t, row, column) of all tokens; condition tokens stand at (t, 0, 0). [T * (C + N), 3]."""
        rows, columns = grid or (_square_root(tokens),) * 2
        if rows * columns != tokens:
            raise ShapeError(f"`grid` must have {tokens} tokens; got {rows} x {columns}.")
        patches = grid_positions((frames, rows, columns), device).view(frames, tokens, 3)
        native = self.config.native_rows
        patches = patches * to_device(torch.tensor([1.0, native / rows, native / columns]), device)
        patches[..., 0] += first
        conditions = torch.zeros(frames, self.config.num_conditions, 3, device=device)
        conditions[..., 0] = torch.arange(first, first + frames, device=device)[:, None]
        return torch.cat((conditions, patches), dim=1).flatten(0, 1)


class Seen(NamedTuple):
    """Keys and values of the frames so far in one block, each [B, tokens, heads, head_dim]."""

    keys: Tensor
    values: Tensor

    def repeat(self, count: int) -> "Seen":
        """Each row `count` times, for the candidates of an environment."""
        return self if count == 1 else Seen(*(x.repeat_interleave(count, 0) for x in self))

    def with_(self, keys: Tensor, values: Tensor) -> "Seen":
        """With those of one more frame."""
        return Seen(torch.cat((self.keys, keys), 1), torch.cat((self.values, values), 1))


@dataclass(frozen=True)
class BegunRollout:
    """A context that a predictor has taken in, from which any number of plans is rolled out.

    Attention is causal over frames, so keys and values of a frame never change once they are there: a step costs one
    frame, whatever came before. Plans share the frames before the first planned action, and of the frame in which it
    stands all that does not depend on the action. In exact arithmetic the result is that of `PoseActionPredictor` on
    all frames at every step.

    Attributes:
        predictor: whose weights are used; it computes in their dtype.
        past: keys and values of the frames before the last of the context, per block; None where there are none.
        x: [B, C - 1 + N, P] tokens of the last context frame but its action.
        heads: their queries, keys and values in the first block, each [B, C - 1 + N, heads, head_dim].
        last: [B, N, D] features of the last context frame.
        frame: number of the last context frame.
        grid: rows and columns of a frame; square where None.
        dtype: of what is returned.
    """

    predictor: PoseActionPredictor
    past: list[Seen] | None
    x: Tensor
    heads: tuple[Tensor, Tensor, Tensor]
    last: Tensor
    frame: int
    grid: tuple[int, int] | None
    dtype: torch.dtype

    def rollout(self, actions: Tensor, poses: Tensor, cameras: Tensor | None = None) -> Tensor:
        """Predicts the frames that follow under some plans.

        Args:
            actions: [B * S, H, A], the S plans of an environment side by side.
            poses: [B * S, H - 1, P] at the predicted frames but the last.
            cameras: [B * S, H - 1, 6], where the model uses them.

        Returns:
            [B * S, H, N, D] normalised.
        """
        model, batch = self.predictor, len(self.x)
        plans = len(actions) // batch
        if len(actions) != plans * batch or poses.shape[:2] != (len(actions), actions.shape[1] - 1):
            raise ShapeError(
                f"`actions` must be those of plans of {batch} environments, and `poses` one step shorter; got "
                f"{list(actions.shape)} and {list(poses.shape)}."
            )
        model._check_cameras(cameras)
        taken = model.action_encoder(actions.to(self.x.dtype))  # [B * S, H, P]
        known = model._conditions(poses, cameras)  # [B * S, H - 1, C - 1, P]
        tokens = self.x.shape[1] + 1 - model.config.num_conditions
        past = None if self.past is None else [seen.repeat(plans) for seen in self.past]
        path: list[Tensor] = []
        here = self.last.repeat_interleave(plans, 0)
        for step in range(actions.shape[1]):
            rope = model._rope(self.frame + step, 1, tokens, self.grid, actions.device)
            own = taken[:, step : step + 1]
            if step == 0:
                x, heads = self._first(own, RotaryTable(*(part[:1] for part in rope)), plans)
            else:
                x, heads = torch.cat((own, known[:, step - 1], model.embed(here)), 1), None
            x, past = _through(model.blocks, x, rope, past, heads)
            here = normalize_features(model._predicted(x[:, model.config.num_conditions :], here))
            path.append(here)
        return torch.stack(path, 1).to(self.dtype)

    def _first(self, own: Tensor, rope: RotaryTable, plans: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Tokens of the frame of the first planned action and their heads in the first block."""
        first = self.predictor.blocks[0]
        assert isinstance(first, Block)
        pairs = zip((own, *first.attn.heads(first.norm1(own), rope)), (self.x, *self.heads), strict=True)
        x, q, k, v = (
            torch.cat((mine.unflatten(0, (-1, plans)), shared.unsqueeze(1).expand(-1, plans, *shared.shape[1:])), 2)
            for mine, shared in pairs
        )
        return x.flatten(0, 1), (q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))


def _through(
    blocks: nn.ModuleList,
    x: Tensor,
    rope: RotaryTable,
    past: list[Seen] | None,
    heads: tuple[Tensor, Tensor, Tensor] | None,
) -> tuple[Tensor, list[Seen]]:
    """One more frame [B, C + N, P] through all blocks; `heads` are those of the first block where they are known."""
    found = []
    for number, block in enumerate(blocks):
        assert isinstance(block, Block)
        q, k, v = heads if heads is not None and number == 0 else block.attn.heads(block.norm1(x), rope)
        seen = Seen(k, v) if past is None else past[number].with_(k, v)
        x = block.after(x, attend(q, *seen))
        found.append(seen)
    return x, found


def _square_root(tokens: int) -> int:
    side = round(tokens**0.5)
    if side * side != tokens:
        raise ShapeError(f"{tokens} tokens are no square frame. Give `grid`.")
    return side
