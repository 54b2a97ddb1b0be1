"""Brings back every episode of a damaged store whose rows are whole.

An episode is found by its line, which the index and the journal both have, and is believed when the checksum of
every column agrees. Its rows are looked for where the line says, and where they lie if bytes were inserted
before them or lost.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openjepa.data import store_format
from openjepa.data.episode_store import EpisodeStore, episode_of
from openjepa.data.store_format import HEADER, INDEX, JOURNAL, Column, Columns, Record
from openjepa.data.store_state import can_be_unfinished, checksum, whole_lines
from openjepa.data.store_writer import lock_store
from openjepa.errors import DataError
from openjepa.files import replacing

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Found:
    """A whole episode: its line, and the byte where its rows begin in each column."""

    record: Record
    offsets: dict[str, int]


def repair(path: str | Path, *, say: Say | None = None) -> int:
    """Brings back what is whole; returns the number of episodes that the store then has.

    Where only index, journal or header are damaged they are written anew. Where rows are damaged, lost or
    shifted, the whole episodes are copied to a new store that takes the place of the old one, which is kept
    beside it under the name `<store>.damaged`.

    Args:
        path: the store.
        say: takes lines of text about what was done.

    Raises:
        DataError: where there is no store, or nothing says what its columns are; nothing is changed then.
    """
    path, say = Path(path), say or (lambda line: None)
    real = path.resolve()
    _finish_exchange(real)
    if not real.is_dir():
        raise DataError(f"no episode store at `{path}`. Check the path.")
    if not any((real / name).exists() for name in (HEADER, INDEX, JOURNAL)):
        raise DataError(f"`{path}` is not an episode store: it has no {HEADER}. Check the path.")
    _columns_of(real)  # refuses a folder of something else before anything is written there
    with lock_store(real):
        columns = _columns_of(real)
        lines = {} if columns is None else _lines_of(real)
        found = _find(real, columns or (), lines)
        known = {record.start for records in lines.values() for record in records}
        say(f"{path}: {len(found)} of {len(known)} known episodes are whole")
        more = _unlisted(real, columns or (), found, lines) if found else []
        if more:
            say(f"{path}: {len(more)} more lie behind the index, by their number of rows; nothing can verify them")
            found += more
        if _is_in_place(real, columns or (), found, lines):
            _write_lists(real, columns, [f.record for f in found])
        else:
            aside = _copy_out(real, columns or (), found)
            say(f"{path}: rows were damaged; the store as it was is kept in `{aside}`")
    EpisodeStore.resume(path).close()  # completes what is left to complete, and proves that it opens
    return len(found)


def _columns_of(folder: Path) -> Columns | None:
    """The columns by the journal, whose line has a checksum, else by the header."""
    journal = whole_lines(folder / JOURNAL) or b""
    columns = store_format.parse_columns(journal.partition(b"\n")[0])
    if columns is not None:
        return columns
    try:
        columns = store_format.read_header(folder)
        if columns is None and (journal or whole_lines(folder / INDEX)):
            raise DataError(f"`{folder / HEADER}` names none")
    except DataError as error:
        raise DataError(
            f"neither {HEADER} nor {JOURNAL} of `{folder}` says what its columns are. Restore one of them ({error})"
        ) from error
    return columns


def _lines_of(folder: Path) -> dict[str, list[Record]]:
    """Every undamaged line of the index and of the journal, by file, in the order of their rows."""
    lines = {}
    for name in (JOURNAL, INDEX):
        text = (folder / name).read_bytes() if (folder / name).is_file() else b""
        parsed = (store_format.parse_record(line) for line in dict.fromkeys(text.splitlines()))
        lines[name] = sorted((r for r in parsed if r is not None), key=lambda r: r.start)
    return lines


def _find(folder: Path, columns: Columns, lines: dict[str, list[Record]]) -> list[_Found]:
    """The whole episodes of a store, in order."""
    found: dict[int, _Found] = {}
    for records in lines.values():
        for episode in _search(folder, columns, records):
            found.setdefault(episode.record.start, episode)
    return [found[start] for start in sorted(found)]


def _search(folder: Path, columns: Columns, records: list[Record]) -> Iterator[_Found]:
    """Yields those of a list of episodes, with gaps where its lines are lost, whose rows are whole."""
    shift = {c.name: 0 for c in columns}
    lost = gap = row = 0  # episodes without a line so far, the frames they had, and where the last known one ended
    for number, record in enumerate(records):
        gap, row = gap + max(record.start - row, 0), record.end
        for missing in range(lost, max(gap // 2, lost) + 1):  # a lost episode had two frames or more
            ends = [(missing + i, r) for i, r in list(enumerate(records))[-2:]]
            places = _place(folder, columns, record, number + missing, ends, shift)
            if len(places) == len(columns):
                lost = missing
                shift = {c.name: places[c.name] - _natural(c, record, number + missing) for c in columns}
                yield _Found(record, places)
            if any(c.per == "frame" and c.name not in places for c in columns) or len(places) == len(columns):
                break  # where frames lie does not depend on how many episodes are missing


def _place(
    folder: Path,
    columns: Columns,
    record: Record,
    episode: int,
    ends: list[tuple[int, Record]],
    shift: dict[str, int],
) -> dict[str, int]:
    """The bytes where the rows of an episode begin, in the columns that have them whole.

    If bytes were lost or inserted before an episode, a file is shorter or longer by as many than its last lines say,
    of which the very last may be of an unfinished episode.
    """
    places = {}
    for c in sorted(columns, key=lambda c: c.per != "frame"):
        file = folder / f"{c.name}.bin"
        natural, size = _natural(c, record, episode), c.rows(record.steps) * c.row_bytes
        total = file.stat().st_size if file.is_file() else 0
        for moved in dict.fromkeys([shift[c.name], 0, *(total - store_format.end_bytes(c, r, i) for i, r in ends)]):
            if checksum(file, natural + moved, size) == record.crc32.get(c.name):
                places[c.name] = natural + moved
                break
        else:
            break
    return places


def _natural(column: Column, record: Record, episode: int) -> int:
    """The byte where the rows of the `episode`-th episode of a store begin by its line."""
    return column.first_row(record.start, episode) * column.row_bytes


def _unlisted(folder: Path, columns: Columns, found: list[_Found], lines: dict[str, list[Record]]) -> list[_Found]:
    """Episodes behind the index of a collection of version 0.1.0, which knew them by that index alone.

    `collect` notes the most steps that an episode can have. Where the rows that are left come to exactly that many
    for each, every one has as many, and its values follow from those before it; without checksums, what the rows
    hold is taken as it is.
    """
    records = [f.record for f in found]
    facts = {k: v for k, v in records[0].info.items() if k != "episode"} if records else {}
    steps = facts.get("steps")
    if lines[JOURNAL] or lines[INDEX] != records or not isinstance(steps, int) or steps < 1:
        return []
    if any(r.info != {"episode": i, **facts} or r.steps > steps for i, r in enumerate(records)):
        return []
    expected, sizes = store_format.expected_bytes(columns, records), store_format.file_sizes(folder, columns)
    rows = {c.name: (sizes[c.name] - expected[c.name]) / c.row_bytes for c in columns}
    count = rows["frames"] - rows["actions"]
    if count < 1 or any(rows[c.name] != count * c.rows(steps) for c in columns):
        return []
    more: list[_Found] = []
    for number in range(len(records), len(records) + int(count)):
        record = Record(records[-1].end + len(more) * (steps + 1), steps, {}, {"episode": number, **facts})
        offsets = {c.name: _natural(c, record, number) for c in columns}
        for c in columns:
            size = c.rows(steps) * c.row_bytes
            record.crc32[c.name] = checksum(folder / f"{c.name}.bin", offsets[c.name], size) or 0
        more.append(_Found(record, offsets))
    return more


def _is_in_place(folder: Path, columns: Columns, found: list[_Found], lines: dict[str, list[Record]]) -> bool:
    """Whether the whole episodes lie as a store has them, with at most an unfinished one behind them."""
    row = 0
    for number, episode in enumerate(found):
        if episode.record.start != row:
            return False
        if any(episode.offsets[c.name] != _natural(c, episode.record, number) for c in columns):
            return False
        row = episode.record.end
    records = [f.record for f in found]
    expected, sizes = store_format.expected_bytes(columns, records), store_format.file_sizes(folder, columns)
    excess = {name: sizes[name] - expected[name] for name in expected}
    if not any(excess.values()):
        return not any(r.start >= row for r in lines.get(INDEX, []))
    if not lines[JOURNAL]:
        # Version 0.1.0 had no journal. Where one is, or some line cannot be read, an episode may have lost its lines.
        is_old = not (folder / JOURNAL).exists() and _is_readable(folder / INDEX, lines[INDEX])
        return is_old and not any(r.start >= row for r in lines[INDEX]) and can_be_unfinished(columns, excess)
    later = [r for r in lines[JOURNAL] if r.start >= row]
    if len(later) != 1 or later[0].start != row or any(r.start >= row for r in lines[INDEX]):
        return False
    whole = store_format.expected_bytes(columns, [*records, later[0]])
    return all(sizes[name] <= whole[name] for name in whole) and any(sizes[name] < whole[name] for name in whole)


def _is_readable(file: Path, records: list[Record]) -> bool:
    """Whether a list has these lines and nothing else."""
    return file.is_file() and len(file.read_bytes().splitlines()) == len(records)


def _write_lists(folder: Path, columns: Columns | None, records: list[Record]) -> None:
    """Writes header, journal and index anew; rows behind the last episode are cut off."""
    try:
        for name, end in store_format.expected_bytes(columns or (), records).items():
            with (folder / f"{name}.bin").open("ab") as file:
                file.truncate(end)
        text = b"".join(r.line() for r in records)
        for name, content in ((JOURNAL, b"" if columns is None else store_format.columns_line(columns)), (INDEX, b"")):
            with replacing(folder / name) as draft:
                draft.write_bytes(content + text)
    except OSError as error:
        raise store_format.write_error(folder, error, len(records)) from error
    store_format.write_header(folder, columns)


def _copy_out(folder: Path, columns: Columns, found: list[_Found]) -> Path:
    """Copies the whole episodes to a store that then takes the place of the damaged one; returns where that is."""
    new, repaired = folder.with_name(f"{folder.name}.repairing"), _repaired(folder)
    try:
        for left in (new, repaired):  # of an earlier repair; what they hold is in the damaged store too
            shutil.rmtree(left, ignore_errors=True)
        with EpisodeStore.create(new) as store:
            for episode in found:
                rows = {c.name: _read(folder, c, episode) for c in columns}
                store.append(episode_of(rows, episode.record.info))
        aside = next(p for p in _asides(folder) if not p.exists())
        new.rename(repaired)
        folder.rename(aside)
        repaired.rename(folder)
    except OSError as error:
        raise store_format.write_error(folder, error, len(found)) from error
    return aside


def _read(folder: Path, column: Column, episode: _Found) -> np.ndarray:
    rows = column.rows(episode.record.steps)
    with (folder / f"{column.name}.bin").open("rb") as file:
        file.seek(episode.offsets[column.name])
        data = file.read(rows * column.row_bytes)
    return np.frombuffer(data, column.dtype).reshape(rows, *column.shape)


def _asides(folder: Path) -> Iterator[Path]:
    yield folder.with_name(f"{folder.name}.damaged")
    number = 2
    while True:
        yield folder.with_name(f"{folder.name}.damaged-{number}")
        number += 1


def _repaired(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.repaired")


def _finish_exchange(folder: Path) -> None:
    """Ends a repair that was killed between its last two renames."""
    if not folder.exists() and _repaired(folder).is_dir():
        _repaired(folder).rename(folder)
