"""Looks at an episode store, verifies every byte of it, and cuts damage away."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openjepa.data import store_format
from openjepa.data.episode_store import EpisodeStore
from openjepa.data.store_format import Column, Record


@dataclass(frozen=True)
class StoreReport:
    """What `check` found.

    Attributes:
        path: the store.
        episodes: finished episodes in the index.
        checked_bytes: bytes whose checksums were compared.
        torn_bytes: bytes behind the last finished episode, left by an interrupted writer; harmless.
        problems: one sentence for each damaged array of an episode.
    """

    path: str
    episodes: int
    checked_bytes: int
    torn_bytes: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every checksum agrees."""
        return not self.problems

    def __str__(self) -> str:
        text = f"{self.path}: {self.episodes} episodes, {self.checked_bytes / 1e6:.1f} MB checked"
        if self.torn_bytes:
            text += f", {self.torn_bytes} bytes of an unfinished episode (ignored)"
        if self.is_sound:
            return f"{text}, all sound"
        remedy = f'Copy the store again, or keep the sound beginning with `openjepa.data.repair("{self.path}")`.'
        return "\n".join([f"{text}, {len(self.problems)} damaged", *self.problems, remedy])


def describe(path: str | Path) -> dict[str, Any]:
    """What is inside a store: counts, lengths, columns, bytes, and the plain values of episode 0.

    Raises:
        DataError: where there is no store, or a damaged one.
    """
    store = EpisodeStore.open(path)
    return {**store.info(), "first_episode": store.record(0).info if len(store) else {}}


def check(path: str | Path) -> StoreReport:
    """Reads every byte of a store and compares the checksums.

    Raises:
        DataError: where the store cannot be opened at all (foreign, cut short, damaged index).
    """
    store = EpisodeStore.open(path)
    problems = []
    for i in range(len(store)):
        for name in _damaged_columns(store.path, store.columns, store.record(i), i):
            problems.append(f"`{name}` of episode {i} does not match its checksum.")
    expected = store_format.expected_bytes(store.columns, [store.record(i) for i in range(len(store))])
    files = [store.path / f"{name}.bin" for name in expected]
    on_disk = sum(file.stat().st_size for file in files if file.exists())
    index_bytes = (store.path / store_format.INDEX).stat().st_size
    torn = on_disk - sum(expected.values()) + index_bytes - store_format.scan_index(store.path)[1]
    return StoreReport(str(path), len(store), sum(expected.values()), torn, tuple(problems))


def repair(path: str | Path) -> int:
    """Cuts a damaged store back to the episodes before the first damaged one; returns how many are kept.

    Raises:
        DataError: where there is no store, or its header or whole index is gone.
    """
    path = Path(path)
    columns = store_format.read_header(path) or ()
    records = store_format.scan_index(path)[0]
    damaged = (i for i, record in enumerate(records) if _damaged_columns(path, columns, record, i))
    records = records[: next(damaged, len(records))]
    try:
        os.truncate(path / store_format.INDEX, sum(len(r.line()) for r in records))
    except OSError as error:
        raise store_format.write_error(path, error, len(records)) from error
    EpisodeStore.resume(path).close()  # cuts the data behind the last line
    return len(records)


def _damaged_columns(path: Path, columns: tuple[Column, ...], record: Record, episode: int) -> list[str]:
    damaged = []
    for column in columns:
        wanted = column.rows(record.steps) * column.row_bytes
        try:
            with (path / f"{column.name}.bin").open("rb") as file:
                file.seek(column.first_row(record.start, episode) * column.row_bytes)
                rows = file.read(wanted)
        except FileNotFoundError:
            rows = b""
        if len(rows) != wanted or zlib.crc32(rows) != record.crc32.get(column.name):
            damaged.append(column.name)
    return damaged
