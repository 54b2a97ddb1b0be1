"""A picture's features from points alone: what is moved by contact must be in the latent, or it cannot be painted.

The target is a map of features of the frame, without its mean at each place over the data set, so that what always
stands there counts for nothing. They are random and frozen, or a slow copy of the encoder's own. A few Gaussians at the
points are all that the painting network sees: it cannot keep anything but places. Objective and bottleneck belong
together: without one of them a block's angle is lost.
"""

import copy
import math

import torch
from torch import Tensor, nn

from openjepa.models.frame_input import centred
from openjepa.models.keypoints import cell_centres

FIRST_WIDTH = 0.15  # of a Gaussian, in half sides of the picture
KEPT = 0.99  # share that mean and spread of slow features keep in a step


class FeaturePainter(nn.Module):
    """Points [B, 2 K] in [-1, 1], all x, then all y, to features of the picture [B, C, S / 4, S / 4].

    Args:
        points_dim: width 2 K.
        image_size: S px, a multiple of 4.
        sees: layers whose slow copy gives the target, pixels [B, 3, S, S] in [-1, 1] to [B, C, S / 4, S / 4]; who
            trains them moves it. None for random features.
        channels: C of random features.
        width: of the painting network.
    """

    mean: Tensor
    spread: Tensor
    cells: Tensor

    def __init__(
        self, points_dim: int, image_size: int, sees: nn.Module | None = None, channels: int = 32, width: int = 48
    ) -> None:
        super().__init__()
        count, side = points_dim // 2, image_size // 4
        random = nn.Sequential(nn.Conv2d(3, channels, 4, 2, 1), nn.ReLU(), nn.Conv2d(channels, channels, 4, 2, 1))
        self.features = (copy.deepcopy(sees) if sees is not None else random).requires_grad_(False)
        self.slow = sees is not None
        with torch.no_grad():
            channels = self.features(torch.zeros(1, 3, image_size, image_size)).shape[1]
        self.log_width = nn.Parameter(torch.full((count,), math.log(FIRST_WIDTH)))
        self.paint = nn.Sequential(
            nn.Conv2d(count, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )
        self.register_buffer("mean", torch.zeros(channels, side, side))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.register_buffer("cells", cell_centres(side), persistent=False)

    @torch.no_grad()
    def measure(self, frames: Tensor) -> None:
        """Takes the mean of each place and the spread of each channel from frames [F, 3, S, S] uint8 of the data."""
        self._take(torch.cat([self.features(centred(part)) for part in frames.split(256)]))

    def _take(self, found: Tensor) -> None:
        self.mean.copy_(found.mean(0))
        self.spread.copy_((found - self.mean).square().mean((0, 2, 3)).sqrt().clamp_min(1e-6).view(-1, 1, 1))

    def forward(self, points: Tensor) -> Tensor:  # noqa: D102
        return self.paint(self.blobs(points))

    @torch.no_grad()
    def target(self, frames: Tensor) -> Tensor:
        """Features of frames [B, 3, S, S] uint8, from their mean and in units of their spread [B, C, S / 4, S / 4].

        In training, mean and spread of slow features follow them.
        """
        found = self.features(centred(frames)).float()
        if self.slow and self.training:
            mean, spread = self.mean.clone(), self.spread.clone()
            self._take(found)
            self.mean.lerp_(mean, KEPT)
            self.spread.lerp_(spread, KEPT)
        return (found - self.mean) / self.spread

    def blobs(self, points: Tensor) -> Tensor:
        """Points [B, 2 K] to Gaussians of height 1 [B, K, S / 4, S / 4]."""
        off = (self.cells - points.unsqueeze(-1)) / self.log_width.exp().repeat(2).unsqueeze(-1)  # [B, 2 K, S / 4]
        across, down = (-0.5 * off.square()).exp().chunk(2, 1)
        return down.unsqueeze(-1) * across.unsqueeze(-2)
