import re

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.masking import BlockMaskConfig, sample_blocks

GRID = (1, 16, 16)
# Share of the batches' target blocks that hold a token of row 0 ... 15, from the closed form of one block
# axis averaged over independent scale and aspect draws.
UNBIASED_ROWS = [0.040, 0.080, 0.120, 0.160, 0.200, 0.239, 0.268, 0.280]
UNBIASED_ROWS += UNBIASED_ROWS[::-1]


def histogram(idx: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
    """Share of the samples (or blocks) that hold each token; [t, h, w]."""
    tokens = grid[0] * grid[1] * grid[2]
    flat = idx.reshape(-1, idx.shape[-1])
    return torch.bincount(flat.flatten(), minlength=tokens).reshape(grid) / len(flat)


def average(config, batches, batch_size, grid=GRID, seed=0):
    generator = torch.Generator().manual_seed(seed)
    context, target = torch.zeros(grid), torch.zeros(grid)
    for _ in range(batches):
        masks = sample_blocks(config, batch_size, grid, generator=generator)
        context += histogram(masks.context_idx, grid) / batches
        target += histogram(masks.target_idx, grid) / batches
    return context[0], target[0]


def assert_symmetric(rates: torch.Tensor, tolerance: float) -> None:
    for axis in (0, 1):
        line = rates.mean(1 - axis)
        assert (line > 0.02).all()
        assert (line - line.flip(0)).abs().max() < tolerance


def test_rows_and_columns_are_symmetric_and_reach_the_border():
    context, target = average(BlockMaskConfig(), batches=600, batch_size=16)
    assert_symmetric(context, 0.02)
    assert_symmetric(target, 0.02)
    assert (target.mean(1) - torch.tensor(UNBIASED_ROWS)).abs().max() < 0.01
    # 89.7 tokens on average survive the random subset at a batch of 16 (perception.md, section 9.1).
    assert abs(context.sum() - 89.7) < 2


def test_without_truncation_the_context_is_what_the_closed_form_says():
    context, _ = average(BlockMaskConfig(), batches=3000, batch_size=1)
    assert abs(context.sum() - 119.1) < 2
    assert abs(context.mean(1)[0] - 0.585) < 0.02
    assert abs(context.mean(1)[8] - 0.297) < 0.02


def test_targets_are_full_rectangles_apart_from_the_context(generator):
    masks = sample_blocks(BlockMaskConfig(), 8, GRID, generator=generator)
    assert masks.context_idx.dtype == masks.target_idx.dtype == torch.int64
    assert masks.target_idx.shape[:2] == (8, 4)
    for context, targets in zip(masks.context_idx, masks.target_idx, strict=True):
        assert (context.diff() > 0).all()
        assert not set(context.tolist()) & set(targets.flatten().tolist())
        for block in targets:
            rows, columns = block // 16, block % 16
            height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert height * width == len(block) == len(block.unique())


def test_the_context_block_moves_when_it_is_smaller_than_the_grid():
    config = BlockMaskConfig(num_targets=1, target_scale=(0.01, 0.01), context_scale=(0.5, 0.5))
    context, _ = average(config, batches=400, batch_size=4, grid=(1, 8, 8))
    assert context.min() > 0  # 6 x 6 cells at offsets 0, 1 and 2
    # Only offset 0 of 0, 1, 2 covers row 0: a third of the draws, and 6 of 8 columns in the mean.
    assert abs(context.mean(1)[0] - 6 / 8 / 3) < 0.03


def test_fixed_sizes_and_non_square_grids(generator):
    config = BlockMaskConfig(context_size=20)
    shapes = {sample_blocks(config, 4, (1, 6, 20), generator=generator).context_idx.shape for _ in range(20)}
    assert shapes == {(4, 20)}


def test_the_same_generator_gives_the_same_masks():
    draws = [sample_blocks(BlockMaskConfig(), 4, GRID, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(draws[0].context_idx, draws[1].context_idx)
    assert torch.equal(draws[0].target_idx, draws[1].target_idx)


@pytest.mark.parametrize(
    ("config", "grid", "message"),
    [
        (
            BlockMaskConfig(num_targets=64, target_scale=(0.5, 0.5)),
            (1, 4, 4),
            "64 target blocks of scale 0.5 cover the whole 4x4 grid, so no context is left. "
            "Lower `num_targets` or `target_scale`.",
        ),
        (
            BlockMaskConfig(context_size=200),
            (1, 14, 14),
            "4 target blocks of scale 0.15 to 0.2 leave fewer than 200 context tokens on the 14x14 grid. "
            "Lower `num_targets`, `target_scale` or `context_size`.",
        ),
        (BlockMaskConfig(), (2, 14, 14), "Use tubes for video."),
        (BlockMaskConfig(sampler="reference"), GRID, "`counter` must be given for the reference sampler"),
    ],
)
def test_impossible_settings_name_the_remedy(config, grid, message, generator):
    with pytest.raises(ConfigError, match=re.escape(message)):
        sample_blocks(config, 4, grid, generator=generator)


def test_ranges_are_checked():
    with pytest.raises(ConfigError, match=re.escape("`target_scale` must be two ascending numbers in (0, 1]")):
        BlockMaskConfig(target_scale=(0.2, 0.1))
    with pytest.raises(ConfigError, match="`num_targets` must be >= 1; got 0"):
        BlockMaskConfig(num_targets=0)
