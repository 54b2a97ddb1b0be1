"""Draws physics stories in NumPy: backdrops, light, camera, bodies with smooth edges, and screens in front."""

import colorsys
from dataclasses import dataclass

import numpy as np

from openjepa.envs.physics.stories import FLOOR, SIDE, Body, Story

SCENES = ("plain", "textured", "evening")
KNOWN_HUES, NEW_HUES = (0.0, 0.68), (0.78, 0.92)  # of bodies: what training shows, and what only the control shows
CLOSEST, ASIDE = 1.2, 2.0  # zoom of a camera, and units by which it stands aside, at most
CLOSER = 0.94  # side of what a drifting camera sees, as a share of the stage


@dataclass(frozen=True)
class Look:
    """How a scene looks; one draw for all clips of a quadruple.

    Attributes:
        backdrop: [H, W, 3] float32, 0 to 255.
        light: factor on every colour [3].
        colors: of the roles [3], 0 to 1.
        zoom: of the camera about the centre of the picture.
        shift: of the camera, in units.
    """

    backdrop: np.ndarray
    light: np.ndarray
    colors: dict[str, np.ndarray]
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def place(self, xy: np.ndarray, size: int) -> np.ndarray:
        """Maps units [..., 2] to pixels."""
        return ((xy - SIDE / 2) * self.zoom + SIDE / 2 + np.array(self.shift)) * size / SIDE


def draw_look(
    rng: np.random.Generator,
    scene: str,
    size: int,
    *,
    from_above: bool,
    closest: float = CLOSEST,
    aside: float = ASIDE,
) -> Look:
    """Draws backdrop, light, camera and colours of a scene.

    The camera zooms in by `closest` at most, and stands aside by `aside` units at most, each way.
    """
    colors = {role: hue_color(rng, KNOWN_HUES) for role in ("ball", "other", "block")}
    colors["ledge"] = np.array(colorsys.hsv_to_rgb(rng.uniform(0.05, 0.12), 0.5, rng.uniform(0.3, 0.45)))
    grey = rng.uniform(0.25, 0.45)
    colors["screen"] = np.clip(grey + rng.uniform(-0.06, 0.06, 3), 0, 1)
    wall = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.03, 0.22), rng.uniform(0.78, 0.96)))
    floor = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.25), rng.uniform(0.55, 0.7)))
    light = rng.uniform(0.6, 1.05) * rng.uniform(0.9, 1.1, 3)
    zoom = rng.uniform(1.0, max(closest, CLOSEST))
    if scene == "evening":
        light = np.array([0.78, 0.62, 0.52]) * rng.uniform(0.9, 1.1)
        zoom = rng.uniform(1.05, 1.15)
    zoom = min(zoom, closest)
    free = min(aside, SIDE / 2 + 0.9 - SIDE / 2 / zoom)  # further aside, one would see bodies wait beside the stage
    shift = rng.uniform(-free, free), rng.uniform(-free, free)
    axis = (np.arange(size) + 0.5) * SIDE / size
    x, y = axis[None, :, None], axis[:, None, None]
    picture = np.broadcast_to(wall * (1.06 - 0.12 * y / SIDE), (size, size, 3)).copy()
    line = (FLOOR - SIDE / 2) * zoom + SIDE / 2 + shift[1]
    if not from_above:
        cover = np.clip((y - line) * size / SIDE + 0.5, 0, 1)
        picture = picture * (1 - cover) + floor * (1.0 - 0.2 * (y - line) / 10) * cover
    if scene == "textured":
        for _ in range(3):
            k, phase = rng.uniform(-0.9, 0.9, 2), rng.uniform(0, 2 * np.pi, 3)
            picture = picture * (1 + 0.07 * np.sin(k[0] * x + k[1] * y + phase))
        bricks = (np.floor(y / 8) % 2 * 6 + x) % 12 < 1
        picture = picture * np.where((bricks | (y % 8 < 1)) & (y < line), 0.9, 1.0)
    if scene == "evening":
        lamp = rng.uniform(8, 56)
        picture = picture * (1.15 - 0.55 * np.hypot(x - lamp, y) / SIDE)
    backdrop = np.clip(255 * picture * light, 0, 255).astype(np.float32)
    return Look(backdrop, light, colors, zoom, shift)


