"""Any picture as upright 8-bit RGB: deep grey scaled to its range, transparent pixels composed on white."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from openjepa.errors import DataError

CHANNELS = (1, 2, 3, 4)  # grey, grey with alpha, RGB, RGB with alpha
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 284, 338, 339  # tags of TIFF
WHITE_IS_ZERO, PREMULTIPLIED, SIGNED, SEPARATE = 0, 1, 2, 2
LOW_BIT_GREY = {"L;2": 85, "L;4": 17}  # what the decoder multiplies grey of 2 and 4 bits by


def upright_rgb(image: Image.Image) -> Image.Image:
    """Returns a picture as 8-bit RGB, turned as its EXIF data say; the picture that was given stays as it is.

    Grey of 16 bits (12 in some TIFF files) keeps its 8 highest bits. Transparent pixels are composed on white, as
    most viewers show them: the colours that a file stores under them are no part of the picture.

    Raises:
        DataError: for integers of 32 bits or with a sign, and floats, whose white is not agreed on; and for channels
            of 16 bits in planes of their own.
    """
    transparent = _transparent_value(image)  # before the decoder forgets how the file stored its pixels
    bits, inverted = _deep_grey(image)
    tags = _tags(image)
    is_signed = SIGNED in tags.get(SAMPLE_FORMAT, ())
    if bits is None and (image.mode in ("I", "F") or is_signed):
        kind = "integers with a sign" if is_signed else "32-bit integers" if image.mode == "I" else "floats"
        raise DataError(f"it holds {kind}, whose white is not known. Write it again with 8 or 16 bits per channel.")
    if tags.get(PLANAR) == SEPARATE and max(tags.get(BITS_PER_SAMPLE, (8,))) > 8 and len(image.getbands()) > 1:
        raise DataError("its channels of 16 bits lie apart, which the decoder misreads. Write them pixel by pixel.")
    is_premultiplied = image.mode == "LA" and PREMULTIPLIED in tags.get(EXTRA_SAMPLES, ())
    image = ImageOps.exif_transpose(image)  # always a copy
    if bits is not None:
        values = np.asarray(image).astype(np.int64)
        grey = np.clip(values >> (bits - 8), 0, 255).astype(np.uint8)
        grey = 255 - grey if inverted else grey
        image = Image.fromarray(grey)
        if transparent is not None:
            image.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    elif transparent is not None:
        image.info["transparency"] = transparent
    if not image.has_transparency_data:
        return image.convert("RGB")
    if is_premultiplied:  # the decoder takes it for plain grey with alpha
        image = Image.frombytes("La", image.size, image.tobytes())
    if image.mode == "La":  # premultiplied grey converts to nothing else
        image = image.convert("LA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def picture_of(array: np.ndarray) -> Image.Image:
    """Makes a picture of an array [H, W] or [H, W, C] uint8 with 1 to 4 channels.

    Raises:
        DataError: for another shape or type.
    """
    if array.dtype != np.uint8:
        raise DataError(f"arrays must be uint8; got {array.dtype}. Scale the values to 0 ... 255 yourself.")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)) or not array.size:
        raise DataError(f"arrays must be [H, W] or [H, W, C] with 1 to 4 channels; got {list(array.shape)}.")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _deep_grey(image: Image.Image) -> tuple[int | None, bool]:
    """Bits that the values of deep grey have, or None for other pictures; and whether 0 means white."""
    tags = _tags(image)
    if image.mode.startswith("I;16"):
        return int(tags.get(BITS_PER_SAMPLE, (16,))[0]), tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    # These formats have no more than 16 bits, whatever the decoder makes of them.
    return (16 if image.mode == "I" and image.format in ("PNG", "PPM") else None), False


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """What a TIFF file says of its pixels."""
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _transparent_value(image: Image.Image) -> int | tuple[int, ...] | None:
    """The grey or colour that a PNG declares transparent, in the units of the decoded pixels."""
    value = image.info.get("transparency")
    is_stored = image.format == "PNG" and isinstance(image, ImageFile.ImageFile) and image.tile
    raw = str(image.tile[0].args) if is_stored else ""  # type: ignore[attr-defined]
    if isinstance(value, int) and image.mode != "P":
        return value * LOW_BIT_GREY.get(raw, 1)
    if isinstance(value, tuple) and raw.startswith("RGB;16"):
        return tuple(v >> 8 for v in value)
    return None
