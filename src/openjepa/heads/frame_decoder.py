"""A probe decoder: pictures from frozen latents, to look at what a latent holds; never part of a world model.

The colour of a pixel is a function of the latent and of the pixel's place, added to the usual picture: such a network
draws a small thing wherever a latent says that it is, while convolutions from one vector blur it away.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import Standardize, fit, seeded

SIDE = 64  # px
SHARPNESS = 6.0  # of the first functions of a place: edges are a few pixels wide


@dataclass(frozen=True)
class DecoderConfig:
    """Options of the probe decoder.

    Attributes:
        width: of the hidden layers.
        steps: optimiser steps.
        batch_size: frames per step.
        pixels: of each frame and step.
        unusual_share: of these pixels that are drawn where the frame differs from the usual one, in [0, 1]: small
            things would vanish otherwise.
        lr: first learning rate, decayed along a cosine.
    """

    width: int = 128
    steps: int = 800
    batch_size: int = 48
    pixels: int = 256
    unusual_share: float = 0.5
    lr: float = 6e-3

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.batch_size, self.pixels) < 1 or self.lr <= 0:
            raise ConfigError("`width`, `steps`, `batch_size` and `pixels` must be at least 1 and `lr` > 0.")
        if not 0 <= self.unusual_share <= 1:
            raise ConfigError(f"`unusual_share` must be in [0, 1]; got {self.unusual_share}.")


class FrameDecoder(nn.Module):
    """Latents [B, D] to pictures [B, 3, 64, 64] in [-1, 1].

    Args:
        dim: width D.
        width: of the hidden layers.
        usual: [3, 64, 64] in [-1, 1], what most pictures show.
    """

    usual: Tensor
    places: Tensor

    def __init__(self, dim: int, width: int, usual: Tensor) -> None:
        super().__init__()
        self.standardize = Standardize(dim)
        self.of_latent, self.of_place = nn.Linear(dim, width), nn.Linear(2, width)
        self.colour = nn.Sequential(
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3),
        )
        with torch.no_grad():
            self.of_place.weight.mul_(SHARPNESS)
            self.of_latent.weight.mul_(SHARPNESS / 2)
        cells = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        self.register_buffer("places", torch.stack([x.flatten(), y.flatten()], 1), persistent=False)
        self.register_buffer("usual", usual.flatten(1).T.contiguous())  # [pixels, 3]

    def at(self, z: Tensor, pixels: Tensor) -> Tensor:
        """Colours [B, P, 3] of pixels [B, P], numbered row by row; in bfloat16 while it is trained."""
        latent = self.standardize(z)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.training):
            colour = self.colour(self.of_latent(latent).unsqueeze(1) + self.of_place(self.places[pixels]))
        return self.usual[pixels] + colour.float()

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        everywhere = torch.arange(SIDE * SIDE, device=z.device).expand(len(z), -1)
        return self.at(z, everywhere).transpose(1, 2).unflatten(2, (SIDE, SIDE))

    @torch.no_grad()
    def pictures(self, z: Tensor) -> Tensor:
        """Latents [B, D] to pictures [B, 3, 64, 64] uint8."""
        parts = [((self(part) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) for part in z.split(16)]
        return torch.cat(parts)


def fit_decoder(
    latents: Tensor, frames: Tensor, config: DecoderConfig | None = None, *, generator: torch.Generator
) -> FrameDecoder:
    """Trains a probe decoder on latents [B, D] and their frames [B, 3, 64, 64] uint8, by squared error."""
    config = config or DecoderConfig()
    check_shape(frames, f"B={len(latents)} C=3 H={SIDE} W={SIDE}", name="frames")
    sample = frames[torch.randint(len(frames), (256,), generator=generator)].float() / 127.5 - 1
    with seeded(generator):
        decoder = FrameDecoder(latents.shape[1], config.width, sample.median(0).values)
    decoder.standardize.measure(latents)
    flat, usual = frames.flatten(2), decoder.usual.T
    unusual = round(config.unusual_share * config.pixels)

    def loss() -> Tensor:
        rows = torch.randint(len(flat), (config.batch_size,), generator=generator)
        wanted = flat[rows].float() / 127.5 - 1  # [B, 3, pixels]
        pixels = torch.randint(SIDE * SIDE, (config.batch_size, config.pixels), generator=generator)
        if unusual:
            weight = (wanted - usual).abs().amax(1) + 1e-3
            pixels[:, :unusual] = torch.multinomial(weight, unusual, replacement=True, generator=generator)
        colours = wanted.gather(2, pixels.unsqueeze(1).expand(-1, 3, -1)).transpose(1, 2)
        return functional.mse_loss(decoder.at(latents[rows], pixels), colours)

    return fit(decoder, loss, steps=config.steps, lr=config.lr)
