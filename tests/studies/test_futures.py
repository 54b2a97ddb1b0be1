import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.planning.support import NearestNeighbours
from openjepa.studies.fork.futures import Outcomes, calibration, distances_to_ways, judge_futures, stated_probabilities

UP, DOWN = torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0])
ROWS = 200


def world(p=0.8):
    """Every case goes up with .8: outcomes within .1 of (0, 1) and (0, -1); real latents lie there, too."""
    draws = torch.Generator().manual_seed(0)
    scatter = 0.1 * (torch.rand(ROWS, 2, 4, 2, generator=draws) - 0.5)
    z = torch.stack([UP, DOWN])[:, None] + scatter
    way = (torch.rand(ROWS, generator=draws) >= p).long()
    outcomes = Outcomes(z, torch.tensor([p, 1 - p]).expand(ROWS, 2), z[torch.arange(ROWS), way, 0], way)
    memory = z.flatten(0, 2)[:, None]
    return outcomes, NearestNeighbours.fit(memory[::2], memory[1::2])


def futures(points, probs):
    z = torch.stack(points).expand(ROWS, len(points), 2)
    return z, torch.tensor(probs).log().expand(ROWS, len(probs))


def test_the_true_futures_are_perfect():
    outcomes, support = world()
    report = judge_futures(*futures([UP, DOWN], [0.8, 0.2]), outcomes, support, 0.3)
    assert report.coverage == 1
    assert report.stated_first == pytest.approx(0.8)
    assert report.prob_error == pytest.approx(0, abs=1e-6)
    assert report.prob_within == 1
    assert report.impossible == report.middle == 0
    assert report.best_error < 0.08
    assert report.single_error == pytest.approx(2 * 2 * 0.8 * 0.2, abs=0.1)  # wrong with 2 p (1 - p), by 2
    assert report.sharpness == pytest.approx(0, abs=1e-6)
    assert report.calibration.ece == pytest.approx(0, abs=0.06)


def test_the_mean_is_impossible_and_covers_nothing():
    outcomes, support = world()
    report = judge_futures(*futures([0.8 * UP + 0.2 * DOWN], [1.0]), outcomes, support, 0.3)
    assert report.coverage == 0
    assert report.impossible == report.middle == 1
    assert report.stated_first == 1
    assert report.prob_within == 0


def test_one_sided_futures_cover_one_way_and_score_worse():
    outcomes, support = world()
    both = judge_futures(*futures([UP, DOWN], [0.8, 0.2]), outcomes, support, 0.3)
    one = judge_futures(*futures([UP], [1.0]), outcomes, support, 0.3)
    assert one.coverage == 0
    assert one.middle == 0
    assert both.energy < one.energy
    scored = judge_futures(*futures([UP, DOWN], [0.8, 0.2]), outcomes, support, 0.3, reference_energy=one.energy)
    assert scored.skill == pytest.approx(1 - both.energy / one.energy)


def test_a_future_of_probability_zero_covers_nothing():
    outcomes, support = world()
    report = judge_futures(*futures([UP, DOWN], [1.0, 0.0]), outcomes, support, 0.3)
    assert report.coverage == 0
    assert np.isfinite(report.best_error)


def test_shares_are_summed_by_the_nearest_way():
    z = torch.tensor([[[0.0, 0.9], [0.0, 1.2], [0.0, -3.0]]])
    outcomes = torch.stack([UP, DOWN])[None, :, None]
    distance = distances_to_ways(z, outcomes)
    torch.testing.assert_close(distance[0], torch.tensor([[0.1, 1.9], [0.2, 2.2], [4.0, 2.0]]))
    stated = stated_probabilities(torch.tensor([[0.5, 0.2, 0.3]]), distance.argmin(-1), 2)
    torch.testing.assert_close(stated, torch.tensor([[0.7, 0.3]]))


def test_calibration_by_hand():
    stated = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    found = calibration(stated, torch.tensor([0, 0, 0, 1]), bins=2)
    assert found.stated == pytest.approx((0.1, 0.9))
    assert found.realised == pytest.approx((0.25, 0.75))
    assert found.ece == pytest.approx(0.15)
    assert found.brier == pytest.approx((3 * 2 * 0.01 + 2 * 0.81) / 4)
    assert found.count == (4, 4)


def test_a_radius_is_needed():
    outcomes, support = world()
    with pytest.raises(ConfigError, match="`radius` must be > 0"):
        judge_futures(*futures([UP], [1.0]), outcomes, support, 0.0)
