"""Rotary positions for a grid of tokens (time, row, column), as V-JEPA 2 and 2.1 use them (arXiv 2506.09985).

The channels of a head are split into three segments of `2 * (head_dim // 3 // 2)` channels, one for each
axis, and a rest that is left alone. Inside a segment, adjacent channels form a pair that is rotated by
`position * frequency`.

Two layouts of the frequencies exist. "interleaved" gives both channels of a pair the same frequency, so it
is a true rotation: norms are kept and q·k depends on offsets only. "tiled" repeats the list of frequencies
instead, so the two channels of a pair turn at different speeds. That is an oversight of the published
V-JEPA 2 code, and its weights (and those of V-JEPA 2-AC and LeVJEPA) need it; everything new should be
interleaved.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from openjepa.nn.tokens import Grid, grid_positions

RopeLayout = Literal["interleaved", "tiled"]


class RotaryTable(NamedTuple):
    """Cosines, and sines with the sign of the rotation, float32, each [N, head_dim] or [B, N, head_dim]."""

    cos: Tensor
    sin: Tensor

    def gather(self, token_idx: Tensor) -> "RotaryTable":
        """Keeps the rows of some tokens; [N, head_dim] and [B, K] to [B, K, head_dim]."""
        return RotaryTable(self.cos[token_idx], self.sin[token_idx])


def segment_width(head_dim: int) -> int:
    """Channels of a head that encode one axis.

    >>> [segment_width(d) for d in (64, 80, 88, 32, 25, 16)]
    [20, 26, 28, 10, 8, 4]
    """
    return 2 * (head_dim // 3 // 2)


def rotary_table(
    positions: Tensor, head_dim: int, layout: RopeLayout = "interleaved", theta: float = 10000.0
) -> RotaryTable:
    """Builds the table that rotates queries and keys at the given positions.

    Args:
        positions: [..., N, 3] (t, row, column), may be fractional; a token at (0, 0, 0) is not rotated.
        head_dim: channels of one attention head.
        layout: how the frequencies are spread over the channels, see the module.
        theta: base of the frequencies.
    """
    segment = segment_width(head_dim)
    half = segment // 2
    steps = torch.arange(half, device=positions.device, dtype=torch.float32)
    frequency = theta ** (-steps / max(half, 1))
    frequency = frequency.repeat_interleave(2) if layout == "interleaved" else frequency.repeat(2)
    angle = (positions.float()[..., None] * frequency).flatten(-2)  # [..., N, 3 * segment]
    angle = torch.nn.functional.pad(angle, (0, head_dim - 3 * segment))
    sign = torch.ones(head_dim, device=positions.device)
    sign[0 : 3 * segment : 2] = -1.0
    return RotaryTable(angle.cos(), angle.sin() * sign)


def rotate(x: Tensor, table: RotaryTable) -> Tensor:
    """Rotates queries or keys.

    Args:
        x: [B, N, ..., head_dim]: the tokens on axis 1, any axes (heads) between.
        table: for these N tokens.

    Returns:
        the rotated tensor, of the shape and type of `x`.
    """
    if x.shape[-1] % 2:  # the last channel belongs to no pair
        even = RotaryTable(*(part[..., :-1] for part in table))
        return torch.cat((rotate(x[..., :-1], even), x[..., -1:]), dim=-1)
    shape = table.cos.shape[:-1] + (1,) * (x.ndim - 3) + table.cos.shape[-1:]
    cos, sin = (part.reshape(shape).to(x.dtype) for part in table)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    swapped = torch.stack((second, first), -1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


class GridRope:
    """Tables for grids of any size, computed once for each, in float32 whatever the type of the model.

    It holds no parameters and is no part of a state dict.

    Args:
        head_dim: channels of one attention head. layout: see the module. theta: base of the frequencies.
        pretrained_grid: where rows and columns are stretched to the extent of this many tokens (V-JEPA 2.1
        uses
            16, its 256-pixel grid); None counts tokens as they are (V-JEPA 2).
        num_prefix_tokens: tokens in front of the grid (a class token, registers) that are not rotated.
    """

    def __init__(
        self,
        head_dim: int,
        layout: RopeLayout,
        *,
        theta: float = 10000.0,
        pretrained_grid: int | None = None,
        num_prefix_tokens: int = 0,
    ):
        self.head_dim = head_dim
        self.layout: RopeLayout = layout
        self.theta = theta
        self.pretrained_grid = pretrained_grid
        self.num_prefix_tokens = num_prefix_tokens
        self._tables: dict[tuple[Grid, torch.device], RotaryTable] = {}

    def table(self, grid: Grid, device: torch.device) -> RotaryTable:
        """Returns the table of the prefix tokens and a whole grid; [P + t * h * w, head_dim]."""
        if torch.compiler.is_compiling():  # a compiler folds and fuses this; a cache would only get in its way
            return self._build(grid, device)
        key = (grid, device)
        if key not in self._tables:
            if len(self._tables) >= 8:
                self._tables.clear()
            with torch.inference_mode(False), torch.no_grad():  # a later training step may need it
                self._tables[key] = self._build(grid, device)
        return self._tables[key]

    def positions(self, grid: Grid, device: torch.device) -> Tensor:
        """Returns (t, row, column) of every token of the grid after stretching; [N, 3]."""
        positions = grid_positions(grid, device)
        if self.pretrained_grid is None:
            return positions
        extent = self.pretrained_grid - 1
        scale = [1.0] + [extent / (n - 1) if n > 1 else 1.0 for n in grid[1:]]
        return positions * torch.tensor(scale, device=device)

    def _build(self, grid: Grid, device: torch.device) -> RotaryTable:
        positions = self.positions(grid, device)
        positions = torch.cat((positions.new_zeros(self.num_prefix_tokens, 3), positions))
        return rotary_table(positions, self.head_dim, self.layout, self.theta)

    def __deepcopy__(self, memo: dict) -> "GridRope":
        # The target encoder is a deep copy; tables are constants that both may share.
        return self

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_tables": {}}
