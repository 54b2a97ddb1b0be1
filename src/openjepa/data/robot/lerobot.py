"""Episodes of a LeRobot data set of version 3, read directly: Parquet by PyArrow, video by PyAV.

A row of the data set is a frame, what was measured with it, and the action that was taken there. An `Episode` of T
actions has T + 1 frames, so the action of the last row, whose outcome nobody saw, is a plain value of the episode:
`last_action`. Texts and other columns that are no numbers are plain values too (`rows`), in runs of equal rows.
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from openjepa.data.robot.lerobot_columns import centre_square, numbers, runs, type_text
from openjepa.data.robot.lerobot_layout import (
    ACTION,
    COUNTERS,
    OWN,
    STATE,
    WORLD_STATE,
    EpisodeRow,
    Feature,
    read_episodes,
    read_info,
    read_own,
    read_table,
    read_tasks,
)
from openjepa.data.robot.meaning import RobotSpec, StatedMeaning, Vector
from openjepa.data.video_file import VideoFile
from openjepa.errors import ConfigError, DataError, did_you_mean
from openjepa.protocols import Episode

TOLERANCE = 1e-4  # seconds that a timestamp may be off; LeRobot's own


class LeRobotData:
    """The episodes of a LeRobot data set; close it with `with`.

    Args:
        root: its folder.
        camera: feature whose pictures are the frames; None is the first. Other cameras become columns.
        size: side in px of the centre square that frames are cut to; None keeps them whole.
        stated: what the user says of the numbers.
        other_cameras: whether the pictures of the other cameras are read.

    Attributes:
        spec: what the numbers mean.
        rows: the list of episodes.
        left_out: what is not read, and why; a line each.

    Raises:
        DataError: for a data set that is damaged or of another version.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        camera: str | None = None,
        size: int | None = None,
        stated: StatedMeaning | None = None,
        other_cameras: bool = True,
    ) -> None:
        self.root, self.size = Path(root), size
        self.info = read_info(self.root)
        self.rows = read_episodes(self.info)
        self.tasks = read_tasks(self.info)
        self._own = read_own(self.root)
        self._long = [row for row in self.rows if row.length >= 2]
        self._table: tuple[tuple[int, int], Any] | None = None
        self._firsts: dict[tuple[int, int], int] = {}
        for row in self.rows:
            self._firsts.setdefault((row.chunk, row.file), row.first)
        self._videos: dict[str, tuple[Path, VideoFile]] = {}
        self.columns = self._columns(camera, other_cameras)
        self.spec = self._spec().stated(stated or StatedMeaning())
        self.left_out = tuple(self._left_out())

    def _columns(self, camera: str | None, other_cameras: bool) -> dict[str, Feature]:
        """Column of a store for each feature that is read."""
        features = self.info.features
        if camera is None and (own := self._own.get("columns")):
            try:
                return {name: features[about["key"]] for name, about in own.items()}
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"`{self.root / OWN}` must name features of this data set; it does not ({error})."
                ) from error
        keys = [feature.key for feature in self.info.cameras]
        wanted = next((key for key in keys if camera in (key, key.rsplit(".", 1)[-1])), None) if camera else keys[0]
        if wanted is None:
            raise ConfigError(f"`{self.root}` has no camera `{camera}`{did_you_mean(str(camera), keys)}")
        fixed = {wanted: "frames", ACTION: "actions", STATE: "proprio", WORLD_STATE: "states"}
        found: dict[str, Feature] = {}
        for key, feature in features.items():
            if key in COUNTERS and key != "timestamp":
                continue
            if not (feature.is_numeric or (feature in self.info.cameras and (other_cameras or key == wanted))):
                continue
            name = fixed.get(key) or re.sub(r"[^a-z0-9_]+", "_", key.lower()).lstrip("_0123456789")
            if not name or name in found:
                raise DataError(f"the feature `{key}` of `{self.root}` must have a name of its own as a column.")
            found[name] = feature
        return found

    def _spec(self) -> RobotSpec:
        features = self.info.features
        source = {name: f.key for name, f in self.columns.items() if name != f.key}
        cameras = {name: f.key for name, f in self.columns.items() if f.is_picture}
        proprio = Vector(features[STATE].names) if STATE in features else Vector()
        noted = RobotSpec(self.info.fps, self.info.robot_type, Vector(features[ACTION].names), proprio)
        if own := self._own.get("spec"):
            noted = RobotSpec.of(own, f"{self.root}/meta/openjepa.json")
        return RobotSpec(self.info.fps, self.info.robot_type, noted.action, noted.proprio, cameras, source)

    def _left_out(self) -> Iterator[str]:
        short = len(self.rows) - len(self._long)
        if short:
            yield f"{self.root}: {short} episodes of a single frame have no outcome of an action and are left out"
        for key, feature in self.info.features.items():
            if feature in self.columns.values() and key in (ACTION, STATE, WORLD_STATE) and feature.dtype != "float32":
                yield f"{self.root}: `{key}` is {feature.dtype} and is kept as float32"
            if feature.is_picture and feature not in self.columns.values():
                yield f"{self.root}: `{key}` ({'depth' if feature.is_depth else feature.dtype}) is left out"

    def __len__(self) -> int:
        return len(self._long)

    def __enter__(self) -> "LeRobotData":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the video files."""
        for _, video in self._videos.values():
            video.close()
        self._videos.clear()

    def episode(self, episode: int) -> Episode:
        """Reads one whole episode.

        Raises:
            DataError: where it is not what the data set says: rows, order, times, pictures, units.
        """
        row = self._long[episode]
        table, where = self.table(row), self.where(row)
        arrays: dict[str, np.ndarray] = {}
        for name, feature in self.columns.items():
            if feature.is_picture:
                arrays[name] = np.stack(list(self.pictures(row, feature, table)))
            else:
                arrays[name] = numbers(table[feature.key], feature, where)
        self._undo_padding(arrays)
        actions = _as_rows(arrays.pop("actions"), where)
        own = {name: _as_rows(arrays.pop(name), where) if name in arrays else None for name in ("states", "proprio")}
        self.spec.check(actions, own["proprio"], where)
        info = {**self._plain(row), **self.texts(row, table), "robot": self.spec.plain()}
        if row.number not in self._own.get("last_action_repeated", ()):
            info["last_action"] = actions[-1].tolist()
        return Episode(arrays.pop("frames"), actions[:-1], info=info, extras=arrays, **own)

    def where(self, row: EpisodeRow) -> str:
        """What errors call an episode."""
        return f"episode {row.number} of `{self.root}`"

    def table(self, row: EpisodeRow) -> Any:
        """The rows of an episode, held against the list of episodes and the frame rate.

        Raises:
            DataError: where they are missing, in another order, or at another rate.
        """
        place, where = (row.chunk, row.file), self.where(row)
        if self._table is None or self._table[0] != place:
            self._table = place, read_table(self.info.file(self.info.data_path, *place))
        whole, first = self._table[1], row.first - self._firsts[place]
        for key, feature in self.info.features.items():
            if feature.dtype != "video" and key not in whole.column_names:
                raise DataError(f"{where} must have the column `{key}`, as meta/info.json says; its file has not.")
        table = whole.slice(first, row.length)
        if table.num_rows < row.length:
            raise DataError(
                f"{where} must have {row.length} rows; its file ends after {table.num_rows}. Rows are missing."
            )
        self._check_order(
            row, {key: numbers(table[key], None, where) for key in COUNTERS if key != "task_index"}, where
        )
        return table

    def _check_order(self, row: EpisodeRow, found: Mapping[str, np.ndarray], where: str) -> None:
        steps = np.arange(row.length)
        wanted = {
            "episode_index": np.full(row.length, row.number),
            "frame_index": steps,
            "index": row.first + steps,
        }
        for key, values in wanted.items():
            wrong = np.flatnonzero(found[key] != values)
            if len(wrong):
                raise DataError(
                    f"row {wrong[0]} of {where} must have {key} {values[wrong[0]]}; it has {found[key][wrong[0]]}. "
                    "Rows "
                    "were shuffled, or some are missing."
                )
        times, fps = found["timestamp"].astype(float), self.info.fps
        off = np.abs(times - steps / fps) > TOLERANCE + 1e-6 * np.abs(times)
        if off.any():
            at = int(np.argmax(off))
            step = float(np.median(np.diff(times))) if row.length > 1 else 0.0
            rate = f" They run at {1 / step:.4g} frames per second." if step > 0 else ""
            raise DataError(
                f"row {at} of {where} must have timestamp {at / fps:.4f} s at {fps:g} frames per second; it has "
                f"{times[at]:.4f} s.{rate} The rate is wrong, or frames are missing."
            )

    def pictures(self, row: EpisodeRow, camera: Feature, table: Any) -> Iterator[np.ndarray]:
        """The pictures [3, H, W] uint8 of an episode, in order.

        Raises:
            DataError: where some are missing, at another rate, or of another size.
        """
        if camera.dtype == "image":
            for value in table[camera.key].to_pylist():
                yield self._decoded(value, camera, row)
            return
        place, fps, where = row.videos[camera.key], self.info.fps, self.where(row)
        video = self._video(camera, place.chunk, place.file)
        if abs((place.end - place.begin) * fps - row.length) > 0.5:
            raise DataError(
                f"`{camera.key}` of {where} must last {row.length} frames at {fps:g} per second; the list of episodes "
                f"gives it {place.begin:.3f} to {place.end:.3f} s."
            )
        if video.num_frames > 1 and abs(video.fps / fps - 1) > 0.01:
            raise DataError(f"`{video.name}` must run at {fps:g} frames per second; it runs at {video.fps:.4g}.")
        missing = round(place.begin * fps) + row.length - video.num_frames
        if missing > 0:
            raise DataError(f"`{video.name}` must hold all frames of {where}; {missing} are missing at its end.")
        size = camera.size
        for picture in video.pictures(place.begin + (np.arange(row.length) + 0.5) / fps, self.size):
            if self.size is None and picture.shape[1:] != size:
                raise DataError(f"pictures of `{video.name}` must be {list(size)}; they are {list(picture.shape[1:])}.")
            yield picture

    def _video(self, camera: Feature, chunk: int, file: int) -> VideoFile:
        path = self.info.file(self.info.video_path, chunk, file, camera.key)
        kept = self._videos.get(camera.key)
        if kept is None or kept[0] != path:
            if kept is not None:
                kept[1].close()
            if not path.is_file():
                raise DataError(f"`{path}` must be there, as the list of episodes says; it is missing. Fetch it again.")
            kept = self._videos[camera.key] = path, VideoFile(path)
        return kept[1]

    def _decoded(self, value: Any, camera: Feature, row: EpisodeRow) -> np.ndarray:
        """A picture that stands in the table itself, or in a file that the table names."""
        content = value.get("bytes") if isinstance(value, Mapping) else value
        if content is None and isinstance(value, Mapping) and value.get("path"):
            path = (self.root / str(value["path"])).resolve()
            if not path.is_relative_to(self.root.resolve()) or not path.is_file():
                raise DataError(
                    f"`{camera.key}` of {self.where(row)} must lie in the data set; `{value['path']}` does not."
                )
            content = path.read_bytes()
        try:
            picture = np.asarray(Image.open(io.BytesIO(content or b"")).convert("RGB"))
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"a picture of `{camera.key}` of {self.where(row)} cannot be decoded ({error}).") from error
        picture = np.ascontiguousarray(picture.transpose(2, 0, 1))
        return picture if self.size is None else centre_square(picture, self.size)

    def texts(self, row: EpisodeRow, table: Any) -> dict[str, Any]:
        """Tasks in words, and columns that are no numbers."""
        info: dict[str, Any] = {}
        where = self.where(row)
        if self.tasks and "task_index" in table.column_names:
            found = numbers(table["task_index"], None, where).tolist()
            for number in found:
                if number not in self.tasks:
                    raise DataError(f"{where} must have tasks of meta/tasks.parquet; it has number {number}.")
            words = [self.tasks[number] for number in found]
            if words != [self._own.get("no_task")] * len(words):
                info |= {"task": words[0]} if len(set(words)) == 1 else {"tasks": runs(words)}
        kept = {}
        for name in table.column_names:
            feature = self.info.features.get(name)
            if name in COUNTERS or (feature is not None and (feature.is_numeric or feature.is_picture)):
                continue
            kept[name] = {
                "type": type_text(table.schema.field(name)),
                "dtype": feature.dtype if feature else "string",
                "values": runs(table[name].to_pylist()),
            }
        return {**info, "rows": kept} if kept else info

    def _plain(self, row: EpisodeRow) -> dict[str, Any]:
        """Plain values that this program noted of an episode."""
        noted = self._own.get("episodes")
        return dict(noted[row.number]) if isinstance(noted, list) and row.number < len(noted) else {}

    def _undo_padding(self, arrays: dict[str, np.ndarray]) -> None:
        """Columns with a row per action were filled up to a row per frame, and lost the shape of a row of one."""
        for name, about in self._own.get("columns", {}).items():
            if name not in arrays or self.columns[name].is_picture:
                continue
            if about.get("per") == "action":
                arrays[name] = arrays[name][:-1]
            arrays[name] = arrays[name].reshape(len(arrays[name]), *about.get("shape", arrays[name].shape[1:]))


def _as_rows(values: np.ndarray, where: str) -> np.ndarray:
    """Vectors [T, A] float32.

    Raises:
        DataError: for numbers that are not finite, or that float32 cannot hold.
    """
    rows = values.reshape(len(values), -1)
    small = rows.astype(np.float32)
    if not np.isfinite(small).all():
        at = int(np.flatnonzero(~np.isfinite(small).all(1))[0])
        raise DataError(f"row {at} of {where} must be finite; it holds {rows[at].tolist()}.")
    return small
