"""What every sampler shares: the result, and fixed-length random subsets of tokens.

The samples of a batch see different numbers of tokens, a tensor needs one number. The published samplers keep
the first ids of every sample, which drops the late rows and frames; here every sample keeps a uniformly
random subset, so that no position is preferred.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Masks:
    """Which tokens the context encoder sees and which ones are predicted.

    A token id is (frame * h + row) * w + column. Ids of one row are unique and ascending, and no id of a
    sample is both context and target.

    Attributes:
        context_idx: [B, K] int64.
        target_idx: [B, M, Q] int64; M = 1 where the target blocks of a sample are joined to one set.
    """

    context_idx: Tensor
    target_idx: Tensor

    def to(self, device: torch.device | str) -> "Masks":
        """Returns the same masks on `device`."""
        return Masks(self.context_idx.to(device, non_blocking=True), self.target_idx.to(device, non_blocking=True))


def keep_random_tokens(batch_size: int, num_tokens: int, keep_share: float, *, generator: torch.Generator) -> Tensor:
    """Draws the tokens that survive random dropping, for each sample on its own (2608.27395 drops 95 %).

    Args:
        batch_size: samples B.
        num_tokens: tokens N of a sample.
        keep_share: share of the tokens that stay, above 0 up to 1; at least one token stays.
        generator: on the CPU.

    Returns:
        Ascending ids [B, K] int64, K = max(1, round(keep_share * N)).
    """
    if not 0 < keep_share <= 1:
        raise ConfigError(f"`keep_share` must lie in (0, 1]; got {keep_share}.")
    count = max(1, round(keep_share * num_tokens))
    keys = random_keys(batch_size, num_tokens, generator)
    return torch.from_numpy(lowest(keys, np.ones((batch_size, num_tokens), bool), count))


def hide_random_tokens(
    batch_size: int, grid: Grid, hidden_share: float, *, generator: torch.Generator, tubes: bool = False
) -> Masks:
    """Hides scattered tokens, for each sample on its own, as masked autoencoders do (2111.06377, 2203.12602).

    Args:
        batch_size: samples B.
        grid: (t, h, w), t in latent frames.
        hidden_share: share of the tokens that is hidden, in (0, 1); at least one stays visible, one hidden.
        generator: on the CPU.
        tubes: hide the same places in all frames.

    Returns:
        Masks with context [B, K] and one joint target set [B, 1, Q]; together they are all tokens.
    """
    check_sizes(batch_size, grid, generator)
    places = grid[1] * grid[2] if tubes else grid[0] * grid[1] * grid[2]
    if not 0 < hidden_share < 1 or places < 2:
        raise ConfigError(
            f"`hidden_share` must lie in (0, 1), on at least 2 places; got {hidden_share} on {places}. "
            "Use a finer grid."
        )
    count = min(max(round((1 - hidden_share) * places), 1), places - 1)
    keys = random_keys(batch_size, places, generator)
    context = lowest(keys, np.ones((batch_size, places), bool), count)  # [B, K]
    visible = np.zeros((batch_size, places), bool)
    np.put_along_axis(visible, context, True, axis=1)
    target = np.flatnonzero(~visible).reshape(batch_size, -1) - places * np.arange(batch_size)[:, None]
    if tubes:
        frames = places * np.arange(grid[0])[:, None]
        context, target = ((ids[:, None] + frames).reshape(batch_size, -1) for ids in (context, target))
    return Masks(torch.from_numpy(context), torch.from_numpy(target).unsqueeze(1))


def random_keys(rows: int, num_tokens: int, generator: torch.Generator) -> np.ndarray:
    """Draws keys [rows, N] that differ within a row: random high bits, the token id in the low bits."""
    id_bits = max(num_tokens - 1, 1).bit_length()
    wide = id_bits > 12  # 20 random bits at least, so that ties, which go to the lower id, do not count
    columns = num_tokens if wide else (num_tokens + 1) // 2
    draws = torch.randint(-(2**63), 2**63 - 1, (rows, columns), generator=generator).numpy()
    keys = (draws if wide else draws.view(np.int32))[:, :num_tokens]
    return (keys >> id_bits << id_bits) | np.arange(num_tokens, dtype=keys.dtype)


def lowest(keys: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """Returns the ids of the `count` lowest keys among the masked ones, ascending: [rows, count].

    A selection, not a sort: the threshold comes from a partition, the order from the scan that follows.
    """
    rows, num_tokens = mask.shape
    if not (mask.sum(1, dtype=np.int32) - count).any():
        chosen = mask
    else:
        eligible = np.where(mask, keys, np.iinfo(keys.dtype).max)
        chosen = eligible <= np.partition(eligible, count - 1, axis=1)[:, count - 1 : count]
    ids = np.flatnonzero(chosen).reshape(rows, count)
    return ids - num_tokens * np.arange(rows)[:, None]


def rectangles(top: np.ndarray, left: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Fills rectangles of `size` at offsets [...]: bool [..., h, w]."""
    rows, columns = np.arange(grid[0]), np.arange(grid[1])
    in_rows = (rows >= top[..., None]) & (rows < top[..., None] + size[0])
    in_columns = (columns >= left[..., None]) & (columns < left[..., None] + size[1])
    return in_rows[..., :, None] & in_columns[..., None, :]


def draw_offsets(extent: int, length: int, shape: tuple[int, ...], generator: torch.Generator) -> np.ndarray:
    """Draws offsets of an interval of `length` on `extent` cells; the last valid one included."""
    return torch.randint(extent - length + 1, shape, generator=generator).numpy()


def draw_uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    """Draws one number from a closed range."""
    return bounds[0] + float(torch.rand((), generator=generator)) * (bounds[1] - bounds[0])


def block_size(grid: tuple[int, int], scale: float, aspect: float) -> tuple[int, int]:
    """Height and width of a block with a share `scale` of the grid and this height / width, clipped."""
    area = max(1, int(grid[0] * grid[1] * scale))
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return min(max(height, 1), grid[0]), min(max(width, 1), grid[1])


def check_sizes(batch_size: int, grid: Grid, generator: torch.Generator) -> None:
    """Refuses an empty batch or grid, and a generator that is not on the CPU."""
    if batch_size < 1 or len(grid) != 3 or min(grid) < 1:
        raise ConfigError(f"`batch_size` and the grid (t, h, w) must be positive; got {batch_size} and {tuple(grid)}.")
    if generator.device.type != "cpu":
        raise ConfigError(
            f"`generator` must be on the CPU, where masks are drawn; got {generator.device}. Move the masks instead."
        )
