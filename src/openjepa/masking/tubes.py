"""Video masks: the union of several tubes is predicted from everything else (V-JEPA, 2404.08471, 2506.09985).

V-JEPA 2 trains on two families at once: `SHORT_TUBES`, eight blocks of 15 % of the picture, and `LONG_TUBES`,
two of 70 %, both through all frames. A single image is a video of one latent frame (V-JEPA 2.1: ten blocks of
15 %). Sizes are drawn once per batch, positions for every sample and block; all sets of a batch get one
length by a random subset, so that late frames are seen and predicted as often as the first.
"""

from collections.abc import Sequence

import numpy as np
import torch

from openjepa.errors import ConfigError
from openjepa.masking.options import POSITION_DRAWS, SIZE_DRAWS, TubeMaskConfig, check_counter
from openjepa.masking.reference import reference_tubes
from openjepa.masking.subset import (
    Grid,
    Masks,
    block_size,
    check_sizes,
    draw_offsets,
    draw_uniform,
    lowest,
    random_keys,
    rectangles,
)


def sample_tubes(
    config: TubeMaskConfig,
    batch_size: int,
    grid: Grid,
    *,
    generator: torch.Generator,
    counter: int | None = None,
) -> Masks:
    """Draws the masks of a batch of clips.

    Args:
        config: number and sizes of the tubes, and the sampler.
        batch_size: samples B.
        grid: (t, h, w), t in latent frames.
        generator: on the CPU; for the reference sampler it draws the positions.
        counter: number of the batch, from which the reference sampler draws the size; only for that one.

    Returns:
        Masks with context [B, K] and one joint target set [B, 1, Q].

    Raises:
        ConfigError: where the settings leave no context, or fewer tokens than asked for.
    """
    check_sizes(batch_size, grid, generator)
    check_counter(config.sampler, counter)
    if counter is not None:
        return reference_tubes(config, batch_size, grid, generator=generator, counter=counter)
    return _uniform(config, batch_size, grid, generator)


def sample_all_tubes(
    kinds: Sequence[TubeMaskConfig], batch_size: int, grid: Grid, *, generator: torch.Generator, step: int
) -> list[Masks]:
    """Draws one mask of each kind from one generator; see `sample_tubes`.

    Args:
        kinds: the kinds of tubes.
        batch_size: samples B.
        grid: (t, h, w).
        generator: on the CPU.
        step: number of the batch, which reference samplers need.
    """
    return [
        sample_tubes(kind, batch_size, grid, generator=generator, counter=step if kind.sampler == "reference" else None)
        for kind in kinds
    ]


def _uniform(config: TubeMaskConfig, batch_size: int, grid: Grid, generator: torch.Generator) -> Masks:
    tokens = grid[0] * grid[1] * grid[2]
    least, most = config.target_size or 1, tokens - (config.context_size or 1)
    for _ in range(SIZE_DRAWS):
        length = max(1, int(grid[0] * draw_uniform(config.temporal_scale, generator)))
        plane = block_size(
            (grid[1], grid[2]),
            draw_uniform(config.spatial_scale, generator),
            draw_uniform(config.aspect, generator),
        )
        size = length, *plane
        hidden = _place(config.num_blocks, batch_size, grid, size, generator)
        poor = _outside(hidden, least, most)
        for _ in range(POSITION_DRAWS):
            if not len(poor):
                break
            hidden[poor] = _place(config.num_blocks, len(poor), grid, size, generator)
            poor = poor[_outside(hidden[poor], least, most)]
        if not len(poor):
            return _to_masks(config, hidden, generator)
    raise _impossible(config, grid)


def _outside(hidden: np.ndarray, least: int, most: int) -> np.ndarray:
    """Rows of hidden [rows, N] whose number of targets is not in least ... most."""
    counts = hidden.sum(1, dtype=np.int32)
    return np.flatnonzero((counts < least) | (counts > most))


def _place(num_blocks: int, count: int, grid: Grid, size: Grid, generator: torch.Generator) -> np.ndarray:
    """Draws unions of tubes: bool [count, N], True where hidden."""
    shape = count, num_blocks
    top = draw_offsets(grid[1], size[1], shape, generator)
    left = draw_offsets(grid[2], size[2], shape, generator)
    start = draw_offsets(grid[0], size[0], shape, generator)
    planes = rectangles(top, left, size[1:], grid[1:])  # [count, M, h, w]
    if size[0] == grid[0]:
        hidden = np.broadcast_to(np.asarray(planes.any(1))[:, None], (count, *grid))
        return hidden.reshape(count, -1)  # reshape copies the repeated frames
    frames = np.arange(grid[0])
    in_time = (frames >= start[..., None]) & (frames < start[..., None] + size[0])  # [count, M, t]
    return (in_time[..., None, None] & planes[:, :, None]).any(1).reshape(count, -1)


def _to_masks(config: TubeMaskConfig, hidden: np.ndarray, generator: torch.Generator) -> Masks:
    keys = random_keys(
        hidden.shape[0], hidden.shape[1], generator
    )  # one draw serves both subsets, which share no token
    targets = hidden.sum(1, dtype=np.int32)
    target_idx = lowest(keys, hidden, config.target_size or int(targets.min()))
    context_idx = lowest(keys, ~hidden, config.context_size or int(hidden.shape[1] - targets.max()))
    return Masks(torch.from_numpy(context_idx), torch.from_numpy(target_idx).unsqueeze(1))


def _impossible(config: TubeMaskConfig, grid: Grid) -> ConfigError:
    low, high = config.spatial_scale
    scale = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    blocks = f"{config.num_blocks} target block{'s' * (config.num_blocks > 1)} of scale {scale}"
    name = f"{grid[0]}x{grid[1]}x{grid[2]}"
    if config.context_size is None and config.target_size is None:
        return ConfigError(
            f"{blocks} cover the whole {name} grid, so no context is left. Lower `num_blocks` or `spatial_scale`."
        )
    return ConfigError(
        f"{blocks} do not leave {config.context_size or 1} context and {config.target_size or 1} target "
        f"tokens on the {name} grid. Lower `context_size` or `target_size`."
    )
