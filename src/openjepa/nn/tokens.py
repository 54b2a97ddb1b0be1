"""Operations on sets of tokens: keep some, normalise targets, measure distances on the grid.

Tokens are ordered in time, then row, then column: `id = (t * rows + row) * columns + column`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int, int]  # latent frames, rows, columns


def num_tokens(grid: Grid) -> int:
    """Number N of tokens of a grid (t, h, w).

    >>> num_tokens((8, 16, 16))
    2048
    """
    return grid[0] * grid[1] * grid[2]


def gather_tokens(x: Tensor, token_idx: Tensor) -> Tensor:
    """Keeps some tokens of each sample, in the order given.

    Args:
        x: [B, N, D].
        token_idx: [B, K] token numbers, or [B, M, Q] for several blocks.

    Returns:
        [B, K, D] or [B, M, Q, D].
    """
    batch, tokens, width = x.shape
    shape = (batch,) + (1,) * (token_idx.ndim - 1)
    first = torch.arange(0, batch * tokens, tokens, device=x.device).view(shape)
    # Rows of the flattened batch: one fast copy, and a plain scatter-add backwards.
    rows = x.flatten(0, 1).index_select(0, (token_idx + first).flatten())
    return rows.view(*token_idx.shape, width)


def normalize_features(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer normalisation over the last axis without weight and bias: what latent targets go through."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def normalize_levels(x: Tensor, num_levels: int) -> Tensor:
    """Normalises each of `num_levels` equal parts of the last axis on its own; [..., L * D] stays so."""
    return normalize_features(x.unflatten(-1, (num_levels, -1))).flatten(-2)


def grid_positions(grid: Grid, device: torch.device | str | None = None) -> Tensor:
    """Position (t, row, column) of every token of a grid; [N, 3] float32."""
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)


def nearest_distance(token_idx: Tensor, others_idx: Tensor, grid: Grid) -> Tensor:
    """Distance from each token to the nearest of some others, in tokens; all axes weigh the same.

    Args:
        token_idx: [B, K].
        others_idx: [B, Q].
        grid: (t, h, w) that the numbers refer to.

    Returns:
        [B, K] float32.
    """
    positions = grid_positions(grid, token_idx.device)
    return torch.cdist(positions[token_idx], positions[others_idx], compute_mode="donot_use_mm_for_euclid_dist").amin(
        -1
    )
