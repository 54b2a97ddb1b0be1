"""What an episode store is on disk, and how an episode is committed to it.

A store is a folder:

* `store.json`: format, version, and the columns with dtype, shape and rate (one row per frame, or per
  action);
* `<column>.bin`: the rows of every episode one after the other, raw and uncompressed, so that a file is a
  memory map;
* `index.jsonl`: one line per finished episode, `<crc32 of the rest> {"start", "steps", "crc32", "info"}`.

An episode is committed by its index line, which is written after its data. Whatever lies behind the last
whole line (rows without a line, half a line) is a torn tail: readers ignore it, the next writer cuts it off.
So a writer that is killed at any moment leaves every finished episode readable. Against power loss, data and
then index are also fsync'ed at most `sync_seconds` apart and at `close`.
"""

import errno
import fcntl
import json
import os
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openjepa.errors import DataError

FORMAT, VERSION = "openjepa-episodes", 1
HEADER, INDEX = "store.json", "index.jsonl"
MAX_WRITE = 2**30  # bytes; macOS refuses more than 2 GiB at once


@dataclass(frozen=True)
class Column:
    """One array of an episode: its dtype, the shape of a row, and what has a row."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    per: Literal["frame", "action"]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise DataError(f"`{self.name}` must be a lower-case name (a-z, 0-9, _) to be a column of a store.")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))

    def rows(self, steps: int) -> int:
        """Rows of an episode of `steps` actions."""
        return steps + 1 if self.per == "frame" else steps

    def first_row(self, start: int, episode: int) -> int:
        """Row where an episode begins, given its first frame row: each has an action fewer than frames."""
        return start if self.per == "frame" else start - episode


@dataclass(frozen=True)
class Record:
    """One line of the index: first frame row, number of actions T, checksum of each column, plain values."""

    start: int
    steps: int
    crc32: dict[str, int]
    info: dict[str, Any]

    def line(self) -> bytes:
        """The line that commits the episode."""
        body = json.dumps(vars(self), separators=(",", ":")).encode()
        return b"%08x %s\n" % (zlib.crc32(body), body)


def draft_of(folder: Path) -> Path:
    """Where `write_header` prepares the header before it takes its place."""
    return folder / f"{HEADER}.tmp"


def write_header(folder: Path, columns: tuple[Column, ...] | None) -> None:
    """Writes `store.json` atomically; the columns are unknown (None) until the first episode."""
    plain = None if columns is None else {c.name: [c.dtype, list(c.shape), c.per] for c in columns}
    text = json.dumps({"format": FORMAT, "version": VERSION, "columns": plain}, indent=2) + "\n"
    draft = draft_of(folder)
    try:
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / HEADER)
    except OSError as error:
        raise write_error(folder, error, 0) from error


def read_header(folder: Path) -> tuple[Column, ...] | None:
    """Reads `store.json`.

    Raises:
        DataError: where there is no store, or one of another kind or version.
    """
    if not folder.exists():
        raise DataError(f"no episode store at `{folder}`. Make one with `openjepa collect`, or check the path.")
    if not folder.is_dir():
        raise DataError(f"`{folder}` must be the folder of an episode store; it is a file.")
    path = folder / HEADER
    if not path.is_file():
        raise DataError(f"`{folder}` is not an episode store: it has no {HEADER}. Check the path.")
    try:
        header = json.loads(path.read_bytes())
        kind, version, columns = header["format"], header["version"], header["columns"]
        if kind == FORMAT and version == VERSION and columns is not None:
            columns = tuple(Column(n, d, tuple(s), p) for n, (d, s, p) in columns.items())
            for column in columns:
                np.dtype(column.dtype)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"`{path}` is damaged or not the header of an episode store ({error}).") from error
    if kind != FORMAT:
        raise DataError(f"`{path}` must say format `{FORMAT}`; it says `{kind}`. This is a file of another program.")
    if version != VERSION:
        raise DataError(f"`{path}` has version {version}; this program reads {VERSION}. Update openjepa.")
    return columns


def scan_index(folder: Path) -> tuple[list[Record], int, bool]:
    """Reads the episodes up to the first damaged line; their length in bytes; whether a damaged line follows.

    What follows the last line break is a torn tail, not damage.
    """
    path = folder / INDEX
    if not path.is_file():
        raise _no_index(folder)
    text = path.read_bytes()
    lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)
    if lines and b"\0" in lines[-1]:  # a page that never reached the disk
        lines.pop()
    records: list[Record] = []
    row = end = 0
    for line in lines:
        record = _parse(line)
        if record is None or record.start != row:
            return records, end, True
        row += record.steps + 1
        end += len(line)
        records.append(record)
    return records, end, False


def _no_index(folder: Path) -> DataError:
    return DataError(f"`{folder}` has no {INDEX}, so its episodes cannot be found. Copy the store again.")


def read_index(folder: Path) -> tuple[list[Record], int]:
    """Reads the finished episodes, and the length in bytes of the index up to the last whole line.

    Raises:
        DataError: for a damaged line that is not just a torn tail.
    """
    records, end, is_damaged = scan_index(folder)
    if is_damaged:
        raise DataError(
            f"line {len(records) + 1} of `{folder / INDEX}` is damaged. Copy the store again, or keep the "
            f'{len(records)} episodes before it with `openjepa.data.repair("{folder}")`.'
        )
    return records, end


def _parse(line: bytes) -> Record | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(body):
            return None
        return Record(**json.loads(body))
    except (ValueError, TypeError):
        return None


def expected_bytes(columns: tuple[Column, ...], records: list[Record]) -> dict[str, int]:
    """Bytes that each column's file must have at least."""
    if not records:
        return {c.name: 0 for c in columns}
    end = records[-1].start + records[-1].steps + 1
    return {c.name: c.first_row(end, len(records)) * c.row_bytes for c in columns}


