"""Moving pictures of episodes: small frames made large, with the goal, the imagined path, and a word on top.

All pictures here are [T, H, W, 3] uint8, ready for a file; frames come in as the worlds give them, [T, 3, H,
W].
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from openjepa.errors import ConfigError, check_shape

SCREEN, INK = (23, 26, 33), (233, 236, 241)
TRAIL, IMAGINED, GOAL = (220, 40, 40), (30, 130, 240), (20, 160, 90)
GAP = 8  # px between panels
LABEL = 24  # px for the words above them


@dataclass(frozen=True)
class Replay:
    """One episode, for people.

    Attributes:
        frames: [T + 1, 3, H, W] uint8, what the world showed.
        goal: [3, H, W] uint8, the picture to reach.
        success: whether it was reached.
        imagined: [T + 1, 3, H, W] uint8, what a probe decoder saw in the imagined state, or None.
        positions: [T + 1, 2] true position in px of the frame (x, y), or None; drawn as a trail.
        paths: for each frame the imagined positions [K, 2] in px of the plan in force, or None.
    """

    frames: np.ndarray
    goal: np.ndarray
    success: bool
    imagined: np.ndarray | None = None
    positions: np.ndarray | None = None
    paths: Sequence[np.ndarray] | None = None

    def __post_init__(self) -> None:
        sizes = check_shape(self.frames, "T C=3 H W", name="frames")
        check_shape(self.goal, "C=3 H W", name="goal", sizes={k: sizes[k] for k in "CHW"})
        for name in ("imagined", "positions", "paths"):
            value = getattr(self, name)
            if value is not None and len(value) != sizes["T"]:
                raise ConfigError(f"`{name}` must have one entry per frame ({sizes['T']}); got {len(value)}.")


def draw_replay(replay: Replay, *, scale: int = 4) -> np.ndarray:
    """Draws an episode with the goal beside it, and what was imagined if that is known.

    Args:
        replay: the episode.
        scale: screen pixels per pixel of a frame.

    Returns:
        Pictures [T + 1, H', W', 3] uint8.
    """
    frames = enlarge(with_ghost(replay.frames, replay.goal), scale)
    for t in range(len(frames)):
        if replay.positions is not None:
            _line(frames[t], replay.positions[: t + 1] * scale, TRAIL, width=max(2, scale // 2))
        if replay.paths is not None:
            _line(frames[t], np.asarray(replay.paths[t]) * scale, IMAGINED, width=max(2, scale // 2), dots=True)
    goal = np.broadcast_to(enlarge(replay.goal[None], scale), frames.shape)
    panels = {"world": frames, "goal": goal}
    if replay.imagined is not None:
        panels["imagined"] = enlarge(replay.imagined, scale)
    return side_by_side(panels)


def write_replay(replay: Replay, path: Path | str, *, fps: float = 10.0) -> Path:
    """Writes an episode as an animation (.gif, .webp) or as a strip of ten frames (.png); returns the path.

    Raises:
        ConfigError: for another suffix.
    """
    path = Path(path)
    pictures = draw_replay(replay)
    if path.suffix == ".png":
        chosen = pictures[np.linspace(0, len(pictures) - 1, min(10, len(pictures))).round().astype(int)]
        data = _encode(Image.fromarray(np.concatenate(list(chosen), axis=0)), "PNG")
    elif path.suffix in (".gif", ".webp"):
        data = encode_animation(pictures, path.suffix[1:], fps=fps)
    else:
        raise ConfigError(f"`out` must end in .gif, .webp or .png; got {path.name}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Repeats every pixel: [T, 3, H, W] to [T, H * scale, W * scale, 3]."""
    check_shape(frames, "T C=3 H W", name="frames")
    return frames.transpose(0, 2, 3, 1).repeat(scale, axis=1).repeat(scale, axis=2)


def with_ghost(frames: np.ndarray, goal: np.ndarray, *, share: float = 0.35) -> np.ndarray:
    """Blends what stands out in the goal [3, H, W] faintly into frames [T, 3, H, W].

    What stands out differs from the median frame, which is the scene without what moves in it.
    """
    scene = np.median(frames, axis=0)
    stands_out = (np.abs(goal - scene).max(0) > 12)[None, None]  # grey levels
    mixed = frames * (1 - share) + goal[None].astype(np.float32) * share
    return np.where(stands_out, np.rint(mixed), frames).astype(np.uint8)


