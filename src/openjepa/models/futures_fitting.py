"""Trains a predictor with several futures on cached latents, the encoder frozen: seconds, no pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.models.fitting import fit, seeded
from openjepa.models.futures import FuturesConfig, FuturesNetwork, build_futures, futures_loss


@dataclass(frozen=True)
class FuturesFitConfig:
    """Options of the fit.

    Attributes:
        steps: optimiser steps, >= 0; 0 leaves the network as it is.
        batch_size: transitions per step.
        lr: first learning rate of AdamW, decayed along a cosine.
        weight_decay: of AdamW.
        noise: standard deviation of what is added to the input state, in its own standard deviations; rollouts feed
            predictions back, which are never exact.
    """

    steps: int = 1500
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-5
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1 or self.lr <= 0 or self.noise < 0:
            raise ConfigError("`steps` and `noise` must be >= 0, `batch_size` >= 1 and `lr` > 0.")


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
    scale = z.flatten(0, 1).std(0)
    length, step = min(context_len, sizes["T"] - 1), 0

    def loss() -> Tensor:
        nonlocal step
        episode = torch.randint(sizes["E"], (options.batch_size,), generator=generator)
        start = torch.randint(sizes["T"] - length, (options.batch_size,), generator=generator)
        index = start[:, None] + torch.arange(length + 1)
        path = z[episode[:, None], index].clone()
        if options.noise:
            path[:, :-1] += options.noise * scale * torch.randn(path[:, :-1].shape, generator=generator)
        step += 1
        moves = actions[episode[:, None], index[:, :-1]]
        return futures_loss(network, path, moves, step=step - 1, generator=generator)

    return fit(network, loss, steps=options.steps, lr=options.lr, weight_decay=options.weight_decay)
