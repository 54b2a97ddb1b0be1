"""A distance that is taught on a line: |x - y| steps, and none between its halves."""

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.heads.pair_distance import PairDistanceConfig, fit_pair_distance

QUICK = PairDistanceConfig(hidden_dim=32, batch_size=128, steps=250, lr=1e-2)


def line(*places):
    return torch.tensor(places).view(-1, 1, 1)


def far_across(z, goal):
    """Steps of .1 along a line; nobody ever passed zero."""
    return torch.where(z.sign() == goal.sign(), (z - goal).abs() * 10, 1000.0).flatten()


def test_it_says_what_it_was_taught():
    states = 2 * torch.rand(500, 1, 1, generator=torch.Generator().manual_seed(0)) - 1
    options = {"limit": 1000.0, "generator": torch.Generator().manual_seed(1)}
    head = fit_pair_distance(states, far_across, QUICK, **options)
    found = head(line(0.1, 0.5, -0.9), line(0.6, 0.9, -0.2))
    assert (found - torch.tensor([5.0, 4.0, 7.0])).abs().max() < 0.8
    assert head(line(0.1, 0.5), line(0.6)[0]).shape == (2,)  # with broadcasting
    assert not head.training
    assert not any(p.requires_grad for p in head.parameters())


def test_wrong_options_are_one_line():
    with pytest.raises(ConfigError, match="at least 1"):
        PairDistanceConfig(steps=0)
