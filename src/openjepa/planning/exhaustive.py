"""Looks at every plan: for few choices and few steps, where a search by samples would be a gamble."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_device
from openjepa.planning.candidates import Imagination, Search, hold, num_knots
from openjepa.protocols import ActionBounds, Plan


@dataclass(frozen=True)
class ExhaustiveConfig:
    """Options of the exhaustive search.

    Attributes:
        horizon: length H of a plan in model steps, >= 1; None is the longest whose plans are at most `max_plans`.
        knot_steps: model steps for which each choice is held, >= 1.
        choices: joint choices of a step that are tried, by number in the order of their product (for one group, its own
            numbers); None tries all.
        max_plans: plans that may be looked at, >= 1.
        micro_batch: candidates of all environments in one call of the model; None is all at once.
    """

    horizon: int | None = None
    knot_steps: int = 1
    choices: tuple[int, ...] | None = None
    max_plans: int = 4096
    micro_batch: int | None = 2048

    def __post_init__(self) -> None:
        if min(self.horizon or 1, self.knot_steps, self.max_plans, self.micro_batch or 1) < 1:
            raise ConfigError("`horizon`, `knot_steps`, `max_plans` and `micro_batch` must be at least 1.")


class Exhaustive(Search):
    """Scores every plan of categories and returns the cheapest; see `openjepa.protocols.Planner`.

    Nothing is random; among equal plans the one that comes first in the order of the choices wins.

    Args:
        bounds: of categories.
        config: the options.

    Raises:
        ConfigError: for a box, or where the plans are too many.
    """

    def __init__(self, bounds: ActionBounds, config: ExhaustiveConfig | None = None) -> None:
        self.config = c = config or ExhaustiveConfig()
        if not bounds.categories:
            raise ConfigError("`Exhaustive` must have categories to choose from; got a box. Use CEM or ICEM.")
        every = math.prod(bounds.categories)
        tried = range(every) if c.choices is None else c.choices
        if not tried or not set(tried) <= set(range(every)) or len(set(tried)) < len(tried):
            raise ConfigError(f"`choices` must be numbers from 0 to {every - 1}, each once; got {c.choices}.")
        choices = len(tried)
        depth = 1
        while choices > 1 and choices ** (depth + 1) <= c.max_plans:
            depth += 1
        super().__init__(bounds, depth * c.knot_steps if c.horizon is None else c.horizon, c.micro_batch)
        if choices ** num_knots(self.horizon, c.knot_steps) > c.max_plans:
            limit = f"at most {depth * c.knot_steps}" if choices <= c.max_plans else "shorter than one step"
            raise ConfigError(
                f"`horizon` must be {limit} for {choices} choices at a step and {c.max_plans} plans; got "
                f"{self.horizon}. Hold choices for more steps (`knot_steps`), or use CEM."
            )
        self._plans = self._every_plan(tried)  # [S, H, A]

    def _every_plan(self, tried: Sequence[int]) -> Tensor:
        knots = num_knots(self.horizon, self.config.knot_steps)
        groups = [torch.eye(n) for n in self.bounds.categories]
        actions = torch.stack([torch.cat(parts) for parts in itertools.product(*groups)])[list(tried)]  # [choices, A]
        order = torch.cartesian_prod(*[torch.arange(len(actions))] * knots).view(-1, knots)
        return hold(actions[order], self.config.knot_steps, self.horizon)

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        candidates = to_device(self._plans, problem.z).expand(len(problem.z), -1, -1, -1)
        best = candidates.take_along_dim(problem.scores(candidates).argmin(1)[:, None, None, None], 1)
        finalists = best if guess is None else torch.cat([best, self.bounds.clip(guess).unsqueeze(1)], 1)
        return problem.best_plan(finalists, self._plans.shape[0] * self.horizon, {})
