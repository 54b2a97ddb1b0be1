import errno
import json
import os
import resource
from dataclasses import replace

import numpy as np
import pytest

from openjepa.data import EpisodeStore, check, describe, store_writer
from openjepa.errors import DataError, ShapeError
from openjepa.protocols import Episode


def make_episode(number, steps=5, size=8, action_dim=2, **more):
    rng = np.random.default_rng(number)
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, 3, size, size), dtype=np.uint8),
        actions=rng.normal(size=(steps, action_dim)).astype(np.float32),
        states=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        info={"seed": number, "success": np.bool_(True), "score": np.float32(0.5)},
        **more,
    )


def append_all(store, numbers):
    for i in numbers:
        store.append(make_episode(i))


def make_store(path, count=4):
    with EpisodeStore.create(path) as store:
        for i in range(count):
            store.append(make_episode(i, steps=3 + i))
    return path


def assert_same(a, b):
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.actions, b.actions)
    np.testing.assert_array_equal(a.states, b.states)


def files_of(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_what_was_appended_comes_back(tmp_path):
    store = EpisodeStore.open(make_store(tmp_path / "s"))
    assert len(store) == 4
    assert store.lengths.tolist() == [3, 4, 5, 6]
    assert store.starts.tolist() == [0, 4, 9, 15]
    for i in range(4):
        assert_same(store.episode(i), make_episode(i, steps=3 + i))
        assert store.episode(i).info == {"seed": i, "success": True, "score": 0.5}
        np.testing.assert_array_equal(store.frames_of(i), make_episode(i, steps=3 + i).frames)
    assert not store.frames_of(0).flags.writeable
    assert store.column("frames").shape == (22, 3, 8, 8)
    assert store.column("actions").shape == (18, 2)
    with pytest.raises(DataError, match="`episode` must be below 4"):
        store.episode(4)
    with pytest.raises(DataError, match="no column `state`; did you mean `states`"):
        store.column("state")


def test_the_frame_file_is_the_raw_rows(tmp_path):
    path = make_store(tmp_path / "s")
    rows = np.fromfile(path / "frames.bin", np.uint8).reshape(-1, 3, 8, 8)
    np.testing.assert_array_equal(rows, np.concatenate([make_episode(i, steps=3 + i).frames for i in range(4)]))


def test_extras_and_proprio_are_columns(tmp_path):
    extras = {"reward": np.arange(5.0), "time": np.arange(6, dtype=np.int64)}
    with EpisodeStore.create(tmp_path / "s") as store:
        store.append(make_episode(0, proprio=np.ones((6, 3)), extras=extras))
        store.append(make_episode(1, proprio=np.ones((6, 3)), extras=dict(reversed(extras.items()))))
    episode = EpisodeStore.open(tmp_path / "s").episode(1)
    assert episode.proprio.dtype == np.float32
    np.testing.assert_array_equal(episode.extras["reward"], extras["reward"])
    np.testing.assert_array_equal(episode.extras["time"], extras["time"])


def test_the_writer_reads_what_it_has_just_written(tmp_path):
    with EpisodeStore.create(tmp_path / "s") as store:
        for i in range(3):
            store.append(make_episode(i))
            assert_same(store.episode(i), make_episode(i))
        reader = EpisodeStore.open(tmp_path / "s")  # while the writer is still open
        assert len(reader) == 3


def test_resume_continues_with_the_same_bytes(tmp_path):
    make_store(tmp_path / "whole")
    for i in range(4):
        with EpisodeStore.resume(tmp_path / "parts") as store:
            assert len(store) == i
            store.append(make_episode(i, steps=3 + i))
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "parts")


class Killed(BaseException):
    """Stands for a kill: nothing of the writer's own handling may run."""


def write_until_killed(path):
    store = EpisodeStore.create(path)
    try:
        for i in range(3):
            store.append(make_episode(i, steps=3 + i))
    except Killed:
        store._writer.close()  # as the kernel does
        return
    raise AssertionError("the writer must not finish")


