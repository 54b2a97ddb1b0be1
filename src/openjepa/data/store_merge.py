"""Puts the episodes of several sources into one store; what was interrupted goes on where it stopped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from openjepa.data.episode_store import EpisodeStore
from openjepa.data.store_format import Column
from openjepa.errors import DataError
from openjepa.protocols import Episode

Progress = Callable[[int, int], None]  # called with (finished, wanted) after every episode


class Episodes(Protocol):
    """Recorded episodes by number; an `EpisodeStore` is one."""

    def __len__(self) -> int:
        """Episodes that are there."""
        ...

    def episode(self, episode: int) -> Episode:
        """Returns one."""
        ...


def merge(sources: Sequence[str | Path], out: str | Path, *, progress: Progress | None = None) -> int:
    """Copies the episodes of stores with equal columns into one, in the order given; returns how many it has.

    Args:
        sources: stores.
        out: a new store, or one that an interrupted merge of the same sources has left.
        progress: called after every episode.

    Raises:
        DataError: for stores whose columns differ, with the first difference.
    """
    stores = [EpisodeStore.open(source) for source in sources]
    if not stores:
        raise DataError("a merge must have at least one store; got none.")
    if Path(out).resolve() in {store.path.resolve() for store in stores}:
        raise DataError(f"`out` must be another folder than the stores that are merged; got `{out}`.")
    filled = [store for store in stores if len(store)]
    for store in filled[1:]:
        _check_columns(filled[0], store)
    return copy_into(_Row(filled), out, progress=progress)


def copy_into(source: Episodes, out: str | Path, *, progress: Progress | None = None) -> int:
    """Appends what a store does not have yet of a source; returns how many episodes it then has.

    Args:
        source: the episodes.
        out: a new store, or the beginning of the same copy.
        progress: called after every episode.

    Raises:
        DataError: where the store holds something else, or an episode cannot be stored.
    """
    with EpisodeStore.resume(out) as store:
        done, wanted = len(store), len(source)
        if done > wanted or not all(_is_same(store.episode(i), source.episode(i)) for i in range(done)):
            raise DataError(f"`{out}` must be new, or the beginning of this copy; it holds other episodes.")
        for number in range(done, wanted):
            store.append(source.episode(number))
            if progress is not None:
                progress(number + 1, wanted)
        return len(store)


class _Row:
    """Several stores as one."""

    def __init__(self, stores: Sequence[EpisodeStore]) -> None:
        self.stores = stores
        self.ends = np.cumsum([len(store) for store in stores])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def episode(self, episode: int) -> Episode:
        which = int(np.searchsorted(self.ends, episode, side="right"))
        return self.stores[which].episode(episode - (int(self.ends[which - 1]) if which else 0))


def _check_columns(first: EpisodeStore, other: EpisodeStore) -> None:
    ours, theirs = ({c.name: c for c in store.columns} for store in (first, other))
    for name in {**ours, **theirs}:
        wanted, found = (_words(columns.get(name)) for columns in (ours, theirs))
        if wanted != found:
            raise DataError(
                f"stores that are merged must have equal columns; `{name}` is {wanted} in `{first.path}` and {found} "
                f"in `{other.path}`. Record one of them anew."
            )


def _words(column: Column | None) -> str:
    return "missing" if column is None else f"{np.dtype(column.dtype)} {list(column.shape)} per {column.per}"


def _is_same(a: Episode, b: Episode) -> bool:
    """Whether two episodes have the same rows, bit for bit, and the same notes."""
    one, other = (
        {"frames": e.frames, "actions": e.actions, "states": e.states, "proprio": e.proprio, **e.extras} for e in (a, b)
    )
    if one.keys() != other.keys() or json.dumps(a.info) != json.dumps(b.info):  # NaN is not equal to itself
        return False
    return all(_bits(one[name]) == _bits(other[name]) for name in one)


def _bits(array: np.ndarray | None) -> bytes | None:
    return None if array is None else np.ascontiguousarray(array).tobytes()
