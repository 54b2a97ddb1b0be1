"""What stands where, and what moves: a map of the picture in cells, the place of the one thing that moves, its steps.

A layout that is drawn anew in every episode is many bits; a few numbers cannot hold it, a map in cells can. What
happens next depends on what is near the thing that moves, so the predictor reads the map there, relative to it: what it
learns at one wall holds at every other, in layouts that it has never seen.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CELL = 4  # px of a cell of the map


def _pixels(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


class Spot(nn.Module):
    """Frames [B, 3, S, S] uint8 to the place [B, 2] (x, y) of one thing, in px from the middle of the picture.

    Args:
        size: px S of a frame, even.
        width: channels.
    """

    centres: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )
        self.sharpness = 3.0
        self.register_buffer("centres", 2.0 * torch.arange(size // 2) + 1 - size / 2, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        scores = self.net(_pixels(frames)).squeeze(1)  # [B, S / 2, S / 2]
        weights = (self.sharpness * scores.flatten(1)).softmax(1).view_as(scores)
        return torch.stack([weights.sum(1) @ self.centres, weights.sum(2) @ self.centres], 1)


class CellMap(nn.Sequential):
    """Frames [B, 3, S, S] uint8 to a map [B, C, S / 4, S / 4].

    Args:
        width: channels.
        dim: channels C of the map.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, dim, 2, 2),
        )

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        return super().forward(_pixels(frames))


class LocalPredictor(nn.Module):
    """The next place [B, 2] of a thing from the map [B, C, G, G] around its place [B, 2] and an action [B, A].

    Args:
        size: px of a frame.
        dim: channels C of the map.
        action_dim: width A.
        points: places along each side of the square in which the map is read, >= 1.
        spacing: px between them.
        hidden_dim: width of both hidden layers.
    """

    around: Tensor

    def __init__(self, size: int, dim: int, action_dim: int, points: int, spacing: float, hidden_dim: int) -> None:
        super().__init__()
        self.reach = size / 2
        line = (torch.arange(points) - (points - 1) / 2) * spacing
        self.register_buffer("around", torch.stack(torch.meshgrid(line, line, indexing="xy"), -1), persistent=False)
        self.net = nn.Sequential(
            nn.Linear(points**2 * dim + action_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, 2),
        )

    def forward(self, cells: Tensor, place: Tensor, action: Tensor) -> Tensor:  # noqa: D102
        where = (place[:, None, None] + self.around) / self.reach  # [B, P, P, 2]
        seen = functional.grid_sample(cells, where, align_corners=False).flatten(1)
        return place + self.net(torch.cat([seen, action], 1))

    def rollout(self, cells: Tensor, place: Tensor, actions: Tensor) -> Tensor:
        """Places [B, H, 2] after each of actions [B, H, A]."""
        path = []
        for action in actions.unbind(1):
            place = self(cells, place, action)
            path.append(place)
        return torch.stack(path, 1)
