"""What differs from the first frame, whatever its colour: a light that changes and a camera that drifts are taken out.

A light that changes everywhere is the median ratio of a frame to the first one. A camera that moves slowly is found by
least squares on the gradients of the first frame (Lucas and Kanade, 1981), coarse to fine, with weights that fall with
the misfit, so that moving bodies do not count. Where moving the frames back explains little, the camera stood still,
and nothing is moved.
"""

import torch
from torch import Tensor
from torch.nn import functional

NOISE = 2.0  # grey levels that rounding adds to what has not changed
CONTRAST = 12.0  # grey levels of difference at which a silhouette has 63 % of its strength
MISFIT = 8.0  # grey levels at which a pixel counts a quarter in finding how the camera moved
REACH = 4  # steps of 2 px that a camera may have moved, each way
NOTED = 0.01  # grey levels of misfit, on average, that moving a frame back must save; else the camera stood still


def silhouettes(clips: Tensor, contrast: Tensor | None = None, *, camera_moves: bool = True) -> Tensor:
    """What differs from the first frame, once the light and the drift of the camera are taken out.

    A pixel differs as far as it lies outside what the first frame shows there and one pixel around, so that an edge
    that moved by less than a pixel does not count. What a camera that moved no longer sees counts as unchanged.

    Args:
        clips: [B, T, C, H, W] uint8.
        contrast: factor on the difference [B]; 1 where None.
        camera_moves: whether to look for a drift of the camera, which costs more than all the rest.

    Returns:
        [B, T, C, H, W] on a scale of 0 to 255, 0 where nothing has changed; all channels are equal.
    """
    frames, first = clips.float(), clips[:, :1].float()
    light = _light(frames, first)
    frames.div_(light)
    noise = NOISE / light[..., 0, 0].clamp(max=1)  # [B, T, C]: what rounding leaves of a dim picture grows as well
    inside: Tensor | float = 1.0
    if camera_moves:
        frames, inside = _steadied(frames, first)
    beyond = torch.stack([_beyond(frames[:, :, c], first[:, :, c]) for c in range(frames.shape[2])], 2)
    if contrast is not None:
        beyond.mul_(contrast[:, None, None, None, None])
    apart = beyond.sub_(noise[..., None, None]).relu_().amax(2).mul_(inside)
    return apart.div_(-CONTRAST).exp_().mul_(-255).add_(255)[:, :, None].expand(clips.shape)


