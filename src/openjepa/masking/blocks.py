"""Image masks: several target blocks, and a context block without them (I-JEPA, 2301.08243).

Sizes are drawn once per batch, so that every target block has the same Q tokens; positions for every sample.
Against the published sampler (`sampler="reference"`), scale and aspect are independent draws, every offset is
possible, the context never overlaps a target, and a sample with more context tokens than the shortest one
keeps a random subset of them instead of its upper rows.
"""

import numpy as np
import torch

from openjepa.errors import ConfigError
from openjepa.masking.options import POSITION_DRAWS, SIZE_DRAWS, BlockMaskConfig, check_counter
from openjepa.masking.reference import reference_blocks
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


def sample_blocks(
    config: BlockMaskConfig,
    batch_size: int,
    grid: Grid,
    *,
    generator: torch.Generator,
    counter: int | None = None,
) -> Masks:
    """Draws the masks of a batch of images.

    Args:
        config: scales, aspects and the sampler.
        batch_size: samples B.
        grid: (1, h, w).
        generator: on the CPU; for the reference sampler it draws the positions.
        counter: number of the batch, from which the reference sampler draws the sizes; only for that one.

    Returns:
        Masks with context [B, K] and M target blocks of Q tokens, [B, M, Q].

    Raises:
        ConfigError: where the settings leave no context.
    """
    check_sizes(batch_size, grid, generator)
    if grid[0] != 1:
        raise ConfigError(f"block masks need the grid of an image, (1, h, w); got {tuple(grid)}. Use tubes for video.")
    plane = grid[1], grid[2]
    check_counter(config.sampler, counter)
    if counter is not None:
        return reference_blocks(config, batch_size, plane, generator=generator, counter=counter)
    return _uniform(config, batch_size, plane, generator)


def _uniform(config: BlockMaskConfig, batch_size: int, grid: tuple[int, int], generator: torch.Generator) -> Masks:
    needed = max(1, int(config.min_context * grid[0] * grid[1]), config.context_size or 0)
    for _ in range(SIZE_DRAWS):
        target_size = block_size(
            grid, draw_uniform(config.target_scale, generator), draw_uniform(config.target_aspect, generator)
        )
        context_size = block_size(
            grid,
            draw_uniform(config.context_scale, generator),
            draw_uniform(config.context_aspect, generator),
        )
        if context_size[0] * context_size[1] < needed:
            continue
        top, left, visible = _place(config.num_targets, batch_size, grid, target_size, context_size, generator)
        poor = np.flatnonzero(visible.sum(1) < needed)
        for _ in range(POSITION_DRAWS):
            if not len(poor):
                break
            top[poor], left[poor], visible[poor] = _place(
                config.num_targets, len(poor), grid, target_size, context_size, generator
            )
            poor = poor[visible[poor].sum(1) < needed]
        if not len(poor):
            return _to_masks(config, top, left, target_size, visible, grid[1], generator)
    raise _no_context(config, grid, needed)


def _place(
    num_targets: int,
    count: int,
    grid: tuple[int, int],
    target_size: tuple[int, int],
    context_size: tuple[int, int],
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws offsets of the targets [count, M] twice, and what the context sees [count, N]."""
    shape = count, num_targets
    top = draw_offsets(grid[0], target_size[0], shape, generator)
    left = draw_offsets(grid[1], target_size[1], shape, generator)
    hidden = rectangles(top, left, target_size, grid).any(1)  # [count, h, w]
    context_top = draw_offsets(grid[0], context_size[0], (count,), generator)
    context_left = draw_offsets(grid[1], context_size[1], (count,), generator)
    visible = rectangles(context_top, context_left, context_size, grid) & ~hidden
    return top, left, visible.reshape(count, -1)


def _to_masks(
    config: BlockMaskConfig,
    top: np.ndarray,
    left: np.ndarray,
    size: tuple[int, int],
    visible: np.ndarray,
    width: int,
    generator: torch.Generator,
) -> Masks:
    rows = top[..., None, None] + np.arange(size[0])[:, None]
    columns = left[..., None, None] + np.arange(size[1])
    target_idx = (rows * width + columns).reshape(*top.shape, -1)  # [B, M, Q]
    count = config.context_size or int(visible.sum(1).min())
    context_idx = lowest(random_keys(visible.shape[0], visible.shape[1], generator), visible, count)  # [B, K]
    return Masks(torch.from_numpy(context_idx), torch.from_numpy(target_idx))


def _no_context(config: BlockMaskConfig, grid: tuple[int, int], needed: int) -> ConfigError:
    low, high = config.target_scale
    scale = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    blocks = f"{config.num_targets} target block{'s' * (config.num_targets > 1)} of scale {scale}"
    if needed == 1:
        return ConfigError(
            f"{blocks} cover the whole {grid[0]}x{grid[1]} grid, so no context is left. Lower `num_targets` "
            "or `target_scale`."
        )
    asked = "`context_size`" if config.context_size else "`min_context`"
    return ConfigError(
        f"{blocks} leave fewer than {needed} context tokens on the {grid[0]}x{grid[1]} grid. Lower "
        f"`num_targets`, `target_scale` or {asked}."
    )
