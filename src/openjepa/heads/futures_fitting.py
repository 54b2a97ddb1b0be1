"""Trains a predictor with several futures on cached latents, the encoder frozen: seconds, no pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import fit, seeded
from openjepa.heads.futures import BranchHeads, FuturesConfig, FuturesNetwork, build_futures, windows


@dataclass(frozen=True)
class FuturesFitConfig:
    """Options of the fit.

    Attributes:
        steps: optimiser steps, >= 0; 0 leaves the network as it is.
        batch_size: clips per step.
        rollout: transitions of a clip, >= 1. The first starts from a real state, each next one from the network's own
            future that came nearest to the truth, so that it learns from where its rollouts really are.
        lr: first learning rate of AdamW, decayed along a cosine.
        weight_decay: of AdamW.
        router_steps: further steps, for the router of `heads` alone, >= 0. While heads move, so do the winners that it
            learns; once they stand still, rare futures get their full probability.
    """

    steps: int = 1500
    batch_size: int = 256
    rollout: int = 1
    lr: float = 1e-3
    weight_decay: float = 1e-5
    router_steps: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.router_steps) < 0 or min(self.batch_size, self.rollout) < 1 or self.lr <= 0:
            raise ConfigError("`steps` and `router_steps` must be >= 0, `batch_size` and `rollout` >= 1 and `lr` > 0.")


def fit_futures(
    latents: Tensor,
    actions: Tensor,
    config: FuturesConfig,
    options: FuturesFitConfig,
    *,
    generator: torch.Generator,
    context_len: int = 1,
) -> FuturesNetwork:
    """Trains a new network on whole episodes and returns it, frozen and in evaluation mode.

    Args:
        latents: [E, T, N, D] of training episodes; tokens are joined to one state.
        actions: [E, T - 1, A] as the network is to see them, standardised.
        config: of the network.
        options: of the fit.
        generator: for initial weights, batches and noise.
        context_len: states that the network sees.
    """
    sizes = check_shape(latents, "E T N D", name="latents")
    check_shape(actions, f"E={sizes['E']} T={sizes['T'] - 1} A", name="actions")
    z = latents.detach().flatten(2).float()  # [E, T, N * D]
    with seeded(generator):
        network = build_futures(config, z.shape[-1], actions.shape[-1], context_len)
    length, step = min(options.rollout, sizes["T"] - 1), 0
    before = torch.arange(1 - context_len, 1)

    def loss() -> Tensor:
        nonlocal step
        episode = torch.randint(sizes["E"], (options.batch_size, 1), generator=generator)
        start = torch.randint(sizes["T"] - length, (options.batch_size, 1), generator=generator)
        past = z[episode, (start + before).clamp_min(0)]  # [B, C, N * D]
        total = torch.zeros(())
        for t in range(length):
            moves, target = actions[episode, (start + t + before).clamp_min(0)], z[episode, start + t + 1].squeeze(1)
            total = total + network.objective(past, moves, target, step=step, generator=generator)
            if t + 1 < length:
                past = torch.cat([past[:, 1:], _nearest(network, past, moves, target)], 1)
        step += 1
        return total / length

    fit(network, loss, steps=options.steps, lr=options.lr, weight_decay=options.weight_decay)
    if options.router_steps and isinstance(network, BranchHeads):
        past, moves = windows(z[:, :-1], actions.float(), context_len)
        _fit_router(network, past, moves, z[:, 1:].flatten(0, 1), options, generator)
    return network


def _fit_router(
    network: BranchHeads,
    past: Tensor,
    moves: Tensor,
    target: Tensor,
    options: FuturesFitConfig,
    generator: torch.Generator,
) -> None:
    """Trains the router on the winners of heads that no longer move; windows [R, C, D], [R, C, A] and states [R, D]."""
    with torch.no_grad():
        gaps = [
            (network.guesses(p, m).z - t.unsqueeze(1)).square().sum(-1).argmin(1)
            for p, m, t in zip(past.split(8192), moves.split(8192), target.split(8192), strict=True)
        ]
    winner, inputs = torch.cat(gaps), torch.cat([past.flatten(1), moves.flatten(1)], 1)

    def loss() -> Tensor:
        rows = torch.randint(len(winner), (4 * options.batch_size,), generator=generator)
        return functional.cross_entropy(network.router(inputs[rows]), winner[rows])

    network.router.requires_grad_(True)
    fit(network.router, loss, steps=options.router_steps, lr=options.lr, weight_decay=options.weight_decay)


@torch.no_grad()
def _nearest(network: FuturesNetwork, past: Tensor, moves: Tensor, target: Tensor) -> Tensor:
    """The future that came nearest to the truth; [B, 1, D]."""
    found = network.branches(past, moves).z  # [B, K, D]
    index = (found - target.unsqueeze(1)).square().sum(-1).argmin(1)
    return found[torch.arange(len(found)), index].unsqueeze(1)
