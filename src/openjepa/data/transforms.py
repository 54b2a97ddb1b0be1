"""Augmentation on the device: random resized crops and flips of whole batches in plain torch.

A crop of every sample is two small matrix products with resampling matrices of its own, [out, H] and [out,
W]: one kernel for the batch, with antialiasing where a picture shrinks. All frames of a clip share the crop
and the flip.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import BatchSource, ImageBatch, VideoBatch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRIES = 10
Filter = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class CropConfig:
    """A random resized crop and flip; the default is I-JEPA's, `VIDEO_CROP` V-JEPA 2's (perception of clips).

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


def crop_resize(
    pictures: Tensor,
    boxes: Tensor,
    size: int | tuple[int, int],
    flips: Tensor | None = None,
    *,
    antialias: bool = True,
    filter: Filter = "bilinear",
) -> Tensor:
    """Cuts a box out of every sample and resizes it.

    Args:
        pictures: [B, C, H, W], or [B, T, C, H, W] with one box for all frames of a clip.
        boxes: [B, 4] top, left, height, width in pixels; fractions are allowed.
        size: side of the result, or (height, width), in pixels.
        flips: [B] bool, mirrored where True.
        antialias: whether shrinking averages over what it skips; V-JEPA's reference does not.
        filter: `bicubic` as PIL does it, which always antialiases.

    Returns:
        [B, (T,) C, size, size] of the same dtype; uint8 is rounded.
    """
    check_shape(boxes, "B 4", name="boxes", sizes={"B": len(pictures)})
    out_high, out_wide = (size, size) if isinstance(size, int) else size
    if filter == "bicubic" and not antialias:
        raise ConfigError("`antialias` must be on for the bicubic filter; got False.")
    boxes = boxes.to(pictures.device, torch.float32, non_blocking=True)
    rows = _resampling(boxes[:, 0], boxes[:, 2], out_high, pictures.shape[-2], antialias, filter)
    columns = _resampling(boxes[:, 1], boxes[:, 3], out_wide, pictures.shape[-1], antialias, filter)
    if flips is not None:
        flips = flips.to(pictures.device, non_blocking=True)
        columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    extra = pictures.ndim - 3  # axes between the batch and the plane
    rows = rows.reshape(len(pictures), *(1,) * extra, *rows.shape[1:])
    columns = columns.reshape(len(pictures), *(1,) * extra, *columns.shape[1:])
    out = rows @ (pictures.to(rows.dtype) @ columns.mT)  # [B, ..., out_high, out_wide]
    return out.round_().clamp_(0, 255).to(torch.uint8) if pictures.dtype == torch.uint8 else out


def random_resized_crop(
    pictures: Tensor,
    size: int,
    config: CropConfig,
    *,
    generator: torch.Generator,
    antialias: bool = True,
    filter: Filter = "bilinear",
) -> Tensor:
    """Crops, resizes and flips every sample at random; [B, (T,) C, H, W] to [B, (T,) C, size, size]."""
    shape = pictures.shape[-2], pictures.shape[-1]
    boxes, flips = draw_boxes(config, len(pictures), shape, generator=generator)
    return crop_resize(pictures, boxes, size, flips, antialias=antialias, filter=filter)


def normalize(
    pictures: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Brings uint8 [..., C, H, W] to (x / 255 - mean) / std; ImageNet's statistics unless told otherwise."""
    scale = 1 / (255 * torch.tensor(std, device=pictures.device))
    offset = torch.tensor(mean, device=pictures.device) / torch.tensor(std, device=pictures.device)
    return (pictures * scale[:, None, None] - offset[:, None, None]).to(dtype)


@dataclass(frozen=True)
class PendingBatch:
    """A uint8 batch on the host that is augmented on the device it is sent to.

    Attributes:
        pictures: [B, C, H, W] or [B, T, C, H, W] uint8.
        labels: [B] or None.
        augment: called with the pictures and a CPU generator.
        seed: of that generator.
    """

    pictures: Tensor
    labels: Tensor | None
    augment: Callable[[Tensor, torch.Generator], Tensor]
    seed: int

    def to(self, device: torch.device | str) -> ImageBatch | VideoBatch:
        """Moves the pictures and augments them there."""
        generator = torch.Generator().manual_seed(self.seed)
        pictures = self.augment(self.pictures.to(device, non_blocking=True), generator)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        kind = ImageBatch if pictures.ndim == 4 else VideoBatch
        return kind(pictures, labels)


class AugmentedSource:
    """A source whose batches are augmented on the device, by random numbers that are a function of the step.

    Args:
        source: gives pictures or clips as uint8.
        augment: for example `lambda x, g: random_resized_crop(x, 224, CropConfig(), generator=g)`.
        seed: of the augmentation, which also differs by process.
    """

    def __init__(
        self,
        source: BatchSource,
        augment: Callable[[Tensor, torch.Generator], Tensor],
        *,
        seed: int = 0,
    ) -> None:
        self.source, self.augment, self.seed = source, augment, seed

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> PendingBatch:
        """Returns this rank's share of batch `step`; `.to(device)` augments it."""
        batch = self.source.batch(step, rank=rank, world_size=world_size)
        if isinstance(batch, ImageBatch):
            pictures = batch.images
        elif isinstance(batch, VideoBatch):
            pictures = batch.clips
        else:
            raise ConfigError(f"augmentation needs pictures or clips; got {type(batch).__name__}.")
        seed = (self.seed * 1_000_003 + step) * 65_537 + rank * 8191 + world_size
        return PendingBatch(pictures, batch.labels, self.augment, seed % 2**63)


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _largest_centre(config: CropConfig, shape: tuple[int, int]) -> list[float]:
    high, wide = shape
    aspect = min(max(wide / high, config.aspect[0]), config.aspect[1])
    width, height = min(wide, round(high * aspect)), min(high, round(wide / aspect))
    return [float((high - height) // 2), float((wide - width) // 2), float(height), float(width)]


def _resampling(start: Tensor, length: Tensor, out: int, cells: int, antialias: bool, filter: Filter) -> Tensor:
    """Weights [B, out, cells] that map `length` cells from `start` on to `out` cells and ignore the rest."""
    scale = (length / out)[:, None, None]
    # [B, out, 1]
    centre = start[:, None, None] + (torch.arange(out, device=start.device)[:, None] + 0.5) * scale
    pixel = torch.arange(cells, device=start.device) + 0.5
    width = scale.clamp(min=1) if antialias else torch.ones_like(scale)
    weights = _kernel((pixel - centre) / width, filter)  # [B, out, cells]
    inside = (pixel > start[:, None, None]) & (pixel < (start + length)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(2, keepdim=True).clamp_min(1e-12)


def _kernel(x: Tensor, filter: Filter) -> Tensor:
    x = x.abs()
    if filter == "bilinear":
        return (1 - x).clamp_min(0)
    a = -0.5  # PIL's and torch's antialiased bicubic
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
