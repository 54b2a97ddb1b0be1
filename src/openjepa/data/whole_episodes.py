"""Whole episodes as one batch, whatever their lengths: padded to the longest, never cut to the shortest."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openjepa.data.episode_store import EpisodeStore
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import TrajectoryBatch


def long_enough(store: EpisodeStore, ids: Sequence[int] | np.ndarray, frameskip: int = 1, first: int = 0) -> np.ndarray:
    """Returns those of the episodes `ids` that have at least one model step from step `first` on, in their order."""
    numbers = np.asarray(ids, np.int64).reshape(-1)
    return numbers[store.lengths[numbers] >= first + frameskip]


def read_episodes(
    store: EpisodeStore,
    ids: Sequence[int] | np.ndarray,
    frameskip: int = 1,
    max_frames: int | None = None,
    *,
    first: int = 0,
) -> TrajectoryBatch:
    """Reads whole episodes as one batch of frames [E, T, ...] and actions [E, T - 1, f * A], with `lengths` [E].

    T is the length of the longest. A shorter row repeats its last frame, state and proprioception, with actions of 0,
    and `lengths` says where its episode ends. Episodes without a single model step are left out: `long_enough` names
    those that remain, and `len(ids) - len(batch.frames)` counts the others.

    Args:
        store: the recorded episodes.
        ids: numbers of the episodes.
        frameskip: environment steps between two frames f, >= 1.
        max_frames: what is read of each episode at most, >= 2; None reads all.
        first: environment step at which reading begins, >= 0; with a frameskip other beginnings show other frames.

    Raises:
        DataError: where no episode has a model step.
    """
    if frameskip < 1 or first < 0 or (max_frames is not None and max_frames < 2):
        raise ConfigError(
            f"`frameskip` must be >= 1, `max_frames` >= 2 and `first` >= 0; got {frameskip}, {max_frames} and {first}."
        )
    kept = long_enough(store, ids, frameskip, first)
    if not len(kept):
        raise DataError(
            f"an episode must have at least {frameskip} steps, those of one model step; none of {len(ids)} in "
            f"`{store.path}` has. Lower `frameskip`, or collect longer episodes."
        )
    steps = (store.lengths[kept] - first) // frameskip
    if max_frames is not None:
        steps = np.minimum(steps, max_frames - 1)
    longest = int(steps.max())

    def rows(name: str) -> Tensor:
        column = store.column(name)
        out = np.empty((len(kept), longest + 1, *column.shape[1:]), column.dtype)
        for row, i, n in zip(out, kept, steps, strict=True):
            row[: n + 1] = store.rows_of(name, int(i))[first : first + n * frameskip + 1 : frameskip]
            row[n + 1 :] = row[n]
        return torch.from_numpy(out)

    actions = np.zeros((len(kept), longest * frameskip, store.column("actions").shape[1]), np.float32)
    for row, i, n in zip(actions, kept, steps, strict=True):
        row[: n * frameskip] = store.rows_of("actions", int(i))[first : first + n * frameskip]
    names = [column.name for column in store.columns]
    return TrajectoryBatch(
        rows("frames"),
        torch.from_numpy(actions).reshape(len(kept), longest, -1),
        rows("proprio") if "proprio" in names else None,
        rows("states") if "states" in names else None,
        lengths=torch.from_numpy(steps + 1),
    )


def recorded(lengths: Tensor | None, episodes: int, frames: int) -> Tensor:
    """Which frames of a padded batch belong to their episodes, [E, T] bool on the CPU; all where `lengths` is None.

    >>> recorded(torch.tensor([1, 3]), 2, 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    if lengths is None:
        return torch.ones(episodes, frames, dtype=torch.bool)
    return torch.arange(frames) < lengths.cpu()[:, None]
