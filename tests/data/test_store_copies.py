"""Stores that are merged, converted and drawn."""

import json
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from openjepa.data import EpisodeStore, check
from openjepa.data.store_hdf5 import from_hdf5, to_hdf5
from openjepa.data.store_merge import merge
from openjepa.data.store_preview import preview
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import Episode


def make_episode(number, steps=4, channels=3, **more):
    rng = np.random.default_rng(number)
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, channels, 6, 5), dtype=np.uint8),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        states=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        info={"seed": number, "names": ["a", "b"]},
        **more,
    )


def make_store(path, numbers, **more):
    with EpisodeStore.create(path, sync_seconds=1e9) as store:
        for i in numbers:
            store.append(make_episode(i, steps=2 + i % 3, **more))
    return path


def files_of(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


# ----------------------------------------------------------------------------------------------------
# Merge


def test_a_merge_equals_a_store_that_was_written_at_once(tmp_path):
    a, b, c = (make_store(tmp_path / name, numbers) for name, numbers in (("a", [0, 1]), ("b", []), ("c", [2, 3, 4])))
    assert merge([a, b, c], tmp_path / "out") == 5
    assert files_of(tmp_path / "out") == files_of(make_store(tmp_path / "whole", range(5)))


def test_an_interrupted_merge_goes_on(tmp_path):
    sources = [make_store(tmp_path / "a", [0, 1, 2]), make_store(tmp_path / "b", [3, 4])]

    def stop(done, wanted):
        assert wanted == 5
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(sources, tmp_path / "out", progress=stop)
    done = []
    assert merge(sources, tmp_path / "out", progress=lambda n, wanted: done.append(n)) == 5
    assert done == [5]
    assert files_of(tmp_path / "out") == files_of(make_store(tmp_path / "whole", range(5)))


def test_a_copy_whose_sources_have_changed_is_not_gone_on_with(tmp_path):
    sources = [make_store(tmp_path / "a", [0, 1, 2]), make_store(tmp_path / "b", [3, 4])]
    merge(sources, tmp_path / "out")
    shutil.rmtree(sources[0])
    make_store(sources[0], [0, 7, 2])  # recorded anew, with as many episodes; those at the end are as they were
    with pytest.raises(DataError, match="must be new, or the beginning of this copy; it holds other episodes"):
        merge(sources, tmp_path / "out")


def test_stores_of_another_kind_are_not_merged(tmp_path):
    a = make_store(tmp_path / "a", [0])
    other = [
        (make_store(tmp_path / "grey", [1], channels=1), r"`frames` is uint8 \[3, 6, 5\] per frame in .*a` and uint8"),
        (make_store(tmp_path / "more", [2], proprio=np.zeros((5, 1))), r"`proprio` is missing in .*a` and float32"),
    ]
    for store, message in other:
        with pytest.raises(DataError, match=f"must have equal columns; {message}"):
            merge([a, store], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="must be another folder"):
        merge([a], a)
    with pytest.raises(DataError, match="must be new, or the beginning of this copy; it holds other episodes"):
        merge([a], make_store(tmp_path / "full", [7]))
    with pytest.raises(DataError, match="at least one store"):
        merge([], tmp_path / "out")


# ----------------------------------------------------------------------------------------------------
# HDF5


def test_a_store_comes_back_from_hdf5_bit_for_bit(tmp_path):
    extras = {"reward": np.arange(4.0), "time": np.arange(5, dtype=np.int64), "grip": np.ones((4, 1), bool)}
    with EpisodeStore.create(tmp_path / "s") as store:
        for i in range(3):
            store.append(make_episode(i, proprio=np.full((5, 3), i), extras=extras))
    assert to_hdf5(tmp_path / "s", tmp_path / "s.h5") == 3
    assert from_hdf5(tmp_path / "s.h5", tmp_path / "t") == 3
    there, back = EpisodeStore.open(tmp_path / "s"), EpisodeStore.open(tmp_path / "t")
    assert {c.name: c for c in there.columns} == {c.name: c for c in back.columns}
    for i in range(3):
        assert there.record(i) == back.record(i)  # checksums of every column, and the plain values


def test_the_file_has_flat_columns_with_one_row_per_frame(tmp_path):
    to_hdf5(make_store(tmp_path / "s", range(3)), tmp_path / "s.h5")  # 3, 4 and 5 frames
    with h5py.File(tmp_path / "s.h5") as file:
        assert sorted(file) == ["action", "ep_idx", "ep_len", "ep_offset", "info", "pixels", "state", "step_idx"]
        assert file["ep_len"][()].tolist() == [3, 4, 5]
        assert file["ep_offset"][()].tolist() == [0, 3, 7]
        assert file["ep_idx"][()].tolist() == [0] * 3 + [1] * 4 + [2] * 5
        assert file["step_idx"][()].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
        assert file["pixels"].shape == (12, 6, 5, 3)
        np.testing.assert_array_equal(file["pixels"][3:7], make_episode(1, steps=3).frames.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(file["action"][3:6], make_episode(1, steps=3).actions)
        assert np.isnan(file["action"][6]).all()
        np.testing.assert_array_equal(file["state"][3:7], make_episode(1, steps=3).states)
        assert json.loads(file["info"][3]) == {"seed": 1, "names": ["a", "b"]}
        assert file["info"][4] == b""


def write_their_file(path, change=lambda file: None, frames=(3, 4), channels_last=True):
    """A file as another program writes it, in arrays that are known."""
    total = sum(frames)
    rng = np.random.default_rng(0)
    arrays = {
        "pixels": rng.integers(0, 256, (total, 6, 5, 3), dtype=np.uint8),
        "action": rng.normal(size=(total, 2)),
        "proprio": rng.normal(size=(total, 2)).astype(np.float32),
        "reward": rng.normal(size=total),
        "obs.Goal-0": rng.normal(size=(total, 2)),
    }
    ends = np.cumsum(frames)
    arrays["action"][ends - 1] = np.nan
    if not channels_last:
        arrays["pixels"] = arrays["pixels"].transpose(0, 3, 1, 2)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["ep_len"], file["ep_offset"] = np.array(frames, np.int32), ends - frames
        file["step_idx"] = np.zeros(total, int)
        file.create_dataset(
            "task", data=["push"] * frames[0] + ["pull"] * (total - frames[0]), dtype=h5py.string_dtype()
        )
        change(file)
    return arrays


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_file_of_another_program_is_read(tmp_path, channels_last):
    arrays = write_their_file(tmp_path / "x.h5", channels_last=channels_last)
    assert from_hdf5(tmp_path / "x.h5", tmp_path / "s") == 2
    store = EpisodeStore.open(tmp_path / "s")
    assert sorted(c.name for c in store.columns) == ["actions", "frames", "obs_goal_0", "proprio", "reward"]
    second = store.episode(1)  # rows 3 to 6
    pixels = arrays["pixels"].transpose(0, 3, 1, 2) if channels_last else arrays["pixels"]
    np.testing.assert_array_equal(second.frames, pixels[3:7])
    np.testing.assert_array_equal(second.actions, arrays["action"][3:6].astype(np.float32))
    np.testing.assert_array_equal(second.proprio, arrays["proprio"][3:7])
    np.testing.assert_array_equal(second.extras["reward"], arrays["reward"][3:7])
    assert store.episode(0).info == {"task": "push"}
    assert second.info == {"task": "pull"}
    assert check(tmp_path / "s").is_sound


def test_episodes_of_a_single_frame_are_left_out_and_counted(tmp_path):
    write_their_file(tmp_path / "x.h5", frames=(3, 1, 2))
    said = []
    assert from_hdf5(tmp_path / "x.h5", tmp_path / "s", say=said.append) == 2
    assert said == [f"{tmp_path / 'x.h5'}: 1 episodes of a single frame have no action and are left out"]
    assert EpisodeStore.open(tmp_path / "s").lengths.tolist() == [2, 1]


def test_rows_of_no_episode_are_counted(tmp_path):
    write_their_file(tmp_path / "x.h5", replaced("ep_len", [2, 4]))
    said = []
    assert from_hdf5(tmp_path / "x.h5", tmp_path / "s", say=said.append) == 2
    assert said == [f"{tmp_path / 'x.h5'}: 1 rows belong to no episode by `ep_len` and `ep_offset`, and are left out"]


def replaced(name, data):
    def change(file):
        del file[name]
        if data is not None:
            file[name] = data

    return change


def with_owners(numbers):
    return lambda file: file.create_dataset("ep_idx", data=numbers)


def finite_but_one(file):
    file["action"][4] = np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("ep_len", None), r"must have the dataset `ep_len`; it has action, ep_offset, "),
        (replaced("pixels", None), r"must have the dataset `pixels`; it has action, "),
        (replaced("action", None), r"must have the dataset `action`; it has ep_len, "),
        (replaced("ep_len", [3]), r"`ep_len` and `ep_offset` of .* must be equally many"),
        (replaced("ep_len", [3, -1]), r"must be equally many numbers of 0 or more"),
        (replaced("ep_len", [3, 40]), r"`action` of .* must have 43 rows, .* it has shape \[7, 2\]"),
        (replaced("reward", 3.0), r"`reward` of .* must have 7 rows, .* it has shape \[\]"),
        (replaced("pixels", np.zeros((7, 6, 5, 3))), r"`pixels` of .* must be uint8 .* got float64 \[7, 6, 5, 3\]"),
        (replaced("pixels", np.zeros((7, 6, 5), np.uint8)), r"must be uint8 .* got uint8 \[7, 6, 5\]"),
        (replaced("ep_offset", [0, 2]), r"episodes of .* must have rows of their own; 1 shares some"),
        (with_owners([0, 0, 1, 1, 1, 1, 1]), r"`ep_idx` of .* must agree with `ep_len` and `ep_offset`"),
        (finite_but_one, r"`action` of episode 1 of .* must be finite in all rows but the last"),
    ],
)
def test_a_file_of_another_layout_is_refused(tmp_path, change, message):
    write_their_file(tmp_path / "x.h5", change)
    with pytest.raises(DataError, match=message):
        from_hdf5(tmp_path / "x.h5", tmp_path / "s")


