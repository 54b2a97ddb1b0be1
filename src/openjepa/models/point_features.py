"""Points and what is at them: keypoints (1509.06113) with the features that are pooled under each map.

A keypoint says where something is, never how it is turned or what it holds. A convolutional net says both, but learns
every appearance anew at every place. Here one path that all places share says what is seen, and attention where.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.models.keypoints import cell_centres, expected_position


class PointFeatures(nn.Module):
    """Pixels [B, 3, H, W] to K positions in [-1, 1] and K features: [B, K * (2 + F)], all x, all y, all features.

    Frames that are no multiple of the patch are filled up at the right and below with zeros.

    Args:
        num_keypoints: number K.
        frame_size: height and width of a frame in px.
        patch_size: px of a cell. Where things move in cells of their own, patches of that size see each of them whole.
        width: channels, and features F.
    """

    across: Tensor
    down: Tensor

    def __init__(self, num_keypoints: int, *, frame_size: tuple[int, int], patch_size: int, width: int) -> None:
        super().__init__()
        rows, columns = (-(-side // patch_size) for side in frame_size)
        self.fill = (0, columns * patch_size - frame_size[1], 0, rows * patch_size - frame_size[0])
        self.out_dim = num_keypoints * (2 + width)
        self.stem = nn.Conv2d(3, width, patch_size, patch_size)
        self.local = nn.Conv2d(width, width, 3, 1, 1)
        self.maps = nn.Conv2d(width, num_keypoints, 1)
        self.sharpness = nn.Parameter(torch.tensor([3.0]))  # one number; FSDP shards no scalars
        for name, count in (("across", columns), ("down", rows)):
            self.register_buffer(name, cell_centres(count), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:  # noqa: D102
        stem = functional.relu(self.stem(functional.pad(pixels, self.fill)))  # [B, F, rows, columns]
        features = functional.relu(self.local(stem))
        maps = self.maps(features)
        with torch.autocast(pixels.device.type, enabled=False):
            weights = (maps.float() * self.sharpness).flatten(2).softmax(-1)  # [B, K, cells]
            pooled = weights @ features.float().flatten(2).transpose(1, 2)  # [B, K, F]
            where = expected_position(weights.view(maps.shape), self.across, self.down)
            return torch.cat([where, pooled.flatten(1)], -1)
