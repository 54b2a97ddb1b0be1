"""Anti-aliased discs, which is all that the built-in worlds are drawn with besides rectangles."""

import numpy as np

RADIUS = 2.5  # px


def draw_discs(frames: np.ndarray, centres: np.ndarray, colour: tuple[int, int, int], radius: float = RADIUS) -> None:
    """Draws one disc into each frame, in place; its edge is blended over one pixel.

    Args:
        frames: [B, 3, H, W] uint8.
        centres: [B, 2] x and y in px.
        colour: RGB.
        radius: px.
    """
    size = frames.shape[-1]
    reach = int(np.ceil(radius + 1))
    offset = np.arange(-reach, reach + 1)
    corner = np.floor(centres).astype(int)
    columns = np.clip(corner[:, :1] + offset, 0, size - 1)  # [B, K]
    rows = np.clip(corner[:, 1:] + offset, 0, size - 1)
    dx = columns + 0.5 - centres[:, :1]
    dy = rows + 0.5 - centres[:, 1:]
    distance = np.sqrt(dy[:, :, None] ** 2 + dx[:, None, :] ** 2)
    cover = np.clip(radius + 0.5 - distance, 0, 1)[:, None]  # [B, 1, K, K]
    batch = np.arange(len(frames))[:, None, None]
    place = (batch, slice(None), rows[:, :, None], columns[:, None, :])
    patch = frames[place].transpose(0, 3, 1, 2)  # advanced indices first: [B, K, K, 3]
    blend = patch * (1 - cover) + np.array(colour)[None, :, None, None] * cover
    frames[place] = np.rint(blend).astype(np.uint8).transpose(0, 2, 3, 1)
