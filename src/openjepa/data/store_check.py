"""Looks at an episode store, and verifies every byte of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openjepa.data.episode_store import EpisodeStore
from openjepa.data.store_format import INDEX, expected_bytes, repair_command
from openjepa.data.store_state import damaged_columns, read_state


@dataclass(frozen=True)
class StoreReport:
    """What `check` found.

    Attributes:
        path: the store.
        episodes: finished episodes.
        checked_bytes: bytes whose checksums were compared.
        torn_bytes: bytes behind the last finished episode, left by an interrupted writer; harmless.
        problems: one sentence for each damaged array of an episode.
        is_indexed: whether the index names the last episode too; if not, the next writer completes it.
    """

    path: str
    episodes: int
    checked_bytes: int
    torn_bytes: int
    problems: tuple[str, ...]
    is_indexed: bool = True

    @property
    def is_sound(self) -> bool:
        """Whether every checksum agrees."""
        return not self.problems

    def __str__(self) -> str:
        text = f"{self.path}: {self.episodes} episodes, {self.checked_bytes / 1e6:.1f} MB checked"
        if self.torn_bytes:
            text += f", {self.torn_bytes} bytes of an unfinished episode (ignored)"
        if not self.is_indexed:
            text += ", the last of them not in the index yet (the next writer completes it)"
        if self.is_sound:
            return f"{text}, all sound"
        remedy = f"Copy the store again, or bring back what is whole: {repair_command(Path(self.path))}"
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
    state = read_state(Path(path))
    columns, records = state.columns or (), state.records
    problems = [
        f"`{name}` of episode {i} does not match its checksum."
        for i, record in enumerate(records)
        for name in damaged_columns(Path(path), columns, record, i)
    ]
    torn_line = (Path(path) / INDEX).stat().st_size - state.index_end
    return StoreReport(
        str(path),
        len(records),
        sum(expected_bytes(columns, records).values()),
        state.torn_bytes + torn_line,
        tuple(problems),
        is_indexed=state.indexed == len(records),
    )
