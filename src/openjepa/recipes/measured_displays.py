"""Where pictures show the last action itself, as an arrow for a torque or a bar for a throttle does.

A display is no part of the state of a world, but a latent likes nothing better: it is exact, every action can be read
from it, and it is foretold from the action alone. What is beside it is then learned badly or not at all. A display is
found by what it alone does: its pixels follow the last action and nothing before it, in a small part of the picture.
What an action moves follows the actions before as well, and moves about.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from openjepa.models.frame_input import Box
from openjepa.recipes.measured_motion import Clip

TOLD = 0.1  # share of a pixel's variance that the last action tells where it is shown
SURE = 0.2  # the same of the pixel that shows it best: .4 in an arrow; .09 by chance where nothing shows it
FRESH = 0.9  # times as much as the action before may tell, where actions are held for a while
VARIES = 4.0  # squared grey levels by which a pixel must vary
LEVELS = 12  # of an action, that are told apart
MARGIN = 2  # px around what is found, where only the largest actions reach
SMALL = 0.15  # share of the picture: what is larger is the world
FEWEST = 500  # steps that must be known
MOST = 20_000_000  # pixels that are looked at: of larger pictures fewer steps


def find_displays(clips: Sequence[Clip]) -> tuple[Box, ...]:
    """Boxes in px of the recorded frames, the largest first; none where nothing shows the last action.

    Args:
        clips: of episodes, in environment steps or model steps.
    """
    known = [clip for clip in clips if len(clip.actions) > 1]
    steps = sum(len(clip.actions) - 1 for clip in known)
    if steps < FEWEST:
        return ()
    skip = max(1, min(steps // FEWEST, round(steps * known[0].frames[0, 0].size / MOST)))
    grey = np.concatenate([clip.frames[2::skip].mean(1, dtype=np.float32) for clip in known])  # [S, H, W]
    last = np.concatenate([clip.actions[1::skip] for clip in known])
    before = np.concatenate([clip.actions[:-1:skip] for clip in known])
    told = _told(grey, last)
    shows = (told >= TOLD) & (_told(grey, before) < FRESH * told)
    around = _widest(shows, MARGIN) > 0
    if around.mean() > SMALL:
        return ()
    sure = (told >= SURE) & shows
    boxes = sorted((box for box in _boxes(around) if sure[_inside(box)].any()), key=_area, reverse=True)
    return tuple(boxes) if sum(map(_area, boxes)) <= SMALL * shows.size else ()


def _told(grey: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Share of the variance [H, W] of pixels [S, H, W] that a part of the actions [S, A] tells, without chance's."""
    count, variance = len(grey), grey.var(0)
    flat, best = (grey - grey.mean(0)).reshape(count, -1), np.zeros(variance.size, np.float32)
    for part in actions.T:
        levels = np.unique(np.quantile(part, np.linspace(0, 1, LEVELS + 1)[1:-1]))
        level = np.searchsorted(levels, part)
        is_at = (level == np.unique(level)[:, None]).astype(np.float32)  # [L, S]
        if len(is_at) < 2:
            continue
        between = (np.square(is_at @ flat) / is_at.sum(1, keepdims=True)).sum(0) / count
        left = (variance.ravel() - between) * (count - 1) / (count - len(is_at))
        best = np.maximum(best, 1 - left / np.maximum(variance.ravel(), 1e-6))
    return np.where(variance >= VARIES, best.reshape(variance.shape), 0.0)


def _boxes(shows: np.ndarray) -> list[Box]:
    """Around each connected part of what is true in [H, W]."""
    label, before = np.arange(1, shows.size + 1).reshape(shows.shape) * shows, np.zeros(shows.shape)
    while (label != before).any():
        label, before = _widest(label, 1) * shows, label
    places = [np.nonzero(label == i) for i in np.unique(label[shows])]
    return [(int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1) for y, x in places]


def _widest(x: np.ndarray, reach: int) -> np.ndarray:
    """The largest number within so many pixels of each of [H, W]."""
    found = functional.max_pool2d(torch.from_numpy(x.astype(np.float64))[None], 2 * reach + 1, 1, reach)
    return found[0].numpy()


def _inside(box: Box) -> tuple[slice, slice]:
    top, left, bottom, right = box
    return slice(top, bottom), slice(left, right)


def _area(box: Box) -> int:
    top, left, bottom, right = box
    return (bottom - top) * (right - left)
