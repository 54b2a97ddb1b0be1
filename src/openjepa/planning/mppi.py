"""Model-predictive path integral control: the mean moves to the cost-weighted average of candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.planning.candidates import (
    Imagination,
    SampledSearch,
    centre,
    half_range,
    hold,
    num_knots,
    to_knots,
    white_noise,
)
from openjepa.planning.categorical import categorical_search
from openjepa.protocols import ActionBounds, Plan

CHANCE = 0.05  # for categories, the share of uniform chance that every iteration keeps


@dataclass(frozen=True)
class MPPIConfig:
    """Options of MPPI.

    Attributes:
        horizon: length H of a plan in model steps, >= 1.
        num_samples: candidates S per iteration and environment, >= 3.
        num_iterations: rounds, >= 1.
        std: standard deviation of the noise, in half ranges of the bounds, > 0; for categories, how much of uniform
            chance is mixed with a guess, 1 or more being all of it.
        temperature: > 0; weights are exp(-cost / temperature).
        normalise_cost: whether the temperature is in units of the costs' own std over candidates, so that it
            means the same under every cost; False gives the published form, in units of the cost.
        knot_steps: model steps for which each free action is held, >= 1.
        micro_batch: candidates per call of the model; None is all at once.
    """

    horizon: int = 12
    num_samples: int = 256
    num_iterations: int = 4
    std: float = 0.5
    temperature: float = 0.1
    normalise_cost: bool = True
    knot_steps: int = 1
    micro_batch: int | None = 2048

    def __post_init__(self) -> None:
        if min(self.horizon, self.num_iterations, self.knot_steps) < 1 or self.num_samples < 3:
            raise ConfigError(
                "`horizon`, `num_iterations` and `knot_steps` must be at least 1, `num_samples` at least 3."
            )
        if self.std <= 0 or self.temperature <= 0:
            raise ConfigError(f"`std` and `temperature` must be > 0; got {self.std} and {self.temperature}.")


class MPPI(SampledSearch):
    """MPPI over plans, for all environments at once; see `openjepa.protocols.Planner`.

    Candidate 0 is the mean, candidate 1 the best plan so far; the better of the last mean and the best plan
    ever scored is returned.
    """

    config: MPPIConfig

    def __init__(self, bounds: ActionBounds, config: MPPIConfig | None = None) -> None:
        super().__init__(bounds, config or MPPIConfig())

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        c, bounds, z = self.config, self.bounds, problem.z
        batch, knots = len(z), num_knots(c.horizon, c.knot_steps)
        noise = white_noise(generators, (c.num_iterations, c.num_samples, knots, bounds.dim), z)
        if bounds.categories:
            return categorical_search(
                problem,
                bounds,
                noise,
                lambda costs: path_integral_weights(costs, c.temperature, normalise=c.normalise_cost),
                horizon=c.horizon,
                knot_steps=c.knot_steps,
                width=c.std,
                floor=CHANCE,
                guess=guess,
            )
        std = c.std * half_range(bounds, z)
        start = centre(bounds, z).expand(batch, c.horizon, bounds.dim)
        best = start if guess is None else bounds.clip(guess)
        mean, history = to_knots(best, c.knot_steps), []
        for i in range(c.num_iterations):
            free = bounds.clip(mean.unsqueeze(1) + std * noise[:, i])  # [B, S, K, A]
            free[:, 0], free[:, 1] = mean, to_knots(best, c.knot_steps)
            candidates = hold(free, c.knot_steps, c.horizon)  # [B, S, H, A]
            candidates[:, 1] = best
            costs = problem.scores(candidates)  # [B, S]
            weights = path_integral_weights(costs, c.temperature, normalise=c.normalise_cost)
            mean = (weights[..., None, None] * free).sum(1)
            lowest, index = costs.min(1)
            best = candidates[torch.arange(batch, device=z.device), index]
            history.append(torch.stack([lowest, 1 / weights.square().sum(1)], 1))
        track = torch.stack(history, 1)  # [B, iterations, 2]
        finalists = torch.stack([hold(bounds.clip(mean), c.knot_steps, c.horizon), best], 1)
        terms = {"best_cost": track[..., 0], "effective_samples": track[..., 1]}
        return problem.best_plan(finalists, c.num_iterations * c.num_samples * c.horizon, terms)


def path_integral_weights(costs: Tensor, temperature: float, *, normalise: bool) -> Tensor:
    """Weights [B, S] = softmax(-costs / temperature); a normalised temperature is in stds of the costs."""
    if normalise:
        # A cost that is the same for all candidates gives equal weights.
        costs = (costs - costs.amin(1, keepdim=True)) / costs.std(1, keepdim=True).clamp_min(1e-30)
    return torch.softmax(-costs / temperature, 1)
