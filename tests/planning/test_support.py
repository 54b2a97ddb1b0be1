import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.planning import PathCost, WeightedSum
from openjepa.planning.support import Mahalanobis, NearestNeighbours


def cloud(rows=4000, seed=0):
    """Latents [E, T, 1, 2] with standard deviations 3 and 1 around (1, 0)."""
    z = torch.randn(rows // 10, 10, 1, 2, generator=torch.Generator().manual_seed(seed))
    return z * torch.tensor([3.0, 1.0]) + torch.tensor([1.0, 0.0])


def test_the_mahalanobis_distance_is_that_of_numpy():
    latents = cloud()
    measure = Mahalanobis.fit(latents, shrinkage=0.0)
    rows = latents.reshape(-1, 2).double().numpy()
    inverse = np.linalg.inv(np.cov(rows.T))
    z = torch.tensor([[[4.0, 2.0]], [[1.0, 0.0]]])
    gaps = z[:, 0].double().numpy() - rows.mean(0)
    np.testing.assert_allclose(measure.distance(z), np.einsum("ri,ij,rj->r", gaps, inverse, gaps), rtol=1e-3)
    # 95 % of a chi-square with two degrees of freedom lies below 5.99.
    assert measure.threshold == pytest.approx(5.99, abs=0.35)


def test_only_what_leaves_the_data_pays():
    measure = Mahalanobis.fit(cloud())
    inside, outside = torch.zeros(1, 3, 1, 2), torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 9.0]]]])
    assert float(measure(inside, torch.zeros(1, 1, 2))) == 0
    assert float(measure(outside, torch.zeros(1, 1, 2))) == pytest.approx((81 - 5.99) / 3, rel=0.1)


def test_a_direction_without_variance_is_survived():
    latents = cloud()
    latents[..., 1] = 0
    assert float(Mahalanobis.fit(latents).distance(torch.tensor([[1.0, 1.0]]))) > 100


def test_neighbours_by_hand():
    memory = torch.tensor([0.0, 1.0, 2.0, 10.0])[:, None, None]
    measure = NearestNeighbours.fit(memory, memory, num_neighbours=2, quantile=0.5)
    assert measure.distance(torch.tensor([[0.2]])).item() == pytest.approx(0.8)
    assert measure.distance(torch.tensor([[[7.0]], [[2.0]]])).tolist() == pytest.approx([5.0, 1.0])
    assert measure.threshold == pytest.approx(1.0)  # of 1, 1, 1 and 8: each is its own nearest
    with pytest.raises(ShapeError, match="must have 1 numbers per state; got 2"):
        measure.distance(torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="`num_neighbours` must be from 1"):
        NearestNeighbours.fit(memory, memory, num_neighbours=9)


def test_a_penalty_adds_to_the_cost_of_the_goal():
    goal, path = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[[1.0, 9.0]]]])
    penalty = Mahalanobis.fit(cloud())
    both = WeightedSum([PathCost(), penalty], [1.0, 0.5])(path, goal)
    assert float(both) == pytest.approx(81 + 0.5 * float(penalty(path, goal)))
