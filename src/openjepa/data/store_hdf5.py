"""Stores to and from HDF5 files with flat columns, as stable-worldmodel and its relatives keep them.

One file, one dataset for each column, the episodes one after the other, one row for each *frame*:

* `pixels` [N, H, W, C] uint8 (or [N, C, H, W]), `action` [N, A], `proprio`, `state`, and further columns;
* `ep_len` [E] and `ep_offset` [E]: number of rows of each episode, and its first row;
* `ep_idx`, `step_idx` [N]: which episode and which step a row is.

`action[t]` is taken at row t and leads to row t + 1, so the last row of an episode has none: it holds NaN, and is
left out when a file is read. What else has one row per action is treated alike, and marked by the attribute
`per` = "action". Texts are kept among the plain values of an episode; what a store notes about an episode stands as
JSON in the first row of the column `info`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from openjepa.data.episode_store import EpisodeStore
from openjepa.data.store_format import Column
from openjepa.data.store_merge import Progress, copy_into
from openjepa.errors import DataError, require
from openjepa.files import is_disk_full, replacing
from openjepa.protocols import Episode

SUFFIXES = (".h5", ".hdf5")
THEIRS = {"frames": "pixels", "actions": "action", "states": "state"}  # what they call our columns
OURS = {**{theirs: ours for ours, theirs in THEIRS.items()}, **{ours: ours for ours in THEIRS}}
LENGTHS, OFFSETS, INFO = "ep_len", "ep_offset", "info"
NUMBERS = ("ep_idx", "episode_idx", "step_idx")  # follow from the lengths


def to_hdf5(store: str | Path, out: str | Path, *, progress: Progress | None = None) -> int:
    """Writes a store as one HDF5 file; returns the number of episodes.

    Args:
        store: the store.
        out: the file; it appears when it is whole.
        progress: called after every episode.

    Raises:
        DataError: for an empty store, a file that is there already, or a full disk.
    """
    h5py, source, out = _h5py(), EpisodeStore.open(store), Path(out)
    if out.exists():
        raise DataError(f"`{out}` must be a new file; it is there already. Remove it, or choose another name.")
    if not len(source):
        raise DataError(f"`{store}` must hold at least one episode to be converted; it holds none.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft, h5py.File(draft, "w", libver="latest") as file:
            _write(h5py, file, source, progress)
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error, out) else str(error)
        raise DataError(f"cannot write `{out}` ({reason}). The store is as it was.") from error
    return len(source)


def from_hdf5(
    file: str | Path,
    out: str | Path,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Reads an HDF5 file into a store; returns the number of episodes.

    Args:
        file: with the datasets named above; `pixels` and `action` are needed.
        out: a new store, or one that an interrupted conversion of the same file has left.
        progress: called after every episode.
        say: takes one line about episodes that were left out because a single frame has no action, and one about
            rows that belong to no episode.

    Raises:
        DataError: for a file of another layout, with what is missing or wrong.
    """
    with HDF5Episodes(file) as source:
        if source.num_short and say is not None:
            say(f"{file}: {source.num_short} episodes of a single frame have no action and are left out")
        if source.num_free and say is not None:
            say(f"{file}: {source.num_free} rows belong to no episode by `{LENGTHS}` and `{OFFSETS}`, and are left out")
        return copy_into(source, out, progress=progress)


