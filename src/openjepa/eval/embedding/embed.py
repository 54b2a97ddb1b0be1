"""Embeddings of thousands of pictures or videos: resumable, with the damaged ones named."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from openjepa.config import to_dict
from openjepa.data.folders import file_stamp, shown_name
from openjepa.data.images import read_image
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FileItems, Items, list_files
from openjepa.data.videos import is_picture, open_video
from openjepa.errors import ConfigError, DataError
from openjepa.eval.embedding.embedding_store import SAMPLES, EmbeddingStore, Format, Rows
from openjepa.eval.embedding.moments import Moments, Stretch
from openjepa.eval.probing.frozen_encoder import FrozenEncoder

View = Literal["clip", "per_frame", "prefix"]
Progress = Callable[[int, int], None]


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
class EmbedReport:
    """What was done.

    Attributes:
        files: all files found.
        embedded: those with embeddings, earlier starts included.
        resumed: those that were finished before this start.
        rows: embeddings written in all.
        damaged: name of each undecodable file to one line that says why.
        seconds: of this start.
        output: folder of the embeddings.
        changed: files that had changed since an earlier start, and were embedded anew with their parts.
    """

    files: int
    embedded: int
    resumed: int
    rows: int
    damaged: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    output: Path = Path()
    changed: int = 0

    def text(self) -> str:
        """Returns the report as lines for a terminal."""
        head = (
            f"{self.embedded} of {self.files} files embedded ({self.resumed} of them earlier) in "
            f"{self.seconds:.1f} s: {self.rows} rows in {self.output}"
        )
        changed = [f"{self.changed} had changed and were embedded anew"] if self.changed else []
        lines = [f"  {shown_name(why if name in why else f'{name}: {why}')}" for name, why in self.damaged.items()]
        return "\n".join([head, *changed, *([f"{len(lines)} damaged", *lines] if lines else [])])


@dataclass(frozen=True)
class _Decoded:
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
class _Damaged:
    index: int
    stamp: str
    why: str


def run_embed(
    encoder: FrozenEncoder,
    config: EmbedConfig,
    *,
    items: Items | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embeds every file of a folder, or goes on where an earlier start was stopped.

    Args:
        encoder: the frozen network.
        config: what and how.
        items: used instead of the files of `path` (shards, a data set).
        progress: called as `progress(files_done, files)`.

    Raises:
        DataError: where nothing is found, or too many files are damaged.
        ConfigError: where `output` holds embeddings of other files, options or weights.
    """
    began = time.perf_counter()
    items = list_files(config.path, _suffixes(config.kind)) if items is None else items
    files = len(items)
    items = items if config.every is None else Moments(items, config.every)
    if files == 1 and not config.output.exists():
        _decode(items, config, 0)  # a single damaged file says so itself, before a folder is made
    manifest = _manifest(encoder, config, items)
    with EmbeddingStore(config.output, config.format, manifest, partial(_stamp, items)) as store:
        done = store.done()
        resumed = (items.finished_files(done) if isinstance(items, Moments) else len(done)) - len(store.damaged())
        _embed_rest(encoder, config, items, store, progress)
    report = EmbedReport(
        files=files,
        embedded=files - len(store.damaged()),
        resumed=resumed,
        rows=sum(c.rows for c in store.commits),
        damaged=store.damaged(),
        seconds=time.perf_counter() - began,
        output=config.output,
        changed=min(store.changed, files),
    )
    (config.output / "_report.json").write_text(json.dumps(to_dict(report), indent=2) + "\n")
    return report


def _embed_rest(
    encoder: FrozenEncoder,
    config: EmbedConfig,
    items: Items,
    store: EmbeddingStore,
    progress: Progress | None,
) -> None:
    """Embeds the parts that the store does not have yet."""
    done, files = store.done(), len(items.files if isinstance(items, Moments) else items)
    _check_damage(store, config, files)
    parts = [
        range(first, min(first + config.part_size, len(items)))
        for first in range(0, len(items), config.part_size)
        if first not in done
    ]
    with closing(_decode_ahead(items, config, [i for part in parts for i in part])) as decoded:
        for part in parts:
            store.add(part[0], len(part), *_embed_part(encoder, config, items, islice(decoded, len(part))))
            _check_damage(store, config, files)
            done.update(part)
            if progress is not None:
                progress(len(done), len(items))


