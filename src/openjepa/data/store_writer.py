"""Commits episodes to a store: announced in the journal, then written, then named in the index.

A writer that is killed at any moment leaves every finished episode readable. Against power loss, data and then
index are also fsync'ed at most `sync_seconds` apart and at the end.
"""

import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data.store_format import (
    INDEX,
    JOURNAL,
    LOCK,
    Columns,
    Record,
    columns_line,
    expected_bytes,
    write_error,
    write_header,
)
from openjepa.data.store_state import read_state, whole_lines
from openjepa.errors import DataError
from openjepa.files import lock, replacing

MAX_WRITE = 2**30  # bytes; macOS refuses more than 2 GiB at once


def lock_store(folder: Path) -> Any:
    """Locks a store for writing until the returned handle is closed.

    Raises:
        DataError: while another process writes, or where the folder refuses.
    """
    busy = DataError(f"`{folder}` is being written by another process. Wait for it, or stop it.")
    try:
        return lock(folder / LOCK, busy=busy)
    except OSError as error:
        raise write_error(folder, error, 0) from error


def write_at(handle: int, data: Any, offset: int) -> None:
    """Writes all of `data` at an offset of an open file."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(handle, view[:MAX_WRITE], offset)
        view, offset = view[written:], offset + written


class StoreWriter:
    """Appends to a store folder, one process at a time.

    Opening it completes an index or a journal that lacks the last episode, and cuts off an unfinished one.

    Args:
        folder: the store.
        sync_seconds: longest time between two fsyncs; 0 syncs every episode.

    Attributes:
        columns: of the store; None before the first episode.
        records: the finished episodes.

    Raises:
        DataError: for a damaged store, one that another process writes, or a disk that refuses.
    """

    def __init__(self, folder: Path, sync_seconds: float) -> None:
        self.folder, self.sync_seconds = folder, sync_seconds
        self.columns: Columns | None = None
        self.records: list[Record] = []
        self._handles: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._last_sync = time.monotonic()
        self._lock = lock_store(folder)
        try:
            state = read_state(folder)
            self.columns, self.records = state.columns, state.records
            self._open(INDEX, os.O_RDWR)
            self._index_end = state.index_end
            for record in self.records[state.indexed :]:
                write_at(self._handles[INDEX], record.line(), self._index_end)
                self._index_end += len(record.line())
            self._open_journal()
            if self.columns is not None:
                self._open_columns(self.columns)
            self._cut()
        except OSError as error:
            self.close()
            raise write_error(folder, error, len(self.records)) from error
        except DataError:
            self.close()
            raise

    def set_columns(self, columns: Columns) -> None:
        """Fixes the columns of a store before its first episode.

        Raises:
            DataError: for a disk that refuses.
        """
        write_header(self.folder, columns)
        try:
            line = columns_line(columns)
            write_at(self._handles[JOURNAL], line, 0)
            self._journal_end = len(line)
            self._open_columns(columns)
        except OSError as error:
            raise write_error(self.folder, error, 0) from error
        self.columns = columns

    def append(self, arrays: Mapping[str, np.ndarray], steps: int, info: dict[str, Any]) -> None:
        """Writes one episode; on failure the store is as before.

        Args:
            arrays: contiguous rows of every column.
            steps: number of actions T.
            info: plain values.

        Raises:
            DataError: for a full disk, with all finished episodes kept.
        """
        ends = dict(self._ends)
        crc32 = {name: zlib.crc32(array.data) for name, array in arrays.items()}
        start = self.records[-1].end if self.records else 0
        record = Record(start, steps, crc32, info)
        line = record.line()
        try:
            write_at(self._handles[JOURNAL], line, self._journal_end)
            for name, array in arrays.items():
                write_at(self._handles[f"{name}.bin"], array.data, ends[name])
                ends[name] += array.nbytes
            is_due = time.monotonic() - self._last_sync >= self.sync_seconds
            if is_due:
                self.sync()
            write_at(self._handles[INDEX], line, self._index_end)
            if is_due:
                os.fsync(self._handles[INDEX])
        except OSError as error:
            self._cut()
            raise write_error(self.folder, error, len(self.records)) from error
        except KeyboardInterrupt:
            self._cut()
            raise
        self._ends = ends
        self._index_end += len(line)
        self._journal_end += len(line)
        self.records.append(record)

    def sync(self) -> None:
        """Waits until everything that was written is on the disk, the index last."""
        for name in sorted(self._handles, key=lambda name: name == INDEX):
            os.fsync(self._handles[name])
        self._last_sync = time.monotonic()

    def close(self) -> None:
        """Closes the files and gives up the lock."""
        while self._handles:
            os.close(self._handles.popitem()[1])
        self._lock.close()

    def _open(self, name: str, flags: int) -> None:
        self._handles[name] = os.open(self.folder / name, flags | os.O_CLOEXEC, 0o666)

    def _open_columns(self, columns: Columns) -> None:
        self._ends = expected_bytes(columns, self.records)
        for column in columns:
            self._open(f"{column.name}.bin", os.O_RDWR | os.O_CREAT)

    def _open_journal(self) -> None:
        """Gives a store of version 0.1.0 its journal, and one that was written by that version the missing lines."""
        wanted = b"".join([columns_line(self.columns), *(r.line() for r in self.records)]) if self.columns else b""
        path = self.folder / JOURNAL
        if not (whole_lines(path) or b"").startswith(wanted) or not path.is_file():
            with replacing(path) as draft:
                draft.write_bytes(wanted)
        self._open(JOURNAL, os.O_RDWR)
        self._journal_end = len(wanted)

    def _cut(self) -> None:
        """Cuts off what is not finished; the journal last, since it says what may be cut."""
        os.ftruncate(self._handles[INDEX], self._index_end)
        for name, end in self._ends.items():
            os.ftruncate(self._handles[f"{name}.bin"], end)
        os.ftruncate(self._handles[JOURNAL], self._journal_end)
