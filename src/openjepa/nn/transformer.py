"""The pre-norm transformer block that every encoder, predictor and probe here is made of.

Names follow timm: `norm1`, `attn.qkv`, `attn.proj`, `norm2`, `mlp.fc1`, `mlp.fc2`. Dropout and stochastic
depth are zero in every published JEPA, so there are none.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openjepa.errors import ConfigError
from openjepa.nn.linear import Linear
from openjepa.nn.rope import RotaryTable, rotate


@dataclass(frozen=True)
class Packing:
    """Sequences of several lengths, one behind the other on the token axis of a batch of one.

    Every linear map and norm sees one long sequence; attention stays within each of the packed ones. Sequences of
    one length stand together, so attention is one call for each length and needs no mask.

    Attributes:
        groups: (number of sequences, tokens of each), in order.
    """

    groups: tuple[tuple[int, int], ...]

    def pack(self, parts: Sequence[Tensor]) -> Tensor:
        """Joins [B, N, ...] of every group to [1, sum of B * N, ...]."""
        return torch.cat([part.flatten(0, 1) for part in parts]).unsqueeze(0)

    def unpack(self, x: Tensor) -> list[Tensor]:
        """Undoes `pack`."""
        parts = x[0].split([count * length for count, length in self.groups])
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]


AttnMask: TypeAlias = Tensor | Packing | None


class Attention(nn.Module):
    """Multi-head self-attention with fused projections; optional rotary positions.

    Args:
        dim: width D.
        num_heads: number of heads; divides D.
        qkv_bias: whether queries, keys and values have a bias.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True):
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"`num_heads` must divide the width {dim}; got {num_heads}.")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, rope: RotaryTable | None = None, attn_mask: AttnMask = None) -> Tensor:  # noqa: D102
        return self.proj(attend(*self.heads(x, rope), attn_mask))

    def heads(self, x: Tensor, rope: RotaryTable | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, N, heads, head_dim] of tokens [B, N, D]."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # [B, N, 3, heads, head_dim]
        if rope is None:
            return qkv.unbind(2)
        q, k = rotate(qkv[:, :, :2], rope).unbind(2)
        return q, k, qkv[:, :, 2]


def attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: AttnMask = None) -> Tensor:
    """Fused scaled dot-product attention.

    Args:
        q: [B, Q, heads, head_dim].
        k: [B, N, heads, head_dim].
        v: [B, N, heads, head_dim].
        attn_mask: [Q, N] bool, True where a query may look; None for everywhere; or how sequences are packed.

    Returns:
        [B, Q, heads * head_dim].
    """
    if isinstance(attn_mask, Packing):
        parts = zip(*(attn_mask.unpack(x) for x in (q, k, v)), strict=True)
        return attn_mask.pack([attend(*part) for part in parts])
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, heads, ..., head_dim]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between them.

    Args:
        dim: width D.
        hidden_dim: width between the maps.
    """

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + Attention(Norm(x)), then x + Mlp(Norm(x)).

    Args:
        dim: width D.
        num_heads: number of heads.
        mlp_ratio: hidden width of the MLP as a multiple of D, rounded down.
        qkv_bias: whether queries, keys and values have a bias.
        layer_norm_eps: 1e-6 in encoders and predictors, 1e-5 in the published probes.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_norm_eps: float = 1e-6,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.mlp = Mlp(dim, hidden_width(dim, mlp_ratio))

    def forward(self, x: Tensor, rope: RotaryTable | None = None, attn_mask: AttnMask = None) -> Tensor:  # noqa: D102
        x = x + self.attn(self.norm1(x), rope, attn_mask)
        return x + self.mlp(self.norm2(x))

    def after(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block behind its attention: tokens and what their queries found, each [B, N, D], to [B, N, D]."""
        x = x + self.attn.proj(attended)
        return x + self.mlp(self.norm2(x))


