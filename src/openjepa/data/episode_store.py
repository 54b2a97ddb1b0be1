"""A folder of recorded episodes: append-only to write, a memory map to read.

Frames are decoded once, when they are recorded, and lie on the disk as the uint8 rows that training reads, so
a window of frames is one copy out of the page cache. `store_format` says what is in the folder and what
survives an interruption. Rows are compared with their checksum when they are first read.
"""

import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data import store_format
from openjepa.data.store_format import HEADER, INDEX, JOURNAL, LOCK, Column, Record
from openjepa.data.store_state import damage, read_state
from openjepa.data.store_writer import StoreWriter
from openjepa.errors import DataError, ShapeError, did_you_mean
from openjepa.files import draft_of
from openjepa.protocols import Episode

# What a kill inside `create` leaves: no episode can be in there.
EMPTY_AT_FIRST = {INDEX, JOURNAL}
UNFINISHED = {*EMPTY_AT_FIRST, LOCK, draft_of(Path(HEADER)).name, f"{HEADER}.tmp"}


class EpisodeStore:
    """Episodes on the disk; open one by `create`, `open` or `resume`.

    Every episode has the same columns: `frames` and `actions`, then those of `states`, `proprio` and `extras`
    that the first episode has.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> episode = Episode(np.zeros((3, 3, 8, 8), np.uint8), np.zeros((2, 2), np.float32), info={"seed": 7})
    >>> with EpisodeStore.create(Path(folder.name) / "store") as store:
    ...     store.append(episode)
    >>> store = EpisodeStore.open(Path(folder.name) / "store")
    >>> len(store), store.episode(0).frames.shape, store.episode(0).info
    (1, (3, 3, 8, 8), {'seed': 7})
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, *, writable: bool, sync_seconds: float = 2.0) -> None:
        self.path = path
        self._maps: dict[str, np.ndarray] = {}
        self._verified: dict[str, np.ndarray] = {}  # [episodes] bool of each column
        self._writer: StoreWriter | None = None
        if writable:
            self._writer = StoreWriter(path, sync_seconds)
            weakref.finalize(self, self._writer.close)
            self._columns, self._records = self._writer.columns, self._writer.records
        else:
            state = read_state(path)
            self._columns, self._records = state.columns, state.records

    @classmethod
    def create(cls, path: str | Path, *, sync_seconds: float = 2.0) -> "EpisodeStore":
        """Makes an empty store and opens it for appending.

        Args:
            path: a folder that does not exist yet, or an empty one.
            sync_seconds: longest time between two fsyncs; 0 syncs every episode. A killed program loses
                nothing in either case, only a power failure does.

        Raises:
            DataError: where something is already there.
        """
        path = Path(path)
        if (path / HEADER).exists():
            raise DataError(f"`{path}` already holds an episode store. Continue it with `EpisodeStore.resume`.")
        if path.exists() and not _is_unfinished(path):
            raise DataError(f"`{path}` must be a new or empty folder; something else is there. Choose another path.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in sorted(EMPTY_AT_FIRST):
                (path / name).touch()
        except OSError as error:
            raise store_format.write_error(path, error, 0) from error
        store_format.write_header(path, None)
        return cls(path, writable=True, sync_seconds=sync_seconds)

    @classmethod
    def open(cls, path: str | Path) -> "EpisodeStore":
        """Opens a store for reading; it shows the episodes that are finished now.

        Raises:
            DataError: where there is no store, or a damaged one.
        """
        return cls(Path(path), writable=False)

    @classmethod
    def resume(cls, path: str | Path, *, sync_seconds: float = 2.0) -> "EpisodeStore":
        """Opens a store for appending behind its last finished episode, or makes one where there is none.

        Raises:
            DataError: for a damaged store, or one that another process is writing.
        """
        path = Path(path)
        if not path.exists() or _is_unfinished(path):
            return cls.create(path, sync_seconds=sync_seconds)
        return cls(path, writable=True, sync_seconds=sync_seconds)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The arrays of an episode; none before the first episode."""
        return self._columns or ()

    @property
    def lengths(self) -> np.ndarray:
        """Number of actions T of each episode [n]; it has T + 1 frames."""
        return np.array([r.steps for r in self._records], np.int64)

    @property
    def starts(self) -> np.ndarray:
        """Frame row where each episode begins [n]; its actions begin at row `starts - arange(n)`."""
        return np.array([r.start for r in self._records], np.int64)

    def __len__(self) -> int:
        return len(self._records)

    def __enter__(self) -> "EpisodeStore":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def append(self, episode: Episode) -> None:
        """Commits one episode; when this returns, it survives the death of the program.

        Args:
            episode: frames [T + 1, C, H, W] uint8 and actions [T, A], with the columns of the earlier
                episodes.

        Raises:
            ShapeError: for another image size, action width or number of rows.
            DataError: for values that cannot be stored, or a full disk; finished episodes are kept.
        """
        if self._writer is None:
            raise DataError(f"`{self.path}` is open for reading. Open it with `EpisodeStore.resume` to append.")
        arrays, steps = _arrays_of(episode)
        if self._columns is None:
            columns = tuple(_column_of(name, array, steps) for name, array in arrays.items())
            self._writer.set_columns(columns)
            self._columns = columns
        arrays = _in_order(arrays, steps, self._columns)
        self._writer.append(arrays, steps, _plain(episode.info, "info"))

    def close(self) -> None:
        """Syncs what was written and ends the writing; reading goes on working."""
        if self._writer is not None:
            try:
                self._writer.sync()
            except OSError as error:
                raise store_format.write_error(self.path, error, len(self)) from error
            finally:
                self._writer.close()
                self._writer = None

    def column(self, name: str) -> np.ndarray:
        """All rows of a column [rows, ...], episode after episode: a read-only view of the memory map.

        They are not compared with their checksums; see `verify`.
        """
        column = self._column(name)
        rows = store_format.expected_bytes((column,), self._records)[name] // column.row_bytes
        if name not in self._maps or len(self._maps[name]) < rows:
            file = self.path / f"{name}.bin"
            shape = (rows, *column.shape)
            mapped = np.memmap(file, column.dtype, "r", shape=shape) if rows else np.zeros(shape, column.dtype)
            self._maps[name] = np.asarray(mapped)
        return self._maps[name][:rows]

    def rows_of(self, name: str, episode: int) -> np.ndarray:
        """Rows of one episode in a column, [T + 1, ...] or [T, ...]: a read-only view of the memory map.

        Raises:
            DataError: where they are not what was written.
        """
        if not -len(self) <= episode < len(self):
            raise DataError(f"`episode` must be below {len(self)}, the episodes of `{self.path}`; got {episode}.")
        episode %= len(self)
        self.verify(name, np.array([episode]))
        return self._rows(name, episode)

    def verify(self, name: str, episodes: np.ndarray) -> None:
        """Compares the rows of episodes [n] in a column with their checksums, each once while this store is open.

        Raises:
            DataError: for the first episode whose rows are not what was written.
        """
        seen = self._verified.setdefault(name, np.zeros(0, bool))
        if len(seen) < len(self):
            seen = self._verified[name] = np.pad(seen, (0, len(self) - len(seen)))
        for episode in np.unique(episodes[~seen[episodes]]).tolist():
            if zlib.crc32(self._rows(name, episode).data) != self._records[episode].crc32.get(name):
                raise damage(self.path, f"`{name}` of episode {episode} of `{self.path}` is not what was written")
            seen[episode] = True

    def _column(self, name: str) -> Column:
        known = {c.name: c for c in self.columns}
        if name not in known:
            raise DataError(f"`{self.path}` has no column `{name}`{did_you_mean(name, known)}")
        return known[name]

    def _rows(self, name: str, episode: int) -> np.ndarray:
        column, record = self._column(name), self._records[episode]
        first = column.first_row(record.start, episode)
        return self.column(name)[first : first + column.rows(record.steps)]

    def frames_of(self, episode: int) -> np.ndarray:
        """Frames [T + 1, C, H, W] uint8 of one episode: a read-only view of the memory map."""
        return self.rows_of("frames", episode)

    def episode(self, episode: int) -> Episode:
        """A copy of one whole episode."""
        if not self.columns:
            raise DataError(f"`{self.path}` holds no episodes.")
        arrays = {c.name: self.rows_of(c.name, episode).copy() for c in self.columns}
        return episode_of(arrays, dict(self._records[episode].info))

    def record(self, episode: int) -> Record:
        """The index line of one episode: its first row, length, checksums and plain values."""
        return self._records[episode]

    def info(self) -> dict[str, Any]:
        """What is inside, as plain values: counts, lengths, columns and bytes."""
        lengths = self.lengths
        sizes = store_format.expected_bytes(self.columns, self._records)
        return {
            "path": str(self.path),
            "episodes": len(self),
            "steps": int(lengths.sum()),
            "frames": int((lengths + 1).sum()),
            "steps_per_episode": [int(lengths.min()), int(lengths.max())] if len(self) else [0, 0],
            "columns": {c.name: f"{np.dtype(c.dtype).name} {list(c.shape)} per {c.per}" for c in self.columns},
            "bytes": sum(sizes.values()),
        }


