"""What moves in recorded pictures, found without labels: things told apart by colour, and where they are.

A stand-in for the simulator's state that any store has and that does not depend on how anybody writes states down.
Pixels that change between neighbouring frames vote for colours; a colour's centroid in every frame is the position of
a thing. Several things of one colour are one thing, at their common centroid; what moves without a colour of its own,
such as a texture or a scrolling background, is not found.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.errors import check_shape
from openjepa.eval.probing.probes import centred

LARGEST_SIDE = 96  # px; larger pictures are looked at through every n-th pixel
LEVELS = 16  # of each colour channel
CHANGE = 16  # of 255: a smaller difference is noise of a camera or of compression
RADIUS = 40.0  # of a colour, of 255: wide enough for shading, narrow enough for two paints
MOST = 8  # colours that are followed
LEAST_SHARE = 0.005  # of the changing pixels, from which on a colour is followed: things are touched rarely
LARGEST_SHARE = 0.4  # of the picture: what covers more is its background
LEAST_TRAVEL = 0.01  # of the picture's side, root mean square within episodes
LEAST_AREA = 2.0  # looked-at pixels: fewer have no exact centroid


@dataclass(frozen=True)
class MovingThings:
    """Things that move within episodes, K of them, the one that changes most pixels first; px of the whole picture.

    Attributes:
        colours: [K, 3] of 0 to 255.
        places: [E, T, K, 2] centroids (x, y); while a thing is hidden it stays where it was seen last.
        size: [K] root of the mean visible area.
        step: [K] median displacement from one frame to the next, where there is one.
        travel: [K] root mean square distance from the episode's mean place.
        share: [K] of all changing pixels.
    """

    colours: Tensor
    places: Tensor
    size: Tensor
    step: Tensor
    travel: Tensor
    share: Tensor

    def grid(self) -> int | None:
        """Side in px of the cells in which the first thing moves, where it jumps from cell to cell; else None."""
        if not len(self.size):
            return None
        moves = (self.places[:, 1:, 0] - self.places[:, :-1, 0]).abs().flatten()
        moves = moves[moves > 0.5 * float(self.step[0])]
        for side in range(int(moves.max()) if len(moves) else 0, 2, -1):
            off = (moves / side - (moves / side).round()).abs() * side
            if float((off < 0.2).float().mean()) > 0.9:
                return side
        return None


def find_moving_things(frames: Tensor, lengths: Tensor | None = None) -> MovingThings:
    """Finds what moves in whole episodes.

    Args:
        frames: [E, T, C, H, W] uint8.
        lengths: [E] frames of each episode that count; all if None.
    """
    sizes = check_shape(frames, "E T C H W", name="frames")
    valid = recorded(lengths, sizes["E"], sizes["T"])
    stride = looked_at(sizes["H"], sizes["W"])
    small = frames[..., ::stride, ::stride]
    codes = torch.stack([_codes(clip) for clip in small])
    changes = torch.stack([_changes(clip) for clip in small]) & valid[:, 1:, None, None]  # [E, T - 1, h, w]
    votes = torch.bincount(torch.cat([codes[:, :-1][changes], codes[:, 1:][changes]]), minlength=LEVELS**3)
    colours = _popular(votes)
    labels = _labels(codes, colours)
    changing = torch.cat([labels[:, :-1][changes], labels[:, 1:][changes]]) + 1
    share = torch.bincount(changing, minlength=len(colours) + 1)[1:] / max(len(changing), 1)
    places, areas = _centroids(labels, len(colours), valid)
    shown = (areas[valid] > 0).float().mean(0)
    area = areas[valid].sum(0) / (areas[valid] > 0).sum(0).clamp_min(1)
    away = centred(places.flatten(2), valid)[valid].unflatten(1, (-1, 2))  # [M, K, 2]
    travel = away.square().sum(2).mean(0).sqrt().float()
    picture = codes.shape[-1] * codes.shape[-2]
    is_thing = (area >= LEAST_AREA) & (area <= LARGEST_SHARE * picture) & (shown >= 0.5)
    is_thing &= travel >= LEAST_TRAVEL * max(codes.shape[-2:])
    kept = is_thing.nonzero()[:, 0]
    kept = kept[share[kept].argsort(descending=True)]
    places = places[:, :, kept]
    jumps = (places[:, 1:] - places[:, :-1]).norm(dim=-1)[valid[:, 1:]]  # [M, K]
    step = torch.stack([_median(column[column > 0.1]) for column in jumps.unbind(1)]) if len(kept) else travel[kept]
    return MovingThings(
        colours[kept], places * stride, area[kept].sqrt() * stride, step * stride, travel[kept] * stride, share[kept]
    )


def find_again(frames: Tensor, colours: Tensor) -> Tensor:
    """Which thing each pixel belongs to: frames [..., C, H, W] uint8 to numbers [..., H, W], -1 for none.

    Args:
        frames: pictures of the same world.
        colours: [K, 3] of `MovingThings`.
    """
    return _labels(_codes(frames), colours)


def looked_at(height: int, width: int) -> int:
    """Every how many pixels a picture is looked at."""
    return max(1, -(-max(height, width) // LARGEST_SIDE))


def _codes(frames: Tensor) -> Tensor:
    """The quantised colour of each pixel as one number: [..., C, H, W] uint8 to [..., H, W] int16."""
    level = (frames.to(torch.int16) * LEVELS) >> 8
    channels = level if level.shape[-3] >= 3 else level[..., :1, :, :].expand(*level.shape[:-3], 3, *level.shape[-2:])
    red, green, blue = channels[..., :3, :, :].unbind(-3)
    return (red * LEVELS + green) * LEVELS + blue


def _changes(clip: Tensor) -> Tensor:
    """Which pixels change from one frame to the next: [T, C, H, W] uint8 to [T - 1, H, W] bool."""
    return (clip[1:].to(torch.int16) - clip[:-1].to(torch.int16)).abs().amax(1) > CHANGE


def _centres() -> Tensor:
    """The colour in the middle of each code, [LEVELS^3, 3]."""
    level = (torch.arange(LEVELS) + 0.5) * (256 / LEVELS)
    return torch.cartesian_prod(level, level, level)


def _popular(votes: Tensor) -> Tensor:
    """The colours [K, 3] with the most votes [LEVELS^3], none of them within the radius of a more popular one."""
    centres, left = _centres(), votes.clone()
    found: list[Tensor] = []
    while len(found) < MOST and int(left.max()) > 0:
        centre = centres[left.argmax()]
        near = (centres - centre).norm(dim=1) <= RADIUS
        if int(left[near].sum()) >= LEAST_SHARE * int(votes.sum()):
            found.append(centre)
        left[near] = 0
    return torch.stack(found) if found else torch.zeros(0, 3)


def _labels(codes: Tensor, colours: Tensor) -> Tensor:
    """The nearest of some colours [K, 3] for each pixel's code, -1 where none is within the radius; int8."""
    if not len(colours):
        return torch.full_like(codes, -1, dtype=torch.int8)
    nearest = torch.cdist(_centres(), colours).min(1)
    table = torch.where(nearest.values <= RADIUS, nearest.indices, -1).to(torch.int8)
    return torch.cat([table[part.int()] for part in codes.flatten().split(1 << 22)]).view(codes.shape)


