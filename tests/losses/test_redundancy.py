"""Barlow Twins' loss against its formula in NumPy, and by hand."""

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.losses.redundancy import redundancy_loss


def test_the_formula():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    correlation = np.corrcoef(a.T, b.T)[:4, 4:]
    expected = ((1 - np.diag(correlation)) ** 2).sum() + 0.3 * (correlation**2).sum()
    expected -= 0.3 * (np.diag(correlation) ** 2).sum()
    found = redundancy_loss(torch.tensor(a)[:, None], torch.tensor(b)[:, None], weight=0.3)
    assert float(found) == pytest.approx(expected / 4, rel=1e-4)


def test_by_hand():
    """Two dimensions that say the same cost their correlation, one that differs between views costs 1."""
    x = torch.tensor([1.0, -1.0, 1.0, -1.0])
    y = torch.tensor([1.0, 1.0, -1.0, -1.0])
    twice = torch.stack([x, x], 1)[:, None]
    assert float(redundancy_loss(twice, twice, weight=0.5)) == pytest.approx(0.5, abs=1e-4)  # 2 * 0.5 / 2
    both = torch.stack([x, y], 1)[:, None]
    assert float(redundancy_loss(both, both)) == pytest.approx(0, abs=1e-4)
    assert float(redundancy_loss(x.view(4, 1, 1), y.view(4, 1, 1))) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ConfigError, match="both views must be alike"):
        redundancy_loss(both, both[:3])
