"""Where things move: from the latent of a frame, which places of the picture are not as they usually are in its window.

What never changes in an episode (a target, a layout) says nothing here, and what is small counts as much as what is
large. The targets are pixels of the window alone; nothing is reconstructed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NOISE = 12  # grey levels by which a pixel must differ from the window's median


@torch.no_grad()
def motion_places(frames: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The share of what moves that lies in each place of a picture, and whether anything does.

    What moves is what differs from the median of the window's frames.

    Args:
        frames: [B, T, 3, H, W] uint8, windows of an episode.
        cells: places along each side.

    Returns:
        shares [B, T, cells^2] that sum to 1 where anything moves, and [B, T] bool.
    """
    background = median_frame(frames).unsqueeze(1)
    apart = torch.maximum(frames, background) - torch.minimum(frames, background)  # bytes stay bytes
    apart = apart.amax(2).clamp_min(NOISE) - NOISE  # [B, T, H, W]
    mass = functional.adaptive_avg_pool2d(apart.flatten(0, 1).unsqueeze(1).float(), cells).view(*frames.shape[:2], -1)
    total = mass.sum(-1, keepdim=True)
    return mass / total.clamp_min(1e-6), total.squeeze(-1) > 0


def median_frame(frames: Tensor) -> Tensor:
    """The lower median [B, ...] over time of [B, T, ...] for few frames, by an odd-even merge of whole frames."""
    row = list(frames.unbind(1))
    for turn in range(len(row)):
        for i in range(turn % 2, len(row) - 1, 2):
            row[i], row[i + 1] = torch.minimum(row[i], row[i + 1]), torch.maximum(row[i], row[i + 1])
    return row[(len(row) - 1) // 2]


def motion_loss(read_out: Tensor, places: Tensor, seen: Tensor) -> Tensor:
    """How badly places and their centre are foretold; a scalar.

    Kullback-Leibler divergence of the shares in nats, and the squared error of their centre in units of a tenth of the
    picture's side.

    Args:
        read_out: [B, T, P + 2], log-odds of the P places, and x and y of the centre in these units from the middle.
        places: [B, T, P], see `motion_places`.
        seen: [B, T] bool; other moments do not count.
    """
    found = torch.log_softmax(read_out[..., :-2].float(), -1)
    apart = (torch.special.xlogy(places, places) - places * found).sum(-1)
    missed = (read_out[..., -2:].float() - centre_of(places)).square().sum(-1)
    return ((apart + missed) * seen).sum() / seen.sum().clamp_min(1)


def centre_of(places: Tensor) -> Tensor:
    """Shares [..., cells^2] to their mean x, y [..., 2] in tenths of the side, from the middle."""
    cells = round(places.shape[-1] ** 0.5)
    along = (torch.arange(cells, device=places.device) + 0.5) * 10 / cells - 5
    square = places.unflatten(-1, (cells, cells))
    return torch.stack([(square.sum(-2) * along).sum(-1), (square.sum(-1) * along).sum(-1)], -1)


class MotionReadout(nn.Module):
    """Poses [..., D] to what `motion_loss` compares; the centre is read linearly.

    Args:
        pose_dim: width D.
        cells: places along each side.
        hidden_dim: width of the hidden layers of the shares.
    """

    def __init__(self, pose_dim: int, cells: int, hidden_dim: int = 256) -> None:
        super().__init__()
        self.shares = nn.Sequential(
            nn.Linear(pose_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, cells**2),
        )
        self.centre = nn.Linear(pose_dim, 2)

    def forward(self, poses: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(poses.device.type, enabled=False):
            return torch.cat([self.shares(poses.float()), self.centre(poses.float())], -1)
