"""Verifies a LeRobot data set: every row, every frame, the rate, the order, the units and the statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data.robot.lerobot import LeRobotData
from openjepa.data.robot.lerobot_columns import numbers
from openjepa.data.robot.lerobot_layout import ACTION, COUNTERS, STATE, STATS, read_table
from openjepa.data.robot.lerobot_stats import check_stats, of_numbers
from openjepa.data.robot.meaning import StatedMeaning
from openjepa.errors import DataError, listing
from openjepa.files import read_json

# How many of one unit are another that people mistake for it.
MISTAKEN = {1000.0: "millimetres against metres", 180 / np.pi: "degrees against radians"}
NEAR, CLEAR = 0.05, 0.95  # share by which such a factor may be off; share of the variance that it explains


@dataclass(frozen=True)
class LeRobotReport:
    """What was verified.

    Attributes:
        root: the data set.
        episodes: of it.
        frames: of it, in every camera.
        cameras: whose frames were decoded.
        fps: of all.
        has_statistics: whether it has statistics, which then agree.
        units: whether units are known, which are then kept.
    """

    root: str
    episodes: int
    frames: int
    cameras: int
    fps: float
    has_statistics: bool
    units: bool

    def __str__(self) -> str:
        statistics = "statistics agree" if self.has_statistics else "no statistics"
        units = "units kept" if self.units else "units unknown (state them with --action.units)"
        return (
            f"{self.root}: {self.episodes} episodes, {self.frames} frames at {self.fps:g} per second, {self.cameras} "
            f"cameras, all sound; {statistics}; {units}"
        )


def check_lerobot(
    root: str | Path,
    *,
    stated: StatedMeaning | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LeRobotReport:
    """Reads everything of a LeRobot data set.

    Args:
        root: its folder.
        stated: what the user says of the numbers.
        progress: called after every episode.

    Raises:
        DataError: for the first thing that is wrong, with what it must be.
    """
    with LeRobotData(root, stated=stated) as data:
        columns: dict[str, list[np.ndarray]] = {f.key: [] for f in data.info.features.values() if f.is_numeric}
        _check_places(data)
        for row in data.rows:
            table, where = data.table(row), data.where(row)
            for key, parts in columns.items():
                parts.append(numbers(table[key], data.info.features[key], where))
            if row.length >= 2:
                actions, state = columns[ACTION][-1], columns[STATE][-1] if STATE in columns else None
                _check_finite({key: parts[-1] for key, parts in columns.items()}, where)
                data.spec.check(actions.reshape(row.length, -1), None if state is None else _rows(state), where)
            for camera in data.info.cameras:
                for _ in data.pictures(row, camera, table):
                    pass
            data.texts(row, table)
            if progress is not None:
                progress(row.number + 1, len(data.rows))
        whole = {key: np.concatenate(parts) for key, parts in columns.items()}
        _check_scale(data, whole)
        has_statistics = _check_statistics(data, whole)
        units = set(data.spec.action.units) != {"unknown"}
        return LeRobotReport(
            str(root),
            len(data.rows),
            data.info.num_frames,
            len(data.info.cameras),
            data.info.fps,
            has_statistics,
            units,
        )


def describe_lerobot(root: str | Path) -> dict[str, Any]:
    """What is inside a LeRobot data set: counts, rate, lengths, tasks, columns, and what its numbers mean.

    Raises:
        DataError: where there is none, or a damaged one.
    """
    with LeRobotData(root) as data:
        lengths = [row.length for row in data.rows]
        tasks = list(data.tasks.values())
        spec = data.spec.plain()
        return {
            "path": str(root),
            "episodes": len(data.rows),
            "frames": data.info.num_frames,
            "frames_per_episode": [min(lengths), max(lengths)],
            "fps": data.info.fps,
            "robot_type": data.info.robot_type,
            "tasks": listing(tasks),
            "features": {f.key: f"{f.dtype} {list(f.shape)}" for f in data.info.features.values()},
            "action": {name: value for name, value in spec["action"].items() if value},
            "proprio": {name: value for name, value in spec["proprio"].items() if value},
        }


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _check_finite(arrays: dict[str, np.ndarray], where: str) -> None:
    for key, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(_rows(values)).all(1))[0])
            raise DataError(f"`{key}` of {where} must be finite; row {at} is not.")


def _check_places(data: LeRobotData) -> None:
    """Files hold exactly the rows and the spans of their episodes, one behind the other."""
    counts: dict[tuple[int, int], int] = {}
    ends: dict[tuple[str, int, int], float] = {}
    for row in data.rows:
        counts[row.chunk, row.file] = counts.get((row.chunk, row.file), 0) + row.length
        for camera, place in row.videos.items():
            before = ends.get((camera, place.chunk, place.file), 0.0)
            if place.begin < before - 0.5 / data.info.fps:
                raise DataError(
                    f"`{camera}` of {data.where(row)} must begin behind the episode before it, at {before:.3f} s; it "
                    f"begins at {place.begin:.3f} s. Episodes were shuffled, or overlap."
                )
            ends[camera, place.chunk, place.file] = place.end
    for (chunk, file), wanted in counts.items():
        path = data.info.file(data.info.data_path, chunk, file)
        found = read_table(path, columns=["index"]).num_rows
        if found != wanted:
            raise DataError(f"`{path}` must have {wanted} rows, those of its episodes; it has {found}.")


def _check_scale(data: LeRobotData, whole: dict[str, np.ndarray]) -> None:
    """Actions and states of one name must be of one unit: a clear factor of 1000 or 57.3 between them is a mistake."""
    if STATE not in whole:
        return
    action, state = data.spec.action.names, data.spec.proprio.names
    actions, states = _rows(whole[ACTION]).astype(float), _rows(whole[STATE]).astype(float)
    if (len(action), len(state)) != (actions.shape[1], states.shape[1]):
        return
    inside = np.diff(whole["episode_index"].ravel()) == 0  # rows that have a next one
    for axis, name in enumerate(action):
        if state.count(name) != 1:
            continue
        now, after = states[:-1, state.index(name)][inside], states[1:, state.index(name)][inside]
        taken = actions[:-1, axis][inside]
        for changes in (after, after - now):
            factor = _factor(taken, changes)
            for wrong, words in MISTAKEN.items():
                if factor is not None and min(abs(factor / wrong - 1), abs(factor * wrong - 1)) < NEAR:
                    raise DataError(
                        f"`{name}` of `{ACTION}` must have the unit of `{STATE}`; it is {factor:.4g} times as large: "
                        f"{words}. Bring `{data.root}` to one unit."
                    )


def _factor(taken: np.ndarray, changes: np.ndarray) -> float | None:
    """The factor between two columns; None where they do not go together."""
    if len(taken) < 8 or taken.std() < 1e-9 or changes.std() < 1e-9:
        return None
    correlation = float(np.corrcoef(taken, changes)[0, 1])
    return float(taken.std() / changes.std()) if correlation**2 > CLEAR else None


def _check_statistics(data: LeRobotData, whole: dict[str, np.ndarray]) -> bool:
    path = data.root / STATS
    if not path.is_file():
        return False
    stated = read_json(path, damaged=lambda why: DataError(f"`{path}` is damaged ({why})."))
    for key, values in whole.items():
        if isinstance(stated.get(key), dict) and key not in COUNTERS:
            found = of_numbers(values)
            if values.ndim > 2 and np.size(stated[key].get("min", ())) == values.shape[-1]:
                # LeRobot's own writer takes moments of matrices over all axes but the last.
                found = {**of_numbers(values.reshape(-1, values.shape[-1])), "count": found["count"]}
            check_stats(stated[key], found, key, f"`{path}`")
    return True