def hidden_width(dim: int, mlp_ratio: float) -> int:
    """Hidden width of an MLP, safe against the rounding of ratios such as 48/11.

    >>> hidden_width(1408, 48 / 11), hidden_width(1664, 4.923077)
    (6144, 8192)
    """
    return int(dim * mlp_ratio + 1e-3)


def stack_blocks(config: Any, width: int, depth: int) -> nn.ModuleList:
    """Blocks of one width with `num_heads`, `mlp_ratio`, `qkv_bias` and `layer_norm_eps` of a network's options."""
    c = config
    options = {"mlp_ratio": c.mlp_ratio, "qkv_bias": c.qkv_bias, "layer_norm_eps": c.layer_norm_eps}
    return nn.ModuleList(Block(width, c.num_heads, **options) for _ in range(depth))


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Tensor,
    rope: RotaryTable | None = None,
    attn_mask: AttnMask = None,
    *,
    checkpointing: bool = False,
) -> Iterable[Tensor]:
    """Yields the output [B, N, D] of every block in turn.

    Args:
        blocks: the blocks.
        x: [B, N, D].
        rope: rotary table of the tokens.
        attn_mask: [N, N] bool, True where a query may look, or how sequences are packed.
        checkpointing: recompute activations in the backward pass instead of keeping them.
    """
    for block in blocks:
        if checkpointing and torch.is_grad_enabled():
            x = checkpoint(block, x, rope, attn_mask, use_reentrant=False, preserve_rng_state=False)
        else:
            x = block(x, rope, attn_mask)
        yield x


@torch.no_grad()
def init_weights(module: nn.Module, generator: torch.Generator | None, std: float | None = 0.02) -> None:
    """Draws all linear maps and convolutions from a normal law cut at ±2, zeroes biases, resets norms.

    The published deviation of 0.02 is made for widths around 1,000: there a map keeps about half the size of its
    input. In a network of width 96 it keeps a fifth, so that the blocks start almost switched off.

    Args:
        module: whose maps are drawn.
        generator: draws them; the global one where None.
        std: standard deviation of a weight; None for 1 / sqrt(number of inputs), which keeps the size.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d):
            init_normal(part.weight, generator, part.weight[0].numel() ** -0.5 if std is None else std)
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.LayerNorm):
            part.reset_parameters()


def init_normal(x: Tensor, generator: torch.Generator | None, std: float = 0.02) -> None:
    """Fills a tensor from a normal law cut at ±2; nothing happens on the meta device."""
    if not x.is_meta:
        nn.init.trunc_normal_(x, std=std, a=-2.0, b=2.0, generator=generator)


@torch.no_grad()
def rescale_residuals(blocks: Iterable[nn.Module]) -> None:
    """Divides the last map of both branches of block l (from 1) by sqrt(2 l), as V-JEPA 2 does."""
    for number, block in enumerate(blocks, start=1):
        assert isinstance(block, Block)
        block.attn.proj.weight.div_(math.sqrt(2.0 * number))
        block.mlp.fc2.weight.div_(math.sqrt(2.0 * number))


def frame_causal_mask(
    num_frames: int,
    tokens_per_frame: int,
    *,
    num_prefix_tokens: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Attention mask under which a token sees all tokens of its own and earlier frames.

    Prefix tokens (a class token) see everything and are seen by prefix tokens only, else the last frame
    would leak backwards through them.

    Returns:
        [P + N, P + N] bool, True where a query may look.
    """
    frame = torch.arange(num_frames, device=device).repeat_interleave(tokens_per_frame)
    return frame_mask(frame, num_prefix_tokens)


def frame_mask(frame: Tensor, num_prefix_tokens: int = 0) -> Tensor:
    """The same for tokens whose frame numbers are given; [N] or [B, N] to [..., P + N, P + N] bool."""
    frame = F.pad(frame, (num_prefix_tokens, 0), value=-1)
    query, key = frame[..., :, None], frame[..., None, :]
    return (query < 0) | ((key >= 0) & (key <= query))