def check_sizes(folder: Path, columns: tuple[Column, ...], records: list[Record]) -> None:
    """Checks that no index line points beyond the data.

    Raises:
        DataError: for a file that was cut short, with the number of episodes that are whole.
    """
    for column in columns:
        path = folder / f"{column.name}.bin"
        size = path.stat().st_size if path.is_file() else 0
        wanted = expected_bytes(columns, records)[column.name]
        if size < wanted:
            whole = sum(
                (column.first_row(r.start, i) + column.rows(r.steps)) * column.row_bytes <= size
                for i, r in enumerate(records)
            )
            raise DataError(
                f"`{path}` must have {wanted} bytes for {len(records)} episodes; it has {size}, so {whole} "
                f'are whole. Copy the store again, or keep those with `openjepa.data.repair("{folder}")`.'
            )


def write_error(folder: Path, error: OSError, kept: int) -> DataError:
    """Builds the error for a write that failed."""
    reason = error.strerror or str(error)
    saved = f"All {kept} finished episodes are kept" if kept else "Nothing was lost"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(f"no space left to write `{folder}` ({reason}). {saved}; free some space and start again.")
    return DataError(f"cannot write `{folder}` ({reason}). {saved}; check the disk and the permissions.")


def write_at(handle: int, data: Any, offset: int) -> None:
    """Writes all of `data` at an offset of an open file."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(handle, view[:MAX_WRITE], offset)
        view, offset = view[written:], offset + written


class Appender:
    """Commits episodes to a store folder, one process at a time.

    Args:
        folder: the store; its torn tail, if any, is cut off.
        columns: of the store, frames first; none before the first episode.
        sync_seconds: longest time between two fsyncs; 0 syncs every episode.

    Raises:
        DataError: for a damaged store, one that another process writes, or a disk that refuses.
    """

    def __init__(self, folder: Path, columns: tuple[Column, ...], sync_seconds: float) -> None:
        self.folder, self.columns, self.sync_seconds = folder, columns, sync_seconds
        self.records: list[Record] = []
        self._handles: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._last_sync = time.monotonic()
        try:
            self._open(INDEX, os.O_RDWR)  # never made here: without it, the data would look like a torn tail
            fcntl.flock(self._handles[INDEX], fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.records, self._index_end = read_index(folder)
            check_sizes(folder, columns, self.records)
            self.set_columns(columns)
        except FileNotFoundError as error:
            raise _no_index(folder) from error
        except BlockingIOError as error:
            self.close_handles()
            raise DataError(f"`{folder}` is being written by another process. Wait for it, or stop it.") from error
        except OSError as error:
            self.close_handles()
            raise write_error(folder, error, len(self.records)) from error
        except DataError:
            self.close_handles()
            raise

    def set_columns(self, columns: tuple[Column, ...]) -> None:
        """Opens the files of the columns at the end of the last finished episode."""
        self.columns, self._ends = columns, expected_bytes(columns, self.records)
        for column in columns:
            self._open(f"{column.name}.bin", os.O_RDWR | os.O_CREAT)
        self._cut()

    def append(self, arrays: Mapping[str, np.ndarray], steps: int, info: dict[str, Any]) -> None:
        """Writes the rows of every column, then the index line; on failure the store is as before.

        Raises:
            DataError: for a full disk, with all finished episodes kept.
        """
        ends = dict(self._ends)
        crc32 = {name: zlib.crc32(array.data) for name, array in arrays.items()}
        try:
            for name, array in arrays.items():
                write_at(self._handles[f"{name}.bin"], array.data, ends[name])
                ends[name] += array.nbytes
            now = time.monotonic()
            is_due = now - self._last_sync >= self.sync_seconds
            if is_due:
                self.sync()
            first = self.columns[0]  # frames
            record = Record(self._ends[first.name] // first.row_bytes, steps, crc32, info)
            line = record.line()
            write_at(self._handles[INDEX], line, self._index_end)
            if is_due:
                os.fsync(self._handles[INDEX])
        except OSError as error:
            self._cut()
            raise write_error(self.folder, error, len(self.records)) from error
        except KeyboardInterrupt:
            self._cut()
            raise
        self._ends, self._index_end = ends, self._index_end + len(line)
        self.records.append(record)

    def sync(self) -> None:
        """Waits until everything that was written is on the disk, data before index."""
        for name in (*(f"{c.name}.bin" for c in self.columns), INDEX):
            os.fsync(self._handles[name])
        self._last_sync = time.monotonic()

    def close_handles(self) -> None:
        """Closes the files and so gives up the lock."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def _open(self, name: str, flags: int) -> None:
        self._handles[name] = os.open(self.folder / name, flags | os.O_CLOEXEC, 0o666)

    def _cut(self) -> None:
        for name, end in self._ends.items():
            os.ftruncate(self._handles[f"{name}.bin"], end)
        os.ftruncate(self._handles[INDEX], self._index_end)
