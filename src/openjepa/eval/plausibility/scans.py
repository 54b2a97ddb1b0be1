"""Energies of clips whose frames come in parts: what is kept does not grow with the length of a clip.

A scan takes the next frames [B, t, 3, H, W] uint8 of clips whose length it was told, and gives back the energies
[B, K, p] that are now known, in the order of `positions`. Parts may be cut anywhere; all of a clip is one part too.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import DataError
from openjepa.eval.probing.frozen_encoder import check_finite

STRIDE = 2  # frames between the starts of two windows


class Scan(Protocol):
    """Clips in the course of being judged."""

    def add(self, frames: Tensor) -> np.ndarray:
        """Takes the next frames [B, t, 3, H, W] uint8; returns the energies [B, K, p] that are now known."""
        ...


def window_starts(length: int, window: int) -> list[int]:
    """Returns the first frames of the windows: every second one, and the one that ends with the clip.

    Raises:
        DataError: for a clip shorter than a window.

    >>> window_starts(9, 4)
    [0, 2, 4, 5]
    """
    if length < window:
        raise DataError(
            f"a clip must have at least {window} frames for this model; it has {length}. "
            "Take a longer clip, or a smaller `--frame-step`."
        )
    starts = list(range(0, length - window + 1, STRIDE))
    return starts if starts[-1] == length - window else [*starts, length - window]


class _Windows:
    """Hands out the windows of what comes in parts, along axis 1, and keeps what the next ones need."""

    def __init__(self, length: int, window: int) -> None:
        self.window, self.starts = window, window_starts(length, window)
        self.kept, self.first = torch.empty(0), 0  # and the number of its first frame

    def add(self, x: Tensor) -> tuple[Tensor, list[int]]:
        """Takes [B, t, ...]; returns all that is at hand [B, T, ...], and where in it the windows start."""
        x = _joined(self.kept, x)
        ready = [s - self.first for s in self.starts if s + self.window <= self.first + x.shape[1]]
        self.starts = self.starts[len(ready) :]
        used = self.starts[0] - self.first if self.starts else x.shape[1]
        self.kept, self.first = x[:, used:].clone(), self.first + used
        return x, ready


class MaskedScan:
    """A point for each window.

    Args:
        length: frames of each clip.
        window: frames that are judged at once.
        rows: how many energies K a window has.
        judge: windows [N, W, 3, H, W] uint8 to energies [N, K].
        batch_size: windows N at once.
    """

    def __init__(self, length: int, window: int, rows: int, judge: Callable[[Tensor], Tensor], batch_size: int) -> None:
        self.windows, self.rows, self.judge, self.batch_size = _Windows(length, window), rows, judge, batch_size

    def add(self, frames: Tensor) -> np.ndarray:
        """See `Scan`."""
        frames, ready = self.windows.add(frames)
        places = [(b, s) for b in range(len(frames)) for s in ready]
        found = [torch.empty(0, self.rows)]
        for at in range(0, len(places), self.batch_size):
            some = places[at : at + self.batch_size]
            found.append(self.judge(torch.stack([frames[b, s : s + self.windows.window] for b, s in some])))
        return torch.cat(found).view(len(frames), len(ready), self.rows).transpose(1, 2).numpy()


class CausalScan:
    """A point for each frame: the mean over the windows of latents that give it at least half of their memory.

    Args:
        length: frames of each clip.
        memory: frames of a window, at most.
        horizons: how many frames ahead each row foretells.
        encode: clips [B, T, 3, H, W] uint8, the first frame of a clip being the reference, to latents [B, T, D].
        surprise: windows of latents [N, T, D] to energies [N, T, K], NaN where nothing is foretold.
        batch_size: clips, and windows N, at once.
    """

    def __init__(
        self,
        length: int,
        memory: int,
        horizons: Sequence[int],
        *,
        encode: Callable[[Tensor], Tensor],
        surprise: Callable[[Tensor], Tensor],
        batch_size: int,
    ) -> None:
        self.length, self.memory, self.batch_size = length, memory, batch_size
        self.windows = _Windows(length, min(memory, length))
        self.encode, self.surprise = _Beside(encode, batch_size), surprise
        self.is_foretold = torch.arange(self.windows.window)[:, None] >= torch.tensor(horizons)  # [T, K]
        self.first_horizon = horizons[0]
        self.sums, self.done = np.empty(0), 0  # [2, B, K, t] of frames from `done` on: energies, and how many they are

    @torch.no_grad()
    def add(self, frames: Tensor) -> np.ndarray:
        """See `Scan`."""
        begin = self.windows.first
        z, ready = self.windows.add(self.encode(frames))
        if not self.sums.size:
            self.sums = np.zeros((2, len(z), self.is_foretold.shape[1], 0))
        for at in range(0, len(ready), self.batch_size):
            some = ready[at : at + self.batch_size]
            windows = torch.stack([z[:, s : s + self.windows.window] for s in some])
            found = self.surprise(windows.flatten(0, 1)).cpu()  # [S * B, T, K]
            check_finite(found[:, self.is_foretold])
            for start, energies in zip(some, found.unflatten(0, windows.shape[:2]).numpy(), strict=True):
                self._count(begin + start, energies.transpose(0, 2, 1))
        left = self.windows.starts
        return self._take(left[0] + self.memory // 2 if left else self.length)  # later windows count from there on

    def _count(self, start: int, energies: np.ndarray) -> None:
        """Adds the energies [B, K, T] of the window from frame `start` on."""
        skip = self.memory // 2 if start else 0
        begin, end = start + skip - self.done, start + energies.shape[-1] - self.done
        self.sums = np.pad(self.sums, [(0, 0)] * 3 + [(0, max(end - self.sums.shape[-1], 0))])
        seen = energies[..., skip:].astype(np.float64)
        self.sums[..., begin:end] += np.stack([np.nan_to_num(seen), ~np.isnan(seen)])

    def _take(self, end: int) -> np.ndarray:
        """Means of the frames before `end`, which no window changes any more."""
        ready, self.sums = np.split(self.sums, [max(end - self.done, 0)], -1)
        skip = max(self.first_horizon - self.done, 0)
        self.done += ready.shape[-1]
        total, count = ready[..., skip:]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class ChangeScan:
    """A point for each frame but the first: how far its features are from those of the one before.

    Args:
        encode: clips [B, T, 3, H, W] uint8 to features [B, T, ...]; None takes pixels.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor] | None) -> None:
        self.encode: Callable[[Tensor], Tensor] = torch.Tensor.float if encode is None else _Beside(encode)
        self.last = torch.empty(0)

    @torch.no_grad()
    def add(self, frames: Tensor) -> np.ndarray:
        """See `Scan`."""
        features = _joined(self.last, self.encode(frames))
        self.last = features[:, -1:].clone()
        return (features[:, 1:] - features[:, :-1]).abs().flatten(2).mean(2)[:, None].cpu().numpy()


