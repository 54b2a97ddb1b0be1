"""From pixels to tokens: patches of a picture, tubelets of a clip."""

import torch
from torch import Tensor, nn

from openjepa.errors import ShapeError
from openjepa.nn.host import to_device
from openjepa.nn.tokens import Grid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_pixels(
    pixels: Tensor,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Turns pixels [..., C, H, W] on a scale of 0 to 255 into float32 of zero mean and unit variance."""
    shape = (-1, 1, 1)
    scale = torch.tensor([1.0 / (255.0 * s) for s in std]).view(shape)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(shape)
    return torch.addcmul(to_device(shift, pixels.device), pixels.float(), to_device(scale, pixels.device))


def cut_patches(x: Tensor, patch_size: int, tubelet_size: int = 1) -> Tensor:
    """Cuts pictures [B, C, H, W] or clips [B, T, C, H, W] into what each token covers.

    Returns:
        [B, N, tubelet * C * patch * patch], tokens in time, row, column order, as the embeddings below have them.
    """
    x = x if x.ndim == 5 else x[:, None]
    if x.shape[1] % tubelet_size or x.shape[-2] % patch_size or x.shape[-1] % patch_size:
        raise ShapeError(
            f"pixels must divide into tubelets of {tubelet_size} frames and patches of {patch_size} pixels; got "
            f"{list(x.shape)}. Resize or crop first."
        )
    x = x.unflatten(1, (-1, tubelet_size)).unflatten(-2, (-1, patch_size)).unflatten(-1, (-1, patch_size))
    x = x.permute(0, 1, 4, 6, 2, 3, 5, 7)  # [B, t, h, w, tubelet, C, patch, patch]
    return x.flatten(4).flatten(1, 3)


class PatchEmbed(nn.Module):
    """Cuts a picture [B, C, H, W] into patches and embeds each by one linear map.

    Args:
        patch_size: side of a patch in pixels.
        in_chans: channels C.
        embed_dim: width D.
    """

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def grid(self, x: Tensor) -> Grid:
        """Returns (1, h, w) for pictures [B, C, H, W]."""
        return 1, *_spatial_grid(x, self.proj.kernel_size[-1], self.proj.in_channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.proj(x).flatten(2).transpose(1, 2).contiguous()  # [B, N, D]


class TubeletEmbed(nn.Module):
    """Cuts a clip [B, T, C, H, W] into tubelets of several frames and embeds each by one linear map.

    Args:
        tubelet_size: frames of a tubelet.
        patch_size: side of a tubelet in pixels.
        in_chans: channels C.
        embed_dim: width D.
    """

    def __init__(self, tubelet_size: int, patch_size: int, in_chans: int, embed_dim: int):
        super().__init__()
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(in_chans, embed_dim, kernel_size=kernel, stride=kernel)

    def grid(self, x: Tensor) -> Grid:
        """Returns (t, h, w) for clips [B, T, C, H, W]."""
        tubelet = self.proj.kernel_size[0]
        if x.shape[1] % tubelet:
            raise ShapeError(
                f"`clips` must have a number of frames divisible by the tubelet of {tubelet}; "
                f"got {x.shape[1]}. Drop or repeat frames."
            )
        return x.shape[1] // tubelet, *_spatial_grid(x, self.proj.kernel_size[-1], self.proj.in_channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.proj(x.transpose(1, 2)).flatten(2).transpose(1, 2).contiguous()  # [B, N, D]


def _spatial_grid(x: Tensor, patch: int, channels: int) -> tuple[int, int]:
    height, width = x.shape[-2:]
    if x.shape[-3] != channels:
        raise ShapeError(f"pixels must have C = {channels} channels; got {list(x.shape)}.")
    if height % patch or width % patch or not height or not width:
        raise ShapeError(
            f"height and width must be multiples of the patch of {patch} pixels; got {height} x {width}. "
            "Resize or crop first."
        )
    return height // patch, width // patch
