"""The mean frame of a store, and how much its frames differ from it: what an encoder with a gain subtracts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from openjepa.data.episode_store import EpisodeStore
from openjepa.errors import DataError


@dataclass(frozen=True)
class FrameStatistics:
    """Statistics of frames, in grey levels of 0 to 255.

    Attributes:
        mean: [C, H, W] float32, the mean frame.
        rms: root mean square of all pixels without it; 0 where all frames are equal.
    """

    mean: Tensor
    rms: float


def frame_statistics(
    store: EpisodeStore,
    episodes: Sequence[int] | np.ndarray | None = None,
    *,
    max_frames: int = 4096,
    size: tuple[int, int] | None = None,
) -> FrameStatistics:
    """Measures frames that are spread evenly over whole episodes; use the training half of `split`.

    Args:
        store: the recorded episodes.
        episodes: numbers of the episodes; all if None.
        max_frames: frames that are looked at, at most.
        size: (H, W) that they are shrunk to before, with antialiasing; None leaves them as they are.
    """
    rows = spread_rows(store, episodes, max_frames)
    frames = store.column("frames")
    shape = (frames.shape[1], *(size or frames.shape[2:]))
    total, squares = np.zeros(shape), np.zeros(shape)
    for part in np.array_split(rows, -(-len(rows) // 256)):
        pixels = frames[part].astype(np.float32)
        if size is not None and pixels.shape[2:] != size:
            shrunk = functional.interpolate(torch.from_numpy(pixels), size, mode="bilinear", antialias=True)
            pixels = shrunk.numpy()
        total += pixels.sum(0, dtype=np.float64)
        squares += np.square(pixels).sum(0, dtype=np.float64)
    mean = total / len(rows)
    variance = np.maximum(squares / len(rows) - mean**2, 0).mean()
    return FrameStatistics(torch.from_numpy(mean.astype(np.float32)), float(np.sqrt(variance)))


def spread_rows(store: EpisodeStore, episodes: Sequence[int] | np.ndarray | None, max_frames: int) -> np.ndarray:
    """Rows of frames that are spread evenly over whole episodes, in their order; at most so many."""
    ids = np.arange(len(store)) if episodes is None else np.asarray(episodes, np.int64)
    if not len(ids):
        raise DataError("statistics of frames need at least one episode; got none.")
    first, last = store.starts[ids], store.starts[ids] + store.lengths[ids]
    rows = np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), max_frames)).round().astype(np.int64)]
