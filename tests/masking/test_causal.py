import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.masking import CausalMaskConfig, keep_random_tokens, sample_causal


def test_the_target_is_the_frame_after_the_context(generator):
    masks = sample_causal(CausalMaskConfig(min_context=2, max_context=2), 3, (4, 1, 2), generator=generator)
    assert masks.context_idx.tolist() == [[0, 1, 2, 3]] * 3
    assert masks.target_idx.tolist() == [[[4, 5]]] * 3


def test_context_lengths_are_all_drawn_and_nothing_follows_the_target(generator):
    config = CausalMaskConfig(horizon=2)
    lengths = set()
    for _ in range(100):
        masks = sample_causal(config, 2, (6, 2, 2), generator=generator)
        frames = masks.context_idx[0] // 4
        lengths.add(int(frames.max()) + 1)
        assert masks.target_idx.shape == (2, 2, 4)
        assert masks.target_idx.min() > masks.context_idx.max()
    assert lengths == {1, 2, 3, 4}


def test_sliding_targets_reach_late_frames_and_mirror_the_context():
    generator = torch.Generator().manual_seed(1)
    config = CausalMaskConfig(min_context=1, max_context=1, horizon=1, sliding=True)
    masks = sample_causal(config, 6000, (5, 1, 1), generator=generator)
    context = torch.bincount(masks.context_idx[:, 0], minlength=5) / 6000
    target = torch.bincount(masks.target_idx[:, 0, 0], minlength=5) / 6000
    torch.testing.assert_close(target, torch.tensor([0, 0.25, 0.25, 0.25, 0.25]), atol=0.02, rtol=0)
    torch.testing.assert_close(context, target.flip(0), atol=0.02, rtol=0)


def test_a_clip_that_is_too_short_is_an_error(generator):
    with pytest.raises(ConfigError, match="1 context and 4 target frames do not fit the 4 latent frames"):
        sample_causal(CausalMaskConfig(horizon=4), 1, (4, 2, 2), generator=generator)


def test_token_dropping_keeps_five_percent_uniformly(generator):
    ids = keep_random_tokens(500, 3136, 0.05, generator=generator)
    assert ids.shape == (500, 157)
    assert (ids.diff(dim=1) > 0).all()
    counts = torch.bincount(ids.flatten(), minlength=3136).float()
    # 25 expected per token with standard deviation 4.9; halves must agree far more closely.
    assert abs(counts[:1568].mean() - counts[1568:].mean()) < 0.6
    assert counts.max() < 25 + 6 * 4.9
    with pytest.raises(ConfigError, match="`keep_share` must lie in"):
        keep_random_tokens(2, 10, 0.0, generator=generator)
