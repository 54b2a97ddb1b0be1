"""The cross-entropy method: sample plans, keep the cheapest, fit a Gaussian to them, repeat.

Where actions are categories, probabilities take the place of the Gaussian (`planning/categorical.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_host
from openjepa.planning.candidates import (
    Imagination,
    SampledSearch,
    centre,
    half_range,
    held_noise,
    hold,
    num_knots,
    to_knots,
)
from openjepa.planning.categorical import categorical_search, elite_weights
from openjepa.protocols import ActionBounds, Plan


@dataclass(frozen=True)
class CEMConfig:
    """Options of CEM.

    Attributes:
        horizon: length H of a plan in model steps, >= 1.
        num_samples: candidates S per iteration and environment, > `num_elites`.
        num_elites: kept candidates, >= 2.
        num_iterations: rounds, >= 1.
        init_std: first standard deviation, in half ranges of the bounds, > 0; for categories, how much of uniform
            chance is mixed with a guess, 1 or more being all of it.
        min_std: lower limit of the standard deviation, in half ranges, >= 0; for categories, the share of uniform
            chance that every iteration keeps, < 1.
        knot_steps: model steps for which each free action is held, >= 1.
        holds_parts: whether the primitive actions of a model action vary as one: drawn each by itself they pull in
            different directions, so with a frameskip a search moves slowly, and in many dimensions. A guess keeps its
            own.
        momentum: share of the old mean and std that an iteration keeps, in [0, 1).
        early_stop: an environment stops when the elites' std falls below this many half ranges; None is off. Unused
            for categories.
        micro_batch: candidates of all environments in one call of the model, which bounds memory; 2048 suits
            the caches of a CPU, None is all at once.
    """

    horizon: int = 12
    num_samples: int = 128
    num_elites: int = 16
    num_iterations: int = 4
    init_std: float = 0.7
    min_std: float = 0.05
    knot_steps: int = 1
    holds_parts: bool = False
    momentum: float = 0.0
    early_stop: float | None = None
    micro_batch: int | None = 2048

    def __post_init__(self) -> None:
        if min(self.horizon, self.num_iterations, self.knot_steps) < 1:
            raise ConfigError("`horizon`, `num_iterations` and `knot_steps` must be at least 1.")
        if not 2 <= self.num_elites < self.num_samples:
            raise ConfigError(
                f"`num_elites` must be at least 2 and below `num_samples` ({self.num_samples}); got {self.num_elites}."
            )
        if self.init_std <= 0 or self.min_std < 0 or not 0 <= self.momentum < 1:
            raise ConfigError("`init_std` must be > 0, `min_std` >= 0 and `momentum` in [0, 1).")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"`micro_batch` must be positive, or None for no limit; got {self.micro_batch}.")


class CEM(SampledSearch):
    """Cross-entropy method over plans, for all environments at once; see `openjepa.protocols.Planner`.

    Candidates are clipped to the bounds before they are scored, candidate 0 is the mean and candidate 1 the
    best plan so far (first of all the guess), and the better of the last mean and the best plan ever scored
    is returned.

    Args:
        bounds: allowed model actions (`bounds.with_frameskip(f)` for a frameskip of f).
        config: the options.
    """

    config: CEMConfig

    def __init__(self, bounds: ActionBounds, config: CEMConfig | None = None) -> None:
        super().__init__(bounds, config or CEMConfig())

    def _kept(self, num_samples: int) -> dict[str, int]:
        return {"num_elites": min(self.config.num_elites, max(2, num_samples // 2))}

    @property
    def parts(self) -> int:
        """Parts of an action that its noise is the same in."""
        return self.bounds.frameskip if self.config.holds_parts else 1

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        c = self.config
        shape = (c.num_iterations, c.num_samples, num_knots(c.horizon, c.knot_steps), self.bounds.dim)
        noise = held_noise(generators, shape, self.parts, problem.z)
        return cross_entropy_search(problem, self.bounds, c, noise, guess)


def cross_entropy_search(
    problem: Imagination,
    bounds: ActionBounds,
    config: CEMConfig,
    noise: Tensor,
    guess: Tensor | None = None,
    *,
    num_kept: int = 0,
) -> Plan:
    """The search itself, given its random numbers.

    Args:
        problem: what is to be solved.
        bounds: allowed actions.
        config: the options.
        noise: [B, iterations, S, K, A] of unit variance.
        guess: [B, H, A] or None.
        num_kept: elites of one iteration that take part in the next one again.
    """
    if bounds.categories:
        return categorical_search(
            problem,
            bounds,
            noise,
            lambda costs: elite_weights(costs, config.num_elites),
            horizon=config.horizon,
            knot_steps=config.knot_steps,
            width=config.init_std,
            floor=config.min_std,
            momentum=config.momentum,
            guess=guess,
            num_kept=num_kept,
        )
    batch, _, samples, knots, dim = noise.shape
    half = half_range(bounds, noise)
    best = None if guess is None else bounds.clip(guess)  # [B, H, A]
    mean = centre(bounds, noise).expand(batch, knots, dim) if best is None else to_knots(best, config.knot_steps)
    std = (config.init_std * half).expand(batch, knots, dim)
    active = torch.ones(batch, 1, 1, dtype=torch.bool, device=noise.device)
    elites, history = noise[:, 0, :0], []
    for i in range(config.num_iterations):
        free = torch.addcmul(mean.unsqueeze(1), std.unsqueeze(1), noise[:, i])  # [B, S, K, A]
        free[:, 0] = mean
        if i > 0 and num_kept:
            free[:, 2 : 2 + num_kept] = elites[:, :num_kept]
        free = bounds.clip(free)
        candidates = hold(free, config.knot_steps, config.horizon)  # [B, S, H, A]
        if best is not None:
            candidates[:, 1], free[:, 1] = best, to_knots(best, config.knot_steps)
        costs = problem.scores(candidates)  # [B, S]
        elite_cost, elite = costs.topk(config.num_elites, dim=1, largest=False)
        elites = free.take_along_dim(elite[..., None, None], 1)  # [B, E, K, A]
        found = candidates.take_along_dim(elite[:, :1, None, None], 1).squeeze(1)
        best = found if best is None else torch.where(active, found, best)
        keep = config.momentum
        spread = elites.std(1)  # unbiased, [B, K, A]
        new_std = ((1 - keep) * spread + keep * std).maximum(config.min_std * half)
        mean = torch.where(active, (1 - keep) * elites.mean(1) + keep * mean, mean)
        std = torch.where(active, new_std, std)
        history.append(torch.stack([elite_cost[:, 0], (spread / half).mean((1, 2))], 1))
        if config.early_stop is not None:
            active = active & (spread / half >= config.early_stop).flatten(1).any(1)[:, None, None]
            if not to_host(active.any()):
                break
    assert best is not None
    track = torch.stack(history, 1)  # [B, iterations, 2]
    finalists = torch.stack([hold(bounds.clip(mean), config.knot_steps, config.horizon), best], 1)
    terms = {"best_cost": track[..., 0], "elite_std": track[..., 1]}
    return problem.best_plan(finalists, track.shape[1] * samples * config.horizon, terms)
