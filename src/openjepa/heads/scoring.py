"""Scoring rules of a finite set of futures: what a set of points with probabilities is worth once the truth is known.

A proper rule is minimised, on average, by the true distribution alone. The energy score is strictly proper and
needs samples only; the mixture's likelihood needs densities; winner-take-all is not proper by itself, which is why a
router is trained beside it.
"""

import math

import torch
from torch import Tensor


def energy_score(points: Tensor, log_probs: Tensor, target: Tensor) -> Tensor:
    """Energy score sum_k p_k |x_k - y| - 1/2 sum_kj p_k p_j |x_k - x_j| (Gneiting and Raftery 2007); lower is better.

    Args:
        points: [..., K, D].
        log_probs: [..., K], normalised; minus infinity for a point that does not count.
        target: [..., D], what happened.

    Returns:
        [...], in the unit of the points.
    """
    probs = log_probs.exp()
    # cdist has gradient 0 between equal points, where a plain norm has none.
    mode = "donot_use_mm_for_euclid_dist"
    to_truth = torch.cdist(points, target.unsqueeze(-2), compute_mode=mode).squeeze(-1)  # [..., K]
    between = torch.cdist(points, points, compute_mode=mode)  # [..., K, K]
    spread = (probs.unsqueeze(-1) * probs.unsqueeze(-2) * between).sum((-2, -1))
    return (probs * to_truth).sum(-1) - 0.5 * spread


def mixture_log_likelihood(means: Tensor, log_stds: Tensor, log_probs: Tensor, target: Tensor) -> Tensor:
    """Log density of a target under a mixture of Gaussians with diagonal covariance.

    Args:
        means: [..., K, D].
        log_stds: [..., K, D].
        log_probs: [..., K], normalised.
        target: [..., D].

    Returns:
        [...], in nats.
    """
    scaled = (target.unsqueeze(-2) - means) * (-log_stds).exp()
    log_density = -0.5 * scaled.square() - log_stds - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(log_probs + log_density.sum(-1), -1)


def winner_take_all(errors: Tensor, relaxation: float = 0.0) -> tuple[Tensor, Tensor]:
    """Error of the nearest of K guesses, which alone is trained; relaxed, the others follow a little.

    (1 - relaxation) min_k e_k + relaxation mean_k e_k (2012's multiple choice learning, relaxed as in 1612.00197).

    Args:
        errors: [..., K].
        relaxation: in [0, 1]; keeps guesses alive that never win, and biases all of them towards the mean, so it
            should fade during training.

    Returns:
        The loss [...] and the winner's index [...].
    """
    least, winner = errors.min(-1)
    return (1 - relaxation) * least + relaxation * errors.mean(-1), winner
