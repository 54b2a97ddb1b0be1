"""Pictures: reading them safely, and batches of them.

Pictures are decoded at reduced size where the format allows it, reach the device as uint8 and are augmented
there (`openjepa.nn.views`), or cropped at random while they are read, from the full resolution.
"""

import io
import struct
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from openjepa.data.colors import picture_of, upright_rgb
from openjepa.data.crops import CropConfig, draw_boxes
from openjepa.data.items import IMAGE_SUFFIXES, Content, FileItems, Items, list_files
from openjepa.data.sampling import DamageLog, Sampling, Slots
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import ImageBatch

MAX_PIXELS = 100_000_000
DAMAGE = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    struct.error,
)
_opening = threading.Lock()


@dataclass(frozen=True)
class ImageConfig:
    """How pictures become batches.

    Attributes:
        size: side of the square picture in pixels, >= 1.
        batch_size: pictures of a global batch, over all processes, >= 1.
        crop: random resized crop while reading, from the full resolution; None for the centre square.
        sampling: `epoch` shows every picture once before any comes again, `uniform` draws with replacement.
        seed: of the drawing, >= 0.
        max_damaged_share: share of undecodable pictures beyond which the run stops, in [0, 1].
        max_pixels: pictures whose header claims more count as damaged.
        num_threads: decoding threads; 0 decodes in the calling thread.
    """

    size: int = 64
    batch_size: int = 64
    crop: CropConfig | None = None
    sampling: Sampling = "epoch"
    seed: int = 0
    max_damaged_share: float = 0.01
    max_pixels: int = MAX_PIXELS
    num_threads: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.batch_size < 1 or self.num_threads < 0 or self.seed < 0:
            raise ConfigError(
                f"`size` and `batch_size` must be >= 1, `num_threads` and `seed` >= 0; got {self.size}, "
                f"{self.batch_size}, {self.num_threads}, {self.seed}."
            )


class ImageSource:
    """Batches of pictures; a `BatchSource`: batch `step` is a pure function of its number.

    Args:
        items: files, shards or a data set.
        config: size, batch and sampling.

    Attributes:
        damage: the pictures that could not be decoded, by name.
    """

    def __init__(self, items: Items, config: ImageConfig | None = None) -> None:
        self.items, self.config = items, config or ImageConfig()
        c = self.config
        self.slots = Slots(
            items,
            batch_size=c.batch_size,
            sampling=c.sampling,
            seed=c.seed,
            max_damaged_share=c.max_damaged_share,
            num_threads=c.num_threads,
        )

    @property
    def damage(self) -> DamageLog:
        """The pictures that could not be decoded so far."""
        return self.slots.damage

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> ImageBatch:
        """Returns this rank's share of batch `step`: images [B, 3, size, size] uint8, labels [B] or None."""
        read = self.slots.read(step, rank, world_size, self._read)
        images = torch.from_numpy(np.stack([image for _, image in read]))
        return ImageBatch(images, label_tensor([self.items.label(i) for i, _ in read]))

    def _read(self, index: int, draws: np.random.Generator) -> np.ndarray:
        c = self.config
        return read_image(self.items.content(index), c.size, crop=c.crop, draws=draws, max_pixels=c.max_pixels)


def to_png(frame: np.ndarray, scale: int = 1) -> bytes:
    """A frame [3, H, W] uint8 as PNG, every pixel `scale` x `scale` large."""
    large = frame.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(large)).save(out, "PNG")
    return out.getvalue()


def image_folder(root: Path | str, *, labels: bool = False) -> FileItems:
    """Lists the pictures of a folder; with `labels`, the first folder below it is the class."""
    return list_files(root, IMAGE_SUFFIXES, labels_from_folders=labels)


def read_image(
    content: Content,
    size: int | None = None,
    *,
    crop: CropConfig | None = None,
    draws: np.random.Generator | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Reads one picture as RGB.

    Args:
        content: path, bytes, PIL image or array [H, W] or [H, W, C] uint8; what is given stays as it is. See
            `upright_rgb` for deep grey, transparency and orientation.
        size: side of the square returned, in pixels; None keeps the picture whole.
        crop: random resized crop; None for the centre square.
        draws: random numbers for `crop`.
        max_pixels: refuses more, before anything is decoded.

    Returns:
        [3, H, W] uint8.

    Raises:
        DataError: for a file that is no picture, is cut off, claims to be too large, or has pixels of no known range.
    """
    if crop is not None and (size is None or draws is None):
        raise ConfigError("`crop` needs `size` and `draws`; one of them is None.")
    name = str(content) if isinstance(content, Path) else "picture"
    try:
        with ExitStack() as files:
            image = _open(content, files)
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(
                    f"it claims {width} x {height} pixels, more than `max_pixels` {max_pixels}. Make it smaller, or "
                    "remove it."
                )
            if size is not None and crop is None and image is not content:
                image.draft("RGB", (size, size))  # JPEG: decodes at 1/2, 1/4 or 1/8, not below this size
            image = upright_rgb(image)
        if size is not None:
            image = _fit(image, size, crop, draws)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    except DataError as error:
        raise DataError(f"`{name}` must be a picture that can be read; {error}") from None
    except DAMAGE as error:
        why = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnidentifiedImageError):  # its own words name a Python object
            why = "it is of no known format"
        raise DataError(
            f"`{name}` must be a picture that can be decoded; {why.rstrip('.')}. Fetch it again, or remove it."
        ) from error


def label_tensor(labels: Sequence[int | None]) -> torch.Tensor | None:
    """Labels [B] int64 of a batch, or None where one is missing.

    Raises:
        DataError: for a number that takes more than 64 bits.
    """
    known = [n for n in labels if n is not None]
    if len(known) < len(labels):
        return None
    if large := next((n for n in known if not -(2**63) <= n < 2**63), None):
        raise DataError(f"labels must fit into 64 bits; got {str(large)[:40]}. Number the classes.")
    return torch.tensor(known, dtype=torch.int64)


def _open(content: Content, files: ExitStack) -> Image.Image:
    if isinstance(content, np.ndarray):
        return picture_of(content)
    if isinstance(content, Image.Image):
        return content
    raw = io.BytesIO(content) if isinstance(content, bytes) else io.BufferedReader(io.FileIO(content))
    file: Any = files.enter_context(raw)
    # The limit is ours to state; PIL's own would print a warning beside our one line.
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _fit(image: Image.Image, size: int, crop: CropConfig | None, draws: np.random.Generator | None) -> Image.Image:
    width, height = image.size
    if crop is None:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    assert draws is not None
    generator = torch.Generator().manual_seed(int(draws.integers(2**62)))
    boxes, flips = draw_boxes(crop, 1, (height, width), generator=generator)
    top, left, high, wide = (int(v) for v in boxes[0])
    image = image.crop((left, top, left + wide, top + high))  # before resizing, so that nothing bleeds in
    image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return ImageOps.mirror(image) if bool(flips[0]) else image
