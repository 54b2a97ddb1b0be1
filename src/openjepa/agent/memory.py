"""Short-term memory of plans that failed: what was imagined and did not come true.

A planner finds every wall that the model does not believe in, and an agent that forgets pushes against it for ever:
nothing that it sees changes, so nothing in its plan does. Here the end of an executed plan that the world did not
follow is remembered until the episode ends, and a path that passes such a place again is worth no more than staying:

    cost'(path) = cost + near * max(0, cost(staying) - cost),   near = max over steps and places exp(-d^2 / 2 r^2)

Without units of its own: a promise is broken where the state that was seen is farther from the imagined one than a
share of the imagined way, and its radius r is a share of that gap. After the heuristic updates of real-time search
(Korf 1990, LRTA*), which raise the value of a dead end where it was met; here the model is doubted instead.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.protocols import PathCost


@dataclass(frozen=True)
class PromiseConfig:
    """When a plan has failed, and how far its lesson reaches.

    Attributes:
        broken_share: of the imagined way that must be missing for a promise to be broken, > 0.
        radius_share: radius of a remembered place, as a share of the gap between what was imagined and seen, > 0.
        capacity: places that are remembered, the latest ones, >= 1.
    """

    broken_share: float = 0.5
    radius_share: float = 0.75
    capacity: int = 64

    def __post_init__(self) -> None:
        if min(self.broken_share, self.radius_share) <= 0 or self.capacity < 1:
            raise ConfigError(
                "`broken_share` and `radius_share` must be > 0 and `capacity` at least 1; got "
                f"{self.broken_share}, {self.radius_share} and {self.capacity}."
            )


class BrokenPromises:
    """The memory of a batch of episodes.

    Args:
        config: the options.
    """

    def __init__(self, config: PromiseConfig) -> None:
        self.config = config
        self._places: list[Tensor] = []  # each [B, N * D]
        self._radii: list[Tensor] = []  # each [B], 0 where the promise was kept

    def compare(self, start: Tensor, promised: Tensor, seen: Tensor) -> None:
        """Remembers where a plan failed.

        Args:
            start: [B, N, D], where the plan began.
            promised: [B, N, D], where its executed part was to end.
            seen: [B, N, D], where it ended.
        """
        gap = (promised - seen).flatten(1).norm(dim=1)
        way = (promised - start).flatten(1).norm(dim=1)
        broken = gap > self.config.broken_share * way
        if bool(broken.any()):
            keep = self.config.capacity - 1
            radius = torch.where(broken, self.config.radius_share * gap, torch.zeros_like(gap))
            self._places = [*self._places[max(0, len(self._places) - keep) :], promised.flatten(1)]
            self._radii = [*self._radii[max(0, len(self._radii) - keep) :], radius]

    def wary(self, cost: PathCost, z: Tensor, horizon: int, rows: Tensor) -> PathCost:
        """The same cost with what is remembered, for some environments.

        Args:
            cost: bound to the goals of these environments.
            z: [R, N, D], where they are.
            horizon: number of steps of a path.
            rows: [R], which ones they are.
        """
        if not self._places:
            return cost
        staying = cost(z[:, None, None].expand(-1, 1, horizon, -1, -1))[:, 0]
        return WaryCost(cost, staying, torch.stack(self._places, 1)[rows], torch.stack(self._radii, 1)[rows])


@dataclass(frozen=True)
class WaryCost:
    """A cost that trusts no path through places where plans failed.

    Attributes:
        cost: of paths.
        staying: [B], the cost of a path that does not move.
        places: [B, K, N * D], imagined states that did not come true.
        radii: [B, K], how far around them; 0 for none.
    """

    cost: PathCost
    staying: Tensor
    places: Tensor
    radii: Tensor

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        cost = self.cost(z_path)
        states = z_path.flatten(3).flatten(1, 2)  # [B, S * T, N * D]
        gap = torch.cdist(states, self.places, compute_mode="donot_use_mm_for_euclid_dist")  # [B, S * T, K]
        scaled = gap / self.radii.clamp_min(1e-12).unsqueeze(1)
        near = torch.where(self.radii.unsqueeze(1) > 0, (-0.5 * scaled.square()).exp(), 0.0).amax(-1)  # [B, S * T]
        near = near.unflatten(1, z_path.shape[1:3]).amax(-1)  # [B, S]
        return cost + near * (self.staying.unsqueeze(1) - cost).clamp_min(0)