def episode_of(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> Episode:
    """Makes an episode from the rows of its columns."""
    arrays = dict(arrays)
    own = {name: arrays.pop(name, None) for name in ("states", "proprio")}
    return Episode(arrays.pop("frames"), arrays.pop("actions"), info=info, extras=arrays, **own)


def _is_unfinished(folder: Path) -> bool:
    """Whether a folder is empty, or holds no more than a kill inside `create` leaves."""
    if not folder.is_dir():
        return False
    left = {p.name: p for p in folder.iterdir()}
    return left.keys() <= UNFINISHED and not any(
        path.stat().st_size for name, path in left.items() if name in EMPTY_AT_FIRST
    )


def _arrays_of(episode: Episode) -> tuple[dict[str, np.ndarray], int]:
    """The columns of an episode in storage order, and its number of steps."""
    if np.ndim(episode.frames) != 4 or np.asarray(episode.frames).dtype != np.uint8:
        found = f"{np.asarray(episode.frames).dtype} {list(np.shape(episode.frames))}"
        raise ShapeError(f"`frames` must be uint8 [T + 1, C, H, W]; got {found}.")
    steps = len(episode.actions)
    if np.ndim(episode.actions) != 2 or steps < 1 or len(episode.frames) != steps + 1:
        raise ShapeError(
            f"`actions` must be [T, A] with T = {len(episode.frames) - 1} >= 1, one fewer than frames; "
            f"got {list(np.shape(episode.actions))}."
        )
    arrays = {"frames": episode.frames, "actions": np.asarray(episode.actions, np.float32)}
    for name in ("states", "proprio"):
        if getattr(episode, name) is not None:
            arrays[name] = np.asarray(getattr(episode, name), np.float32)
    arrays |= {name: np.asarray(array) for name, array in episode.extras.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and name == "actions" and not np.isfinite(array).all():
            raise DataError("`actions` must be finite; got NaN or infinity. Cut the episode before that step.")
        if array.dtype.kind not in "buif":
            raise DataError(f"`{name}` must hold numbers; got dtype {array.dtype}.")
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, steps


def _column_of(name: str, array: np.ndarray, steps: int) -> Column:
    if array.ndim < 1 or len(array) not in (steps, steps + 1):
        raise ShapeError(f"`{name}` must have {steps + 1} rows, or {steps} if per action; got {list(array.shape)}.")
    if not all(array.shape):
        raise ShapeError(f"`{name}` must have at least one number in a row; got {list(array.shape)}. Leave it out.")
    return Column(name, array.dtype.str, array.shape[1:], "frame" if len(array) == steps + 1 else "action")


def _in_order(arrays: Mapping[str, np.ndarray], steps: int, columns: tuple[Column, ...]) -> dict[str, np.ndarray]:
    """The arrays in the order of the store's columns, once they fit."""
    names = [c.name for c in columns]
    if set(arrays) != set(names):
        raise ShapeError(f"an episode of this store must have the columns {names}; got {list(arrays)}.")
    for column in columns:
        array = arrays[column.name]
        wanted = (column.rows(steps), *column.shape)
        if array.shape != wanted or array.dtype.str != column.dtype:
            raise ShapeError(
                f"`{column.name}` of this store must be {np.dtype(column.dtype)} {list(wanted)}; "
                f"got {array.dtype} {list(array.shape)}. Episodes of another kind need a store of their own."
            )
    return {name: arrays[name] for name in names}


def _plain(value: Any, name: str) -> Any:
    """What JSON can hold; NumPy scalars and arrays become numbers and lists."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{name}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, name) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise DataError(f"`{name}` must be a plain value (number, text, list, dict); got {type(value).__name__}.")
