"""Random views of pictures and clips, made on the device for a whole batch at once: crops, flips, colours.

One draw serves all frames of a clip. Randomness comes from a CPU generator, so a view is a function of its
seed on every device.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_device
from openjepa.nn.patch_embed import normalize_pixels


@dataclass(frozen=True)
class ViewConfig:
    """How a random view is drawn."""

    size: int = 224  # pixels, both sides
    scale: tuple[float, float] = (0.3, 1.0)  # share of the area, in (0, 1]
    aspect: tuple[float, float] = (3 / 4, 4 / 3)  # width over height, log-uniform
    flip: float = 0.0  # probability of a horizontal flip
    jitter: tuple[float, float, float, float] = (
        0.0,
        0.0,
        0.0,
        0.0,
    )  # brightness, contrast, saturation, hue (turns)
    jitter_share: float = 0.8  # probability of the jitter
    grey: float = 0.0  # probability of losing colour

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"`size` must be at least 1 pixel; got {self.size}.")
        for name, (low, high), top in (("scale", self.scale, 1.0), ("aspect", self.aspect, 100.0)):
            if not 0 < low <= high <= top:
                raise ConfigError(f"`{name}` must be two ascending numbers in (0, {top:g}]; got {(low, high)}.")


def random_view(pixels: Tensor, config: ViewConfig, *, generator: torch.Generator) -> Tensor:
    """Draws one view of each sample.

    Args:
        pixels: [B, C, H, W] or [B, T, C, H, W], uint8 or float on a scale of 0 to 255.
        config: how.
        generator: on the CPU.

    Returns:
        float32 of the same scale and number of axes, `size` pixels high and wide.
    """
    shape, (height, width) = pixels.shape, pixels.shape[-2:]
    batch = shape[0]
    frames = pixels.reshape(batch, -1, *shape[-2:]).float()  # [B, T * C, H, W]
    grid = to_device(_crop_grid(batch, height, width, config, generator), frames.device)
    view = F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)
    view = view.view(*shape[:-2], config.size, config.size)
    if any(config.jitter) or config.grey:
        view = _change_colours(view, config, generator)
    return view


def prepare_pixels(frames: Tensor, view: ViewConfig | None, *, generator: torch.Generator) -> Tensor:
    """Draws a view of each sample where there is one to draw, and normalises; float32 [B, (T,) C, H, W].

    Args:
        frames: [B, C, H, W] or [B, T, C, H, W] uint8.
        view: how the view is drawn; None keeps the samples whole.
        generator: on the CPU.
    """
    return normalize_pixels(frames if view is None else random_view(frames, view, generator=generator))


def _crop_grid(batch: int, height: int, width: int, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Where to sample: [B, size, size, 2] in units of half a picture."""
    area = _uniform(batch, config.scale, generator) * height * width
    low, high = (torch.tensor(a).log().item() for a in config.aspect)
    aspect = _uniform(batch, (low, high), generator).exp()
    crop_w = (area * aspect).sqrt().clamp(max=width)
    crop_h = (area / aspect).sqrt().clamp(max=height)
    left = torch.rand(batch, generator=generator) * (width - crop_w)
    top = torch.rand(batch, generator=generator) * (height - crop_h)
    flip = torch.where(torch.rand(batch, generator=generator) < config.flip, -1.0, 1.0)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = flip * crop_w / width
    theta[:, 0, 2] = (2 * left + crop_w) / width - 1
    theta[:, 1, 1] = crop_h / height
    theta[:, 1, 2] = (2 * top + crop_h) / height - 1
    return F.affine_grid(theta, [batch, 1, config.size, config.size], align_corners=False)


def _change_colours(view: Tensor, config: ViewConfig, generator: torch.Generator) -> Tensor:
    """Applies brightness, contrast, saturation, hue and grey as one 3 x 3 map and one offset each."""
    batch = view.shape[0]
    luma = torch.tensor([0.299, 0.587, 0.114])
    on = torch.rand(batch, generator=generator) < config.jitter_share
    brightness, contrast, saturation = (
        torch.where(on, _uniform(batch, (max(0.0, 1 - x), 1 + x), generator), 1.0) for x in config.jitter[:3]
    )
    hue = torch.where(on, _uniform(batch, (-config.jitter[3], config.jitter[3]), generator), 0.0)
    saturation = torch.where(torch.rand(batch, generator=generator) < config.grey, 0.0, saturation)
    # Hue turns the chroma plane around the grey axis.
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    turn = torch.zeros(batch, 3, 3)
    angle = 2 * torch.pi * hue
    turn[:, 0, 0] = 1.0
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    rotate = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    to_grey = luma.expand(3, 3)
    colour = saturation[:, None, None] * torch.eye(3) + (1 - saturation)[:, None, None] * to_grey
    matrix = to_device((brightness * contrast)[:, None, None] * colour @ rotate, view.device)
    luma, contrast, brightness = (to_device(x, view.device) for x in (luma, contrast, brightness))
    mean = (view.mean((-2, -1)).movedim(-1, 0) * luma.view(3, *[1] * (view.ndim - 3))).sum(0)
    mean = mean.reshape(batch, -1).mean(1)  # grey level of each sample
    offset = (1 - contrast) * brightness * mean
    mixed = torch.einsum("bij,b...jhw->b...ihw", matrix, view)
    return (mixed + offset.view(batch, *[1] * (view.ndim - 1))).clamp(0.0, 255.0)


def _uniform(count: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return bounds[0] + torch.rand(count, generator=generator) * (bounds[1] - bounds[0])