class WholeScan:
    """Clips that can only be judged whole, and are kept until then.

    Args:
        length: frames of each clip.
        rows: how many energies K they have.
        energies: clips [B, T, 3, H, W] uint8 to energies [B, K, P].
    """

    def __init__(self, length: int, rows: int, energies: Callable[[Tensor], np.ndarray]) -> None:
        self.length, self.rows, self.energies, self.frames = length, rows, energies, torch.empty(0)

    def add(self, frames: Tensor) -> np.ndarray:
        """See `Scan`."""
        self.frames = _joined(self.frames, frames)
        if self.frames.shape[1] < self.length:
            return np.empty((len(frames), self.rows, 0))
        return self.energies(self.frames)


class _Beside:
    """Features [B, t, ...] of the next frames, encoded beside the first frame of their clip."""

    def __init__(self, encode: Callable[[Tensor], Tensor], batch_size: int | None = None) -> None:
        self.encode, self.batch_size, self.reference = encode, batch_size, torch.empty(0)

    def __call__(self, frames: Tensor) -> Tensor:
        known = self.reference.shape[1] if self.reference.numel() else 0
        beside = _joined(self.reference, frames)
        self.reference = beside[:, :1].clone()
        return torch.cat([self.encode(part)[:, known:] for part in beside.split(self.batch_size or len(beside))])


def _joined(kept: Tensor, x: Tensor) -> Tensor:
    return torch.cat([kept, x], 1) if kept.numel() else x
