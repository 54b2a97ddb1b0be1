"""Any planner, kept to a budget of time: where it runs out, the best plan that was scored so far.

A planner asks a world model for imagined paths and a cost for what they are worth. Both are watched here, so no planner
has to know of time. After every call of the cost the clock is looked at, and the search ends where another call would
come too late if it took as long as the longest one before. The first call is always waited for; `micro_batch` makes it
short for a large model.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from openjepa.nn.host import to_host
from openjepa.planning.costs import GoalCost
from openjepa.protocols import PathCost, Plan, Planner, WorldModel


class Budgeted:
    """A planner with a deadline; without one it plans as the planner inside.

    Args:
        planner: is asked for plans.
        clock: seconds, as `until` counts them.

    Attributes:
        until: when the present plan must be there, or None for no limit; set it before each plan. It may be moved while
            the plan is made, from another thread too.
        cut_short: plans that ran out of time.
    """

    def __init__(self, planner: Planner, clock: Callable[[], float] = time.monotonic) -> None:
        self.planner, self.clock = planner, clock
        self.until: float | None = None
        self.cut_short = 0

    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        cost: PathCost,
        *,
        generators: Sequence[torch.Generator],
        guess: Tensor | None = None,
        context_actions: Tensor | None = None,
    ) -> Plan:
        """See `openjepa.protocols.Planner.plan`; the plan is one that was scored, of the lowest cost so far."""
        options = {"generators": generators, "guess": guess, "context_actions": context_actions}
        if self.until is None:
            return self.planner.plan(model, z, cost, **options)  # type: ignore[arg-type]
        seen = _Seen(len(z), self)
        watched = _WatchedGoalCost(cost, seen) if isinstance(cost, GoalCost) else _WatchedCost(cost, seen)
        try:
            return self.planner.plan(_WatchedModel(model, seen), z, watched, **options)  # type: ignore[arg-type]
        except _OutOfTime:
            self.cut_short += 1
            return seen.plan()


class _OutOfTime(Exception):
    """Ends a search from inside."""


class _Seen:
    """What was scored so far: for every environment the best plan, its cost and its path."""

    def __init__(self, batch: int, budget: Budgeted) -> None:
        self.budget = budget
        self.looked, self.longest = budget.clock(), 0.0
        self.asked: tuple[Tensor, Tensor] | None = None  # actions and imagined states of the last call of the model
        self.best: list[tuple[float, Tensor, Tensor] | None] = [None] * batch
        self.steps = 0

    def note(self, costs: Tensor, z_path: Tensor, rows: Tensor | None) -> None:
        """Keeps the best of costs [B, S] of paths [B, S, H, N, D] that the model imagined; raises when time is out."""
        if self.asked is not None and _shares(self.asked[1], z_path):
            samples, horizon = z_path.shape[1:3]
            actions = self.asked[0][:, -horizon:].unflatten(0, (-1, samples))  # [B, S, H, A]
            self.steps += samples * horizon
            cost, best = costs.min(1)
            numbers = range(len(cost)) if rows is None else rows.tolist()
            for i, (number, value) in enumerate(zip(numbers, to_host(cost).tolist(), strict=True)):
                known = self.best[number]
                if known is None or value < known[0]:
                    self.best[number] = value, actions[i, best[i]], z_path[i, best[i]]
        now, until = self.budget.clock(), self.budget.until
        self.looked, self.longest = now, max(self.longest, now - self.looked)
        if until is not None and now + self.longest > until and all(best is not None for best in self.best):
            raise _OutOfTime

    def plan(self) -> Plan:
        """The best plans of all environments."""
        costs, actions, paths = zip(*(best for best in self.best if best is not None), strict=True)
        cost = torch.tensor(costs, dtype=paths[0].dtype, device=paths[0].device)
        return Plan(torch.stack(actions), cost, torch.stack(paths), self.steps)


def _shares(one: Tensor, other: Tensor) -> bool:
    """Whether a path is what the model gave, seen in another shape; a path that stands still is not."""
    same = one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
    return same and one.numel() == other.numel()


class _WatchedModel:
    """A world model whose last imagined paths are remembered; all else is the model's."""

    def __init__(self, model: WorldModel, seen: _Seen) -> None:
        self._model, self._seen = model, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`."""
        z_path = self._model.rollout(z, actions)
        self._seen.asked = actions, z_path
        return z_path


class _WatchedCost:
    """A cost after whose calls the clock is looked at."""

    def __init__(self, cost: PathCost, seen: _Seen, rows: Tensor | None = None) -> None:
        self._cost, self._seen, self._rows = cost, seen, rows

    def __call__(self, z_path: Tensor) -> Tensor:
        costs = self._cost(z_path)
        self._seen.note(costs, z_path, self._rows)
        return costs


class _WatchedGoalCost(_WatchedCost):
    """The same for a cost that shows its goals."""

    _cost: GoalCost

    @property
    def z_goal(self) -> Tensor:
        """The goals [B, N, D]."""
        return self._cost.z_goal

    def select(self, environments: Tensor) -> "_WatchedGoalCost":
        """The same cost for some environments."""
        every = torch.arange(len(self._cost.z_goal)) if self._rows is None else self._rows
        chosen = every[to_host(environments)]
        return _WatchedGoalCost(self._cost.select(environments), self._seen, chosen)
