import re

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.masking import LONG_TUBES, SHORT_TUBES, TubeMaskConfig, sample_tubes

GRID = (8, 16, 16)


def average(config, batches, batch_size, grid=GRID, seed=0):
    """Share of the samples that hold each token as context and as target; two tensors [t, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    tokens = grid[0] * grid[1] * grid[2]
    context, target = torch.zeros(tokens), torch.zeros(tokens)
    for _ in range(batches):
        masks = sample_tubes(config, batch_size, grid, generator=generator)
        context += torch.bincount(masks.context_idx.flatten(), minlength=tokens) / (batches * batch_size)
        target += torch.bincount(masks.target_idx.flatten(), minlength=tokens) / (batches * batch_size)
    return context.reshape(grid), target.reshape(grid)


def assert_symmetric(rates, tolerance):
    for axis in (1, 2):
        line = rates.mean([a for a in (0, 1, 2) if a != axis])
        assert (line > 0).all()
        assert (line - line.flip(0)).abs().max() < tolerance


@pytest.mark.parametrize(
    ("config", "context_share", "target_share"),
    [(SHORT_TUBES, 0.248, 0.466), (LONG_TUBES, 0.066, 0.705)],
    ids=["short", "long"],
)
def test_every_frame_is_seen_and_predicted_alike(config, context_share, target_share):
    context, target = average(config, batches=150, batch_size=24)
    for rates, share in ((context, context_share), (target, target_share)):
        frames = rates.mean((1, 2))
        assert (frames - share).abs().max() < 0.02
        assert frames.max() - frames.min() < 0.01
        assert_symmetric(rates, 0.02)


@pytest.mark.parametrize(
    ("config", "grid", "target_share"),
    [
        (SHORT_TUBES, GRID, 0.620),
        (LONG_TUBES, GRID, 0.809),
        (TubeMaskConfig(num_blocks=10), (1, 16, 16), 0.679),
    ],
    ids=["short", "long", "image"],
)
def test_alone_in_a_batch_every_token_is_context_or_target(config, grid, target_share):
    context, target = average(config, batches=1500, batch_size=1, grid=grid)
    torch.testing.assert_close(context + target, torch.ones(grid), atol=1e-4, rtol=0)
    assert abs(target.mean() - target_share) < 0.02


def test_short_tubes_reach_the_first_and_the_last_frame_equally():
    config = TubeMaskConfig(num_blocks=2, spatial_scale=(0.3, 0.3), temporal_scale=(0.25, 0.5))
    context, target = average(config, batches=400, batch_size=16)
    for rates in (context, target):
        frames = rates.mean((1, 2))
        assert (frames > 0.02).all()
        assert (frames - frames.flip(0)).abs().max() < 0.01


def test_a_tube_has_the_length_it_was_given(generator):
    config = TubeMaskConfig(num_blocks=1, spatial_scale=(0.25, 0.25), temporal_scale=(0.5, 0.5), aspect=(1, 1))
    masks = sample_tubes(config, 6, (4, 8, 8), generator=generator)
    assert masks.target_idx.shape == (6, 1, 2 * 4 * 4)
    assert all(len((ids // 64).unique()) == 2 for ids in masks.target_idx[:, 0])


def test_sets_are_ascending_and_disjoint_and_the_subset_is_random(generator):
    masks = sample_tubes(SHORT_TUBES, 24, GRID, generator=generator)
    for context, target in zip(masks.context_idx, masks.target_idx[:, 0], strict=True):
        assert (context.diff() > 0).all()
        assert (target.diff() > 0).all()
        assert not set(context.tolist()) & set(target.tolist())
        assert min(context[0], target[0]) >= 0
        assert max(context[-1], target[-1]) < 2048


def test_fixed_sizes(generator):
    config = TubeMaskConfig(num_blocks=8, context_size=300, target_size=700)
    for _ in range(10):
        masks = sample_tubes(config, 12, GRID, generator=generator)
        assert masks.context_idx.shape == (12, 300)
        assert masks.target_idx.shape == (12, 1, 700)


def test_long_grids_use_wide_keys(generator):
    masks = sample_tubes(SHORT_TUBES, 4, (32, 24, 24), generator=generator)  # 18,432 tokens
    frames = torch.bincount((masks.context_idx // 576).flatten(), minlength=32).float()
    assert frames.min() > 0.6 * frames.mean()


@pytest.mark.parametrize(
    ("config", "grid", "message"),
    [
        (
            TubeMaskConfig(num_blocks=64, spatial_scale=(0.5, 0.5)),
            (2, 4, 4),
            "64 target blocks of scale 0.5 cover the whole 2x4x4 grid, so no context is left. "
            "Lower `num_blocks` or `spatial_scale`.",
        ),
        (
            TubeMaskConfig(num_blocks=2, spatial_scale=(0.1, 0.1), target_size=128),
            (2, 8, 8),
            "do not leave 1 context and 128 target tokens on the 2x8x8 grid. Lower `context_size` or `target_size`.",
        ),
    ],
)
def test_impossible_settings_name_the_remedy(config, grid, message, generator):
    with pytest.raises(ConfigError, match=re.escape(message)):
        sample_tubes(config, 4, grid, generator=generator)


def test_generators_must_be_on_the_host_and_batches_positive(generator):
    with pytest.raises(ConfigError, match="must be positive; got 0"):
        sample_tubes(SHORT_TUBES, 0, GRID, generator=generator)
