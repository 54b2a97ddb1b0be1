"""The distance to a set of goals: zero within it, else that of the nearest of some states of the set.

An instruction means many states. With a distance to one of them a planner walks past the others; the nearest one, and
no cost where the set is entered, let it take whatever is closest.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from openjepa.errors import check_shape
from openjepa.planning.costs import PathCost


class Miss(Protocol):
    """How far states are outside of the set, from 0 (within) to 1."""

    def __call__(self, z: Tensor) -> Tensor:
        """States [B, P, N, D] to [B, P]."""
        ...

    def select(self, environments: Tensor) -> "Miss":
        """The same for some environments: their indices, or a mask [B]."""
        ...


@dataclass(frozen=True)
class SetCost:
    """A bound cost (`planning.costs.GoalCost`) whose goal is a set.

    Attributes:
        cost: of one goal; its distance, steps and aggregate are used.
        goals: [B, K, N, D] states of the set, the nearest one first: it is `z_goal`, which a policy is shown.
        miss: factor of the distance that is 0 within the set.
        embedded: [B, K, E], the goals where the distance of `cost` embeds them, else None.
    """

    cost: PathCost
    goals: Tensor
    miss: Miss
    embedded: Tensor | None = None

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        check_shape(z_path, f"B={len(self.goals)} S T N D", name="z_path")
        path = self.cost.measured(z_path)  # [B, S, t, N, D]
        apart = distances(self.cost, path.unsqueeze(3), self.goals[:, None, None], self._shown)  # [B, S, t, K]
        missed = self.miss(path.flatten(1, 2)).unflatten(1, path.shape[1:3])
        return self.cost.aggregate(apart.amin(-1) * missed)

    @property
    def _shown(self) -> Tensor | None:
        return None if self.embedded is None else self.embedded[:, None, None]

    @property
    def z_goal(self) -> Tensor:
        """The nearest goal of each environment [B, N, D]."""
        return self.goals[:, 0]

    def select(self, environments: Tensor) -> "SetCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        embedded = None if self.embedded is None else self.embedded[environments]
        return SetCost(self.cost, self.goals[environments], self.miss.select(environments), embedded)


def distances(cost: PathCost, z: Tensor, goals: Tensor, embedded: Tensor | None = None) -> Tensor:
    """Distances [...] of a cost from states [..., N, D] to goals [..., N, D], both broadcast."""
    if cost.embedding is not None and embedded is not None:
        return cost.embedding.to_embedded(z[..., : cost.pose_dim], embedded)
    return cost.between(z, goals)


def nearest_of(cost: PathCost, z: Tensor, places: Tensor, fits: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
    """The nearest of the places that fit, and their embeddings.

    Args:
        cost: whose distance counts.
        z: [B, N, D], where the environments are.
        places: [B, M, N, D].
        fits: [B, M] bool, at least one in each row.
        count: K; where fewer fit, the last one is repeated.

    Returns:
        goals [B, K, N, D], nearest first, and [B, K, E] or None.
    """
    embedded, pose = None, slice(cost.pose_dim)
    if cost.embedding is not None:
        embedded = cost.embedding.embed_goal(places[..., pose], z[:, None, :, pose])  # [B, M, E]
    apart = distances(cost, z[:, None], places, embedded).masked_fill(~fits, torch.inf)
    order = apart.sort(1).indices[:, :count]
    place = torch.arange(order.shape[1], device=z.device)
    order = order.gather(1, torch.minimum(place, fits.sum(1, keepdim=True) - 1))
    rows = torch.arange(len(z), device=z.device)[:, None]
    return places[rows, order], None if embedded is None else embedded[rows, order]
