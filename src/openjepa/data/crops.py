"""Random boxes for crops that are cut while a picture is read, from its full resolution.

Crops, flips and colours of a whole batch on the device are the methods' `view` (`openjepa.nn.views`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError

TRIES = 10


@dataclass(frozen=True)
class CropConfig:
    """A random resized crop and flip; the default is I-JEPA's, `VIDEO_CROP` V-JEPA 2's.

    Attributes:
        scale: range of the crop's share of the area, in (0, 1].
        aspect: range of its width / height, log-uniform, > 0.
        flip: probability of a mirror image, in [0, 1].
    """

    scale: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"`scale` must be two ascending numbers in (0, 1]; got {self.scale}.")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ConfigError(f"`aspect` must be two ascending numbers above 0; got {self.aspect}.")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"`flip` must lie in [0, 1]; got {self.flip}.")


VIDEO_CROP = CropConfig(scale=(0.3, 1.0), aspect=(0.75, 1.35), flip=0.5)


def draw_boxes(
    config: CropConfig, batch_size: int, shape: tuple[int, int], *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws a crop for every sample: the first of ten that fits, else the largest central one.

    Args:
        config: area, aspect and flip.
        batch_size: samples B.
        shape: (H, W) of the pictures, in pixels.
        generator: on the CPU.

    Returns:
        Boxes [B, 4] float32 (top, left, height, width; whole pixels), and flips [B] bool.
    """
    high, wide = shape
    u = torch.rand(4, batch_size, TRIES, generator=generator)
    area = high * wide * _between(u[0], config.scale)
    log_low, log_high = (torch.tensor(a).log().item() for a in config.aspect)
    aspect = _between(u[1], (log_low, log_high)).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (width >= 1) & (height >= 1) & (width <= wide) & (height <= high)  # [B, tries]
    first = fits.int().argmax(1, keepdim=True)
    height, width = height.gather(1, first)[:, 0], width.gather(1, first)[:, 0]
    top = (u[2].gather(1, first)[:, 0] * (high - height + 1)).floor()
    left = (u[3].gather(1, first)[:, 0] * (wide - width + 1)).floor()
    boxes = torch.stack([top, left, height, width], 1)
    boxes = torch.where(fits.any(1, keepdim=True), boxes, torch.tensor(_largest_centre(config, shape)))
    flips = torch.rand(batch_size, generator=generator) < config.flip
    return boxes, flips


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _largest_centre(config: CropConfig, shape: tuple[int, int]) -> list[float]:
    high, wide = shape
    aspect = min(max(wide / high, config.aspect[0]), config.aspect[1])
    width, height = min(wide, round(high * aspect)), min(high, round(wide / aspect))
    return [float((high - height) // 2), float((wide - width) // 2), float(height), float(width)]