def hue_color(rng: np.random.Generator, hues: tuple[float, float]) -> np.ndarray:
    """Draws a strong colour [3], 0 to 1, darker than walls are."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(*hues), rng.uniform(0.65, 1), rng.uniform(0.4, 0.8)))


def draw_clip(bodies: tuple[Body, ...], story: Story, look: Look, size: int, *, length: int) -> np.ndarray:
    """Draws one history as a clip [T, 3, H, W] uint8.

    Args:
        bodies: those of history A or B of the story.
        story: for what stands in front.
        look: colours, light and camera; a colour may be [3] or [T, 3].
        size: side of a picture in pixels.
        length: frames T.
    """
    still = look.backdrop.copy()[None]
    for body in bodies:
        if len(body.path) == 1:
            _paint(still, body, look, size)
    clip = np.repeat(still, length, 0)
    for body in bodies:
        if len(body.path) > 1:
            _paint(clip, body, look, size)
    frames = np.rint(clip).astype(np.uint8)
    for screen in story.screens:
        _stand_in_front(frames, screen, look, size)
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))


def drifting(clip: np.ndarray, units: np.ndarray) -> np.ndarray:
    """What a camera sees [T, 3, S, S] uint8 that drifts by `units` [2], across and down, over a clip.

    Args:
        clip: [T, 3, 2 S, 2 S], drawn twice as large. The camera is 6 % closer, so that nothing beyond it is seen.
        units: from the first frame to the last.
    """
    wide = clip.shape[-1]
    frames = []
    for frame, share in zip(clip.astype(np.float32), np.linspace(-0.5, 0.5, len(clip)), strict=True):
        across, down = (_reading(wide, CLOSER, share * by * wide / SIDE) for by in units)
        frames.append(down @ frame @ across.T)
    return np.rint(np.stack(frames)).astype(np.uint8)


def _reading(wide: int, closer: float, shift: float) -> np.ndarray:
    """Weights [W / 2, W] of pixels that lie `closer` together about the middle, moved by `shift`, in pairs."""
    middle = (wide - 1) / 2
    at = np.clip((np.arange(wide) - middle) * closer + middle + shift, 0, wide - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(wide)))
    return ((weights[0::2] + weights[1::2]) / 2).astype(np.float32)


def _paint(clip: np.ndarray, body: Body, look: Look, size: int) -> None:
    """Lays a body over the frames of clip [T, H, W, 3], in place; only the pixels around it are touched."""
    scale = look.zoom * size / SIDE
    centre = look.place(body.path, size)  # [T, 2] px
    half = np.array(body.half) * scale
    reach = int(np.ceil(np.hypot(*half))) + 1
    first = np.floor(centre).astype(np.int64) - reach
    cells = np.arange(2 * reach + 1)
    xs, ys = first[:, None, 0] + cells, first[:, None, 1] + cells  # [T, K] px
    dx = (xs + 0.5 - centre[:, :1])[:, None, :]
    dy = (ys + 0.5 - centre[:, 1:])[:, :, None]
    cover = np.clip(0.5 - _distance(body, dx, dy, half), 0, 1)
    inside = (xs >= 0) & (xs < size)
    cover *= inside[:, None, :] & ((ys >= 0) & (ys < size))[:, :, None]
    t, row, column = np.nonzero(cover > 0)
    share = cover[t, row, column, None]
    color = look.colors[body.role]
    tint = (color[t] if color.ndim == 2 else color) * look.light
    shade = 1.08 - 0.22 * dy[t, row, 0] / half[1]  # lit from above
    paint = np.clip(255 * tint * shade[:, None], 0, 255)
    at = (t, ys[t, row], xs[t, column])
    clip[at] += (share * (paint - clip[at])).astype(np.float32)


def _distance(body: Body, dx: np.ndarray, dy: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Signed distance in pixels of each cell from the outline [T, K, K], negative inside."""
    if body.shape == "disc":
        return np.hypot(dx, dy) - half[0]
    if body.shape == "diamond":
        return (np.abs(dx) + np.abs(dy) - half[0]) * 0.7071
    if body.shape == "square":
        return np.maximum(np.abs(dx) - half[0] * 0.9, np.abs(dy) - half[1])
    cos, sin = np.cos(body.angle), np.sin(body.angle)
    return np.maximum(np.abs(dx * cos + dy * sin) - half[0], np.abs(dy * cos - dx * sin) - half[1])


def _stand_in_front(frames: np.ndarray, screen: Body, look: Look, size: int) -> None:
    """Covers a box of whole pixels, in place: what is behind leaves no trace."""
    half = np.array(screen.half)
    low = np.rint(look.place(screen.path[0] - half, size)).astype(int).clip(0, size)
    high = np.rint(look.place(screen.path[0] + half, size)).astype(int).clip(0, size)
    color = look.colors["screen"] * look.light
    ramp = np.linspace(1.12, 0.9, max(1, high[1] - low[1]))[:, None, None]
    face = np.clip(255 * color * ramp, 0, 255).astype(np.uint8)
    frames[:, low[1] : high[1], low[0] : high[0]] = face[: high[1] - low[1]]
