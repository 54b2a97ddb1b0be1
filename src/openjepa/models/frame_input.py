"""From uint8 frames to what an encoder sees: centred, by ImageNet's statistics, or as a difference from the mean frame.

Where little moves, almost all of a picture's contrast is background, and latents start (and may stay) a hundredth of a
unit apart. Subtracting the data set's mean frame and scaling what is left to a stated size cures both.
"""

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.nn.patch_embed import IMAGENET_MEAN, IMAGENET_STD

HALF = 127.5  # grey levels from the middle to either end
GREY = 128  # what is seen of a hidden box

Box = tuple[int, int, int, int]  # top, left, bottom and right in px, the last two beyond it


def hidden(frames: Tensor, boxes: tuple[Box, ...]) -> Tensor:
    """The same frames [B, 3, H, W] uint8 with nothing in some boxes."""
    if boxes:
        frames = frames.clone()
        for top, left, bottom, right in boxes:
            frames[..., top:bottom, left:right] = GREY
    return frames


def centred(frames: Tensor) -> Tensor:
    """uint8 pixels to [-1, 1], channels last."""
    laid_out = frames.contiguous(memory_format=torch.channels_last)  # while a pixel is still a byte
    return laid_out.float().div(HALF).sub_(1)


class Centred(nn.Module):
    """Frames [B, 3, H, W] uint8 to pixels in [-1, 1]."""

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        return centred(frames)


class PerImage(nn.Module):
    """Frames [B, 3, H, W] uint8 to pixels of mean 0 in each channel and std 1 over all, in every frame by itself."""

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        pixels = frames.float()
        pixels = pixels - pixels.mean((2, 3), keepdim=True)
        scale = pixels.square().mean((1, 2, 3), keepdim=True).add(1.0).rsqrt()  # 1 grey level where nothing differs
        return (pixels * scale).contiguous(memory_format=torch.channels_last)


class ImageNet(nn.Module):
    """Frames [B, 3, H, W] uint8 to pixels standardised by ImageNet's mean and std."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        return (frames.float() / 255 - self.mean) / self.std


class Gain(nn.Module):
    """Frames [B, 3, H, W] uint8 minus the mean frame, scaled so that the data set has a root mean square of `gain`.

    Until it has measured, it does what `Centred` does.

    Args:
        gain: root mean square of the pixels, > 0.
        height: of a frame, px.
        width: of a frame, px.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, gain: float, height: int, width: int) -> None:
        super().__init__()
        self.gain = gain
        self.register_buffer("mean", torch.full((3, height, width), HALF))
        self.register_buffer("scale", torch.full((1,), 1 / HALF))

    @torch.no_grad()
    def measure(self, mean: Tensor, rms: float) -> None:
        """Takes the statistics of a data set.

        Args:
            mean: [3, H, W], the mean frame in grey levels of 0 to 255.
            rms: root mean square of what is left without it, in grey levels, > 0.
        """
        check_shape(mean, "C=3 H={} W={}".format(*self.mean.shape[1:]), name="mean")
        if not rms > 0:
            raise ConfigError(f"`rms` must be above 0; got {rms}. In these frames nothing differs from their mean.")
        self.mean.copy_(mean)
        self.scale.fill_(self.gain / rms)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        return ((frames.float() - self.mean) * self.scale).contiguous(memory_format=torch.channels_last)
