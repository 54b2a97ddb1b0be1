"""Candidate plans, rolled through a world model in one batch for all environments, and their costs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.protocols import PathCost, Plan, WorldModel


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
        z = self.z.unsqueeze(1).expand(-1, samples, -1, -1, -1).flatten(0, 1)  # [B * S, T, N, D]
        actions = candidates
        if self.context_actions is not None:
            past = self.context_actions.unsqueeze(1).expand(-1, samples, -1, -1)
            actions = torch.cat([past, candidates], 2)  # [B, S, T - 1 + H, A]
        z_path = self.model.rollout(z, actions.flatten(0, 1))  # [B * S, H, N, D]
        return z_path.view(batch, samples, horizon, *z_path.shape[2:])

    def scores(self, candidates: Tensor) -> Tensor:
        """Cost [B, S] of candidates [B, S, H, A]."""
        if self.micro_batch is None:
            return self.cost(self.paths(candidates))
        samples = max(1, self.micro_batch // candidates.shape[0])
        return torch.cat([self.cost(self.paths(part)) for part in candidates.split(samples, 1)], 1)

    def best_plan(self, candidates: Tensor, model_steps: int, terms: dict[str, Tensor]) -> Plan:
        """Evaluates finalists [B, S, H, A] and returns the best one with its own cost and path.

        Args:
            candidates: allowed actions; what is scored here is what will be executed.
            model_steps: predictor steps spent before, per environment.
            terms: diagnostics to pass on.
        """
        z_path = self.paths(candidates)
        costs = self.cost(z_path)  # [B, S]
        cost, best = costs.min(1)
        if not bool(torch.isfinite(cost).all()):
            raise ConfigError(
                "the planner's cost must be finite; got NaN or infinity. Check the world "
                "model: `openjepa doctor` names what is wrong with it."
            )
        row = torch.arange(len(best), device=best.device)
        steps = model_steps + candidates.shape[1] * candidates.shape[2]
        return Plan(candidates[row, best], cost, z_path[row, best], steps, terms)
