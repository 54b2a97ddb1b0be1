"""Pictures from cells or latents by linear maps and pixel shuffles: as fast as the encoder that it answers.

Every cell paints its own 16 x 16 px; cells do not look at each other, so all that a picture needs must be in them.
Transposed convolutions are four times slower on a CPU, and a rival that takes fewer steps for that reason says
nothing about pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError

CELL = 16  # px, side of the square that a cell paints
UPSCALE = (2, 2, 4)  # of the three stages


class CellDecoder(nn.Module):
    """Cells [B, C, h, w] to pictures [B, 3, 16 h, 16 w] in [-1, 1] units, unbounded.

    Args:
        width: channels C of a cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % 4:
            raise ConfigError(f"`width` of a decoder must be a multiple of 4; got {width}.")
        channels = (width, width // 2, width // 4, 3)
        self.stages = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1] * UPSCALE[i] ** 2, 1) for i in range(len(UPSCALE))
        )

    def forward(self, cells: Tensor) -> Tensor:  # noqa: D102
        x = cells
        for i, stage in enumerate(self.stages):
            x = functional.pixel_shuffle(stage(functional.relu(x) if i else x), UPSCALE[i])
        return x


class PictureDecoder(nn.Module):
    """Latents [B, D] to pictures [B, 3, S, S] in [-1, 1] units.

    Args:
        dim: width D of the latent.
        image_size: px, a multiple of 16.
        width: channels of a cell, a multiple of 4.
        hidden_dim: width between the latent and the cells.
    """

    def __init__(self, dim: int, image_size: int, width: int = 64, hidden_dim: int = 128) -> None:
        super().__init__()
        if image_size % CELL:
            raise ConfigError(f"`image_size` must be a multiple of {CELL}; got {image_size}.")
        self.side, self.width = image_size // CELL, width
        self.dense = nn.Sequential(
            nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, width * self.side**2), nn.ReLU()
        )
        self.cells = CellDecoder(width)

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.cells(self.dense(z).unflatten(-1, (self.width, self.side, self.side)))


def scaled_pixels(frames: Tensor) -> Tensor:
    """uint8 pixels to float in [-1, 1]."""
    return frames.float().div(127.5).sub_(1)


def pixel_error(decoded: Tensor, frames: Tensor) -> Tensor:
    """Mean squared error [...] of pictures [..., 3, H, W] against uint8 frames, in float32, in [-1, 1] units."""
    return (decoded.float() - scaled_pixels(frames)).square().mean((-3, -2, -1))


@torch.no_grad()
def to_pictures(decoded: Tensor) -> Tensor:
    """Pictures in [-1, 1] to uint8."""
    return ((decoded.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