def test_what_is_no_file_or_is_there_already_is_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\nno")
    with pytest.raises(DataError, match="must be an HDF5 file; it cannot be opened"):
        from_hdf5(tmp_path / "x.h5", tmp_path / "s")
    store = make_store(tmp_path / "s", [0])
    with pytest.raises(DataError, match="must be a new file; it is there already"):
        to_hdf5(store, tmp_path / "x.h5")
    with pytest.raises(DataError, match="must hold at least one episode"):
        to_hdf5(make_store(tmp_path / "empty", []), tmp_path / "y.h5")
    assert not (tmp_path / "y.h5").exists()


def test_an_interrupted_conversion_leaves_no_half_file_and_an_import_goes_on(tmp_path):
    store = make_store(tmp_path / "s", range(4))

    def stop(done, wanted):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_hdf5(store, tmp_path / "s.h5", progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    to_hdf5(store, tmp_path / "s.h5")
    with pytest.raises(KeyboardInterrupt):
        from_hdf5(tmp_path / "s.h5", tmp_path / "t", progress=stop)
    assert from_hdf5(tmp_path / "s.h5", tmp_path / "t") == 4
    assert (tmp_path / "t" / "frames.bin").read_bytes() == (store / "frames.bin").read_bytes()


# ----------------------------------------------------------------------------------------------------
# Preview


def test_a_strip_shows_the_chosen_frames_over_the_actions(tmp_path):
    frames = np.zeros((9, 3, 100, 100), np.uint8) + np.arange(0, 90, 10, dtype=np.uint8)[:, None, None, None]
    with EpisodeStore.create(tmp_path / "s") as store:
        store.append(Episode(frames, np.linspace(-1, 1, 8)[:, None]))
    page = np.asarray(Image.open(preview(tmp_path / "s", out=tmp_path / "a" / "p.png", num_frames=3)))
    assert page.shape == (100 + 14 + 72, 3 * 100 + 2 * 4, 3)
    assert [page[50, x, 0] for x in (50, 154, 258)] == [0, 40, 80]  # frames 0, 4 and 8
    blue = np.argwhere((page == (31, 119, 180)).all(-1))
    left, right = blue[blue[:, 1] < 75][:, 0].mean(), blue[blue[:, 1] > 235][:, 0].mean()
    assert left > right + 40  # the action rises


def test_an_animation_shows_every_frame(tmp_path):
    store = make_store(tmp_path / "s", [0, 5], channels=1)
    with Image.open(preview(store, -1, out=tmp_path / "p.gif", fps=20)) as film:
        assert film.n_frames == 5  # episode 5 has 4 steps
        assert film.info["duration"] == 50
        assert film.width == 5 * 20  # the smaller side, 5 pixels, enlarged to at least 96


def test_previews_out_of_range_are_refused(tmp_path):
    store = make_store(tmp_path / "s", [0])
    with pytest.raises(ConfigError, match=r"`out` must end in .png or .gif; got p.jpg"):
        preview(store, out=tmp_path / "p.jpg")
    with pytest.raises(ConfigError, match="`frames` must be at least 2"):
        preview(store, out=tmp_path / "p.png", num_frames=1)
    with pytest.raises(DataError, match="`episode` must be below 1"):
        preview(store, 3, out=tmp_path / "p.png")
    with pytest.raises(DataError, match="1 or 3 channels"):
        preview(make_store(tmp_path / "t", [0], channels=4), out=tmp_path / "p.png")
    assert not list(tmp_path.glob("*.png"))
