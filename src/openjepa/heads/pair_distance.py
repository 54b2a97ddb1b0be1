"""A distance between two states that is taught: by a map of landmarks, whose stitched ways no head learns by itself.

A head that is trained within episodes knows how far things are as long as somebody went from one to the other. What a
map says of any two states (`agent/landmarks.py`) is in steps, and flat between landmarks; distilled into a network it
gets the slope that a planner needs:

    L = | head(z, z_goal) - steps |,   head = softplus(MLP([z, z_goal, z_goal - z]))
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError
from openjepa.heads.fitting import Standardize, fit, mlp, seeded


@dataclass(frozen=True)
class PairDistanceConfig:
    """Options of a taught distance and of its training.

    Attributes:
        hidden_dim: width of both hidden layers.
        batch_size: pairs per step.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
    """

    hidden_dim: int = 128
    batch_size: int = 512
    steps: int = 2500
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.hidden_dim, self.batch_size, self.steps) < 1 or self.lr <= 0:
            raise ConfigError("`hidden_dim`, `batch_size` and `steps` must be at least 1 and `lr` above 0.")


class PairDistance(nn.Module):
    """Called with z and z_goal [..., N, D], with broadcasting, returns steps [...] >= 0.

    Args:
        num_tokens: N of a state.
        dim: D of a state.
        config: the options.
    """

    unit: Tensor

    def __init__(self, num_tokens: int, dim: int, config: PairDistanceConfig | None = None) -> None:
        super().__init__()
        self.config = config or PairDistanceConfig()
        self.standardize = Standardize(num_tokens * dim)
        self.register_buffer("unit", torch.ones(()))  # steps, the mean of what was taught
        self.net = mlp(3 * num_tokens * dim, self.config.hidden_dim, 1)

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        z, goal = torch.broadcast_tensors(self.standardize(z.flatten(-2)), self.standardize(z_goal.flatten(-2)))
        return self.unit * functional.softplus(self.net(torch.cat([z, goal, goal - z], -1)).squeeze(-1))


def fit_pair_distance(
    states: Tensor,
    steps_between: Callable[[Tensor, Tensor], Tensor],
    config: PairDistanceConfig | None = None,
    *,
    limit: float = torch.inf,
    shown: Tensor | None = None,
    generator: torch.Generator,
) -> PairDistance:
    """Trains a distance on pairs of any states.

    Args:
        states: [S, N, D], which pairs are drawn from.
        steps_between: says the steps [B] between states [B, N, D] and others.
        config: the options.
        limit: pairs that are said to be so far apart, or farther, are left out: no way between them is known.
        shown: [S, ...] what the teacher is asked about, row by row, where the head sees something else; the states
            themselves by default.
        generator: for initial weights and batches.
    """
    config = config or PairDistanceConfig()
    states = states.detach()
    shown = states if shown is None else shown
    with seeded(generator):
        head = PairDistance(states.shape[1], states.shape[2], config).to(states.device)
    head.standardize.measure(states.flatten(1))

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(states), (2, config.batch_size), generator=generator)
        return states[rows[0]], states[rows[1]], steps_between(shown[rows[0]], shown[rows[1]])

    steps = draw()[2]
    known = steps < limit
    if bool(known.any()):
        head.unit.copy_(steps[known].mean().clamp_min(1e-6))

    def loss() -> Tensor:
        one, other, steps = draw()
        known = (steps < limit).to(one)
        return ((head(one, other) - steps).abs() * known).sum() / (head.unit * known.sum().clamp_min(1))

    return fit(head, loss, steps=config.steps, lr=config.lr)
