"""Staying where the data were: penalties for imagined states unlike all that was ever seen.

A planner finds every state that the model wrongly believes in. These are costs of a path like any other: add one
to the cost of the goal with `WeightedSum`, below a `RiskCost` or alone. The spread of an ensemble, which needs more
than one path, is `RiskCost.spread_weight`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, ShapeError
from openjepa.nn.host import to_device


@dataclass(frozen=True)
class Mahalanobis:
    """Squared Mahalanobis distance to the training latents, counted beyond their 95 % quantile; see `fit`.

    Attributes:
        mean: [N * D].
        whiten: [N * D, N * D]; the squared norm of (z - mean) @ whiten is the distance.
        threshold: distance up to which nothing is paid.
    """

    mean: Tensor
    whiten: Tensor
    threshold: float

    @classmethod
    @torch.no_grad()
    def fit(cls, latents: Tensor, *, quantile: float = 0.95, shrinkage: float = 1e-3) -> "Mahalanobis":
        """Measures mean and covariance of latents [..., N, D].

        Args:
            latents: of training episodes.
            quantile: share of them that pays nothing, in (0, 1).
            shrinkage: share of the average variance that is added to every direction, for directions without any.
        """
        rows = latents.flatten(0, -3).flatten(1).double()
        if len(rows) < 2 or not 0 < quantile < 1:
            raise ConfigError("`latents` must hold at least 2 states and `quantile` lie in (0, 1).")
        mean, covariance = rows.mean(0), torch.atleast_2d(torch.cov(rows.T))
        average = covariance.diagonal().mean()
        covariance = covariance + shrinkage * average * torch.eye(len(mean), dtype=torch.float64)
        whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
        squares = ((rows - mean) @ whiten).square().sum(1)
        return cls(mean.float(), whiten.float(), float(squares.quantile(quantile)))

    def distance(self, z: Tensor) -> Tensor:
        """Squared distance of states [..., N, D] to the mean, in units of the covariance; [...]."""
        return ((z.flatten(-2) - to_device(self.mean, z)) @ to_device(self.whiten, z)).square().sum(-1)

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """Mean excess over the threshold along paths [..., T, N, D]; the goal does not matter. [...]."""
        return (self.distance(z_path) - self.threshold).clamp_min(0).mean(-1)


@dataclass(frozen=True)
class NearestNeighbours:
    """Distance to the k-th nearest training latent, counted beyond what is usual among real ones; see `fit`.

    Attributes:
        memory: [M, N * D] training latents.
        num_neighbours: k.
        threshold: distance up to which nothing is paid.
    """

    memory: Tensor
    num_neighbours: int
    threshold: float

    @classmethod
    @torch.no_grad()
    def fit(
        cls, latents: Tensor, held_out: Tensor, *, num_neighbours: int = 5, quantile: float = 0.99
    ) -> "NearestNeighbours":
        """Keeps latents [..., N, D] and takes the threshold from held-out ones, which are real but not in memory."""
        memory = latents.flatten(0, -3).flatten(1).float()
        if not 1 <= num_neighbours <= len(memory) or not 0 < quantile < 1:
            raise ConfigError(
                f"`num_neighbours` must be from 1 to the number of latents ({len(memory)}) and `quantile` in (0, 1)."
            )
        measure = cls(memory, num_neighbours, 0.0)
        distances = measure.distance(held_out.flatten(0, -3)).double()
        return cls(memory, num_neighbours, float(distances.quantile(quantile)))

    def distance(self, z: Tensor) -> Tensor:
        """Distance of states [..., N, D] to their k-th nearest training latent; [...]."""
        flat = z.flatten(-2)
        if flat.shape[-1] != self.memory.shape[1]:
            raise ShapeError(f"`z` must have {self.memory.shape[1]} numbers per state; got {flat.shape[-1]}.")
        rows = flat.reshape(-1, flat.shape[-1]).float()
        memory = to_device(self.memory, rows)
        parts = [
            torch.cdist(part, memory).topk(self.num_neighbours, largest=False).values[:, -1]
            for part in rows.split(1024)
        ]
        return torch.cat(parts).view(flat.shape[:-1]).to(z)

    def __call__(self, z_path: Tensor, z_goal: Tensor) -> Tensor:
        """Mean excess over the threshold along paths [..., T, N, D]; the goal does not matter. [...]."""
        return (self.distance(z_path) - self.threshold).clamp_min(0).mean(-1)
