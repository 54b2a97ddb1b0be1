"""What a LeRobot data set of version 3 is on disk.

* `meta/info.json`: version, rate, counts, and the features with dtype, shape and names;
* `meta/episodes/chunk-*/file-*.parquet`: a row for each episode, with its place in the other files;
* `meta/tasks.parquet`: tasks in words; `meta/stats.json`: moments of every feature;
* `data/chunk-*/file-*.parquet`: a row for each frame; `videos/<camera>/chunk-*/file-*.mp4`: episodes one behind the
  other.

What this program adds stands in `meta/openjepa.json`, which no other reader looks at.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.errors import DataError, require
from openjepa.files import read_json

VERSION = "v3.0"
INFO, STATS, TASKS, OWN = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/openjepa.json"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
ACTION, STATE, WORLD_STATE = "action", "observation.state", "observation.environment_state"


@dataclass(frozen=True)
class Feature:
    """One column of a data set."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    info: Mapping[str, Any]

    @property
    def is_picture(self) -> bool:
        """Whether its rows are pictures."""
        return self.dtype in ("video", "image")

    @property
    def is_depth(self) -> bool:
        """Whether its pictures are maps of depth."""
        return bool(self.info.get("video.is_depth_map") or self.info.get("is_depth_map"))

    @property
    def is_numeric(self) -> bool:
        """Whether its rows are numbers of one shape."""
        try:
            return not self.is_picture and np.dtype(self.dtype).kind in "buif"
        except TypeError:
            return False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        shape = self.shape
        return (shape[1], shape[2]) if shape[0] in (1, 3) and shape[2] not in (1, 3) else (shape[0], shape[1])


@dataclass(frozen=True)
class Info:
    """`meta/info.json`."""

    root: Path
    fps: float
    robot_type: str
    num_episodes: int
    num_frames: int
    num_tasks: int
    features: Mapping[str, Feature]
    data_path: str
    video_path: str
    raw: Mapping[str, Any]

    @property
    def cameras(self) -> tuple[Feature, ...]:
        """Features whose rows are pictures in colour."""
        return tuple(f for f in self.features.values() if f.is_picture and not f.is_depth)

    def file(self, pattern: str, chunk: int, file: int, camera: str = "") -> Path:
        """A file by its numbers."""
        try:
            return self.root / pattern.format(chunk_index=chunk, file_index=file, video_key=camera)
        except (KeyError, IndexError, ValueError) as error:
            raise DataError(f"`{self.root / INFO}` names files in a way that is not version 3: `{pattern}`.") from error


@dataclass(frozen=True)
class Place:
    """Where an episode's pictures are in a video file, in seconds."""

    chunk: int
    file: int
    begin: float
    end: float


@dataclass(frozen=True)
class EpisodeRow:
    """A row of `meta/episodes`."""

    number: int
    length: int
    first: int  # frame of the whole data set
    tasks: tuple[str, ...]
    chunk: int
    file: int
    videos: Mapping[str, Place]


def is_lerobot(folder: Path) -> bool:
    """Whether a folder says that it is a LeRobot data set, of any version."""
    return (folder / INFO).is_file()


def read_info(root: Path) -> Info:
    """Reads `meta/info.json`.

    Raises:
        DataError: where there is none, a damaged one, or one of another version.
    """
    path = root / INFO
    if not path.is_file():
        raise DataError(f"`{root}` must be a LeRobot data set; it has no {INFO}.")
    raw = read_json(path, damaged=lambda why: DataError(f"`{path}` is damaged ({why})."))
    version = str(raw.get("codebase_version"))
    if not version.startswith("v3."):
        raise DataError(
            f"`{path}` must have codebase_version v3.x; got {version}. Convert it with LeRobot's own "
            "`convert_dataset_v21_to_v30`."
        )
    try:
        features = {key: _feature(key, value) for key, value in raw["features"].items()}
        info = Info(
            root,
            float(raw["fps"]),
            str(raw.get("robot_type") or "unknown"),
            int(raw["total_episodes"]),
            int(raw["total_frames"]),
            int(raw.get("total_tasks", 0)),
            features,
            str(raw.get("data_path") or DATA),
            str(raw.get("video_path") or VIDEOS),
            raw,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"`{path}` must state features, fps, total_episodes and total_frames; got {error!r}."
        ) from error
    if not (math.isfinite(info.fps) and info.fps > 0):
        raise DataError(f"`fps` of `{path}` must be above 0; got {info.fps}.")
    if ACTION not in features or not features[ACTION].is_numeric:
        raise DataError(
            f"`{root}` must have the feature `{ACTION}` of numbers; it has {', '.join(features) or 'none'}."
        )
    if not info.cameras:
        raise DataError(f"`{root}` must have a feature of pictures (dtype video or image); it has none.")
    return info


def _feature(key: str, raw: Mapping[str, Any]) -> Feature:
    return Feature(
        key, str(raw["dtype"]), tuple(int(n) for n in raw["shape"]), axis_names(raw.get("names")), raw.get("info") or {}
    )


def axis_names(names: Any) -> tuple[str, ...]:
    """Names of axes, which stand as a list, or under a word for all of them."""
    if isinstance(names, Mapping):
        lists = [axis_names(value) for value in names.values()]
        return tuple(name for part in lists for name in part)
    if isinstance(names, list):
        return tuple(str(name) for name in names)
    return ()


