"""The published mask samplers with their bias, for parity tests and ablations only.

Both draw one block size per batch from a generator seeded with the batch counter, place blocks one after the
other, and cut all lists of a batch to the shortest one by keeping the lowest ids. I-JEPA's (2301.08243) uses
one random number for scale and aspect, never reaches the last row and column, and after 20 failures lets the
context overlap a target. V-JEPA's (2404.08471, 2506.09985) reaches every cell, but the cut in time-major
order loses late frames.
"""

import math

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.masking.options import BlockMaskConfig, TubeMaskConfig
from openjepa.masking.subset import Grid, Masks

MIN_KEEP, TRIES_PER_CONSTRAINT, MAX_TRIES = 10, 20, 2000


def reference_block_sizes(
    config: BlockMaskConfig, grid: tuple[int, int], counter: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes (height, width) of I-JEPA's target blocks and context block in batch `counter`."""
    sizes = torch.Generator().manual_seed(counter)
    target = _shared_draw_size(grid, config.target_scale, config.target_aspect, sizes)
    return target, _shared_draw_size(grid, config.context_scale, config.context_aspect, sizes)


def reference_tube_size(config: TubeMaskConfig, grid: Grid, counter: int) -> tuple[int, int, int]:
    """Size (frames, height, width) of V-JEPA's blocks in batch `counter`."""
    sizes = torch.Generator().manual_seed(counter)
    time, space, aspect = (
        low + float(torch.rand(1, generator=sizes)) * (high - low)
        for low, high in (config.temporal_scale, config.spatial_scale, config.aspect)
    )
    area = int(grid[1] * grid[2] * space)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return max(1, int(grid[0] * time)), min(height, grid[1]), min(width, grid[2])


def reference_blocks(
    config: BlockMaskConfig,
    batch_size: int,
    grid: tuple[int, int],
    *,
    generator: torch.Generator,
    counter: int,
) -> Masks:
    """Draws I-JEPA's masks of batch `counter`; positions come from `generator`, one draw per coordinate."""
    target_size, context_size = reference_block_sizes(config, grid, counter)
    contexts, targets = [], []
    for _ in range(batch_size):
        blocks = [_place(target_size, grid, generator) for _ in range(config.num_targets)]
        targets.append(torch.stack([b.flatten().nonzero().squeeze(1) for b in blocks]))
        contexts.append(_context_outside(blocks, context_size, grid, generator))
    return Masks(_keep_first(contexts), torch.stack(targets))


def reference_tubes(
    config: TubeMaskConfig, batch_size: int, grid: Grid, *, generator: torch.Generator, counter: int
) -> Masks:
    """Draws V-JEPA's masks of batch number `counter`; a sample without context is drawn again."""
    size = reference_tube_size(config, grid, counter)
    contexts, targets = [], []
    for _ in range(batch_size):
        for _ in range(MAX_TRIES):
            hidden = torch.zeros(grid, dtype=torch.bool)
            for _ in range(config.num_blocks):
                top = _offset(grid[1] - size[1] + 1, generator)
                left = _offset(grid[2] - size[2] + 1, generator)
                start = _offset(grid[0] - size[0] + 1, generator)
                hidden[start : start + size[0], top : top + size[1], left : left + size[2]] = True
            if not hidden.all():
                break
        else:
            raise ConfigError(
                f"{config.num_blocks} tubes of {size[0]}x{size[1]}x{size[2]} cover the whole grid {grid}, "
                "so no context is left. Lower `num_blocks` or `spatial_scale`."
            )
        contexts.append((~hidden).flatten().nonzero().squeeze(1))
        targets.append(hidden.flatten().nonzero().squeeze(1))
    return Masks(_keep_first(contexts), _keep_first(targets).unsqueeze(1))


def _shared_draw_size(
    grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float], sizes: torch.Generator
) -> tuple[int, int]:
    draw = float(torch.rand(1, generator=sizes))
    area = int(grid[0] * grid[1] * (scale[0] + draw * (scale[1] - scale[0])))
    ratio = aspect[0] + draw * (aspect[1] - aspect[0])
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    size = min(height, grid[0] - 1), min(width, grid[1] - 1)
    if min(size) < 1:
        raise ConfigError(f"the reference sampler must have blocks of a token at least; got {size} on {grid}.")
    return size


def _place(size: tuple[int, int], grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    top = _offset(grid[0] - size[0], generator)  # exclusive of the last valid offset, as published
    left = _offset(grid[1] - size[1], generator)
    block = torch.zeros(grid, dtype=torch.bool)
    block[top : top + size[0], left : left + size[1]] = True
    return block


def _context_outside(
    blocks: list[Tensor], size: tuple[int, int], grid: tuple[int, int], generator: torch.Generator
) -> Tensor:
    for attempt in range(MAX_TRIES):
        block = _place(size, grid, generator)
        constraints = max(len(blocks) - attempt // TRIES_PER_CONSTRAINT, 0)
        for target in blocks[:constraints]:
            block &= ~target
        if int(block.sum()) > MIN_KEEP:
            return block.flatten().nonzero().squeeze(1)
    raise ConfigError(
        f"the reference sampler must find more than {MIN_KEEP} context tokens; the {grid[0]}x{grid[1]} grid "
        "never gives them. Use `sampler` uniform."
    )


def _offset(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, high, (1,), generator=generator))


def _keep_first(rows: list[Tensor]) -> Tensor:
    shortest = min(len(row) for row in rows)
    return torch.stack([row[:shortest] for row in rows])
