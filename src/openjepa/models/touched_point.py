"""Where the thing is that an agent moves by contact: a map of one frame that sees the whole picture, and its centre.

How the map is learned: `losses/touched.py`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.models.frame_input import PerImage
from openjepa.models.keypoints import cell_centres, expected_position

DIM = 2  # numbers of a point
SEEN = 128  # width of the picture's vector
SHARPNESS = 1.5  # of the centre: among several things that could be meant, the surest counts most


class TouchedPoint(nn.Module):
    """Frames [B, 3, H, W] uint8 to the centre of a map [B, 2], x and y in units of `scale` half pictures.

    Args:
        image_size: px, square pictures, a multiple of 16.
        width: channels of the first convolutions.
    """

    cells: Tensor
    scale: Tensor

    def __init__(self, image_size: int, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.side = image_size // 2
        self.pixels = PerImage()
        self.fine = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())
        self.coarse = nn.Sequential(
            nn.Conv2d(width, wide, 3, 2, 1), nn.ReLU(), nn.Conv2d(wide, wide, 3, 1, 1), nn.ReLU()
        )
        self.whole = nn.Sequential(
            nn.Conv2d(wide, wide, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(wide * (image_size // 16) ** 2, SEEN),
            nn.ReLU(),
        )
        self.tell = nn.Linear(SEEN, wide)
        self.near, self.around = nn.Conv2d(width, 2, 1), nn.Conv2d(wide, 2, 1)
        nn.init.constant_(self.near.bias, -3.0)  # at first nothing is there
        self.register_buffer("cells", cell_centres(self.side), persistent=False)
        self.register_buffer("scale", torch.ones(1))

    def maps(self, frames: Tensor) -> Tensor:
        """Log-odds [B, 2, P] of the agent and of what it moves at each of P = (H / 2)^2 places, against neither."""
        fine = self.fine(self.pixels(frames))
        coarse = self.coarse(fine)
        told = functional.relu(coarse + self.tell(self.whole(coarse))[..., None, None])
        around = functional.interpolate(self.around(told), scale_factor=2.0, mode="bilinear")
        return (self.near(fine) + around).flatten(2)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        agent, found = self.maps(frames).float().unbind(1)
        with torch.autocast(frames.device.type, enabled=False):
            odds = found - functional.softplus(agent)  # against all else
            weights = (SHARPNESS * odds).softmax(-1).view(-1, 1, self.side, self.side)
            return self.scale * expected_position(weights, self.cells, self.cells)
