"""The EMA of a target encoder against its formula in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from openjepa.errors import ConfigError, ShapeError
from openjepa.nn.ema import ema_decay_at, update_ema


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.996, 1.0])
def test_formula(decay):
    target, source = network(0), network(1)
    expected = {
        name: decay * old.detach().double().numpy() + (1 - decay) * new.detach().double().numpy()
        for (name, old), new in zip(target.named_parameters(), source.parameters(), strict=True)
    }
    update_ema(target, source, decay)
    for name, got in target.named_parameters():
        np.testing.assert_allclose(got.detach().numpy(), expected[name], rtol=1e-6, atol=1e-7)


def test_buffers_are_handled_as_asked():
    source = network(1)
    source(torch.randn(8, 3) + 2)
    statistics = source[1].running_mean.clone()
    for choice, expected in [("keep", torch.zeros(4)), ("copy", statistics), ("average", 0.25 * statistics)]:
        target = network(0)
        update_ema(target, source, 0.75, buffers=choice)
        torch.testing.assert_close(target[1].running_mean, expected)
        assert int(target[1].num_batches_tracked) == (0 if choice == "keep" else 1)


def test_source_is_untouched_and_no_graph_is_kept():
    target, source = network(0), network(1)
    before = [p.clone() for p in source.parameters()]
    update_ema(target, source, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(before, source.parameters(), strict=True))
    assert all(p.grad_fn is None for p in target.parameters())


def test_decay_ramp():
    assert ema_decay_at(0, start=0.996, end=1.0, total_steps=10) == 0.996
    assert ema_decay_at(5, start=0.996, end=1.0, total_steps=10) == pytest.approx(0.998)
    assert ema_decay_at(25, start=0.996, end=1.0, total_steps=10) == 1.0


def test_errors_name_the_tensor():
    with pytest.raises(ShapeError, match=r"`2\.weight` must be \[5, 4\] as in the source; got \[2, 4\]"):
        update_ema(network(0), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)), 0.5)
    with pytest.raises(ShapeError, match=r"`2\.bias` must be in both"):
        update_ema(network(0), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 0.5)
    with pytest.raises(ConfigError, match="`ema_decay` must be in"):
        update_ema(network(0), network(1), 1.5)
