import numpy as np
import pytest
import torch

from openjepa.heads.scoring import energy_score, mixture_log_likelihood, winner_take_all


def energy_by_numpy(points, probs, target):
    total = 0.0
    for p, x in zip(probs, points, strict=True):
        total += p * np.linalg.norm(x - target)
        for q, y in zip(probs, points, strict=True):
            total -= 0.5 * p * q * np.linalg.norm(x - y)
    return total


def test_the_energy_score_is_the_double_sum():
    rng = np.random.default_rng(0)
    points, target = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 3))
    probs = rng.dirichlet(np.ones(4), 5)
    found = energy_score(*(torch.from_numpy(x) for x in (points, np.log(probs), target)))
    wanted = [energy_by_numpy(*row) for row in zip(points, probs, target, strict=True)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)


def test_a_point_of_probability_zero_does_not_count():
    points = torch.tensor([[0.0], [2.0], [99.0]])
    score = energy_score(points, torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.0]))
    assert score == pytest.approx(0.5 * 2 - 0.5 * 0.5 * 2)  # half of the way, minus half the mean distance of a pair


def test_the_energy_score_prefers_the_true_coin():
    """Proper: over outcomes -1 with p .8 and 1 with .2, no stated probability does better than .8."""
    points = torch.tensor([[-1.0], [1.0]])
    stated = torch.linspace(0.05, 0.95, 19)
    log_probs = torch.stack([stated, 1 - stated], 1).log()
    up, down = (energy_score(points.expand(19, 2, 1), log_probs, torch.full((19, 1), y)) for y in (-1.0, 1.0))
    assert stated[(0.8 * up + 0.2 * down).argmin()] == pytest.approx(0.8)


def test_equal_points_have_a_gradient():
    points = torch.zeros(1, 2, 3, requires_grad=True)
    energy_score(points, torch.tensor([[0.5, 0.5]]).log(), torch.ones(1, 3)).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_the_mixture_has_the_density_of_its_gaussians():
    rng = np.random.default_rng(1)
    means, log_stds, target = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)) / 3, rng.normal(size=3)
    density = 0.0
    for p, mean, std in zip((0.3, 0.7), means, np.exp(log_stds), strict=True):
        density += p * np.prod(np.exp(-0.5 * ((target - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi)))
    log_probs = torch.tensor([0.3, 0.7]).double().log()
    found = mixture_log_likelihood(*map(torch.from_numpy, (means, log_stds)), log_probs, torch.from_numpy(target))
    assert float(found) == pytest.approx(np.log(density))


def test_the_winner_takes_all_but_a_share():
    errors = torch.tensor([[1.0, 4.0, 4.0], [9.0, 3.0, 6.0]])
    loss, winner = winner_take_all(errors)
    assert winner.tolist() == [0, 1]
    assert loss.tolist() == [1.0, 3.0]
    relaxed, _ = winner_take_all(errors, 0.1)
    torch.testing.assert_close(relaxed, torch.tensor([0.9 * 1 + 0.1 * 3, 0.9 * 3 + 0.1 * 6]))
