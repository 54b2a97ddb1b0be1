"""Planning under risk: what a plan costs when it has several futures.

A `RiskCost` wraps any cost of a path. Every planner takes it as it takes other costs: the futures of all candidates
are rolled in `Imagination`, under the same random numbers (common random numbers: otherwise the ranking of plans is
noise), the path cost is taken of each of them, and a measure of risk makes one number of the distribution.

The plan is open loop: one series of actions for all futures, as if nothing were learned on the way. That judges a
plan more severely than what a replanning agent will live through; only the actions that are executed before the
next plan (the first, with `replan_every=1`) really have to suit all futures, and only they are binding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, ShapeError
from openjepa.protocols import Cost, Futures

# costs [..., F] and weights [..., F] that sum to 1 -> [...]
RiskMeasure = Callable[[Tensor, Tensor], Tensor]


def expected(costs: Tensor, weights: Tensor) -> Tensor:
    """The mean, which does not mind risk; costs and weights [..., F] to [...]."""
    return (costs * weights).sum(-1)


def worst(costs: Tensor, weights: Tensor) -> Tensor:
    """The largest cost of any future that is possible at all."""
    return costs.masked_fill(weights <= 0, -torch.inf).amax(-1)


@dataclass(frozen=True)
class CVaR:
    """Conditional value at risk: the mean over the worst `alpha` of the outcomes (Rockafellar and Uryasev 2000).

    Attributes:
        alpha: share that counts, in (0, 1]; 1 is `expected`, towards 0 it becomes `worst`.

    >>> CVaR(0.5)(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.full((4,), 0.25))
    tensor(3.5000)
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ConfigError(f"`alpha` must be in (0, 1]; got {self.alpha}.")

    def __call__(self, costs: Tensor, weights: Tensor) -> Tensor:
        """Costs and weights [..., F] to [...]; an outcome on the boundary counts with the part that is needed."""
        order = costs.argsort(-1, descending=True)
        high, mass = costs.gather(-1, order), weights.gather(-1, order)
        before = mass.cumsum(-1) - mass
        counted = torch.minimum(mass, (self.alpha - before).clamp_min(0))
        return (high * counted).sum(-1) / counted.sum(-1).clamp_min(1e-12)


@dataclass(frozen=True)
class Entropic:
    """Entropic risk (1 / theta) log sum_p w_p exp(theta c_p): the mean for small theta, the worst for large.

    Attributes:
        theta: > 0, per unit of the cost.
    """

    theta: float = 1.0

    def __post_init__(self) -> None:
        if self.theta <= 0:
            raise ConfigError(f"`theta` must be > 0; got {self.theta}.")

    def __call__(self, costs: Tensor, weights: Tensor) -> Tensor:
        """Costs and weights [..., F] to [...]."""
        return torch.logsumexp(self.theta * costs + weights.log(), -1) / self.theta


@dataclass(frozen=True)
class MeanStd:
    """Mean plus kappa standard deviations.

    Attributes:
        kappa: >= 0.
    """

    kappa: float = 1.0

    def __post_init__(self) -> None:
        if self.kappa < 0:
            raise ConfigError(f"`kappa` must be 0 or more; got {self.kappa}.")

    def __call__(self, costs: Tensor, weights: Tensor) -> Tensor:
        """Costs and weights [..., F] to [...]."""
        mean = expected(costs, weights)
        # The square root has no slope at 0, where all futures cost the same.
        return mean + self.kappa * (expected((costs - mean.unsqueeze(-1)).square(), weights) + 1e-12).sqrt()


@dataclass(frozen=True)
class RiskCost:
    """A cost of the distribution of paths; give it to an `Agent`, or to a planner through `bind`.

    On a model with one future it is the wrapped cost itself, whatever the measure.

    Attributes:
        cost: of one path; weighted sums with penalties (`planning.support`) included.
        risk: measure of the distribution.
        num_futures: paths per candidate, >= 1; `openjepa.protocols.BranchingModel`.
        spread_weight: of the mean variance between the paths' states, summed over the steps: for ensembles, whose
            members disagree where there were no data. In a world that branches it punishes branching.
        seed: of the futures, >= 0: the same for all candidates of all iterations.
    """

    cost: Cost
    risk: RiskMeasure = expected
    num_futures: int = 16
    spread_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_futures < 1 or self.spread_weight < 0 or self.seed < 0:
            raise ConfigError("`num_futures` must be at least 1, `spread_weight` and `seed` 0 or more.")

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """The cost of a path that is certain, [..., T, N, D] to [...]: the wrapped one."""
        return self.cost(z_path, z_goal)

    def bind(self, z_goal: Tensor) -> "BoundRiskCost":
        """Fixes the goals [B, N, D]."""
        return BoundRiskCost(self, z_goal)


@dataclass(frozen=True)
class BoundRiskCost:
    """A `RiskCost` with one goal per environment: what a planner sees.

    Attributes:
        options: the cost and the measure.
        z_goal: [B, N, D].
    """

    options: RiskCost
    z_goal: Tensor

    def __call__(self, z_path: Tensor) -> Tensor:
        """The cost of paths that are certain, z_path [B, S, T, N, D] to [B, S]."""
        if z_path.ndim != 5 or z_path.shape[0] != len(self.z_goal):
            raise ShapeError(
                f"`z_path` must be [B, S, T, N, D] with B = {len(self.z_goal)} goals; got {list(z_path.shape)}."
            )
        return self.options.cost(z_path, self.z_goal.unsqueeze(1))

    def select(self, environments: Tensor) -> "BoundRiskCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        return BoundRiskCost(self.options, self.z_goal[environments])

    def of_futures(self, futures: Futures) -> Tensor:
        """The risk [B, S] of candidates whose futures are z [B * S, F, T, N, D] and log_weights [B * S, F]."""
        batch = len(self.z_goal)
        z, weights = futures.z.unflatten(0, (batch, -1)), futures.log_weights.exp().unflatten(0, (batch, -1))
        costs = self.options.cost(z, self.z_goal[:, None, None])  # [B, S, F]
        total = self.options.risk(costs, weights)
        if not self.options.spread_weight:
            return total
        return total + self.options.spread_weight * spread(z, weights)


def spread(z: Tensor, weights: Tensor) -> Tensor:
    """Variance between paths, mean over the latent's dimensions, summed over the steps.

    Args:
        z: [..., F, T, N, D].
        weights: [..., F].

    Returns:
        [...].
    """
    share = weights[..., None, None, None]
    mean = (share * z).sum(-4, keepdim=True)
    return (share * (z - mean).square()).sum(-4).mean((-2, -1)).sum(-1)
