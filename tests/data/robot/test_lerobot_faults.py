"""Data sets that are not what they say: refused, with the reason."""

import json

import numpy as np
import pyarrow as pa
import pytest

from openjepa.cli import main
from openjepa.data.robot.lerobot_check import check_lerobot
from openjepa.data.robot.meaning import StatedMeaning, StatedVector
from openjepa.errors import DataError


def shuffled_list(data):
    data.episodes[0], data.episodes[1] = data.episodes[1], data.episodes[0]


def shuffled_rows(data):
    data.tables[0], data.tables[1] = data.tables[1], data.tables[0]


def a_row_is_missing(data):
    data.tables[1] = {name: column[1:] for name, column in data.tables[1].items()}


def a_frame_is_missing(data):
    data.videos["wrist"][2] = data.videos["wrist"][2][:-1]


def the_rate_is_wrong(data):
    data.info["fps"] = 30


def the_video_runs_at_another_rate(data):
    data.video_fps = 15


def spans_overlap(data):
    row = data.episodes[1]
    for word in ("from_timestamp", "to_timestamp"):
        row[f"videos/observation.images.top/{word}"] -= 0.3


def statistics_of_other_data(data):
    data.stats["action"]["mean"] = data.stats["action"]["mean"] + 1


def degrees_against_radians(data):
    for table in data.tables:
        table["action"] = pa.array([np.float32(np.degrees(row)) for row in np.stack(table["action"].to_pylist())])
    data.stats = {}


def not_a_number(data):
    rows = np.stack(data.tables[1]["action"].to_pylist()).astype(np.float32)
    rows[4, 1] = np.nan
    data.tables[1]["action"] = pa.array(list(rows))


def an_unknown_task(data):
    data.tables[2]["task_index"] = pa.array(np.full(5, 7))


def too_few_episodes(data):
    data.info["total_episodes"] = 4


def an_older_version(data):
    data.info["codebase_version"] = "v2.1"


def a_column_is_missing(data):
    for table in data.tables:
        del table["next.reward"]


FAULTS = {
    shuffled_list: "must be numbered 0, 1, 2 ... in order; row 0 of the list is episode 1. They were shuffled",
    shuffled_rows: "row 0 of episode 0 of .* must have episode_index 0; it has 1. Rows were shuffled",
    a_row_is_missing: "must have 15 rows, those of its episodes; it has 14",
    a_frame_is_missing: "file-001.mp4` must hold all frames of episode 2 .*; 1 are missing",
    the_rate_is_wrong: "must have timestamp 0.0333 s at 30 frames per second; it has 0.1000 s. They run at 10",
    the_video_runs_at_another_rate: "must run at 10 frames per second; it runs at 15",
    spans_overlap: "must begin behind the episode before it, at 0.600 s; it begins at 0.300 s",
    statistics_of_other_data: "`mean` of `action` in .*stats.json` must be that of the data",
    degrees_against_radians: "`shoulder` of `action` must have the unit of .* times as large: degrees against radians",
    not_a_number: "`action` of episode 1 of .* must be finite; row 4 is not",
    an_unknown_task: "must have tasks of meta/tasks.parquet; it has number 7",
    too_few_episodes: "must have 4 episodes, as meta/info.json says; its list has 3",
    an_older_version: "must have codebase_version v3.x; got v2.1. Convert it",
    a_column_is_missing: "must have the column `next.reward`, as meta/info.json says",
}


def test_the_sound_one_is_sound(foreign):
    text = str(check_lerobot(foreign.write()))
    assert text.endswith(
        "3 episodes, 20 frames at 10 per second, 2 cameras, all sound; statistics agree; units unknown (state them "
        "with --action.units)"
    )


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_faults_are_found(foreign, spoil):
    spoil(foreign)
    with pytest.raises(DataError, match=FAULTS[spoil]) as raised:
        check_lerobot(foreign.write())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["meta/info.json", "meta/tasks.parquet", "data/chunk-000/file-001.parquet"])
def test_damaged_and_missing_files(foreign, name):
    path = foreign.write() / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        check_lerobot(foreign.root)
    path.unlink()
    with pytest.raises(DataError, match=r"is missing|has no meta/info.json"):
        check_lerobot(foreign.root)


def test_units_that_are_stated_are_held_against_the_numbers(foreign):
    foreign.write()
    stated = StatedMeaning(StatedVector(units=("m", "gripper"), closed=0.0, open=0.01))
    with pytest.raises(DataError, match=r"axis `elbow` of `action` must be within -0.0005 and 0.0105 \(gripper\)"):
        check_lerobot(foreign.root, stated=stated)


def test_a_picture_outside_of_the_data_set_is_not_opened(foreign, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    for table, length in zip(foreign.tables, (6, 9, 5), strict=True):
        table["observation.images.top"] = pa.array([{"bytes": None, "path": "../secret.png"}] * length)
    foreign.info["features"]["observation.images.top"]["dtype"] = "image"
    with pytest.raises(DataError, match=r"must lie in the data set; `../secret.png` does not"):
        check_lerobot(foreign.write())


def test_the_command_line_says_one_line(foreign, tmp_path, capsys):
    assert main(["data", "check", str(foreign.write())]) == 0
    assert "all sound" in capsys.readouterr().out
    assert main(["data", "info", str(foreign.root)]) == 0
    assert "task 0" in capsys.readouterr().out
    store = tmp_path / "store"
    assert main(["data", "convert", str(foreign.root), str(store), "--size", "32", "--action.kind", "absolute"]) == 0
    assert main(["data", "convert", str(store), str(tmp_path / "again"), "--codec", "png"]) == 0
    assert main(["data", "check", str(tmp_path / "again")]) == 0
    assert json.loads((tmp_path / "again/meta/openjepa.json").read_text())["spec"]["action"]["kind"] == "absolute"
    capsys.readouterr()
    info = json.loads((foreign.root / "meta/info.json").read_text())
    (foreign.root / "meta/info.json").write_text(json.dumps({**info, "fps": 20}))
    for words in (["check", str(foreign.root)], ["convert", str(foreign.root), str(tmp_path / "other")]):
        assert main(["data", *words]) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert "20 frames per second" in said.err
    assert main(["data", "convert", str(store), str(tmp_path / "x"), "--camera", "top"]) == 2
    assert "`--camera` is for a conversion that reads a robot's data" in capsys.readouterr().err
