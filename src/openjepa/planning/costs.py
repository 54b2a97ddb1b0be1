"""What a planner minimises: a distance between latents, aggregated over the imagined path.

A cost is `PathCost(distance, aggregate)`; costs add up with `WeightedSum`; `bind(cost, z_goal)` fixes the
goals. The state before the first action is not part of a path (it would add a constant). The mean over the
path is the default: a cost of the last step alone lets a receding-horizon agent put off its arrival for ever,
and the closest approach suits goals that lie nearer than the horizon.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from openjepa import protocols
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.host import to_device
from openjepa.protocols import Cost

# (z [..., N, D], z_goal [..., N, D]) -> [...], with broadcasting; the learned ones are
# `models.temporal_distance`.
Distance = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class EmbeddingDistance(Protocol):
    """A distance between embeddings, whose goals can be embedded once for many states."""

    def embed_goal(self, z_goal: Tensor, z: Tensor) -> Tensor:
        """Embeds goals [..., N, D] for environments that are in states z [..., N, D]; [..., E]."""
        ...

    def to_embedded(self, z: Tensor, goal: Tensor) -> Tensor:
        """Distance [...] from states [..., N, D] to embedded goals [..., E]."""
        ...


DISCOUNT = 0.75  # of `discounted`, a step

# distances [..., T] -> [...]
Aggregate = Callable[[Tensor], Tensor]


def squared_l2(z: Tensor, z_goal: Tensor) -> Tensor:
    """Squared Euclidean distance, summed over D and averaged over tokens; [..., N, D] to [...]."""
    return (z - z_goal).square().sum(-1).mean(-1)


def l1(z: Tensor, z_goal: Tensor) -> Tensor:
    """Mean absolute difference (V-JEPA 2-AC, 2506.09985); [..., N, D] to [...]."""
    return (z - z_goal).abs().mean((-2, -1))


@dataclass(frozen=True)
class MovingDistance:
    """Euclidean distance of what moves; [..., N, D] to [...].

    Attributes:
        scene_dim: leading dimensions of a state that stay in an episode and are not looked at, >= 0.
    """

    scene_dim: int

    def __call__(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """Returns the distance."""
        return squared_l2(z[..., self.scene_dim :], z_goal[..., self.scene_dim :]).sqrt()


def final(distances: Tensor) -> Tensor:
    """The last step (LeWM, DINO-WM, V-JEPA 2-AC); [..., T] to [...]."""
    return distances[..., -1]


def mean(distances: Tensor) -> Tensor:
    """The average of all steps (EB-JEPA, PLDM); [..., T] to [...]."""
    return distances.mean(-1)


def closest(distances: Tensor) -> Tensor:
    """The step of closest approach; [..., T] to [...]."""
    return distances.amin(-1)


def discounted(distances: Tensor) -> Tensor:
    """The average of all steps, each counting three quarters of the one before; [..., T] to [...].

    A state that is known by its rough velocity is foretold worse with every step: what comes soon is to be believed.
    """
    weights = DISCOUNT ** torch.arange(distances.shape[-1], device=distances.device, dtype=distances.dtype)
    return (distances * weights).sum(-1) / weights.sum()


@dataclass(frozen=True)
class Weighted:
    """Weighted sum over steps, weights scaled to sum 1; [..., T] to [...].

    Attributes:
        first: weight of the first step, >= 0.
        last: weight of the last step, >= 0; those between lie on a line (PLDM goes from 0.1 to 1).
    """

    first: float = 0.1
    last: float = 1.0

    def __post_init__(self) -> None:
        if min(self.first, self.last) < 0 or self.first + self.last <= 0:
            raise ConfigError(f"`first` and `last` must be >= 0 and not both 0; got {self.first}, {self.last}.")

    def __call__(self, distances: Tensor) -> Tensor:
        """Returns the weighted mean."""
        weights = to_device(torch.linspace(self.first, self.last, distances.shape[-1]), distances)
        return distances @ (weights / weights.sum())


@dataclass(frozen=True)
class Last:
    """The mean of the last steps before a moment; [..., T] to [...].

    Near the goal at two successive steps is to be there and to be slow, also where a velocity cannot be compared: the
    cost of a goal that is due at a stated moment.

    Attributes:
        steps: how many, >= 1; fewer where the path is shorter.
        until: steps of the path that count, >= 1, e.g. those that are left until the goal is due; None is all.
    """

    steps: int = 2
    until: int | None = None

    def __post_init__(self) -> None:
        if min(self.steps, 1 if self.until is None else self.until) < 1:
            raise ConfigError(f"`steps` and `until` must be at least 1; got {self.steps} and {self.until}.")

    def __call__(self, distances: Tensor) -> Tensor:
        """Returns the mean distance."""
        return distances[..., : self.until][..., -self.steps :].mean(-1)


@dataclass(frozen=True)
class Arrival:
    """Steps until the goal is first reached, steps + 1 for a path that never arrives; [..., T] to [...].

    The cost of a task with a deadline, in steps, which says what never arriving is worth: planning under risk needs
    that. A small share of the closest approach gives the search a slope where no candidate arrives.

    Attributes:
        radius: distance within which the goal counts as reached, > 0.
        softness: width of its edge, in radii, >= 0; 0 is a sharp edge.
        slope: weight of the closest approach, in steps per radius, >= 0.
    """

    radius: float
    softness: float = 0.0
    slope: float = 0.0

    def __post_init__(self) -> None:
        if self.radius <= 0 or min(self.softness, self.slope) < 0:
            raise ConfigError("`radius` must be > 0, `softness` and `slope` 0 or more.")

    def __call__(self, distances: Tensor) -> Tensor:
        """Returns the number of steps."""
        nearest = distances.cummin(-1).values
        if self.softness:
            missing = torch.sigmoid((nearest / self.radius - 1) / self.softness)
        else:
            missing = (nearest > self.radius).to(distances)
        return 1 + missing.sum(-1) + self.slope * nearest[..., -1] / self.radius


@dataclass(frozen=True)
class PathCost:
    """Distance to the goal, aggregated over the path; see `openjepa.protocols.Cost`.

    Attributes:
        distance: between a state and the goal, e.g. `squared_l2` or a `TemporalDistance` head.
        aggregate: over the steps, e.g. `mean`, `final`, `closest`.
        stride: only every stride-th state is measured, counted back from the last; saves time with a learned
            distance and held actions.
        pose_dim: leading dimensions of a state that are measured: the pose of a state that holds a velocity too. None
            measures all.
    """

    distance: Distance = squared_l2
    aggregate: Aggregate = mean
    stride: int = 1
    pose_dim: int | None = None

    def __post_init__(self) -> None:
        if min(self.stride, 1 if self.pose_dim is None else self.pose_dim) < 1:
            raise ConfigError(f"`stride` and `pose_dim` must be at least 1; got {self.stride} and {self.pose_dim}.")

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """z_path [..., T, N, D] and z_goal [..., N, D] to [...]."""
        return self.aggregate(self.distance(self.measured(z_path), z_goal[..., : self.pose_dim].unsqueeze(-3)))

    def between(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """The distance of single states: z and z_goal [..., N, D] to [...]."""
        return self.distance(z[..., : self.pose_dim], z_goal[..., : self.pose_dim])

    @cached_property
    def embedding(self) -> EmbeddingDistance | None:
        """The distance, where its goals can be embedded once for many states."""
        return self.distance if isinstance(self.distance, EmbeddingDistance) else None

    def to_embedded(self, z_path: Tensor, goal: Tensor) -> Tensor:
        """z_path [..., T, N, D] and goals that `embedding` embedded [..., E] to [...]."""
        assert self.embedding is not None
        return self.aggregate(self.embedding.to_embedded(self.measured(z_path), goal.unsqueeze(-2)))

    def measured(self, z_path: Tensor) -> Tensor:
        """The states of a path [..., T, N, D] that are measured, and of each what is."""
        first = (z_path.shape[-3] - 1) % self.stride
        return z_path[..., first :: self.stride, :, : self.pose_dim]


@dataclass(frozen=True)
class WeightedSum:
    """A sum of costs, itself a cost.

    Attributes:
        costs: any number of costs.
        weights: one factor each, or None for 1.
    """

    costs: Sequence[Cost]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.costs or (self.weights is not None and len(self.weights) != len(self.costs)):
            raise ConfigError(
                f"`weights` must have one entry per cost ({len(self.costs)}, at least 1); got {self.weights}."
            )

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """z_path [..., T, N, D] and z_goal [..., N, D] to [...]."""
        weights = self.weights or [1.0] * len(self.costs)
        terms = [weight * cost(z_path, z_goal) for cost, weight in zip(self.costs, weights, strict=True)]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


@runtime_checkable
class GoalCost(Protocol):
    """A bound cost that shows its goals, and can be asked for some environments alone: what a policy needs."""

    @property
    def z_goal(self) -> Tensor:
        """The goals [B, N, D]."""
        ...

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        ...

    def select(self, environments: Tensor) -> "GoalCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        ...


@dataclass(frozen=True)
class BoundCost:
    """A cost with one goal per environment: what a planner sees.

    Attributes:
        cost: of a path and a goal.
        z_goal: [B, N, D].
        embedded: [B, E] the same goals where the distance of a `PathCost` embeds them, else None.
    """

    cost: Cost
    z_goal: Tensor
    embedded: Tensor | None = None

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        if z_path.ndim != 5 or z_path.shape[0] != len(self.z_goal):
            raise ShapeError(
                f"`z_path` must be [B, S, T, N, D] with B = {len(self.z_goal)} goals; got {list(z_path.shape)}."
            )
        if self.embedded is None:
            return self.cost(z_path, self.z_goal.unsqueeze(1))
        assert isinstance(self.cost, PathCost)
        return self.cost.to_embedded(z_path, self.embedded.unsqueeze(1))

    def select(self, environments: Tensor) -> "BoundCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        embedded = None if self.embedded is None else self.embedded[environments]
        return BoundCost(self.cost, self.z_goal[environments], embedded)


@runtime_checkable
class Bindable(Protocol):
    """A cost with a way of its own to fix its goals, such as `planning.risk.RiskCost`."""

    def bind(self, z_goal: Tensor) -> protocols.PathCost:
        """Returns what a planner sees."""
        ...


@runtime_checkable
class SelfAimed(Protocol):
    """A cost that finds its goals by itself in what is seen, such as an instruction in words: an intrinsic cost."""

    def aim(self, z: Tensor) -> GoalCost:
        """Returns what a planner sees, for environments that are in states z [B, N, D]."""
        ...

    def select(self, environments: Tensor) -> "SelfAimed":
        """The same cost for some environments: their indices, or a mask [B]."""
        ...


def bind(cost: Cost | Bindable | SelfAimed, z_goal: Tensor, z: Tensor | None = None) -> Any:
    """Fixes the goals of a cost, encoded once for many plans; returns a `protocols.PathCost`.

    Args:
        cost: of a path and a goal.
        z_goal: [B, N, D].
        z: [B, N, D] where the environments are. With it, the goals of an `EmbeddingDistance` are embedded here and now,
            in the scene that is seen, and not again for every candidate; a `SelfAimed` cost needs it, and no goals.
    """
    check_shape(z_goal, "B N D", name="z_goal")
    if isinstance(cost, PathCost):
        if z is None or cost.embedding is None:
            return BoundCost(cost, z_goal)
        pose = slice(cost.pose_dim)
        return BoundCost(cost, z_goal, cost.embedding.embed_goal(z_goal[..., pose], z[..., pose]))
    if isinstance(cost, SelfAimed):
        if z is None:
            raise ConfigError("`z` must be given: this cost finds its goals in what is seen.")
        return cost.aim(z)
    return cost.bind(z_goal) if isinstance(cost, Bindable) else BoundCost(cost, z_goal)
