"""Draws an episode of a store: some of its frames in a row, or all of them one after the other, over its actions."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from openjepa.data.episode_store import EpisodeStore
from openjepa.errors import ConfigError, DataError
from openjepa.files import replacing

SMALLEST = 96  # pixels; smaller frames are enlarged by a whole number
HEIGHT, GAP, MARGIN = 72, 4, 14  # pixels: of the panel of actions, between frames, for numbers under them
PAPER, INK, FAINT, CURSOR = (255, 255, 255), (60, 60, 60), (220, 220, 220), (200, 30, 30)
COLOURS = [  # of the first entries of an action; later ones begin anew
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (148, 103, 189), (140, 86, 75), (227, 119, 194), (127, 127, 127),
]  # fmt: skip


def preview(store: str | Path, episode: int = 0, *, out: str | Path, num_frames: int = 8, fps: float = 10.0) -> Path:
    """Draws one episode; returns the path of the picture.

    Args:
        store: the store.
        episode: its number; negative ones count from the end.
        out: `.png` for a strip of `num_frames` frames with the actions between them underneath, `.gif` for all
            frames as an animation with a cursor in the actions.
        num_frames: frames of a strip, evenly spaced, the first and the last among them, >= 2.
        fps: frames per second of an animation, > 0.

    Raises:
        ConfigError: for another suffix, or numbers out of range.
        DataError: where there is no such episode, or it is damaged.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in (".png", ".gif"):
        raise ConfigError(f"`out` must end in .png or .gif; got {out.name}.")
    if num_frames < 2 or fps <= 0:
        raise ConfigError(f"`frames` must be at least 2 and `fps` above 0; got {num_frames} and {fps}.")
    opened = EpisodeStore.open(store)
    frames, actions = _as_pictures(opened.frames_of(episode)), opened.rows_of("actions", episode)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as draft:
        if suffix == ".png":
            _strip(frames, actions, num_frames).save(draft, format="PNG")
        else:
            first, *rest = [_moment(frames, actions, t) for t in range(len(frames))]
            first.save(draft, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return out


def _as_pictures(frames: np.ndarray) -> np.ndarray:
    """Frames [T, H, W, 3], enlarged to at least `SMALLEST` pixels."""
    if frames.shape[1] not in (1, 3):
        raise DataError(f"`frames` must have 1 or 3 channels to be drawn; got {frames.shape[1]}.")
    frames = np.broadcast_to(frames, (len(frames), 3, *frames.shape[2:]))
    scale = max(1, -(-SMALLEST // min(frames.shape[2:])))
    return frames.transpose(0, 2, 3, 1).repeat(scale, 1).repeat(scale, 2)


def _strip(frames: np.ndarray, actions: np.ndarray, num_frames: int) -> Image.Image:
    height, width = frames.shape[1:3]
    chosen = np.unique(np.linspace(0, len(frames) - 1, num_frames).round().astype(int))
    page = Image.new("RGB", (len(chosen) * (width + GAP) - GAP, height + MARGIN + HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)
    for place, t in enumerate(chosen):
        page.paste(Image.fromarray(frames[t]), (place * (width + GAP), 0))
        draw.text((place * (width + GAP) + width / 2, height), str(t), INK, anchor="ma")
    middles = np.arange(len(chosen)) * (width + GAP) + width / 2
    _draw_actions(draw, actions, (height + MARGIN, page.height), chosen, middles)
    return page


def _moment(frames: np.ndarray, actions: np.ndarray, t: int) -> Image.Image:
    """One picture of an animation."""
    height, width = frames.shape[1:3]
    page = Image.new("RGB", (width, height + MARGIN + HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)
    page.paste(Image.fromarray(frames[t]), (0, 0))
    draw.text((width / 2, height), f"{t} of {len(actions)}", INK, anchor="ma")
    ends, edges = np.array([0, len(actions)]), np.array([GAP, width - GAP], float)
    _draw_actions(draw, actions, (height + MARGIN, page.height), ends, edges)
    x = np.interp(t, ends, edges)
    draw.line([(x, height + MARGIN), (x, page.height)], CURSOR)
    return page


def _draw_actions(
    draw: ImageDraw.ImageDraw, actions: np.ndarray, rows: tuple[int, int], marks: np.ndarray, places: np.ndarray
) -> None:
    """Each entry of the actions [T, A] as a line of steps; action t lasts from frame t to frame t + 1.

    Args:
        draw: the page.
        actions: [T, A].
        rows: first and last row of pixels.
        marks: frames whose time is marked; time runs evenly between them.
        places: column of pixels of each of them.
    """
    top, bottom = rows[0] + GAP, rows[1] - GAP
    low, high = min(float(actions.min()), 0.0), max(float(actions.max()), 0.0)
    y = bottom - (bottom - top) * (np.asarray(actions, float) - low) / ((high - low) or 1.0)
    x = np.interp(np.arange(len(actions) + 1), marks, places)
    for place in places:
        draw.line([(place, rows[0]), (place, rows[1])], FAINT)
    zero = bottom + (bottom - top) * low / ((high - low) or 1.0)
    draw.line([(places[0], zero), (places[-1], zero)], FAINT)
    for entry in range(actions.shape[1]):
        points = [(float(x[t + side]), float(y[t, entry])) for t in range(len(actions)) for side in (0, 1)]
        draw.line(points, COLOURS[entry % len(COLOURS)], width=2)