def _centroids(labels: Tensor, count: int, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids [E, T, K, 2] (x, y) and areas [E, T, K] of labels [E, T, H, W], in looked-at pixels."""
    height, width = labels.shape[-2:]
    places, areas = [], []
    for k in range(count):
        mask = labels == k
        columns, rows = mask.sum(-2).float(), mask.sum(-1).float()  # [E, T, W], [E, T, H]
        area = columns.sum(-1)
        x = columns @ (torch.arange(width) + 0.5) / area.clamp_min(1)
        y = rows @ (torch.arange(height) + 0.5) / area.clamp_min(1)
        places.append(_held(torch.stack([x, y], -1), (area > 0) & valid))
        areas.append(area)
    empty = torch.zeros(*labels.shape[:2], 0)
    return (torch.stack(places, 2), torch.stack(areas, 2)) if places else (empty[..., None].expand(-1, -1, 0, 2), empty)


def _held(places: Tensor, seen: Tensor) -> Tensor:
    """Places [E, T, 2] where those that were not seen [E, T] repeat the last seen one, or else the first."""
    time = torch.arange(seen.shape[1]).expand_as(seen)
    last = torch.where(seen, time, -1).cummax(1).values
    first = seen.int().argmax(1, keepdim=True)  # 0 where never seen
    return places.gather(1, torch.where(last >= 0, last, first)[..., None].expand_as(places))


def _median(values: Tensor) -> Tensor:
    return values.median() if len(values) else torch.tensor(0.0)
