"""A part of an embedding: some files decoded, encoded in batches, and turned into rows.

A part is the unit of all work: batches never cross its border, so its rows are the same whoever computes it.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from openjepa.data.folders import file_stamp
from openjepa.data.images import read_image
from openjepa.data.items import FileItems, Items
from openjepa.data.videos import is_picture, open_video
from openjepa.errors import ConfigError, DataError
from openjepa.eval.embedding.embedding_store import Format, Rows
from openjepa.eval.embedding.moments import Moments, Stretch
from openjepa.eval.probing.frozen_encoder import FrozenEncoder

View = Literal["clip", "per_frame", "prefix"]


@dataclass(frozen=True)
class EmbedConfig:
    """What is embedded, and how.

    Attributes:
        path: folder, or one file. output: folder that is made for the embeddings; an interrupted one is
        gone on with. kind: `images`, `videos`, or `auto` for both by their endings. view: of a video:
        `clip` encodes all frames together; `per_frame` each frame alone; `prefix`, for every
            latent frame, only what has happened up to it, so that the future cannot leak.
        pooling: `mean` of the tokens (one vector), `class` token, or `dense` for the grid of tokens.
        size: side of the picture in pixels; the centre square.
        num_frames: frames taken from a video, >= 1.
        fps: frames per second they are apart; None spreads them evenly over the whole video, or its moment.
        every: seconds from one moment of a video to the next, each with a row of its own; None for one for all.
        batch_size: files encoded together, >= 1.
        part_size: files of a part on disk, >= 1; a kill loses at most the work of one.
        format: `parquet` or `numpy`.
        dtype: of the stored numbers.
        num_threads: decoding threads, >= 1.
        max_damaged_share: share of undecodable files beyond which the work stops, in [0, 1].
    """

    path: Path = Path(".")
    output: Path = Path("embeddings")
    kind: Literal["auto", "images", "videos"] = "auto"
    view: View = "clip"
    pooling: Literal["mean", "class", "dense"] = "mean"
    size: int = 224
    num_frames: int = 16
    fps: float | None = None
    every: float | None = None
    batch_size: int = 8
    part_size: int = 64
    format: Format = "parquet"
    dtype: Literal["float32", "float16"] = "float32"
    num_threads: int = 2
    max_damaged_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("size", "num_frames", "batch_size", "part_size", "num_threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be >= 1; got {getattr(self, name)}.")
        if self.fps is not None and self.fps <= 0:
            raise ConfigError(f"`fps` must be > 0 or None; got {self.fps}.")
        if self.every is not None and (self.every <= 0 or self.view != "clip"):
            raise ConfigError(f"`every` must be > 0, with `view` clip; got {self.every} and {self.view}.")
        if not 0 <= self.max_damaged_share <= 1:
            raise ConfigError(f"`max_damaged_share` must lie in [0, 1]; got {self.max_damaged_share}.")
        if self.pooling == "class" and self.view != "clip":
            raise ConfigError(f"`pooling` class needs `view` clip; got {self.view}.")


@dataclass(frozen=True)
class Part:
    """What came of samples `first` to `first + count - 1`.

    Attributes:
        first: number of the first sample.
        count: samples.
        rows: None where all are damaged.
        damaged: name of each undecodable file to one line that says why.
        stamps: of all files, see `stamp_of`.
    """

    first: int
    count: int
    rows: Rows | None
    damaged: dict[str, str]
    stamps: list[str]


@dataclass(frozen=True)
class Decoded:
    """Pictures or frames of one sample."""

    index: int  # of the file
    stamp: str  # of the file before it was read
    pixels: torch.Tensor  # [moments, C, H, W] or [moments, T, C, H, W] uint8; one moment where they are not asked for
    times: np.ndarray  # [moments, T] seconds
    first: int = 0  # number of its first moment within the file


@dataclass(frozen=True)
class _Moment:
    """One sample: number of the file, number within it, [C, H, W] or [T, C, H, W] pixels, and times [T]."""

    index: int
    number: int
    pixels: torch.Tensor
    times: np.ndarray


@dataclass(frozen=True)
class Damaged:
    """A sample that cannot be decoded, and why."""

    index: int
    stamp: str
    why: str


def parts_of(samples: int, size: int) -> list[range]:
    """Numbers of the samples of each part."""
    return [range(first, min(first + size, samples)) for first in range(0, samples, size)]


def compute_parts(encoder: FrozenEncoder, config: EmbedConfig, items: Items, parts: Sequence[range]) -> Generator[Part]:
    """Computes parts one after the other, while the files of the next are decoded.

    Args:
        encoder: the frozen network.
        config: what and how.
        items: all samples.
        parts: numbers of the samples of each part.
    """
    decoded = _decode_ahead(items, config, [i for part in parts for i in part])
    try:
        for part in parts:
            rows, damaged, stamps = embed_samples(encoder, config, items, islice(decoded, len(part)))
            yield Part(part.start, len(part), rows, damaged, stamps)
    finally:
        decoded.close()


def _decode_ahead(items: Items, config: EmbedConfig, order: Sequence[int]) -> Generator[Decoded | Damaged]:
    """Decodes samples in order, several at once, no more than two batches ahead."""
    ahead = 2 * (config.num_threads if isinstance(items, Moments) else max(config.batch_size, config.num_threads))
    waiting: deque[Future[Decoded | Damaged]] = deque()
    queue = iter(order)
    with ThreadPoolExecutor(config.num_threads, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(waiting) < ahead and (index := next(queue, None)) is not None:
                    waiting.append(pool.submit(_try_to_decode, items, config, index))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _try_to_decode(items: Items, config: EmbedConfig, index: int) -> Decoded | Damaged:
    stamp = stamp_of(items, index)
    try:
        return decode(items, config, index, stamp)
    except DataError as error:
        return Damaged(index, stamp, str(error))


def decode(items: Items, config: EmbedConfig, index: int, stamp: str = "") -> Decoded:
    """Reads a sample.

    Raises:
        DataError: where it cannot be decoded.
    """
    content = items.content(index)
    stretch = items.stretches[index] if isinstance(items, Moments) else Stretch(index, 0, 1)
    if is_picture(content):
        pixels = torch.from_numpy(read_image(content, config.size))[None]
        return Decoded(stretch.file, stamp, pixels, np.zeros((1, 1)))
    with open_video(content, items.name(index), min_frames=2) as video:
        if isinstance(items, Moments):
            times = items.times(index, config.num_frames, config.fps)
        elif config.fps is None:
            times = (np.arange(config.num_frames) + 0.5)[None] * video.seconds / config.num_frames
        else:
            times = 0.5 / video.fps + np.arange(config.num_frames)[None] / config.fps
        pixels = torch.from_numpy(video.read(times.ravel(), config.size)).unflatten(0, times.shape)
        return Decoded(stretch.file, stamp, pixels, times, stretch.first)


def stamp_of(items: Items, index: int) -> str:
    """What tells that a file has changed; rows of a data set and members of shards are taken to stay."""
    if isinstance(items, Moments):  # a file that has changed may have fewer of them
        return stamp_of(items.files, items.stretches[index].file) if index < len(items) else "missing"
    return file_stamp(items.paths[index]) if isinstance(items, FileItems) else ""


def embed_samples(
    encoder: FrozenEncoder, config: EmbedConfig, items: Items, decoded: Iterable[Decoded | Damaged]
) -> tuple[Rows | None, dict[str, str], list[str]]:
    """The rows of a part, why its damaged files are damaged, and the stamps of all."""
    found, damaged, stamps = [], dict[str, str](), []
    batches: dict[tuple[int, ...], list[_Moment]] = {}
    files = items.files if isinstance(items, Moments) else items
    for result in decoded:
        stamps.append(result.stamp)
        if isinstance(result, Damaged):
            damaged[items.name(result.index)] = result.why
            continue
        for i, (pixels, times) in enumerate(zip(result.pixels, result.times, strict=True)):
            batch = batches.setdefault(tuple(pixels.shape), [])  # pictures and clips apart
            batch.append(_Moment(result.index, result.first + i, pixels, times))
            if len(batch) == config.batch_size:
                found.append(_encode(encoder, config, files, batch))
                batch.clear()
    found += [_encode(encoder, config, files, batch) for batch in batches.values() if batch]
    return _join(found), damaged, stamps


def _encode(encoder: FrozenEncoder, config: EmbedConfig, items: Items, batch: Sequence[_Moment]) -> Rows:
    """Encodes samples of one shape; rows [samples * t, ...]."""
    pixels = torch.stack([d.pixels for d in batch])
    is_clip = pixels.ndim == 5
    frames = pixels.shape[1] if is_clip else 1
    if is_clip and config.view != "clip":
        grid = encoder.per_frame(pixels) if config.view == "per_frame" else encoder.prefixes(pixels)
        vectors = grid if config.pooling == "dense" else grid.flatten(2, 3).mean(2)  # [B, t, (h, w,) D]
    elif config.pooling == "dense":
        vectors = encoder.tokens(pixels)
    else:
        vectors = encoder.pooled(pixels, config.pooling)[:, None]  # [B, 1, D]
    steps = vectors.shape[1]
    last_seen = [min((k + 1) * frames // steps, frames) - 1 for k in range(steps)]
    return Rows(
        [items.name(d.index) for d in batch for _ in range(steps)],
        np.repeat(np.array([d.index for d in batch], np.int64), steps),
        np.concatenate([d.number + np.arange(steps, dtype=np.int32) for d in batch]),
        np.concatenate([d.times[last_seen] for d in batch]).astype(np.float32),
        _stored(vectors.flatten(0, 1).cpu().numpy(), config.dtype),
    )


def _stored(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Embeddings in the type that is stored.

    Raises:
        DataError: where it cannot hold them.
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype)
    if not np.isfinite(stored).all():
        raise DataError(f"embeddings must fit {dtype}; the largest is {np.abs(vectors).max():.3g}. Store float32.")
    return stored


def _join(found: Sequence[Rows]) -> Rows | None:
    """Rows of several batches in the order of the files."""
    if not found:
        return None
    shapes = {rows.vectors.shape[1:] for rows in found}
    if len(shapes) > 1:
        raise ConfigError(f"pictures and videos must give embeddings of one shape; got {sorted(shapes)}. Set `kind`.")
    index, frame = (np.concatenate(parts) for parts in zip(*((r.index, r.frame) for r in found), strict=True))
    order = np.lexsort((frame, index))
    names = [name for rows in found for name in rows.paths]
    return Rows(
        [names[i] for i in order],
        index[order],
        frame[order],
        np.concatenate([rows.time for rows in found])[order],
        np.concatenate([rows.vectors for rows in found])[order],
    )
