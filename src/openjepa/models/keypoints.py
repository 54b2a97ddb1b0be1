"""Keypoints: where in a picture a learned feature is, as the expected position of a spatial soft-max (1509.06113).

A position is a smooth function of the picture by construction. A network without that constraint may give neighbouring
scenes codes that have nothing to do with each other, as a hash does; it then tells every scene of the training set
apart and knows nothing about a new one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Keypoints(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] to positions [B, 2 * K] in [-1, 1]: all x, then all y.

    Args:
        num_keypoints: number K.
        image_size: px, square pictures.
        stride: px between two cells, 2 or 4: the finer, the more exact and the dearer.
        width: channels.
        depth: 3x3 convolutions after the first one.
        placed: whether a map may prefer some places of the picture (and so tell an inner wall from the border).
    """

    cells: Tensor

    def __init__(
        self, num_keypoints: int, *, image_size: int, stride: int, width: int, depth: int, placed: bool
    ) -> None:
        super().__init__()
        side = image_size // stride
        self.stem = nn.Conv2d(3, width, 4, stride, (4 - stride) // 2)
        self.local = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(depth))
        self.maps = nn.Conv2d(width, num_keypoints, 1)
        self.sharpness = nn.Parameter(torch.tensor([3.0]))  # one number; FSDP shards no scalars
        self.place = nn.Parameter(torch.zeros(num_keypoints, side, side)) if placed else None
        self.register_buffer("cells", cell_centres(side), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        x = functional.relu(self.stem(pixels))
        for conv in self.local:
            x = functional.relu(conv(x))
        maps = self.maps(x)
        with torch.autocast(pixels.device.type, enabled=False):
            score = maps.float() if self.place is None else maps.float() + self.place
            weights = (score * self.sharpness).flatten(2).softmax(-1).view(maps.shape)
            return expected_position(weights, self.cells, self.cells)


def cell_centres(count: int) -> Tensor:
    """Where the middles of so many cells in a row are, from -1 to 1."""
    return (torch.arange(count) + 0.5) * 2 / count - 1


def expected_position(weights: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Mean positions [B, 2 K], all x, then all y, under weights [B, K, h, w] of cells at across [w] and down [h]."""
    return torch.cat([(weights.sum(2) * across).sum(-1), (weights.sum(3) * down).sum(-1)], -1)