def _steadied(frames: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [B, T, C, H, W] as if the camera had stood still, and 1 [B, T, H, W] where it looked."""
    drift = camera_drift(frames, first)
    moves = drift.abs().amax(-1) > 0  # [B, T]
    inside = torch.ones_like(frames[:, :, 0])
    if bool(moves.any()):
        back, inside[moves] = moved(frames[moves], drift[moves])
        frames[moves] = back / _light(back, first.expand_as(frames)[moves])
    return frames, inside


def _light(frames: Tensor, first: Tensor) -> Tensor:
    """How much brighter each channel is than in the first frame [..., C, 1, 1]: most of a picture stands still."""
    ratio = (frames[..., ::4, ::4] + 1) / (first[..., ::4, ::4] + 1)
    return ratio.flatten(-2).median(-1).values[..., None, None]


def camera_drift(frames: Tensor, first: Tensor) -> Tensor:
    """How far the camera has moved since the first frame, in px: what was at x is now at x + drift.

    Args:
        frames: [B, T, C, H, W].
        first: [B, 1, C, H, W].

    Returns:
        [B, T, 2], across and down; 0 where the camera stood still.
    """
    grey, still = frames.mean(2), first.mean(2)  # [B, T, H, W], [B, 1, H, W]
    half = functional.avg_pool2d(grey, 2), functional.avg_pool2d(still, 2)
    drift = _aligned(grey, still, 2 * _aligned(*half, _best_shift(*half)))
    return drift * (_saved(grey, still, drift) > NOTED)[..., None]


def _best_shift(frames: Tensor, still: Tensor) -> Tensor:
    """The shift [B, T, 2] of frames [B, T, H, W] that leaves least misfit to still [B, 1, H, W], in whole px.

    What goes out of view saves nothing, or else a shift that hides a moving body would be the best.
    """
    raw = (frames - still).abs_().clamp_(max=2 * MISFIT)
    height, width = still.shape[-2:]
    reach = range(-REACH, REACH + 1)
    shifts = sorted(((x, y) for x in reach for y in reach), key=lambda d: d[0] ** 2 + d[1] ** 2)
    best, most = frames.new_zeros(*frames.shape[:2], 2), frames.new_zeros(frames.shape[:2])
    for x, y in shifts:
        here = frames[..., max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
        there = still[..., max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)]
        miss = (here - there).abs_().clamp_(max=2 * MISFIT).sum((-2, -1))
        before = [
            raw[..., max(0, v) : height + min(0, v), max(0, u) : width + min(0, u)].sum((-2, -1))
            for u, v in ((x, y), (-x, -y))
        ]
        saved = (torch.minimum(*before) - miss) / (height * width)
        better = saved > most + 0.02
        most = torch.where(better, saved, most)
        best[better] = best.new_tensor([float(x), float(y)])
    return best


def _aligned(frames: Tensor, still: Tensor, drift: Tensor) -> Tensor:
    """Refines drift [B, T, 2] of frames [B, T, H, W] against still [B, 1, H, W]; all in px of these pictures."""
    dy, dx = torch.gradient(still, dim=(-2, -1))
    for width in (16, 8, 4, 2, 1, 1):  # of the weights, in misfits: what edges say counts until they meet
        back, inside = moved(frames.flatten(0, 1)[:, None], drift.flatten(0, 1))
        miss = _lit_as(back[:, 0].unflatten(0, frames.shape[:2]), still) - still
        weight = inside.unflatten(0, frames.shape[:2]) / (1 + (miss / (width * MISFIT)).square()).square()
        a, b, c = ((weight * g).mean((-2, -1)) for g in (dx * dx, dx * dy, dy * dy))
        u, v = ((weight * g * miss).mean((-2, -1)) for g in (dx, dy))
        a, c = a + 0.1, c + 0.1  # a plain wall does not say how the camera moved along it
        det = a * c - b * b
        drift = drift - torch.stack([c * u - b * v, a * v - b * u], -1) / det[..., None]
    return drift


def _lit_as(frames: Tensor, still: Tensor) -> Tensor:
    """Frames [B, T, H, W] without what the light still adds everywhere to still [B, 1, H, W]."""
    return frames - (frames - still).flatten(-2).median(-1).values[..., None, None]


def _saved(frames: Tensor, still: Tensor, drift: Tensor) -> Tensor:
    """By how many grey levels, on average, moving frames back by drift lessens the misfit of what stays in view."""
    back, inside = moved(frames.flatten(0, 1)[:, None], drift.flatten(0, 1))
    back, inside = (x.unflatten(0, frames.shape[:2]) for x in (back[:, 0], inside))
    before, after = (_beyond(_lit_as(x, still), still).clamp(max=2 * MISFIT) for x in (frames, back))
    kept = [(before * x).mean((-2, -1)) for x in (inside, in_view(-drift, *frames.shape[-2:]))]
    return torch.minimum(*kept) - (after * inside).mean((-2, -1))


def _beyond(frames: Tensor, still: Tensor) -> Tensor:
    """How far frames [B, T, H, W] lie outside what still [B, 1, H, W] shows there and one pixel around."""
    high, low = functional.max_pool2d(still, 3, 1, 1), -functional.max_pool2d(-still, 3, 1, 1)
    return torch.maximum(low - frames, frames - high).relu_()


def moved(frames: Tensor, drift: Tensor) -> tuple[Tensor, Tensor]:
    """Moves frames [N, C, H, W] back by drift [N, 2] px, linearly between pixels; beside it 1 where the picture was."""
    height, width = frames.shape[-2:]
    x, y = _sources(drift.to(frames.dtype), height, width)
    at = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return functional.grid_sample(frames, at, padding_mode="border", align_corners=True), in_view(drift, height, width)


def in_view(drift: Tensor, height: int, width: int) -> Tensor:
    """1 where a picture shows what the first one did, 0 beyond its border; drift [..., 2] px to [..., H, W]."""
    x, y = _sources(drift, height, width)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(drift.dtype)


def _sources(drift: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of the first picture lies in one that drifted: x and y, [..., H, W]."""
    y, x = (torch.arange(n, device=drift.device, dtype=drift.dtype) for n in (height, width))
    x = (x + drift[..., :1]).unsqueeze(-2)
    y = (y + drift[..., 1:]).unsqueeze(-1)
    return x.expand(*x.shape[:-2], height, width), y.expand(*y.shape[:-2], height, width)