def read_tables(root: Path, folder: str, *, leave_out: str = "") -> Any:
    """All Parquet files of a folder as one table, in the order of their names.

    Args:
        root: of the data set.
        folder: below it.
        leave_out: columns that begin with this are not read; "" reads all.

    Raises:
        DataError: where there are none, or one cannot be read.
    """
    pa, pq = arrow()
    paths = sorted((root / folder).glob("*/*.parquet"))
    if not paths:
        raise DataError(f"`{root / folder}` must hold Parquet files (chunk-000/file-000.parquet); it holds none.")
    tables = []
    for path in paths:
        try:
            file = pq.ParquetFile(path)
            wanted = [n for n in file.schema_arrow.names if not (leave_out and n.startswith(leave_out))]
            tables.append(file.read(columns=wanted))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"`{path}` must be a Parquet file; it cannot be read ({_line(error)}).") from error
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise DataError(f"files of `{root / folder}` must have equal columns; they differ ({_line(error)}).") from error


def read_table(path: Path, columns: list[str] | None = None) -> Any:
    """One Parquet file.

    Raises:
        DataError: where it is not there, or cannot be read.
    """
    pa, pq = arrow()
    if not path.is_file():
        raise DataError(f"`{path}` must be there, as the list of episodes says; it is missing. Fetch it again.")
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"`{path}` must be a Parquet file; it cannot be read ({_line(error)}).") from error


def read_episodes(info: Info) -> list[EpisodeRow]:
    """The list of episodes, held against itself.

    Raises:
        DataError: for episodes that are missing, out of order, or overlap.
    """
    rows = read_tables(info.root, "meta/episodes", leave_out="stats/").to_pylist()
    cameras = [camera.key for camera in info.cameras if camera.dtype == "video"]
    try:
        episodes = [_episode_row(row, cameras) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the list of episodes of `{info.root}` must have the column {error}; it has not.") from error
    numbers = [episode.number for episode in episodes]
    if numbers != list(range(len(numbers))):
        at = next(i for i, number in enumerate(numbers) if i != number)
        raise DataError(
            f"episodes of `{info.root}` must be numbered 0, 1, 2 ... in order; row {at} of the list is episode "
            f"{numbers[at]}. They were shuffled, or one is missing."
        )
    if len(episodes) != info.num_episodes:
        raise DataError(
            f"`{info.root}` must have {info.num_episodes} episodes, as {INFO} says; its list has {len(episodes)}."
        )
    first = 0
    for episode in episodes:
        if episode.length < 1 or episode.first != first:
            raise DataError(
                f"episode {episode.number} of `{info.root}` must begin at frame {first} and have at least one; "
                "its list "
                f"says {episode.first} and {episode.length} frames."
            )
        first += episode.length
    if first != info.num_frames:
        raise DataError(f"`{info.root}` must have {info.num_frames} frames, as {INFO} says; its episodes have {first}.")
    return episodes


def _episode_row(row: Mapping[str, Any], cameras: list[str]) -> EpisodeRow:
    first, end, length = (int(row[key]) for key in ("dataset_from_index", "dataset_to_index", "length"))
    if end - first != length:
        raise DataError(
            f"episode {row['episode_index']} must have as many frames as its length {length}; got {end - first}."
        )
    places = {
        camera: Place(
            int(row[f"videos/{camera}/chunk_index"]),
            int(row[f"videos/{camera}/file_index"]),
            float(row[f"videos/{camera}/from_timestamp"]),
            float(row[f"videos/{camera}/to_timestamp"]),
        )
        for camera in cameras
    }
    return EpisodeRow(
        int(row["episode_index"]),
        length,
        first,
        tuple(row.get("tasks") or ()),
        int(row["data/chunk_index"]),
        int(row["data/file_index"]),
        places,
    )


def read_tasks(info: Info) -> dict[int, str]:
    """Tasks in words by number; none where the data set has none.

    Raises:
        DataError: for a table of another kind.
    """
    path = info.root / TASKS
    if not path.is_file():
        if info.num_tasks:
            raise DataError(f"`{path}` must hold {info.num_tasks} tasks, as {INFO} says; it is missing.")
        return {}
    table = read_table(path)
    texts = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or len(texts) != 1:
        raise DataError(f"`{path}` must have the columns task_index and task; it has {', '.join(table.column_names)}.")
    numbers, words = table["task_index"].to_pylist(), table[texts[0]].to_pylist()
    if len(set(numbers)) != len(numbers) or (info.num_tasks and len(numbers) != info.num_tasks):
        raise DataError(f"`{path}` must number {info.num_tasks} tasks, each once; it has {len(numbers)} rows.")
    return dict(zip(map(int, numbers), map(str, words), strict=True))


def read_own(root: Path) -> dict[str, Any]:
    """What this program noted beside a data set; empty where another wrote it."""
    path = root / OWN
    return read_json(path, damaged=lambda why: DataError(f"`{path}` is damaged ({why}).")) if path.is_file() else {}


def pretty(content: Any) -> str:
    """JSON text of a file of the data set."""
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def arrow() -> tuple[Any, Any]:
    """PyArrow and its Parquet part.

    Raises:
        MissingDependencyError: where it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise require("pyarrow", "lerobot", "read and write LeRobot data sets") from error
    return pyarrow, pyarrow.parquet