class HDF5Episodes:
    """The episodes of an HDF5 file; close it with `with`.

    Args:
        path: the file.

    Attributes:
        num_short: episodes of one frame or none, which are left out.
        num_free: rows that belong to no episode.

    Raises:
        DataError: for a file of another layout, with what is missing or wrong.
    """

    def __init__(self, path: str | Path) -> None:
        h5py, self.path = _h5py(), Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise DataError(f"`{path}` must be an HDF5 file; it cannot be opened ({error}).") from error
        try:
            self._plan(h5py)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "HDF5Episodes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._rows)

    def episode(self, episode: int) -> Episode:
        """Reads one whole episode."""
        first, rows = self._rows[episode]
        arrays: dict[str, Any] = {}
        info: dict[str, Any] = {}
        for name, (dataset, per) in self._columns.items():
            try:
                values = dataset[first : first + rows]
            except (OSError, RuntimeError) as error:
                raise DataError(
                    f"`{dataset.name[1:]}` of `{self.path}` cannot be read ({error}). A compression filter may be "
                    "missing: pip install hdf5plugin"
                ) from error
            if name == INFO:
                info |= _plain_values(values[0], self.path)
            elif dataset.dtype.kind in "OSU":
                info.setdefault(name, _text(values[0]))
            else:
                arrays[name] = values[:-1] if per == "action" else values
        frames, actions = _as_frames(arrays.pop("frames"), self._is_last), arrays.pop("actions")
        if not np.isfinite(actions).all():
            raise DataError(
                f"`action` of episode {episode} of `{self.path}` must be finite in all rows but the last; it is not."
            )
        own = {name: _as_rows(arrays.pop(name)) if name in arrays else None for name in ("states", "proprio")}
        return Episode(frames, _as_rows(actions), info=info, extras=arrays, **own)

    def _plan(self, h5py: Any) -> None:
        """Finds what the datasets are and which rows belong to which episode."""
        file, names = self._file, sorted(self._file)
        for wanted in (LENGTHS, OFFSETS):
            if wanted not in file:
                raise DataError(f"`{self.path}` must have the dataset `{wanted}`; it has {', '.join(names) or 'none'}.")
        lengths, offsets = (np.asarray(file[name][()]).astype(np.int64).ravel() for name in (LENGTHS, OFFSETS))
        if len(lengths) != len(offsets) or (lengths < 0).any() or (offsets < 0).any():
            raise DataError(f"`{LENGTHS}` and `{OFFSETS}` of `{self.path}` must be equally many numbers of 0 or more.")
        total = int((lengths + offsets).max()) if len(lengths) else 0
        self._columns: dict[str, tuple[Any, str]] = {}
        for theirs in names:
            dataset = file[theirs]
            if theirs in (LENGTHS, OFFSETS, *NUMBERS) or not isinstance(dataset, h5py.Dataset):
                continue
            if not dataset.shape or len(dataset) < total:
                raise DataError(
                    f"`{theirs}` of `{self.path}` must have {total} rows, as `{LENGTHS}` and `{OFFSETS}` say; it has "
                    f"shape {list(dataset.shape or ())}."
                )
            name = OURS.get(theirs) or re.sub(r"[^a-z0-9_]+", "_", theirs.lower()).lstrip("_0123456789")
            if not name or name in self._columns:
                raise DataError(f"`{theirs}` of `{self.path}` must have a name of its own as a column; rename it.")
            per = "action" if name == "actions" else str(dataset.attrs.get("per", "frame"))
            self._columns[name] = dataset, per
        for name in ("frames", "actions"):
            if name not in self._columns:
                raise DataError(f"`{self.path}` must have the dataset `{THEIRS[name]}`; it has {', '.join(names)}.")
        shape = self._columns["frames"][0].shape
        if len(shape) != 4 or self._columns["frames"][0].dtype != np.uint8 or not {shape[1], shape[3]} & {1, 3}:
            raise DataError(
                f"`pixels` of `{self.path}` must be uint8 [N, H, W, C] or [N, C, H, W] with C 1 or 3; got "
                f"{self._columns['frames'][0].dtype} {list(shape)}."
            )
        self._is_last = shape[3] in (1, 3)
        self._rows = [(int(o), int(n)) for o, n in zip(offsets, lengths, strict=True) if n >= 2]
        self.num_short = len(lengths) - len(self._rows)
        self._check_owners(lengths, offsets)

    def _check_owners(self, lengths: np.ndarray, offsets: np.ndarray) -> None:
        """Refuses lengths that do not fit to the rows, for episodes would be mixed in silence."""
        owners = np.full(len(self._columns["frames"][0]), -1)
        for episode, (first, rows) in enumerate(zip(offsets, lengths, strict=True)):
            if (owners[first : first + rows] >= 0).any():
                raise DataError(f"episodes of `{self.path}` must have rows of their own; {episode} shares some.")
            owners[first : first + rows] = episode
        self.num_free = int((owners < 0).sum())
        for name in NUMBERS[:2]:
            if name not in self._file:
                continue
            said = np.asarray(self._file[name][()]).ravel()
            within = (np.diff(owners) == 0) & (owners[1:] >= 0)
            if len(said) != len(owners) or (np.diff(said)[within] != 0).any():
                raise DataError(f"`{name}` of `{self.path}` must agree with `{LENGTHS}` and `{OFFSETS}`; it does not.")


def _write(h5py: Any, file: Any, store: EpisodeStore, progress: Progress | None) -> None:
    total = int((store.lengths + 1).sum())
    datasets = {}
    for column in store.columns:
        shape = (total, *_their_shape(column))
        # A chunk holds whole rows, so that a window of frames is read without its neighbours.
        dataset = file.create_dataset(
            THEIRS.get(column.name, column.name), shape, np.dtype(column.dtype), chunks=(1, *shape[1:])
        )
        dataset.attrs["per"] = column.per
        datasets[column.name] = dataset
    info = file.create_dataset(INFO, (total,), h5py.string_dtype())
    file[LENGTHS] = (store.lengths + 1).astype(np.int32)
    file[OFFSETS] = store.starts
    file["ep_idx"] = np.repeat(np.arange(len(store)), store.lengths + 1)
    file["step_idx"] = np.arange(total) - np.repeat(store.starts, store.lengths + 1)
    for number in range(len(store)):
        record = store.record(number)
        rows = slice(record.start, record.end)
        for column in store.columns:
            values = store.rows_of(column.name, number)
            if column.name == "frames":
                values = values.transpose(0, 2, 3, 1)
            if column.per == "action":
                values = np.concatenate([values, _nothing(column)])
            datasets[column.name][rows] = values
        info[record.start] = json.dumps(record.info)
        if progress is not None:
            progress(number + 1, len(store))


def _their_shape(column: Column) -> tuple[int, ...]:
    if column.name != "frames":
        return column.shape
    channels, height, width = column.shape
    return height, width, channels


def _nothing(column: Column) -> np.ndarray:
    """The row of an action that was not taken [1, ...]: NaN, or 0 where the numbers have none."""
    kind = np.dtype(column.dtype)
    return np.full((1, *column.shape), np.nan if kind.kind == "f" else 0, kind)


def _as_frames(pixels: np.ndarray, is_last: bool) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if is_last else pixels


def _as_rows(values: np.ndarray) -> np.ndarray:
    """Vectors [T, A] float32 of numbers [T], [T, A] or [T, ...]."""
    return values.reshape(len(values), -1).astype(np.float32)


def _plain_values(text: Any, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_text(text) or "{}"))
    except (ValueError, TypeError) as error:
        raise DataError(f"`{INFO}` of `{path}` must hold JSON of an object in the first row of an episode.") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise require("h5py", "data", "convert HDF5 files") from error
    return h5py
