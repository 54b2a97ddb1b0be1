"""Candidate plans, rolled through a world model in one batch for all environments, and their costs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_host
from openjepa.nn.random import keyed_generator
from openjepa.planning.risk import BoundRiskCost
from openjepa.protocols import BranchingModel, PathCost, Plan, WorldModel


@runtime_checkable
class BeginningModel(Protocol):
    """A world model that takes a context in once for all candidate plans; optional, for planning at speed."""

    def begin(self, z: Tensor, context_actions: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Takes in z [B, T, N, D] and actions [B, T - 1, A].

        Returns:
            what maps candidates [B * S, H, A], those of an environment side by side, to states [B * S, H, N, D].
        """
        ...


@dataclass(frozen=True)
class Imagination:
    """A planning problem: where every environment is, and what its future costs.

    Attributes:
        model: the world model.
        z: [B, T, N, D] context states, shared by all candidates of an environment.
        cost: bound to the goals.
        context_actions: [B, T - 1, A], or None when T = 1.
        micro_batch: largest number of candidates in one call of the model, or None for all at once.
    """

    model: WorldModel
    z: Tensor
    cost: PathCost
    context_actions: Tensor | None = None
    micro_batch: int | None = None

    def paths(self, candidates: Tensor) -> Tensor:
        """Imagined states [B, S, H, N, D] after each action of candidates [B, S, H, A]."""
        batch, samples, horizon = candidates.shape[:3]
        z_path = self._roll(candidates)  # [B * S, H, N, D]
        return z_path.view(batch, samples, horizon, *z_path.shape[2:])

    @cached_property
    def _begun(self) -> Callable[[Tensor], Tensor] | None:
        """What rolls candidates out from a context that was taken in once, where the model can do that."""
        return self.model.begin(self.z, self.context_actions) if isinstance(self.model, BeginningModel) else None

    def _roll(self, candidates: Tensor) -> Tensor:
        if self._begun is None:
            return self.model.rollout(*self._rows(candidates))
        return self._begun(candidates.flatten(0, 1))

    def scores(self, candidates: Tensor) -> Tensor:
        """Cost [B, S] of candidates [B, S, H, A]; under a `RiskCost`, of all their futures."""
        if self.micro_batch is None:
            return self._scores(candidates)
        samples = max(1, self.micro_batch // (candidates.shape[0] * self.num_futures))
        return torch.cat([self._scores(part) for part in candidates.split(samples, 1)], 1)

    @property
    def num_futures(self) -> int:
        """Paths that are rolled for each candidate."""
        branches = isinstance(self.cost, BoundRiskCost) and isinstance(self.model, BranchingModel)
        return self.cost.options.num_futures if branches else 1  # type: ignore[attr-defined]

    def _scores(self, candidates: Tensor) -> Tensor:
        if not isinstance(self.cost, BoundRiskCost) or not isinstance(self.model, BranchingModel):
            return self.cost(self.paths(candidates))
        options = self.cost.options
        luck = keyed_generator(options.seed)  # the same in every call: all candidates meet the same luck
        z, actions = self._rows(candidates)
        found = self.model.rollout_futures(z, actions, num_futures=options.num_futures, generator=luck)
        return self.cost.of_futures(found)

    def _rows(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Context states [B * S, T, N, D] and actions [B * S, T - 1 + H, A] of candidates [B, S, H, A]."""
        samples = candidates.shape[1]
        z = self.z.unsqueeze(1).expand(-1, samples, -1, -1, -1).flatten(0, 1)
        if self.context_actions is None:
            return z, candidates.flatten(0, 1)
        past = self.context_actions.unsqueeze(1).expand(-1, samples, -1, -1)
        return z, torch.cat([past, candidates], 2).flatten(0, 1)

    def best_plan(self, candidates: Tensor, model_steps: int, terms: dict[str, Tensor]) -> Plan:
        """Evaluates finalists [B, S, H, A] and returns the best one with its own cost and most probable path.

        Args:
            candidates: allowed actions; what is scored here is what will be executed.
            model_steps: predictor steps spent before, per environment.
            terms: diagnostics to pass on.
        """
        z_path = self.paths(candidates)
        costs = self.cost(z_path) if self.num_futures == 1 else self._scores(candidates)  # [B, S]
        cost, best = costs.min(1)
        if not to_host(torch.isfinite(cost).all()):
            raise ConfigError(
                "the planner's cost must be finite; got NaN or infinity. Check the world "
                "model: `openjepa doctor` names what is wrong with it."
            )
        row = torch.arange(len(best), device=best.device)
        steps = (model_steps + candidates.shape[1] * candidates.shape[2]) * self.num_futures
        return Plan(candidates[row, best], cost, z_path[row, best], steps, terms)
