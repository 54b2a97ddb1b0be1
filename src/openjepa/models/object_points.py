"""Points of things, and points of what acts: a latent that is nothing but places in the picture.

Two networks, because one that must tell the action forgets what no action moves directly. The points of things decide
by fine cells and by what is around them, so that the corners of one thing are told apart.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.models.keypoints import Keypoints, cell_centres, expected_position


class ObjectPoints(nn.Module):
    """Pixels [B, 3, H, W] to positions in [-1, 1]: [B, 2 K] of things, then [B, 2 A] of what acts; all x, then all y.

    Args:
        num_things: number K.
        num_agent: number A.
        image_size: px, square pictures, a multiple of 4.
        width: channels of the things' fine cells.
    """

    cells: Tensor

    def __init__(self, num_things: int, num_agent: int, *, image_size: int, width: int = 24) -> None:
        super().__init__()
        self.out_dim = 2 * (num_things + num_agent)
        self.fine = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())
        self.coarse = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 1, 1), nn.ReLU()
        )
        self.maps = nn.Conv2d(width, num_things, 1)
        self.around = nn.Conv2d(2 * width, num_things, 1)
        self.sharpness = nn.Parameter(torch.tensor([3.0]))  # one number; FSDP shards no scalars
        self.agent = Keypoints(num_agent, image_size=image_size, stride=2, width=width // 2, depth=1, placed=False)
        self.register_buffer("cells", cell_centres(image_size // 2), persistent=False)

    @property
    def features(self) -> nn.Sequential:
        """Pixels [B, 3, H, W] to what is around each cell of 4 px [B, 2 `width`, H / 4, W / 4]: these very weights."""
        return nn.Sequential(self.fine, self.coarse)

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        fine = self.fine(pixels)  # [B, W, H / 2, W / 2]
        around = functional.interpolate(self.around(self.coarse(fine)), scale_factor=2.0, mode="bilinear")
        maps = self.maps(fine) + around
        with torch.autocast(pixels.device.type, enabled=False):
            weights = (maps.float() * self.sharpness).flatten(2).softmax(-1).view(maps.shape)
            things = expected_position(weights, self.cells, self.cells)
            return torch.cat([things, self.agent(pixels)], -1)
