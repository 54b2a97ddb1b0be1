"""What an episode store is on disk.

A store is a folder:

* `store.json`: format, version, and the columns with dtype, shape and rate (one row per frame, or per
  action);
* `<column>.bin`: the rows of every episode one after the other, raw and uncompressed, so that a file is a
  memory map;
* `index.jsonl`: one line per finished episode, `<crc32 of the rest> {"start", "steps", "crc32", "info"}`;
* `journal.jsonl`: a first line with the columns, then the lines of the index once more.

An episode is announced by its line in the journal, then come its rows, then its line in the index. So a store
knows everything about itself twice, and at most one episode lies between journal and index: the one that was
being written when the writer was killed. `store_state` reads and compares, `store_writer` appends,
`store_repair` puts together what is left of a damaged store.

Stores of version 0.1.0 have no journal; the next writer gives them one.
"""

import errno
import json
import math
import re
import shlex
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openjepa.errors import DataError
from openjepa.files import read_json, replacing

FORMAT, VERSION = "openjepa-episodes", 1
HEADER, INDEX, JOURNAL, LOCK = "store.json", "index.jsonl", "journal.jsonl", ".lock"
Columns = tuple["Column", ...]


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
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

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

    @property
    def end(self) -> int:
        """First frame row behind the episode."""
        return self.start + self.steps + 1

    def line(self) -> bytes:
        """The line that commits the episode."""
        return _sealed(vars(self))


def parse_record(line: bytes) -> Record | None:
    """Reads a line of the index; None for a damaged one."""
    try:
        return Record(**_unsealed(line))
    except (ValueError, TypeError):
        return None


def columns_line(columns: Columns) -> bytes:
    """The first line of a journal."""
    return _sealed({"columns": _plain(columns)})


def parse_columns(line: bytes) -> Columns | None:
    """Reads the first line of a journal; None for a damaged one."""
    try:
        return _columns(_unsealed(line)["columns"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _sealed(content: Any) -> bytes:
    body = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _unsealed(line: bytes) -> dict[str, Any]:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if int(checksum, 16) != zlib.crc32(body):
        raise ValueError("checksum")
    return json.loads(body)


def _plain(columns: Columns | None) -> dict[str, Any] | None:
    return None if columns is None else {c.name: [c.dtype, list(c.shape), c.per] for c in columns}


def _columns(plain: dict[str, Any]) -> Columns:
    columns = tuple(Column(n, d, tuple(s), p) for n, (d, s, p) in plain.items())
    for column in columns:
        is_shape = all(isinstance(n, int) and n >= 1 for n in column.shape)
        if column.per not in ("frame", "action") or not is_shape or column.row_bytes < 1:
            raise ValueError(f"`{column.name}` has no rows per frame or action")
    return columns


def write_header(folder: Path, columns: Columns | None) -> None:
    """Writes `store.json` atomically; the columns are unknown (None) until the first episode."""
    text = json.dumps({"format": FORMAT, "version": VERSION, "columns": _plain(columns)}, indent=2) + "\n"
    try:
        with replacing(folder / HEADER) as draft:
            draft.write_text(text)
    except OSError as error:
        raise write_error(folder, error, 0) from error


def read_header(folder: Path) -> Columns | None:
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
        hint = f"To bring it back: {repair_command(folder)}" if (folder / JOURNAL).is_file() else "Check the path."
        raise DataError(f"`{folder}` is not an episode store: it has no {HEADER}. {hint}")
    try:
        header = read_json(path, damaged=ValueError)
        kind, version, columns = header["format"], header["version"], header["columns"]
        if kind == FORMAT and version == VERSION and columns is not None:
            columns = _columns(columns)
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise DataError(
            f"`{path}` is damaged or not the header of an episode store ({error}). "
            f"Copy it again, or bring it back: {repair_command(folder)}"
        ) from error
    if kind != FORMAT:
        raise DataError(f"`{path}` must say format `{FORMAT}`; it says `{kind}`. This is a file of another program.")
    if version != VERSION:
        raise DataError(f"`{path}` has version {version}; this program reads {VERSION}. Update openjepa.")
    return columns


def expected_bytes(columns: Columns, records: list[Record]) -> dict[str, int]:
    """Bytes that each column's file must have at least."""
    if not records:
        return {c.name: 0 for c in columns}
    return {c.name: end_bytes(c, records[-1], len(records) - 1) for c in columns}


def end_bytes(column: Column, record: Record, episode: int) -> int:
    """The byte behind the rows of the `episode`-th episode of a store."""
    return (column.first_row(record.start, episode) + column.rows(record.steps)) * column.row_bytes


def file_sizes(folder: Path, columns: Columns) -> dict[str, int]:
    """Bytes that each column's file has; 0 where there is none."""
    sizes = {}
    for column in columns:
        path = folder / f"{column.name}.bin"
        sizes[column.name] = path.stat().st_size if path.is_file() else 0
    return sizes


def repair_command(folder: Path) -> str:
    """What the user types to repair a store."""
    return f"`openjepa data repair {shlex.quote(str(folder))}`"


def write_error(folder: Path, error: OSError, kept: int) -> DataError:
    """Builds the error for a write that failed."""
    reason = error.strerror or str(error)
    saved = f"All {kept} finished episodes are kept" if kept else "Nothing was lost"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(f"no space left to write `{folder}` ({reason}). {saved}; free some space and start again.")
    return DataError(f"cannot write `{folder}` ({reason}). {saved}; check the disk and the permissions.")