@pytest.mark.parametrize("at_write", range(16))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_writer_that_dies_inside_any_write_loses_nothing(tmp_path, monkeypatch, at_write, share):
    make_store(tmp_path / "whole", 3)
    calls = 0

    def dying(handle, data, offset, pwrite=os.pwrite):
        nonlocal calls
        calls += 1
        if calls == at_write + 1:
            pwrite(handle, bytes(data)[: int(len(data) * share)], offset)
            raise Killed
        return pwrite(handle, data, offset)

    path = tmp_path / "torn"
    with monkeypatch.context() as patch:
        patch.setattr(store_writer.os, "pwrite", dying)
        write_until_killed(path)
    # First the line of the columns; then five writes each: journal line, frames, actions, states, index line. An
    # episode is finished when its last row is there: the line that is missing then can be completed.
    finished = (at_write + (share == 1.0)) // 5
    reader = EpisodeStore.open(path)
    assert len(reader) == finished
    for i in range(finished):
        assert_same(reader.episode(i), make_episode(i, steps=3 + i))
    assert check(path).is_sound
    with EpisodeStore.resume(path) as store:
        for i in range(len(store), 3):
            store.append(make_episode(i, steps=3 + i))
    assert files_of(path) == files_of(tmp_path / "whole")
    assert check(path).torn_bytes == 0


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["index.jsonl"],
        ["index.jsonl", "store.json.tmp"],  # of version 0.1.0
        ["index.jsonl", "journal.jsonl", ".store.json.writing"],
        ["index.jsonl", "journal.jsonl", ".lock"],
    ],
)
def test_resume_after_a_kill_inside_create(tmp_path, left):
    path = tmp_path / "s"
    path.mkdir()
    for name in left:
        (path / name).touch()
    EpisodeStore.resume(path).close()
    assert len(EpisodeStore.open(path)) == 0
    assert describe(path)["episodes"] == 0
    assert str(check(path)) == f"{path}: 0 episodes, 0.0 MB checked, all sound"


