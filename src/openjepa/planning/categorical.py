"""The cross-entropy method over choices: probabilities for every step and group, instead of a Gaussian.

Candidates are drawn by the Gumbel-max trick: the largest of log-probability plus Gumbel noise is a sample. The noise is
made from normal numbers (their quantile in the Gumbel distribution), so that noise that is coloured over time gives
choices that last.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.planning.candidates import Imagination, chance, gumbel, hold, to_knots
from openjepa.protocols import ActionBounds, Plan


def require_box(bounds: ActionBounds, planner: str) -> None:
    """Refuses categories for a planner that moves through a box.

    Raises:
        ConfigError: naming those that can choose.
    """
    if bounds.categories:
        raise ConfigError(
            f"`{planner}` must have actions in a box; got categories {bounds.categories}. Use CEM, ICEM, MPPI or "
            "Exhaustive."
        )


def elite_weights(costs: Tensor, num_elites: int) -> Tensor:
    """Weights [B, S]: equal for the cheapest of costs [B, S], zero for the others."""
    elite = costs.topk(num_elites, dim=1, largest=False).indices
    return torch.zeros_like(costs).scatter(1, elite, 1 / num_elites)


def categorical_search(
    problem: Imagination,
    bounds: ActionBounds,
    noise: Tensor,
    weigh: Callable[[Tensor], Tensor],
    *,
    horizon: int,
    knot_steps: int,
    width: float,
    floor: float,
    momentum: float = 0.0,
    guess: Tensor | None = None,
    num_kept: int = 0,
) -> Plan:
    """Searches for the choices of lowest cost, given its random numbers.

    Candidate 0 is the most probable plan, candidate 1 the best so far (first of all the guess); the better of the last
    two is returned.

    Args:
        problem: what is to be solved.
        bounds: of categories.
        noise: [B, iterations, S, K, A] of unit variance.
        weigh: costs [B, S] to weights [B, S] that sum to 1; the weighted choices are the next probabilities.
        horizon: length H of a plan.
        knot_steps: model steps for which each choice is held.
        width: how far the first probabilities are from the guess, 0 to 1: their share of uniform chance.
        floor: share of uniform chance in every later iteration, so that no choice dies out.
        momentum: share of the old probabilities that an iteration keeps.
        guess: [B, H, A] or None.
        num_kept: cheapest candidates of one iteration that take part in the next one again.
    """
    batch, _, samples, knots, dim = noise.shape
    uniform = chance(bounds, noise)
    best = None if guess is None else bounds.clip(guess)  # [B, H, A]
    probability = uniform.expand(batch, knots, dim)
    if best is not None:
        probability = torch.lerp(to_knots(best, knot_steps), probability, min(width, 1.0))
    kept, history = noise[:, 0, :0], []
    for i in range(noise.shape[1]):
        free = bounds.clip(probability.unsqueeze(1).log() + gumbel(noise[:, i]))  # [B, S, K, A]
        free[:, 0] = bounds.clip(probability)
        free[:, 2 : 2 + kept.shape[1]] = kept
        candidates = hold(free, knot_steps, horizon)  # [B, S, H, A]
        if best is not None:
            candidates[:, 1], free[:, 1] = best, bounds.clip(to_knots(best, knot_steps))
        costs = problem.scores(candidates)  # [B, S]
        order = costs.argsort(stable=True, dim=1)[:, : max(1, num_kept), None, None]
        best = candidates.take_along_dim(order[:, :1], 1).squeeze(1)
        kept = free.take_along_dim(order[:, :num_kept], 1)
        frequency = (weigh(costs)[..., None, None] * free).sum(1)  # [B, K, A]
        probability = torch.lerp(frequency, probability, momentum)
        spread = (probability * (1 - probability)).sqrt().mean((1, 2))
        probability = torch.lerp(probability, uniform.expand_as(probability), min(floor, 1.0))
        history.append(torch.stack([costs.amin(1), spread], 1))
    assert best is not None
    track = torch.stack(history, 1)  # [B, iterations, 2]
    finalists = torch.stack([hold(bounds.clip(probability), knot_steps, horizon), best], 1)
    terms = {"best_cost": track[..., 0], "choice_std": track[..., 1]}
    return problem.best_plan(finalists, noise.shape[1] * samples * horizon, terms)
