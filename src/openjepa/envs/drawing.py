"""Anti-aliased discs and shapes, which is all that the built-in worlds are drawn with besides rectangles."""

from collections.abc import Callable

import numpy as np

RADIUS = 2.5  # px


def _disc(dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    return np.sqrt(dy**2 + dx**2) - radius


def _square(dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    return np.maximum(abs(dx), abs(dy)) - 0.9 * radius


def _diamond(dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    return (abs(dx) + abs(dy)) / np.sqrt(2) - 0.9 * radius


def _triangle(dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    side = (2 * abs(dx) - dy) / np.sqrt(5)  # the two slanting sides meet above the centre
    return np.maximum(side - 0.5 * radius, dy - 0.9 * radius)


# shape -> signed distance in px from its edge, negative inside, of points dx, dy from its centre
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
}


def draw_discs(frames: np.ndarray, centres: np.ndarray, colour: tuple[int, int, int], radius: float = RADIUS) -> None:
    """Draws one disc into each frame, in place; see `draw_shapes`."""
    draw_shapes(frames, centres, colour, radius)


def draw_shapes(
    frames: np.ndarray, centres: np.ndarray, colour: tuple[int, int, int], radius: float = RADIUS, shape: str = "disc"
) -> None:
    """Draws one shape into each frame, in place; its edge is blended over one pixel.

    Args:
        frames: [B, 3, H, W] uint8.
        centres: [B, 2] x and y in px.
        colour: RGB.
        radius: px.
        shape: a key of `SHAPES`.
    """
    size = frames.shape[-1]
    reach = int(np.ceil(1.3 * radius + 1)) if shape != "disc" else int(np.ceil(radius + 1))
    offset = np.arange(-reach, reach + 1)
    corner = np.floor(centres).astype(int)
    columns = np.clip(corner[:, :1] + offset, 0, size - 1)  # [B, K]
    rows = np.clip(corner[:, 1:] + offset, 0, size - 1)
    dx = columns + 0.5 - centres[:, :1]
    dy = rows + 0.5 - centres[:, 1:]
    distance = SHAPES[shape](dx[:, None, :], dy[:, :, None], radius)
    cover = np.clip(0.5 - distance, 0, 1)[:, None]  # [B, 1, K, K]
    batch = np.arange(len(frames))[:, None, None]
    place = (batch, slice(None), rows[:, :, None], columns[:, None, :])
    patch = frames[place].transpose(0, 3, 1, 2)  # advanced indices first: [B, K, K, 3]
    blend = patch * (1 - cover) + np.array(colour)[None, :, None, None] * cover
    frames[place] = np.rint(blend).astype(np.uint8).transpose(0, 2, 3, 1)
