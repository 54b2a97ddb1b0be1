"""The parts of a scene, by hand; the contrast as such is tested with the world model that uses it."""

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.losses.scene import INVARIANCE, scene_loss, slow_loss


def test_correlations_between_dimensions_are_those_of_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    correlation = np.corrcoef(a.T, b.T)[:4, 4:]
    expected = ((correlation**2).sum() - (np.diag(correlation) ** 2).sum()) / 4
    z, other = torch.tensor(a)[:, None], torch.tensor(b)[:, None]
    found = scene_loss(z, other, redundancy=3.0) - scene_loss(z, other, redundancy=0.0)
    assert float(found) == pytest.approx(3 * expected, rel=1e-4)


def test_each_part_must_tell_scenes_apart():
    """Four scenes on a square: one part that knows both of its sides and one that knows nothing cost log 4 / 2."""
    x = torch.tensor([1.0, -1.0, 1.0, -1.0])
    y = torch.tensor([1.0, 1.0, -1.0, -1.0])
    square = torch.stack([x, y], 1)
    both, half = torch.cat([square, square], 1)[:, None], torch.cat([square, 0 * square], 1)[:, None]
    assert float(scene_loss(both, both, scale=50.0, redundancy=0.0)) == pytest.approx(0, abs=1e-5)
    assert float(scene_loss(half, half, scale=50.0, redundancy=0.0)) == pytest.approx(np.log(4) / 2, abs=1e-4)
    assert float(scene_loss(half, half, scale=50.0)) == pytest.approx(0, abs=1e-5)  # as a whole it does
    # The same part twice: each dimension correlates with its copy, 4 of them over 4 dimensions.
    assert float(scene_loss(both, both, scale=50.0, redundancy=0.5)) == pytest.approx(0.5, abs=1e-4)


def test_parts_take_two_dimensions_each():
    odd = torch.zeros(4, 1, 3)
    with pytest.raises(ConfigError, match=r"multiple of 2 dimensions to have parts; got 3"):
        scene_loss(odd, odd, redundancy=1.0)


def test_slow_features_are_those_that_never_change():
    """A door that is open or shut costs nothing; what changes costs its square, what is always the same the hinge."""
    door = torch.tensor([1.0, -1.0, 1.0, -1.0] * 8)[:, None, None] * 1.1
    assert float(slow_loss(door, door)) == 0
    assert float(slow_loss(door, door + 0.1)) == pytest.approx(INVARIANCE * 0.01, rel=1e-4)
    assert float(slow_loss(0 * door, 0 * door)) == pytest.approx(0.99, abs=1e-3)  # 1 - sqrt(eps)
    twice = torch.cat([door, door], -1)
    assert float(slow_loss(twice, twice)) == pytest.approx(1.21**2 * (64 / 63) ** 2 / INVARIANCE, rel=1e-3)
