"""LeRobot data sets: those of another program are read, what is written reads back equal."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from openjepa.data import EpisodeStore
from openjepa.data.robot.convert import open_robot_data, to_store
from openjepa.data.robot.lerobot import LeRobotData
from openjepa.data.robot.lerobot_check import check_lerobot, describe_lerobot
from openjepa.data.robot.lerobot_writer import LeRobotOptions, write_lerobot
from openjepa.data.robot.meaning import StatedMeaning, StatedVector
from openjepa.errors import DataError

from .conftest import LENGTHS, pictures, state_and_action

CODEC = 6  # mean error of a pixel, of 255, that a codec may leave


def assert_equal(found, wanted, codec=0.0):
    assert np.abs(found.frames.astype(int) - wanted.frames).mean() <= codec
    for name in ("actions", "states", "proprio"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.extras.keys() == wanted.extras.keys()
    for name, array in wanted.extras.items():
        np.testing.assert_array_equal(found.extras[name], array)
        assert found.extras[name].dtype == array.dtype
    assert {k: v for k, v in found.info.items() if k != "robot"} == {
        k: v for k, v in wanted.info.items() if k != "robot"
    }


def test_what_another_program_wrote_is_read(foreign):
    with LeRobotData(foreign.write()) as data:
        assert len(data) == 3
        assert data.spec.action.names == ("shoulder", "elbow")
        assert (data.spec.fps, data.spec.robot_type, data.spec.action.kind) == (10.0, "toy", "unknown")
        for number in (2, 0, 1):  # across files, in any order
            episode, length = data.episode(number), LENGTHS[number]
            state, action = state_and_action(length, number)
            np.testing.assert_array_equal(episode.proprio, state)
            np.testing.assert_array_equal(episode.actions, action[:-1])
            assert episode.info["last_action"] == action[-1].tolist()
            assert episode.info["task"] == f"task {number % 2}"
            np.testing.assert_array_equal(episode.extras["next_done"], np.arange(length) == length - 1)
            event = {"role": "user", "content": "faster", "style": None, "camera": None, "tool_calls": None}
            assert episode.info["rows"]["language_events"]["values"] == [[2, None], [1, [event]], [length - 3, None]]
            for frames, shift in ((episode.frames, 0), (episode.extras["observation_images_wrist"], 100)):
                wanted = pictures(length, shift + 7 * number)
                assert (
                    np.abs(frames.astype(int) - wanted).mean(axis=(1, 2, 3)).max() < CODEC
                )  # every frame the right one


def test_to_a_store_and_back_nothing_is_lost(foreign, tmp_path):
    with LeRobotData(foreign.write()) as data:
        assert to_store(data, tmp_path / "store") == 3
    store = EpisodeStore.open(tmp_path / "store")
    assert write_lerobot(store, tmp_path / "again", LeRobotOptions(codec="png")) == 3
    with LeRobotData(tmp_path / "again") as again:
        for number in range(3):
            assert_equal(again.episode(number), store.episode(number))
    table = pq.read_table(tmp_path / "again/data")
    assert table["language_events"].to_pylist()[2][0]["content"] == "faster"
    assert table["action"].to_pylist()[5] == state_and_action(6, 0)[1][5].tolist()  # the last action came along
    features = json.loads((tmp_path / "again/meta/info.json").read_text())["features"]
    assert features["language_events"]["dtype"] == "language"
    assert features["action"]["names"] == ["shoulder", "elbow"]
    check_lerobot(tmp_path / "again")


@pytest.mark.parametrize("codec", ["h264", "png"])
def test_what_is_written_reads_back_equal(episodes, tmp_path, codec):
    write_lerobot(episodes, tmp_path / "out", LeRobotOptions(fps=12.5, codec=codec))
    assert check_lerobot(tmp_path / "out").has_statistics
    with LeRobotData(tmp_path / "out") as data:
        assert data.spec.fps == 12.5
        for number, wanted in enumerate(episodes):
            assert_equal(data.episode(number), wanted, 0.0 if codec == "png" else CODEC)


def test_av1_is_written_and_read(tmp_path, episodes):
    for episode in episodes:
        object.__setattr__(episode, "frames", pictures(len(episode.frames), size=(64, 64)))
    write_lerobot(type(episodes)(episodes[:1]), tmp_path / "out", LeRobotOptions(fps=10, codec="av1"))
    with LeRobotData(tmp_path / "out") as data:
        assert_equal(data.episode(0), episodes[0], CODEC)


def test_statistics_are_those_of_numpy(episodes, tmp_path):
    write_lerobot(episodes, tmp_path / "out", LeRobotOptions(fps=10, codec="png"))
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    actions = np.stack(pq.read_table(tmp_path / "out/data")["action"].to_pylist()).astype(float)
    for name, value in {"min": actions.min(0), "mean": actions.mean(0), "std": actions.std(0)}.items():
        np.testing.assert_allclose(stats["action"][name], value, rtol=1e-9)
    assert stats["action"]["count"] == [13]
    assert np.shape(stats["observation.images.main"]["mean"]) == (3, 1, 1)


def test_what_is_stated_is_kept_and_held_against_the_numbers(episodes, tmp_path):
    action = StatedVector(kind="displacement", frame="base", units=("m", "m", "gripper"), closed=-4.0, open=4.0)
    write_lerobot(episodes, tmp_path / "out", LeRobotOptions(fps=10, codec="png", stated=StatedMeaning(action)))
    with LeRobotData(tmp_path / "out") as data:
        found = data.episode(0).info["robot"]["action"]
        assert (found["kind"], found["frame"], found["units"]) == ("displacement", "base", ["m", "m", "gripper"])
    assert describe_lerobot(tmp_path / "out")["action"]["closed"] == -4.0
    rad = StatedMeaning(proprio=StatedVector(kind="absolute", units=("rad",)))
    object.__setattr__(episodes[1], "proprio", episodes[1].proprio + 40)
    with pytest.raises(
        DataError, match=r"axis `0` of `observation.state` must be within -12.57 and 12.57 \(rad\); row 0"
    ):
        write_lerobot(episodes, tmp_path / "bad", LeRobotOptions(fps=10, codec="png", stated=rad))
    assert not any("bad" in path.name for path in tmp_path.iterdir())  # whole or not at all


def test_frames_are_cut_to_squares_and_a_camera_is_chosen(foreign):
    with open_robot_data(foreign.write(), camera="wrist", size=16, other_cameras=False) as data:
        episode = data.episode(1)
        assert episode.frames.shape == (9, 3, 16, 16)
        assert "observation_images_top" not in episode.extras
        assert data.left_out == (f"{foreign.root}: `observation.images.top` (video) is left out",)
        wanted = pictures(9, 107)[:, 0].mean((1, 2))  # the first channel is even over the picture
        assert np.abs(episode.frames[:, 0].mean((1, 2)) - wanted).max() < CODEC


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "frames there are per second; they do not. Give `--fps`"),
        ({"fps": 10, "codec": "av1"}, "even sides of 64 px or more for av1; got 48 x 64"),
        ({"fps": 10, "stated": StatedMeaning(StatedVector(units=("m", "m")))}, "has 3 axes; units are stated for 2"),
    ],
)
def test_what_cannot_be_written_is_said(episodes, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        write_lerobot(episodes, tmp_path / "out", LeRobotOptions(**options))
    assert not list(tmp_path.iterdir())
