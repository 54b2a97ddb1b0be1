"""Fixed sine-cosine position tables, added to tokens: I-JEPA (arXiv 2301.08243), V-JEPA 1 (2404.08471).

They are computed in float64, stored in float32, and never trained.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.rope import GridRope
from openjepa.nn.tokens import Grid, num_tokens

SincosOrder = Literal["column_first", "row_first"]


def sincos_1d(positions: Tensor, dim: int) -> Tensor:
    """Encodes positions [N] as all sines, then all cosines, of 10000^(-i / (dim / 2)); [N, dim] float64."""
    if dim % 2:
        raise ConfigError(f"the width of a sine-cosine code must be even; got {dim}.")
    omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angle = positions.double()[:, None] * omega
    return torch.cat((angle.sin(), angle.cos()), dim=1)


def sincos_2d(dim: int, grid: Grid, order: SincosOrder) -> Tensor:
    """Table for one frame (1, h, w): half of the channels for the column, half for the row.

    I-JEPA puts the column first, V-JEPA the row; `order` must be that of the weights.

    Returns:
        [h * w, dim] float32.
    """
    _, rows, columns = _axes((1, grid[1], grid[2]))
    halves = [sincos_1d(columns, dim // 2), sincos_1d(rows, dim // 2)]
    return torch.cat(halves if order == "column_first" else halves[::-1], dim=1).float()


def sincos_3d(dim: int, grid: Grid) -> Tensor:
    """Table for a clip: time, row and column get equal widths 2 * ceil(dim / 6), and the sum is cut to `dim`.

    Returns:
        [t * h * w, dim] float32.
    """
    width = 2 * -(-dim // 6)
    parts = [sincos_1d(axis, width) for axis in _axes(grid)]
    return torch.cat(parts, dim=1)[:, :dim].float()


def positions_of(
    config: Any, width: int, grid: Grid, *, is_video: bool, num_prefix_tokens: int = 0
) -> tuple[GridRope | None, Tensor | None]:
    """How a network knows where its tokens stand: by rotation, or by a table [1, N, D] that is added to them.

    Args:
        config: with `positions`, `num_heads`, `rope_layout`, `rope_pretrained_grid` and `sincos_order`.
        width: D.
        grid: native arrangement (t, h, w) of the tokens.
        is_video: whether the table is one of clips.
        num_prefix_tokens: tokens in front of the grid.
    """
    if config.positions == "rope":
        stretch, head_dim = config.rope_pretrained_grid, width // config.num_heads
        rope = GridRope(head_dim, config.rope_layout, pretrained_grid=stretch, num_prefix_tokens=num_prefix_tokens)
        return rope, None
    table = sincos_3d(width, grid) if is_video else sincos_2d(width, grid, config.sincos_order)
    return None, table[None]


def resize_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolates a position table to another grid: bicubic over a frame, linear over time.

    Args:
        table: [1, N, D] for the grid `old`.
        old: (t, h, w).
        new: (t, h, w).

    Returns:
        [1, N', D]; the table itself where nothing changes.
    """
    if old == new:
        return table
    if num_tokens(old) != table.shape[1]:
        raise ConfigError(f"a position table of {table.shape[1]} tokens cannot belong to the grid {old}.")
    frames = table.float().view(old[0], old[1], old[2], -1).permute(0, 3, 1, 2)  # [t, D, h, w]
    if old[1:] != new[1:]:
        frames = F.interpolate(frames, size=new[1:], mode="bicubic", align_corners=False)
    if old[0] != new[0]:
        flat = frames.flatten(1).t()[None]  # [1, D * h * w, t]
        flat = F.interpolate(flat, size=new[0], mode="linear", align_corners=False)
        frames = flat[0].t().reshape(new[0], -1, *new[1:])
    return frames.permute(0, 2, 3, 1).reshape(1, num_tokens(new), -1).to(table.dtype)


def _axes(grid: Grid) -> list[Tensor]:
    """Coordinates of every token along each axis; three of [N]."""
    axes = [torch.arange(n, dtype=torch.float64) for n in grid]
    return [a.flatten() for a in torch.meshgrid(*axes, indexing="ij")]
