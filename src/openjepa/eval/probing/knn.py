"""Nearest-neighbour classification of frozen features: nothing is trained, so nothing can be tuned."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape

CHUNK = 1024


@dataclass(frozen=True)
class KNNConfig:
    """The weighted vote.

    Attributes:
        k: neighbours, >= 1; all training rows where there are fewer.
        temperature: a neighbour of cosine c votes with weight exp(c / temperature), > 0.
    """

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.k < 1 or self.temperature <= 0:
            raise ConfigError(f"`k` must be >= 1 and `temperature` > 0; got {self.k}, {self.temperature}.")


def knn_predict(x: Tensor, labels: Tensor, queries: Tensor, config: KNNConfig | None = None) -> Tensor:
    """Classifies by the vote of the nearest training rows, by cosine.

    Args:
        x: [N, D] training features.
        labels: [N] int64 classes, any numbers.
        queries: [Q, D].
        config: number of neighbours and their weights.

    Returns:
        Classes [Q].
    """
    config = config or KNNConfig()
    sizes = check_shape(x, "N D", name="x")
    check_shape(labels, "N", name="labels", sizes=sizes)
    check_shape(queries, f"Q D={sizes['D']}", name="queries")
    names, own = labels.unique(return_inverse=True)  # numbers may be negative, or far apart
    keys, k = _unit(x), min(config.k, len(x))
    found = []
    for chunk in queries.split(CHUNK):
        near = (_unit(chunk) @ keys.T).topk(k, dim=1)  # [q, k]
        weight = ((near.values - near.values[:, :1]) / config.temperature).exp()
        votes = torch.zeros(len(chunk), len(names), dtype=weight.dtype, device=x.device)
        found.append(votes.scatter_add_(1, own[near.indices], weight).argmax(1))
    return names[torch.cat(found)]


def knn_accuracy(x: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, config: KNNConfig | None = None) -> float:
    """Share of the queries [Q, D] whose class [Q] the vote finds, 0 to 1."""
    return float((knn_predict(x, labels, queries, config) == truth).double().mean())


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x.float(), dim=1)