def side_by_side(panels: dict[str, np.ndarray]) -> np.ndarray:
    """Places panels [T, H, W, 3] beside each other under their names; returns [T, H + label, W', 3]."""
    height = max(p.shape[1] for p in panels.values())
    count = max(len(p) for p in panels.values())
    width = sum(p.shape[2] for p in panels.values()) + GAP * (len(panels) + 1)
    canvas = np.empty((count, height + LABEL + GAP, width, 3), np.uint8)
    canvas[:] = SCREEN
    header = Image.fromarray(np.ascontiguousarray(canvas[0, :LABEL]))
    pen, font = ImageDraw.Draw(header), ImageFont.load_default(size=15)
    x = GAP
    for name, panel in panels.items():
        pen.text((x, LABEL // 2), name, INK, font=font, anchor="lm")
        rest = np.arange(count).clip(max=len(panel) - 1)  # a shorter panel keeps its last picture
        canvas[:, LABEL : LABEL + panel.shape[1], x : x + panel.shape[2]] = panel[rest]
        x += panel.shape[2] + GAP
    canvas[:, :LABEL] = np.asarray(header)
    return canvas


def filmstrip(rows: dict[str, np.ndarray], *, scale: int = 2, columns: int = 8) -> np.ndarray:
    """Places frames of several sequences above each other for comparison, such as real and predicted.

    Args:
        rows: name to frames [T, 3, H, W], all with the same T.
        scale: screen pixels per pixel.
        columns: number of evenly spaced moments.

    Returns:
        One picture [H', W', 3].
    """
    strips = []
    for name, frames in rows.items():
        moments = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
        large = enlarge(frames[moments], scale)
        gap = np.full((large.shape[1], GAP // 2, 3), SCREEN, np.uint8)
        strip = np.concatenate([part for frame in large for part in (gap, frame)] + [gap], axis=1)
        strips.append(side_by_side({name: strip[None]})[0])
    return np.concatenate(strips, axis=0)


def encode_animation(pictures: np.ndarray, kind: str, *, fps: float = 10.0) -> bytes:
    """Encodes pictures [T, H, W, 3] as an endless "gif" or "webp"; the last one stays for a second."""
    images = [Image.fromarray(np.ascontiguousarray(p)) for p in pictures]
    each = round(1000 / fps)
    durations = [each] * (len(images) - 1) + [each + 1000]
    if kind == "gif":  # one palette for all, so that still parts do not flicker
        palette = images[-1].quantize(255, method=Image.Quantize.MEDIANCUT)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    out = io.BytesIO()
    options = {"quality": 85, "method": 4} if kind == "webp" else {"disposal": 1, "optimize": False}
    images[0].save(out, kind.upper(), save_all=True, append_images=images[1:], duration=durations, loop=0, **options)
    return out.getvalue()


def sprite_sheet(pictures: np.ndarray) -> tuple[bytes, int]:
    """Tiles pictures [T, H, W, 3] into one WebP image, for a player; returns it and its number of columns."""
    count, height, width, _ = pictures.shape
    columns = max(1, math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for t, picture in enumerate(pictures):
        y, x = divmod(t, columns)
        sheet[y * height : (y + 1) * height, x * width : (x + 1) * width] = picture
    return _encode(Image.fromarray(sheet), "WEBP", quality=88, method=4), columns


def encode_png(picture: np.ndarray) -> bytes:
    """Encodes one picture [H, W, 3] uint8."""
    return _encode(Image.fromarray(np.ascontiguousarray(picture)), "PNG", optimize=True)


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _line(
    picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], *, width: int, dots: bool = False
) -> None:
    """Draws points [K, 2] (x, y in screen px) into a picture, which is changed."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    corners = [(float(x), float(y)) for x, y in points]
    if len(corners) > 1:
        pen.line(corners, fill=colour, width=width, joint="curve")
    if dots:
        for x, y in corners:
            pen.ellipse((x - width, y - width, x + width, y + width), fill=colour)
    picture[:] = np.asarray(image)
