"""Small heads on cached, frozen latents: pairs of states, standardised inputs and a loop of a few seconds."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from openjepa.errors import DataError, check_shape
from openjepa.nn.random import global_stream

Head = TypeVar("Head", bound=nn.Module)


class Standardize(nn.Module):
    """Shifts and scales features [..., D] by statistics that are measured once and kept with the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def measure(self, x: Tensor) -> None:
        """Takes mean and std from x [..., D]; a feature that never changes keeps its scale."""
        flat = x.flatten(0, -2).float()
        std = flat.std(0)
        self.mean.copy_(flat.mean(0))
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """Undoes `forward`."""
        return x * self.std + self.mean


def check_episodes(latents: Tensor, lengths: Tensor | None) -> Tensor:
    """Checks latents [E, T, N, D] and returns the number of states of each episode [E], on the CPU.

    Raises:
        DataError: for an episode of fewer than 2 states, which holds no step, or of more than T.
    """
    sizes = check_shape(latents, "E T N D", name="latents")
    if lengths is None:
        lengths = torch.full((sizes["E"],), sizes["T"])
    check_shape(lengths, f"E={sizes['E']}", name="lengths")
    if sizes["E"] == 0 or int(lengths.min()) < 2 or int(lengths.max()) > sizes["T"]:
        raise DataError(
            f"every episode must have from 2 to {sizes['T']} states; `lengths` are {lengths.tolist()[:8]}. "
            "Leave shorter episodes out."
        )
    return lengths.cpu()


def valid_states(latents: Tensor, lengths: Tensor) -> Tensor:
    """Returns the states [S, N, D] of [E, T, N, D] that lie within their episode."""
    return latents[(torch.arange(latents.shape[1]) < lengths[:, None]).to(latents.device)]


def sample_pairs(
    lengths: Tensor, max_gap: int, count: int, *, pairs_per_episode: int = 1, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws pairs of states of one episode, the gap uniform in 1 ... max_gap (or the episode's length).

    Episodes are drawn in proportion to their steps, so that every recorded step counts once, whatever the length of the
    episode that it is in.

    Args:
        lengths: [E] number of states of each episode, >= 2.
        max_gap: largest number of steps between the two.
        count: number of pairs, a multiple of `pairs_per_episode`.
        pairs_per_episode: successive pairs that share their episode.
        generator: the random numbers.

    Returns:
        episode, first step and later step, each [count].
    """
    ends = (lengths - 1).cumsum(0)
    step = torch.randint(int(ends[-1]), (count // pairs_per_episode,), generator=generator)
    episode = torch.searchsorted(ends, step, right=True).repeat_interleave(pairs_per_episode)
    length = lengths[episode]
    share = torch.rand(2, count, generator=generator, dtype=torch.float64)
    gap = 1 + (share[0] * (length - 1).clamp(max=max_gap)).long()
    now = (share[1] * (length - gap)).long()
    return episode, now, now + gap


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """`nn.random.global_stream` of a seed that a generator draws."""
    with global_stream(int(torch.randint(2**62, (), generator=generator))):
        yield


def fit(head: Head, loss: Callable[[], Tensor], *, steps: int, lr: float, weight_decay: float = 0.0) -> Head:
    """Minimises a loss by AdamW under a cosine to 0 and returns the head, frozen and in evaluation mode.

    Args:
        head: what is trained.
        loss: draws its own batch at every call.
        steps: optimiser steps.
        lr: first learning rate.
        weight_decay: of all parameters.
    """
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=weight_decay)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            loss().backward(inputs=list(head.parameters()))  # nothing else learns
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
    return head.eval().requires_grad_(False)


def mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Two hidden layers of ReLU."""
    return nn.Sequential(
        nn.Linear(width_in, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, width_out),
    )
