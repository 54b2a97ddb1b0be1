"""Pictures on the wire: Base64 of PNG (or what else Pillow reads) in, PNG out, always as [3, H, W] uint8 inside."""

import base64
import binascii
import io
import warnings

import numpy as np
from PIL import Image

from openjepa.errors import DataError

SIDE = 8192  # pixels of a picture that is opened at all
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


def strip(frames: list[np.ndarray]) -> np.ndarray:
    """Frames [3, H, W] side by side with a white line between them; [3, H, W']."""
    gap = np.full((3, frames[0].shape[1], 2), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)][:-1]
    return np.concatenate(parts, 2)


def from_base64(text: str, name: str, *, max_bytes: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a picture [3, H, W] uint8.

    Args:
        text: Base64, with or without `data:image/...;base64,` before it.
        name: of the argument that it came in.
        max_bytes: of the file.
        size: (H, W) that it must have; a whole multiple, as `to_png` makes with `scale`, is taken back exactly.

    Raises:
        DataError: for anything else.
    """
    body = text.partition(",")[2] if text[:5] == "data:" else text
    if len(body) * 3 // 4 > max_bytes + 2:
        raise DataError(
            f"`{name}` must have at most {max_bytes} bytes; it has {len(body) * 3 // 4}. Send a smaller one."
        )
    try:
        content = base64.b64decode(body, validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if max(image.size) > SIDE:
                    raise DataError(f"`{name}` must be at most {SIDE} pixels wide and high; got {image.size}.")
                pixels = np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"`{name}` must be a picture (PNG, JPEG or WebP) in Base64; it cannot be read ({type(error).__name__})."
        ) from error
    height, width = pixels.shape[:2]
    if size is not None and (height, width) != size:
        scale = height // size[0]
        if scale < 1 or (height, width) != (scale * size[0], scale * size[1]):
            raise DataError(
                f"`{name}` must be {size[0]} x {size[1]} px like the pictures that the agent learned from, or a whole "
                f"multiple; got {height} x {width}. Resize it."
            )
        pixels = pixels[scale // 2 :: scale, scale // 2 :: scale]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