def embed_file(encoder: FrozenEncoder, config: EmbedConfig, path: Path) -> Rows:
    """Embeds one file and returns its rows.

    Raises:
        DataError: where it cannot be decoded.
    """
    files = list_files(path, _suffixes("auto"))
    items = files if config.every is None else Moments(files, config.every)
    rows, _, _ = _embed_part(encoder, config, items, (_decode(items, config, i) for i in range(len(items))))
    assert rows is not None
    return rows


def _suffixes(kind: str) -> tuple[str, ...]:
    return {
        "images": IMAGE_SUFFIXES,
        "videos": VIDEO_SUFFIXES,
        "auto": (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES),
    }[kind]


def _manifest(encoder: FrozenEncoder, config: EmbedConfig, items: Items) -> dict[str, object]:
    chosen = to_dict(config)
    for name in ("output", "batch_size", "num_threads", "max_damaged_share"):  # may change between starts
        chosen.pop(name)
    if config.every is None:  # embeddings of earlier versions can be gone on with
        chosen.pop("every")
    files = items.files if isinstance(items, Moments) else items
    manifest: dict[str, object] = {"options": chosen, "files": _names(files), "model": encoder.fingerprint()}
    return manifest | ({SAMPLES: _names(items)} if isinstance(items, Moments) else {})


def _names(items: Items) -> dict[str, object]:
    names = hashlib.blake2b(digest_size=8)
    for i in range(len(items)):
        names.update(items.name(i).encode("utf-8", "surrogateescape") + b"\0")
    return {"count": len(items), "names": names.hexdigest()}


def _check_damage(store: EmbeddingStore, config: EmbedConfig, total: int) -> None:
    damaged = store.damaged()
    if len(damaged) > config.max_damaged_share * total:
        name, why = next(iter(damaged.items()))
        raise DataError(
            f"{len(damaged)} of {total} files cannot be decoded, more than `max_damaged_share` "
            f"{config.max_damaged_share:g} allows; the first: {why if name in why else f'`{name}`: {why}'} "
            "The others are kept: start again with a larger share to go on."
        )


def _decode_ahead(items: Items, config: EmbedConfig, order: Sequence[int]) -> Generator[_Decoded | _Damaged]:
    """Decodes samples in order, several at once, no more than two batches ahead."""
    ahead = 2 * (config.num_threads if isinstance(items, Moments) else max(config.batch_size, config.num_threads))
    waiting: deque[Future[_Decoded | _Damaged]] = deque()
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


def _try_to_decode(items: Items, config: EmbedConfig, index: int) -> _Decoded | _Damaged:
    stamp = _stamp(items, index)
    try:
        return _decode(items, config, index, stamp)
    except DataError as error:
        return _Damaged(index, stamp, str(error))


def _decode(items: Items, config: EmbedConfig, index: int, stamp: str = "") -> _Decoded:
    content = items.content(index)
    stretch = items.stretches[index] if isinstance(items, Moments) else Stretch(index, 0, 1)
    if is_picture(content):
        pixels = torch.from_numpy(read_image(content, config.size))[None]
        return _Decoded(stretch.file, stamp, pixels, np.zeros((1, 1)))
    with open_video(content, items.name(index), min_frames=2) as video:
        if isinstance(items, Moments):
            times = items.times(index, config.num_frames, config.fps)
        elif config.fps is None:
            times = (np.arange(config.num_frames) + 0.5)[None] * video.seconds / config.num_frames
        else:
            times = 0.5 / video.fps + np.arange(config.num_frames)[None] / config.fps
        pixels = torch.from_numpy(video.read(times.ravel(), config.size)).unflatten(0, times.shape)
        return _Decoded(stretch.file, stamp, pixels, times, stretch.first)


def _stamp(items: Items, index: int) -> str:
    """What tells that a file has changed; rows of a data set and members of shards are taken to stay."""
    if isinstance(items, Moments):  # a file that has changed may have fewer of them
        return _stamp(items.files, items.stretches[index].file) if index < len(items) else "missing"
    return file_stamp(items.paths[index]) if isinstance(items, FileItems) else ""


def _embed_part(
    encoder: FrozenEncoder, config: EmbedConfig, items: Items, decoded: Iterable[_Decoded | _Damaged]
) -> tuple[Rows | None, dict[str, str], list[str]]:
    """The rows of a part, why its damaged files are damaged, and the stamps of all."""
    found, damaged, stamps = [], dict[str, str](), []
    batches: dict[tuple[int, ...], list[_Moment]] = {}
    files = items.files if isinstance(items, Moments) else items
    for result in decoded:
        stamps.append(result.stamp)
        if isinstance(result, _Damaged):
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
