"""Reads what a store says about itself, compares it, and refuses what does not agree.

Journal and index are the same list, written before and after the rows of an episode. From their difference,
and from the bytes in the columns, follows which episodes are finished, what an interrupted writer has left, and
what is damage: an index that ends early, or bytes that belong to no episode.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from openjepa.data.store_format import (
    INDEX,
    JOURNAL,
    Columns,
    Record,
    columns_line,
    end_bytes,
    expected_bytes,
    file_sizes,
    parse_record,
    read_header,
    repair_command,
)
from openjepa.errors import DataError


@dataclass(frozen=True)
class StoreState:
    """An undamaged store.

    Attributes:
        columns: of the header; None before the first episode.
        records: the finished episodes.
        indexed: of them, those that the index names: all, or all but the last.
        index_end: bytes of the index up to its last whole line.
        torn_bytes: bytes of an unfinished episode.
    """

    columns: Columns | None
    records: list[Record]
    indexed: int
    index_end: int
    torn_bytes: int


def read_state(folder: Path) -> StoreState:
    """Reads the state of a store that may be written at the same time.

    Raises:
        DataError: where there is no store, or a damaged one.
    """
    try:
        return _look(folder)
    except DataError:
        return _look(folder)  # a writer that cleared away a torn tail in between looks like damage, once


def _look(folder: Path) -> StoreState:
    # The order matters beside a writer, who writes journal, columns, index: what is read first may only be older.
    columns = read_header(folder)
    sizes_before = file_sizes(folder, columns or ())
    journal = whole_lines(folder / JOURNAL)
    index = whole_lines(folder / INDEX)
    if index is None:
        raise damage(folder, f"`{folder}` has no {INDEX}, so its episodes cannot be found")
    records, end = read_chain(index)
    if end < len(index):
        raise damage(folder, f"line {len(records) + 1} of `{folder / INDEX}` is damaged")
    if columns is None:
        if records or journal:
            raise damage(folder, f"`{folder}` has episodes but no columns in its header")
        return StoreState(None, [], 0, 0, 0)
    _check_sizes(folder, columns, records)
    announced = _announced(folder, columns, journal, index, records)
    _check_excess(folder, columns, sizes_before, records, announced, is_journaled=journal is not None)
    count = len(records)
    expected = expected_bytes(columns, records)
    # What lies behind the finished episodes may be cut off by a writer: not if it is what was pushed there.
    if any(sizes_before[name] > expected[name] for name in expected) and count:
        moved = damaged_columns(folder, columns, records[-1], count - 1)
        if moved:
            raise damage(folder, f"`{moved[0]}` of the last episode of `{folder}` is not what was written")
    if announced is not None and are_rows_whole(folder, columns, announced, count):
        records = [*records, announced]
    expected = expected_bytes(columns, records)
    torn = sum(max(sizes_before[name] - expected[name], 0) for name in expected)
    return StoreState(columns, records, count, end, torn)


def whole_lines(path: Path) -> bytes | None:
    """The lines of a file up to the last whole one; None where there is no file.

    What follows the last line break, or was never filled by the disk, is a torn tail.
    """
    if not path.is_file():
        return None
    text = path.read_bytes()
    text = text[: text.rfind(b"\n") + 1]
    last = text.rfind(b"\n", 0, -1) + 1
    return text[:last] if b"\0" in text[last:] else text


def read_chain(lines: bytes, row: int = 0) -> tuple[list[Record], int]:
    """Reads the episodes up to the first damaged line, and how many bytes they take.

    Args:
        lines: of an index, or of a journal behind its first line.
        row: frame row where the first of them must begin.
    """
    records: list[Record] = []
    end = 0
    for line in lines.splitlines(keepends=True):
        record = parse_record(line)
        if record is None or record.start != row:
            break
        row, end = record.end, end + len(line)
        records.append(record)
    return records, end


def are_rows_whole(folder: Path, columns: Columns, record: Record, episode: int) -> bool:
    """Whether the rows of an episode, the `episode`-th of the store, agree with its checksums."""
    return not damaged_columns(folder, columns, record, episode)


def damaged_columns(folder: Path, columns: Columns, record: Record, episode: int) -> list[str]:
    """Names of the columns whose rows of one episode do not agree with its checksums."""
    return [
        column.name
        for column in columns
        if checksum(
            folder / f"{column.name}.bin",
            column.first_row(record.start, episode) * column.row_bytes,
            column.rows(record.steps) * column.row_bytes,
        )
        != record.crc32.get(column.name)
    ]


def checksum(path: Path, offset: int, size: int) -> int | None:
    """CRC-32 of a part of a file; None where the file does not have it."""
    if offset < 0 or not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(offset)
        rows = file.read(size)
    return zlib.crc32(rows) if len(rows) == size else None


def damage(folder: Path, what: str) -> DataError:
    """Builds the error for a damaged store."""
    return DataError(f"{what}. Copy the store again, or bring back what is whole: {repair_command(folder)}")


def _announced(
    folder: Path, columns: Columns, journal: bytes | None, index: bytes, records: list[Record]
) -> Record | None:
    """The one episode that the journal may have beyond the index."""
    if not journal:
        return None  # version 0.1.0, or killed before the first episode
    head = columns_line(columns)
    if not journal.startswith(head):
        raise damage(folder, f"`{folder / JOURNAL}` does not begin with the columns of the header")
    lines = journal[len(head) :]
    if index.startswith(lines):  # version 0.1.0 has written since
        return None
    if not lines.startswith(index):
        raise damage(folder, f"`{folder / INDEX}` and `{folder / JOURNAL}` do not agree")
    more, end = read_chain(lines[len(index) :], records[-1].end if records else 0)
    if end < len(lines) - len(index):
        raise damage(folder, f"line {len(records) + len(more) + 2} of `{folder / JOURNAL}` is damaged")
    if len(more) > 1:
        total = len(records) + len(more)
        raise damage(folder, f"`{folder / INDEX}` ends early: it names {len(records)} of {total} episodes")
    return more[0]


def _check_sizes(folder: Path, columns: Columns, records: list[Record]) -> None:
    """Checks that no line of the index points beyond the data."""
    sizes, expected = file_sizes(folder, columns), expected_bytes(columns, records)
    for column in columns:
        path, size, wanted = folder / f"{column.name}.bin", sizes[column.name], expected[column.name]
        if size < wanted:
            whole = sum(end_bytes(column, r, i) <= size for i, r in enumerate(records))
            raise damage(
                folder,
                f"`{path}` must have {wanted} bytes for {len(records)} episodes; it has {size}, so {whole} are whole",
            )


def _check_excess(
    folder: Path,
    columns: Columns,
    sizes: dict[str, int],
    records: list[Record],
    announced: Record | None,
    *,
    is_journaled: bool,
) -> None:
    """Checks that what lies behind the finished episodes can be one unfinished one."""
    known = records if announced is None else [*records, announced]
    expected = expected_bytes(columns, known)
    excess = {name: sizes[name] - expected[name] for name in expected}
    if is_journaled:
        name = max(excess, key=lambda name: excess[name])
        if excess[name] > 0:
            raise damage(folder, f"`{folder / name}.bin` has {excess[name]} bytes that belong to no episode")
    elif not can_be_unfinished(columns, excess):
        raise damage(folder, f"behind the {len(records)} episodes of `{folder / INDEX}` lie rows of several more")


def can_be_unfinished(columns: Columns, excess: dict[str, int]) -> bool:
    """Whether bytes behind the index can be one episode whose writing was cut short: column after column."""
    first, *others = columns  # frames
    if not any(excess[c.name] for c in others):
        return True
    frames, left = divmod(excess[first.name], first.row_bytes)
    if left or frames < 2:
        return False
    is_full = True
    for column in others:
        whole = column.rows(frames - 1) * column.row_bytes
        if excess[column.name] > (whole if is_full else 0):
            return False
        is_full = is_full and excess[column.name] == whole
    # Where every column has rows, frames outrun actions by as many as there are episodes.
    actions = next(c for c in others if c.name == "actions")
    return min(excess.values()) == 0 or frames - excess["actions"] // actions.row_bytes < 2