def test_two_writers_at_once_are_refused(tmp_path):
    with EpisodeStore.create(tmp_path / "s"), pytest.raises(DataError, match="written by another process"):
        EpisodeStore.resume(tmp_path / "s")
    EpisodeStore.resume(tmp_path / "s").close()


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    path = make_store(tmp_path / "s", 2)
    before = files_of(path)
    store = EpisodeStore.resume(path)

    def full(handle, data, offset, pwrite=os.pwrite):
        if offset and len(data) > 50:
            pwrite(handle, bytes(data)[:10], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(store_writer.os, "pwrite", full)
        with pytest.raises(DataError, match=r"no space left .* All 2 finished episodes are kept; free some space"):
            store.append(make_episode(2))
    assert files_of(path) == before
    store.append(make_episode(2))  # there is space again
    store.close()
    assert len(EpisodeStore.open(path)) == 3


def test_a_real_file_size_limit_is_reported(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = EpisodeStore.create(tmp_path / "s")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"no space left .* All 3 finished episodes are kept"):
            append_all(store, range(9))  # 6 frames of 192 bytes each
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.append(make_episode(3))
    store.close()
    assert len(EpisodeStore.open(tmp_path / "s")) == 4
    assert check(tmp_path / "s").is_sound


def test_ctrl_c_inside_a_write_can_be_followed_by_the_next_episode(tmp_path, monkeypatch):
    def interrupted(handle, data, offset, pwrite=os.pwrite):
        written = pwrite(handle, data, offset)
        if bytes(data).endswith(b"}\n"):  # the index line is there, the writer does not know
            raise KeyboardInterrupt
        return written

    with EpisodeStore.create(tmp_path / "s") as store:
        store.append(make_episode(0))
        long = replace(make_episode(1), info={"note": "x" * 500})
        with monkeypatch.context() as patch:
            patch.setattr(store_writer.os, "pwrite", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.append(long)
        store.append(make_episode(2))
    assert_same(EpisodeStore.open(tmp_path / "s").episode(1), make_episode(2))


def test_missing_and_foreign_stores_are_named(tmp_path):
    with pytest.raises(DataError, match="no episode store at"):
        EpisodeStore.open(tmp_path / "none")
    foreign = tmp_path / "data.h5"
    foreign.write_bytes(b"\x89HDF")
    with pytest.raises(DataError, match="must be the folder of an episode store; it is a file"):
        EpisodeStore.open(foreign)
    with pytest.raises(DataError, match="must be a new or empty folder"):
        EpisodeStore.create(foreign)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"not an episode store: it has no store.json"):
        EpisodeStore.open(tmp_path / "folder")
    with pytest.raises(DataError, match="must be a new or empty folder"):
        EpisodeStore.create(tmp_path / "folder")
    path = make_store(tmp_path / "s")
    with pytest.raises(DataError, match="already holds an episode store"):
        EpisodeStore.create(path)
    with pytest.raises(DataError, match="open for reading"):
        EpisodeStore.open(path).append(make_episode(0))
    header = json.loads((path / "store.json").read_text())
    cases = [
        ({"format": "zarr"}, "says `zarr`"),
        ({"version": 9}, "has version 9"),
        ({"columns": 3}, "is damaged"),
    ]
    for change, message in cases:
        (path / "store.json").write_text(json.dumps({**header, **change}))
        with pytest.raises(DataError, match=message):
            EpisodeStore.open(path)
    (path / "store.json").write_bytes(b"\x00\x01")
    with pytest.raises(DataError, match="is damaged or not the header"):
        EpisodeStore.open(path)


def test_episodes_of_another_shape_are_refused(tmp_path):
    good = make_episode(0)
    with EpisodeStore.create(tmp_path / "s") as store:
        for frames in (good.frames.astype(np.float32), good.frames[0]):
            with pytest.raises(ShapeError, match="`frames` must be uint8"):
                store.append(Episode(frames, good.actions))
        with pytest.raises(ShapeError, match=r"T = 5 >= 1, one fewer than frames; got \[6, 2\]"):
            store.append(Episode(good.frames, np.zeros((6, 2))))
        store.append(good)
        message = r"`frames` of this store must be uint8 \[6, 3, 8, 8\]; got uint8 \[6, 3, 16, 16\]"
        with pytest.raises(ShapeError, match=message):
            store.append(make_episode(1, size=16))
        with pytest.raises(ShapeError, match=r"`actions` of this store must be float32 \[5, 2\]; .* \[5, 3\]"):
            store.append(make_episode(1, action_dim=3))
        with pytest.raises(ShapeError, match=r"must have the columns .*'states'\]; got"):
            store.append(Episode(good.frames, good.actions))
        with pytest.raises(DataError, match="`actions` must be finite"):
            store.append(Episode(good.frames, good.actions * np.nan, good.states))
        with pytest.raises(DataError, match=r"`info\.when` must be a plain value"):
            store.append(Episode(good.frames, good.actions, good.states, info={"when": object()}))
        with pytest.raises(ShapeError, match=r"`proprio` must have at least one number in a row; got \[6, 0\]"):
            EpisodeStore.create(tmp_path / "u").append(make_episode(0, proprio=np.zeros((6, 0))))
        with pytest.raises(DataError, match="`Reward` must be a lower-case name"):
            EpisodeStore.create(tmp_path / "t").append(make_episode(0, extras={"Reward": np.zeros(5)}))
        assert len(store) == 1
    assert check(tmp_path / "s").is_sound


def test_describe_names_what_is_inside(tmp_path):
    assert describe(make_store(tmp_path / "s")) == {
        "path": str(tmp_path / "s"),
        "episodes": 4,
        "steps": 18,
        "frames": 22,
        "steps_per_episode": [3, 6],
        "columns": {
            "frames": "uint8 [3, 8, 8] per frame",
            "actions": "float32 [2] per action",
            "states": "float32 [4] per frame",
        },
        "bytes": 22 * 192 + 18 * 8 + 22 * 16,
        "first_episode": {"seed": 0, "success": True, "score": 0.5},
    }
