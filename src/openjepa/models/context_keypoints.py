"""Keypoints that see their context: where something is depends on what else the picture shows.

A keypoint whose receptive field is a few cells cannot tell the hand of an arm from a distractor of its colour. Here a
vector of the whole picture takes part in every cell's decision.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.models.keypoints import cell_centres, expected_position


class ContextKeypoints(nn.Module):
    """Pixels [B, 3, H, W] to positions in [-1, 1] and the vector of the whole picture: [B, 2 * K + V].

    Args:
        num_keypoints: number K.
        image_size: px, square pictures, a multiple of 16.
        width: channels of the first convolutions.
        hidden_dim: width V of the picture's vector.
    """

    cells: Tensor

    def __init__(self, num_keypoints: int, *, image_size: int, width: int, hidden_dim: int) -> None:
        super().__init__()
        wide = 2 * width
        self.out_dim = 2 * num_keypoints + hidden_dim
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.fine = nn.Conv2d(width, width, 3, 1, 1)
        self.coarse = nn.Sequential(
            nn.Conv2d(width, wide, 3, 2, 1), nn.ReLU(), nn.Conv2d(wide, wide, 3, 1, 1), nn.ReLU()
        )
        self.whole = nn.Sequential(
            nn.Conv2d(wide, wide, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(wide * (image_size // 16) ** 2, hidden_dim),
            nn.ReLU(),
        )
        self.tell = nn.Linear(hidden_dim, wide)
        self.narrow = nn.Conv2d(wide, width, 1)
        self.maps = nn.Conv2d(width, num_keypoints, 1)
        self.sharpness = nn.Parameter(torch.tensor([3.0]))  # one number; FSDP shards no scalars
        self.register_buffer("cells", cell_centres(image_size // 4), persistent=False)

    def told(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fine cells [B, W, H / 4, W / 4], the picture's vector [B, V], and coarse cells that know of it.

        The last are [B, 2 W, H / 8, W / 8].
        """
        fine = functional.relu(self.fine(functional.relu(self.stem(pixels))))
        coarse = self.coarse(fine)
        whole = self.whole(coarse)
        return fine, whole, functional.relu(coarse + self.tell(whole)[..., None, None])

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        fine, whole, told = self.told(pixels)
        around = functional.interpolate(self.narrow(told), scale_factor=2.0)  # [B, W, H / 4, W / 4]
        maps = self.maps(functional.relu(fine + around))
        with torch.autocast(pixels.device.type, enabled=False):
            weights = (maps.float() * self.sharpness).flatten(2).softmax(-1).view(maps.shape)
            where = expected_position(weights, self.cells, self.cells)
            return torch.cat([where, whole.float()], -1)
