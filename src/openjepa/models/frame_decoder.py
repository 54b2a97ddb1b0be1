"""A probe decoder: pictures from frozen latents, to look at what a latent holds; never part of a world model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.models.fitting import Standardize, fit, seeded


@dataclass(frozen=True)
class DecoderConfig:
    """Options of the probe decoder.

    Attributes:
        width: channels of the first map.
        steps: optimiser steps.
        batch_size: frames per step.
        lr: first learning rate, decayed along a cosine.
    """

    width: int = 48
    steps: int = 400
    batch_size: int = 96
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.batch_size) < 1 or self.lr <= 0:
            raise ConfigError("`width`, `steps` and `batch_size` must be at least 1 and `lr` > 0.")


class FrameDecoder(nn.Module):
    """Latents [B, D] to pictures [B, 3, 64, 64] in [-1, 1]."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardize = Standardize(dim)
        self.width = width
        self.dense = nn.Sequential(nn.Linear(dim, 256), nn.ReLU(), nn.Linear(256, width * 64), nn.ReLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, 3, 4, 2, 1),
        )

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.up(self.dense(self.standardize(z)).view(-1, self.width, 8, 8))

    @torch.no_grad()
    def pictures(self, z: Tensor) -> Tensor:
        """Latents [B, D] to pictures [B, 3, 64, 64] uint8."""
        return ((self(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def fit_decoder(
    latents: Tensor, frames: Tensor, config: DecoderConfig | None = None, *, generator: torch.Generator
) -> FrameDecoder:
    """Trains a probe decoder on latents [B, D] and their frames [B, 3, 64, 64] uint8.

    The error weighs pixels that differ from the mean picture more: small things would vanish otherwise.
    """
    config = config or DecoderConfig()
    check_shape(frames, f"B={len(latents)} C=3 H=64 W=64", name="frames")
    with seeded(generator):
        decoder = FrameDecoder(latents.shape[1], config.width)
        decoder.standardize.measure(latents)
        sample = frames[torch.randint(len(frames), (256,), generator=generator)].float() / 127.5 - 1
        usual = sample.median(0).values  # [3, 64, 64]

        def loss() -> Tensor:
            rows = torch.randint(len(frames), (config.batch_size,), generator=generator)
            wanted = frames[rows].float() / 127.5 - 1
            weight = 1 + 8 * (wanted - usual).abs().amax(1, keepdim=True)
            return (weight * functional.mse_loss(decoder(latents[rows]), wanted, reduction="none")).mean()

        return fit(decoder, loss, steps=config.steps, lr=config.lr)
