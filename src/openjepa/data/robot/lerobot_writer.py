"""Writes episodes as a LeRobot data set of version 3: Parquet by PyArrow, video by PyAV, statistics beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from openjepa.data.robot import lerobot_stats
from openjepa.data.robot.lerobot_columns import as_arrow, next_place, png, task_table, type_of, unrolled
from openjepa.data.robot.lerobot_layout import (
    ACTION,
    COUNTERS,
    DATA,
    EPISODES,
    INFO,
    OWN,
    STATE,
    STATS,
    TASKS,
    VERSION,
    VIDEOS,
    arrow,
    pretty,
)
from openjepa.data.robot.lerobot_video import VideoWriter
from openjepa.data.robot.meaning import RobotSpec, StatedMeaning, Vector
from openjepa.data.store_merge import Episodes, Progress
from openjepa.errors import DataError
from openjepa.files import is_disk_full, replacing_folder
from openjepa.protocols import Episode

Codec = Literal["h264", "av1", "png"]
DATA_MB, VIDEO_MB, CHUNK = 100, 200, 1000  # size at which a file is closed; files of a folder
THEIRS = {"frames": "observation.images.main", "actions": ACTION, "proprio": STATE}
THEIRS |= {"states": "observation.environment_state"}
NO_TASK = "unknown"
OWN_WORDS = ("robot", "rows", "task", "tasks", "last_action")  # plain values that have a place in the layout


@dataclass(frozen=True)
class LeRobotOptions:
    """How a data set is written.

    Attributes:
        fps: frames per second; None is what the episodes say.
        robot_type: what its maker calls it; None is what the episodes say.
        task: in words, for episodes that state none.
        codec: `h264` or `av1`, or `png` for pictures without loss in the tables.
        stated: what the user says of the numbers.
    """

    fps: float | None = None
    robot_type: str | None = None
    task: str | None = None
    codec: Codec = "h264"
    stated: StatedMeaning = field(default_factory=StatedMeaning)


def write_lerobot(
    source: Episodes, out: str | Path, options: LeRobotOptions | None = None, *, progress: Progress | None = None
) -> int:
    """Writes episodes as a LeRobot data set; returns how many.

    Args:
        source: the episodes, e.g. a store.
        out: a folder that does not exist yet; it appears when it is whole.
        options: how.
        progress: called after every episode.

    Raises:
        DataError: for an unknown rate, units that do not fit, frames that a codec cannot hold, or a full disk.
    """
    out, options = Path(out), options or LeRobotOptions()
    if out.exists():
        raise DataError(f"`{out}` must be a new folder; it is there already. Remove it, or choose another name.")
    if not len(source):
        raise DataError("a data set must have at least one episode; there is none.")
    try:
        with replacing_folder(out) as draft:
            with _Writer(draft, source.episode(0), options) as writer:
                for number in range(len(source)):
                    writer.add(source.episode(number))
                    if progress is not None:
                        progress(number + 1, len(source))
            writer.finish()
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error, out) else str(error)
        raise DataError(f"cannot write `{out}` ({reason}). The episodes are as they were.") from error
    return len(source)


class _Writer:
    """Writes one data set into a folder, episode after episode."""

    def __init__(self, root: Path, first: Episode, options: LeRobotOptions) -> None:
        self.pa, self.pq = arrow()
        self.root, self.options = root, options
        self.spec = _spec(first, options)
        self.columns = _describe(first, self.spec)
        if first.frames.shape[1] != 3:
            raise DataError(f"frames must have 3 channels to be written; they have {first.frames.shape[1]}.")
        self.kept = {key: dict(about) for key, about in first.info.get("rows", {}).items()}
        self.cameras = {name: about["key"] for name, about in self.columns.items() if about["is_picture"]}
        self.tasks: dict[str, int] = {}
        self.frames = 0
        self.stats: dict[str, list[lerobot_stats.Stats]] = {}
        self.rows: list[dict[str, Any]] = []
        self.noted: list[dict[str, Any]] = []
        self.repeated: list[int] = []
        self.has_no_task = False
        self.videos: dict[str, VideoWriter] = {}
        if options.codec != "png":
            fps = Fraction(self.spec.fps).limit_denominator(1001)
            for name, key in self.cameras.items():
                size = _arrays(first)[name].shape[2:]
                self.videos[key] = VideoWriter(root, key, size, fps, options.codec, VIDEO_MB << 20, CHUNK)
        self._data: Any = None
        self._data_bytes = 0
        self._place = (0, 0)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for video in self.videos.values():
            video.close()
        if self._data is not None:
            self._data.close()

    def add(self, episode: Episode) -> None:
        """Appends one episode."""
        number, arrays = len(self.rows), _arrays(episode)
        if arrays.keys() != self.columns.keys():
            raise DataError(
                f"episode {number} must have the columns {', '.join(self.columns)}; it has {', '.join(arrays)}."
            )
        self.spec.check(episode.actions, episode.proprio, f"episode {number}")
        length = len(episode.frames)
        arrays["actions"] = self._with_last_action(episode, number)
        words = self._words(episode, length)
        columns, stats = self._table_columns(arrays, length)
        steps = np.arange(length)
        columns |= {
            "frame_index": self.pa.array(steps),
            "episode_index": self.pa.array(np.full(length, number)),
            "index": self.pa.array(self.frames + steps),
            "task_index": self.pa.array(np.array([self.tasks[word] for word in words])),
        }
        columns.setdefault("timestamp", self.pa.array((steps / self.spec.fps).astype(np.float32)))
        columns |= self._kept_columns(episode, length)
        for key in COUNTERS:
            stats[key] = lerobot_stats.of_numbers(columns[key].to_numpy(zero_copy_only=False))
        row = self._row(number, length, list(dict.fromkeys(words)))
        for name, key in self.cameras.items():
            stats[key] = lerobot_stats.of_pictures(arrays[name])
            if key in self.videos:
                place = self.videos[key].add(arrays[name])
                row |= {f"videos/{key}/{word}": value for word, value in place.items()}
        table = self.pa.table(columns)
        chunk, file = self._write_rows(table)
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        for key, moments in stats.items():
            self.stats.setdefault(key, []).append(moments)
            row |= {f"stats/{key}/{name}": value.tolist() for name, value in moments.items()}
        self.rows.append({**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.noted.append({name: value for name, value in episode.info.items() if name not in OWN_WORDS})
        self.frames += length

    def finish(self) -> None:
        """Writes what is known of all episodes."""
        features = self._features()
        whole = {key: lerobot_stats.together(parts) for key, parts in self.stats.items()}
        info = {
            "codebase_version": VERSION,
            "robot_type": self.spec.robot_type,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": int(self.spec.fps) if float(self.spec.fps).is_integer() else self.spec.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA,
            "video_path": VIDEOS if self.videos else None,
            "features": features,
        }
        own = {
            "version": 1,
            "spec": {k: v for k, v in self.spec.plain().items() if k not in ("cameras", "source")},
            "columns": {name: _own_column(about) for name, about in self.columns.items()},
            "last_action_repeated": self.repeated,
            **({"no_task": NO_TASK} if self.has_no_task else {}),
            "episodes": self.noted,
        }
        stats = {key: {name: value.tolist() for name, value in moments.items()} for key, moments in whole.items()}
        for path, content in ((INFO, info), (STATS, stats), (OWN, own)):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(pretty(content), encoding="utf-8")
        self._write(EPISODES.format(chunk_index=0, file_index=0), self.pa.Table.from_pylist(self.rows))
        self._write(TASKS, task_table(self.tasks))

    def _with_last_action(self, episode: Episode, number: int) -> np.ndarray:
        """Actions with a row per frame [T + 1, A]."""
        last = episode.info.get("last_action")
        if last is None:
            self.repeated.append(number)
            return np.concatenate([episode.actions, episode.actions[-1:]])
        return np.concatenate([episode.actions, np.asarray([last], np.float32)])

    def _words(self, episode: Episode, length: int) -> list[str]:
        """The task of every row."""
        found = episode.info.get("tasks") or [[length, episode.info.get("task") or self.options.task]]
        words = unrolled(found)
        if None in words:
            self.has_no_task, words = True, [NO_TASK] * length
        if len(words) != length:
            raise DataError(f"tasks of an episode of {length} frames must be stated for each; got {len(words)}.")
        for word in words:
            self.tasks.setdefault(word, len(self.tasks))
        return words

    def _table_columns(self, arrays: Mapping[str, np.ndarray], length: int) -> tuple[dict[str, Any], dict[str, Any]]:
        columns, stats = {}, {}
        for name, about in self.columns.items():
            values, key = arrays[name], about["key"]
            if about["is_picture"]:
                if self.options.codec == "png":
                    columns[key] = self.pa.array([{"bytes": png(x), "path": None} for x in values])
                continue
            if about["per"] == "action" and name != "actions":
                values = np.concatenate([values, values[-1:]])
            if len(values) != length or values.shape[1:] != tuple(about["shape"]):
                raise DataError(
                    f"`{name}` must have rows {list(about['shape'])} in every episode; got {list(values.shape)}."
                )
            columns[key] = as_arrow(values)
            stats[key] = lerobot_stats.of_numbers(values)
        return columns, stats

    def _kept_columns(self, episode: Episode, length: int) -> dict[str, Any]:
        """Columns that are no numbers, as they were read."""
        rows = episode.info.get("rows", {})
        if rows.keys() != self.kept.keys():
            raise DataError(
                f"episodes must have the same texts, {', '.join(self.kept) or 'none'}; got {', '.join(rows)}."
            )
        found = {}
        for key, about in rows.items():
            values = unrolled(about["values"])
            if len(values) != length:
                raise DataError(f"`{key}` must have {length} rows, one per frame; it has {len(values)}.")
            found[key] = self.pa.array(values, type=type_of(about["type"]).type)
        return found

    def _row(self, number: int, length: int, words: list[str]) -> dict[str, Any]:
        return {
            "episode_index": number,
            "tasks": words,
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
        }

    def _write_rows(self, table: Any) -> tuple[int, int]:
        """Appends the rows of an episode as one group, in a new file where the last is full."""
        if self._data is not None and self._data_bytes + table.nbytes > DATA_MB << 20:
            self._data.close()
            self._data, self._place = None, next_place(*self._place, CHUNK)
        if self._data is None:
            path = self.root / DATA.format(chunk_index=self._place[0], file_index=self._place[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data, self._data_bytes = self.pq.ParquetWriter(path, table.schema), 0
        self._data.write_table(table)
        self._data_bytes += table.nbytes
        return self._place

    def _features(self) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for about in self.columns.values():
            shape = list(about["shape"]) or [1]
            if about["is_picture"]:
                channels, height, width = shape
                features[about["key"]] = {
                    "dtype": "image" if self.options.codec == "png" else "video",
                    "shape": [height, width, channels],
                    "names": ["height", "width", "channels"],
                }
                if about["key"] in self.videos:
                    features[about["key"]]["info"] = self.videos[about["key"]].info()
            else:
                vector = {ACTION: self.spec.action, STATE: self.spec.proprio}.get(about["key"], Vector())
                names = list(vector.names) if len(vector.names) == int(np.prod(shape)) else None
                features[about["key"]] = {"dtype": about["dtype"], "shape": shape, "names": names}
        for key, about in self.kept.items():
            features[key] = {"dtype": about["dtype"], "shape": [1], "names": None}
        for key in COUNTERS:
            dtype = "float32" if key == "timestamp" else "int64"
            features[key] = {"dtype": dtype, "shape": [1], "names": None}
        return features

    def _write(self, name: str, table: Any) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        self.pq.write_table(table, self.root / name)


def _spec(first: Episode, options: LeRobotOptions) -> RobotSpec:
    """What the episodes say of themselves, and what the user states."""
    plain = first.info.get("robot")
    if plain is not None:
        spec = RobotSpec.of(plain, "robot")
        if options.fps is not None and options.fps != spec.fps:
            raise DataError(f"`fps` must be {spec.fps:g}, as the episodes say; got {options.fps:g}. Leave it out.")
    elif options.fps is None:
        raise DataError("the episodes must say how many frames there are per second; they do not. Give `--fps`.")
    else:
        spec = RobotSpec(options.fps)
    spec = replace(spec, robot_type=options.robot_type or spec.robot_type).stated(options.stated)
    for vector, array, name in (
        (spec.action, first.actions, "action"),
        (spec.proprio, first.proprio, "observation.state"),
    ):
        if array is not None:
            vector.units_of(array.shape[1], name)
    return spec


def _describe(first: Episode, spec: RobotSpec) -> dict[str, dict[str, Any]]:
    """What each column of the episodes becomes: feature, dtype, shape of a row, frame or action."""
    found = {}
    for name, array in _arrays(first).items():
        is_picture = name == "frames" or (name in spec.cameras and array.ndim == 4)
        key = spec.source.get(name) or THEIRS.get(name) or name
        per = "action" if len(array) == len(first.actions) else "frame"
        found[name] = {
            "key": key,
            "dtype": array.dtype.name,
            "shape": array.shape[1:],
            "per": per,
            "is_picture": is_picture,
        }
    return found


def _own_column(about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": about["key"],
        "per": "frame" if about["key"] == ACTION else about["per"],
        "shape": list(about["shape"]),
    }


def _arrays(episode: Episode) -> dict[str, np.ndarray]:
    """The columns of an episode by name."""
    own = {"frames": episode.frames, "actions": episode.actions, "states": episode.states, "proprio": episode.proprio}
    return {name: array for name, array in {**own, **episode.extras}.items() if array is not None}
