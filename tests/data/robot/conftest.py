"""Robot data as another program would have written it: nothing here goes through the project's own writer."""

import json
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openjepa.protocols import Episode

LENGTHS, FPS, SIZE = (6, 9, 5), 10, (48, 64)
LANGUAGE = pa.list_(
    pa.struct(
        [
            pa.field("role", pa.string(), nullable=False),
            pa.field("content", pa.string()),
            pa.field("style", pa.string()),
            pa.field("camera", pa.string()),
            pa.field("tool_calls", pa.list_(pa.string())),
        ]
    )
)


def pictures(count, shift=0, size=SIZE):
    """Smooth pictures [T, 3, H, W] that differ from frame to frame, so that a wrong one shows."""
    y, x = np.mgrid[: size[0], : size[1]]
    levels = [20 + (shift + 23 * k) % 200 + 0 * x for k in range(count)]
    return np.stack([np.stack([level, 60 + x // 2, 80 + y]) for level in levels]).astype(np.uint8)


def encode(path, frames, fps=FPS, codec="libx264"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options={"crf": "12", "g": "2", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))))
        container.mux(stream.encode(None))


def state_and_action(length, number):
    """Joints that follow their commands: the state of the next row is the action of this one."""
    rng = np.random.default_rng(number)
    state = np.cumsum(rng.normal(size=(length + 1, 2)), 0).astype(np.float32) / 10
    return state[:-1], state[1:]


class Foreign:
    """A LeRobot v3 data set of two data files, two cameras, texts and an unusual column; parts can be spoiled."""

    def __init__(self, root):
        self.root = root
        self.tables, self.videos = [], {"top": [], "wrist": []}
        first = 0
        for number, length in enumerate(LENGTHS):
            state, action = state_and_action(length, number)
            steps = np.arange(length)
            events = [None] * length
            events[2] = [{"role": "user", "content": "faster", "style": None, "camera": None, "tool_calls": None}]
            self.tables.append(
                {
                    "observation.state": pa.FixedSizeListArray.from_arrays(state.reshape(-1), 2),
                    "action": pa.array(list(action)),  # a list of no stated length, as some programs write it
                    "next.done": pa.array(steps == length - 1),
                    "next.reward": pa.array(steps.astype(np.float32) / 2),
                    "language_events": pa.array(events, LANGUAGE),
                    "timestamp": pa.array((steps / FPS).astype(np.float32)),
                    "frame_index": pa.array(steps),
                    "episode_index": pa.array(np.full(length, number)),
                    "index": pa.array(first + steps),
                    "task_index": pa.array(np.full(length, number % 2)),
                }
            )
            for shift, camera in ((0, "top"), (100, "wrist")):
                self.videos[camera].append(pictures(length, shift + 7 * number))
            first += length
        self.fps = FPS
        self.video_fps = FPS
        self.episodes = [self._row(number) for number in range(len(LENGTHS))]
        names = ["shoulder", "elbow"]
        self.info = {
            "codebase_version": "v3.0",
            "robot_type": "toy",
            "total_episodes": len(LENGTHS),
            "total_frames": sum(LENGTHS),
            "total_tasks": 2,
            "fps": FPS,
            "splits": {"train": "0:3"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": {
                "observation.images.top": {"dtype": "video", "shape": [*SIZE, 3], "names": ["height", "width", "c"]},
                "observation.images.wrist": {"dtype": "video", "shape": [3, *SIZE], "names": None},
                "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": names}},
                "action": {"dtype": "float32", "shape": [2], "names": {"motors": names}},
                "next.done": {"dtype": "bool", "shape": [1], "names": None},
                "next.reward": {"dtype": "float32", "shape": [1], "names": None},
                "language_events": {"dtype": "language", "shape": [1], "names": None},
                **{
                    k: {"dtype": "int64", "shape": [1], "names": None}
                    for k in ("frame_index", "episode_index", "index")
                },
                "task_index": {"dtype": "int64", "shape": [1], "names": None},
                "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            },
        }
        actions = np.concatenate([np.stack(t["action"].to_pylist()) for t in self.tables])
        self.stats = {"action": {"min": actions.min(0), "max": actions.max(0), "mean": actions.mean(0)}}
        self.stats["action"] |= {"std": actions.std(0), "count": np.array([len(actions)])}

    def _row(self, number):
        """The last episode lies in a second file, of data and of the wrist's video alone."""
        start = sum(LENGTHS[:number])
        row = {"episode_index": number, "tasks": [f"task {number % 2}"], "length": LENGTHS[number]}
        row |= {"dataset_from_index": start, "dataset_to_index": start + LENGTHS[number]}
        row |= {"data/chunk_index": 0, "data/file_index": int(number == 2)}
        for camera in self.videos:
            new = camera == "wrist" and number == 2
            begin = 0 if new else start
            row |= {f"videos/observation.images.{camera}/chunk_index": 0}
            row |= {f"videos/observation.images.{camera}/file_index": int(new)}
            row |= {f"videos/observation.images.{camera}/from_timestamp": begin / FPS}
            row |= {f"videos/observation.images.{camera}/to_timestamp": (begin + LENGTHS[number]) / FPS}
        return row

    def write(self):
        (self.root / "meta/episodes/chunk-000").mkdir(parents=True)
        (self.root / "data/chunk-000").mkdir(parents=True)
        for file, part in enumerate((self.tables[:2], self.tables[2:])):
            table = pa.concat_tables([pa.table(columns) for columns in part])
            pq.write_table(table, self.root / f"data/chunk-000/file-{file:03d}.parquet")
        for camera, parts in self.videos.items():
            groups = (parts,) if camera == "top" else (parts[:2], parts[2:])
            for file, group in enumerate(groups):
                path = self.root / f"videos/observation.images.{camera}/chunk-000/file-{file:03d}.mp4"
                encode(path, np.concatenate(group), self.video_fps)
        pq.write_table(pa.Table.from_pylist(self.episodes), self.root / "meta/episodes/chunk-000/file-000.parquet")
        tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["task 0", "task 1"]})
        pq.write_table(tasks, self.root / "meta/tasks.parquet")
        (self.root / "meta/info.json").write_text(json.dumps(self.info))
        plain = {key: {n: np.asarray(v).tolist() for n, v in moments.items()} for key, moments in self.stats.items()}
        (self.root / "meta/stats.json").write_text(json.dumps(plain))
        return self.root


@pytest.fixture
def foreign(tmp_path):
    return Foreign(tmp_path / "foreign")


class Listed(list):
    """A list as a source of episodes."""

    def episode(self, number):
        return self[number]


@pytest.fixture
def episodes():
    """Episodes with columns of every kind."""
    found = Listed()
    for number, steps in enumerate((4, 7)):
        rng = np.random.default_rng(number)
        found.append(
            Episode(
                pictures(steps + 1, 11 * number),
                rng.normal(size=(steps, 3)).astype(np.float32),
                states=rng.normal(size=(steps + 1, 5)).astype(np.float32),
                proprio=rng.normal(size=(steps + 1, 1)).astype(np.float32),
                info={"seed": number, "task": f"push {number}", "nested": {"a": [1, 2]}},
                extras={
                    "reward": rng.normal(size=steps).astype(np.float32),
                    "done": np.arange(steps + 1) == steps,
                    "grid": rng.integers(0, 9, (steps + 1, 2, 3)),
                    "one": rng.normal(size=(steps, 1)).astype(np.float32),
                },
            )
        )
    return found
