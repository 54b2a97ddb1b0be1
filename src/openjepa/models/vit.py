"""One vision transformer for pictures and clips, with the options that the published JEPAs differ in.

I-JEPA (arXiv 2301.08243): fixed sine-cosine positions, column first. V-JEPA 1 (2404.08471): the same in
3-D. V-JEPA 2 (2506.09985): tubelets and rotary positions. V-JEPA 2.1 (2603.14482): a second tokenizer for
single pictures, modality embeddings, and norms at four depths. LeJEPA (2511.08544) and LeVJEPA
(2608.27395): a class token.

Tokens are embedded once and may then be encoded several times from different subsets: `tokenize`, then
`encode`. Only the tokens that `token_idx` names enter the blocks, at their true positions.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from openjepa.config import check_counts
from openjepa.errors import ConfigError, ShapeError
from openjepa.nn.patch_embed import PatchEmbed, TubeletEmbed
from openjepa.nn.positions import SincosOrder, positions_of, resize_table
from openjepa.nn.rope import RopeLayout, RotaryTable
from openjepa.nn.tokens import Grid, gather_tokens
from openjepa.nn.transformer import (
    Packing,
    frame_mask,
    init_normal,
    init_weights,
    rescale_residuals,
    run_blocks,
    stack_blocks,
)

Positions = Literal["rope", "sincos"]


@dataclass(frozen=True)
class ViTConfig:
    """Shape and options of a `VisionTransformer`; the names are timm's where timm has one."""

    img_size: tuple[int, int] = (224, 224)  # pixels, the native size; rotary models take any other
    patch_size: int = 16  # pixels
    num_frames: int = 1  # frames of a native clip; 1 for a picture model
    tubelet_size: int = 1  # frames of a token, at least 1; 1 with num_frames 1 is a picture model
    in_chans: int = 3
    embed_dim: int = 384  # width D, a multiple of num_heads
    depth: int = 12  # blocks
    num_heads: int = 6
    mlp_ratio: float = 4.0  # hidden width of an MLP over D
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    positions: Positions = "rope"
    sincos_order: SincosOrder = "row_first"  # I-JEPA weights need "column_first"
    rope_layout: RopeLayout = "interleaved"  # V-JEPA 2 weights need "tiled"
    rope_pretrained_grid: int | None = None  # stretch positions to this many rows and columns; 16 in V-JEPA 2.1
    class_token: bool = False
    reg_tokens: int = 0  # learned registers, dropped from the output
    image_tokenizer: bool = False  # a second patch embedding for single pictures, and modality embeddings
    level_layers: tuple[int, ...] = ()  # blocks (0-based) with a norm of their own, ending at the last; V-JEPA 2.1
    attention: Literal["full", "frame_causal"] = "full"
    init_std: float | None = 0.02  # of the first weights; None = 1 / sqrt(inputs), right for narrow networks
    rescale_residual_init: bool = True  # False for I-JEPA and V-JEPA 1, whose recipes undo it
    checkpoint_activations: bool = False  # trade compute for memory in training

    def __post_init__(self) -> None:
        check_counts(self, "patch_size", "tubelet_size", "in_chans", "embed_dim", "depth", "num_heads")
        if min(self.img_size) < self.patch_size or any(side % self.patch_size for side in self.img_size):
            raise ConfigError(f"`img_size` must be multiples of `patch_size` {self.patch_size}; got {self.img_size}.")
        if self.num_frames < 1 or self.num_frames % self.tubelet_size:
            raise ConfigError(
                f"`num_frames` must be a multiple of `tubelet_size` {self.tubelet_size}; got {self.num_frames}."
            )
        if self.init_std is not None and self.init_std <= 0:
            raise ConfigError(f"`init_std` must be > 0, or None; got {self.init_std}.")
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"`num_heads` must divide `embed_dim` {self.embed_dim}; got {self.num_heads}.")
        if self.level_layers and (
            self.level_layers[-1] != self.depth - 1 or sorted(set(self.level_layers)) != list(self.level_layers)
        ):
            raise ConfigError(f"`level_layers` must rise and end at {self.depth - 1}; got {self.level_layers}.")

    @property
    def grid(self) -> Grid:
        """Native arrangement (t, h, w) of the tokens."""
        height, width = self.img_size
        return self.num_frames // self.tubelet_size, height // self.patch_size, width // self.patch_size

    @property
    def is_video(self) -> bool:
        """Whether the network takes clips."""
        return self.num_frames > 1

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens in front of the grid: the class token and the registers."""
        return int(self.class_token) + self.reg_tokens


class Tokens(NamedTuple):
    """Embedded patches x [B, N, D], their arrangement (t, h, w), whether a picture tokenizer made them."""

    x: Tensor
    grid: Grid
    is_image: bool = False


class VisionTransformer(nn.Module):
    """Encodes normalised pictures [B, C, H, W] or clips [B, T, C, H, W] into tokens [B, N, D].

    A picture given to a video model goes through the picture tokenizer where there is one, and is repeated
    to one tubelet otherwise.

    Args:
        config: shape and options.
        generator: draws the initial weights; the global one where None.
    """

    pos_embed: Tensor | None

    def __init__(self, config: ViTConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        width = config.embed_dim
        if config.is_video:
            self.patch_embed: PatchEmbed | TubeletEmbed = TubeletEmbed(
                config.tubelet_size, config.patch_size, config.in_chans, width
            )
        else:
            self.patch_embed = PatchEmbed(config.patch_size, config.in_chans, width)
        self.image_embed = (
            TubeletEmbed(1, config.patch_size, config.in_chans, width) if config.image_tokenizer else None
        )
        modality = (1, 1, width) if config.image_tokenizer else None
        self.video_modality = nn.Parameter(torch.zeros(modality)) if modality else None
        self.image_modality = nn.Parameter(torch.zeros(modality)) if modality else None
        prefix = config.num_prefix_tokens
        self.prefix_tokens = nn.Parameter(torch.zeros(1, prefix, width)) if prefix else None
        self.rope, table = positions_of(config, width, config.grid, is_video=config.is_video, num_prefix_tokens=prefix)
        self.register_buffer("pos_embed", table)
        self.blocks = stack_blocks(config, width, config.depth)
        self.level_norms = nn.ModuleList(
            nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in config.level_layers[:-1]
        )
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.init_weights(generator)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draws fresh weights as V-JEPA 2 does (std 0.02, residual branches scaled by depth)."""
        init_weights(self, generator, self.config.init_std)
        if self.config.rescale_residual_init:
            rescale_residuals(self.blocks)
        for modality in (self.video_modality, self.image_modality):
            if modality is not None:
                init_normal(modality, generator, std=1e-6)
        if self.prefix_tokens is not None:
            init_normal(self.prefix_tokens, generator)

    def tokenize(self, x: Tensor) -> Tokens:
        """Embeds pixels once, positions added where they are additive.

        Args:
            x: [B, C, H, W] or [B, T, C, H, W], normalised pixels.
        """
        config = self.config
        if x.ndim != (5 if config.is_video else 4):
            if config.is_video and x.ndim == 4:
                x = x[:, None]
            elif x.ndim == 5 and x.shape[1] == 1:
                x = x[:, 0]
            else:
                wanted = "[B, T, C, H, W] or [B, C, H, W]" if config.is_video else "[B, C, H, W]"
                raise ShapeError(f"pixels must be {wanted}; got {list(x.shape)}.")
        embed, modality = self.patch_embed, self.video_modality
        if config.is_video and x.shape[1] == 1:
            if self.image_embed is not None:
                embed, modality = self.image_embed, self.image_modality
            else:
                x = x.expand(-1, config.tubelet_size, -1, -1, -1)
        grid = embed.grid(x)
        tokens = embed(x)
        if modality is not None:
            tokens = tokens + modality
        if self.pos_embed is not None:
            tokens = tokens + resize_table(self.pos_embed, config.grid, grid)
        return Tokens(tokens, grid, embed is self.image_embed)

    def encode(self, tokens: Tokens, token_idx: Tensor | None = None) -> Tensor:
        """Encodes all tokens, or only those that `token_idx` [B, K] names.

        Returns:
            z [B, P + K, D] after the final norm: the class token first where there is one, registers dropped.
        """
        last = tokens.x
        for out in self._outputs(tokens, token_idx):
            last = out
        return self._visible(self.norm(last))

    def encode_packed(self, parts: Sequence[tuple[Tokens, Tensor | None]]) -> list[Tensor]:
        """Encodes batches of several lengths in one pass, such as clips and pictures, or clips under two masks.

        Equal to `encode` of each, up to the rounding of float32. Linear maps see one long sequence, which saves
        launches on a GPU; on a CPU nothing is won (`benchmarks/packing.py`).

        Args:
            parts: tokens, and the ids that are kept as in `encode`.

        Returns:
            z [B, P + K, D] of every part.
        """
        if self.config.attention != "full":
            raise ConfigError(f"`attention` must be full for packed sequences; it is {self.config.attention}.")
        entered = [self._enter(tokens, token_idx) for tokens, token_idx in parts]
        packing = Packing(tuple((x.shape[0], x.shape[1]) for x, _ in entered))
        rope = None
        if self.rope is not None:
            tables = [[t.expand(*x.shape[:2], -1) for t in table] for x, table in entered if table is not None]
            rope = RotaryTable(*(packing.pack(column) for column in zip(*tables, strict=True)))
        last = packing.pack([x for x, _ in entered])
        checkpointing = self.config.checkpoint_activations and self.training
        for out in run_blocks(self.blocks, last, rope, packing, checkpointing=checkpointing):
            last = out
        return [self._visible(z) for z in packing.unpack(self.norm(last))]

    def levels(
        self, tokens: Tokens, token_idx: Tensor | None = None, *, layers: tuple[int, ...] | None = None
    ) -> list[Tensor]:
        """Encodes as `encode` does and returns the output of several blocks, each [B, P + K, D].

        Args:
            tokens: from `tokenize`.
            token_idx: [B, K], or None for all tokens.
            layers: block numbers from 0; the config's `level_layers` where None. Each output goes through the
                norm that belongs to its block, or through the final norm where blocks have none of their own.
        """
        config = self.config
        wanted = config.level_layers if layers is None else layers
        norms = dict(zip(config.level_layers, [*self.level_norms, self.norm], strict=False))
        if not wanted or not all(0 <= layer < config.depth for layer in wanted):
            raise ConfigError(f"`layers` must be block numbers from 0 to {config.depth - 1}; got {wanted}.")
        if config.level_layers and not set(wanted) <= set(norms):
            raise ConfigError(f"`layers` must be among {config.level_layers}, which have norms; got {wanted}.")
        outputs = {
            layer: self._visible(norms.get(layer, self.norm)(x))
            for layer, x in enumerate(self._outputs(tokens, token_idx))
            if layer in wanted
        }
        return [outputs[layer] for layer in wanted]

    def forward(self, x: Tensor, token_idx: Tensor | None = None) -> Tensor:  # noqa: D102
        return self.encode(self.tokenize(x), token_idx)

    def _outputs(self, tokens: Tokens, token_idx: Tensor | None) -> Any:
        """Runs the blocks on the prefix and the chosen tokens; yields every block's output."""
        x, rope = self._enter(tokens, token_idx)
        mask = self._attn_mask(tokens.grid, token_idx, x.device)
        return run_blocks(
            self.blocks, x, rope, mask, checkpointing=self.config.checkpoint_activations and self.training
        )

    def _enter(self, tokens: Tokens, token_idx: Tensor | None) -> tuple[Tensor, RotaryTable | None]:
        """What enters the blocks: prefix and chosen tokens [B, P + K, D], and their rotary table."""
        x, grid, _ = tokens
        rope = None if self.rope is None else self.rope.table(grid, x.device)
        prefix = self.config.num_prefix_tokens
        if token_idx is not None:
            x = gather_tokens(x, token_idx)
            if rope is not None:
                rope = rope.gather(_with_prefix(token_idx, prefix))
        if self.prefix_tokens is not None:
            x = torch.cat((self.prefix_tokens.to(x.dtype).expand(x.shape[0], -1, -1), x), dim=1)
        return x, rope

    def _attn_mask(self, grid: Grid, token_idx: Tensor | None, device: torch.device) -> Tensor | None:
        if self.config.attention == "full":
            return None
        per_frame = grid[1] * grid[2]
        if token_idx is None:
            frame = torch.arange(grid[0], device=device).repeat_interleave(per_frame)
            return frame_mask(frame, self.config.num_prefix_tokens)
        return frame_mask(token_idx // per_frame, self.config.num_prefix_tokens)[:, None]  # [B, 1, P + K, P + K]

    def _visible(self, z: Tensor) -> Tensor:
        """Drops the registers, which stand between the class token and the patches."""
        if not self.config.reg_tokens:
            return z
        return torch.cat((z[:, : int(self.config.class_token)], z[:, self.config.num_prefix_tokens :]), dim=1)


def _with_prefix(token_idx: Tensor, prefix: int) -> Tensor:
    """Row numbers of [prefix | tokens] in a table that starts with the prefix; [B, K] to [B, P + K]."""
    if not prefix:
        return token_idx
    first = torch.arange(prefix, device=token_idx.device).expand(token_idx.shape[0], -1)
    return torch.cat((first, token_idx + prefix), dim=1)


# ------------------------------------------------------------------------------------------------------------
# Sizes, by timm's names. A variant is a call with other options.


def _size(embed_dim: int, depth: int, num_heads: int, mlp_ratio: float, options: dict[str, Any]) -> ViTConfig:
    base = ViTConfig(embed_dim=embed_dim, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)
    return dataclasses.replace(base, **options)


def vit_tiny(**options: Any) -> ViTConfig:
    """5.5 M parameters."""
    return _size(192, 12, 3, 4.0, options)


def vit_small(**options: Any) -> ViTConfig:
    """22 M parameters."""
    return _size(384, 12, 6, 4.0, options)


def vit_base(**options: Any) -> ViTConfig:
    """86 M parameters."""
    return _size(768, 12, 12, 4.0, options)


def vit_large(**options: Any) -> ViTConfig:
    """304 M parameters."""
    return _size(1024, 24, 16, 4.0, options)


def vit_huge(**options: Any) -> ViTConfig:
    """632 M parameters."""
    return _size(1280, 32, 16, 4.0, options)


def vit_giant(**options: Any) -> ViTConfig:
    """1012 M parameters with 22 heads, as in V-JEPA 2; I-JEPA's giant has `num_heads=16`."""
    return _size(1408, 40, 22, 48 / 11, options)


def vit_gigantic(**options: Any) -> ViTConfig:
    """1845 M parameters, as in V-JEPA 2.1."""
    return _size(1664, 48, 26, 64 / 13, options)
