"""Miniatures of the public tests of intuitive physics, in their own layouts."""

import json

import numpy as np
import pytest
from PIL import Image

from openjepa.data.clips import read_clip
from openjepa.data.plausibility_sets import LAYOUTS, find_pairs
from openjepa.envs.physics.clips import render_quadruple
from openjepa.errors import ConfigError, DataError


def write_pictures(folder, clip):
    folder.mkdir(parents=True)
    for i, frame in enumerate(clip):
        Image.fromarray(frame.transpose(1, 2, 0)).save(folder / f"scene_{i:03d}.png")


def write_intphys(root):
    """One scene, its four clips in an order that hides the pairs."""
    q = render_quadruple("permanence", 0, length=12, size=32)
    for place, role in enumerate((2, 1, 3, 0), start=1):
        folder = root / "dev" / "O1" / "01" / str(place)
        write_pictures(folder / "scene", q.clips[role])
        status = {"header": {"is_possible": bool(q.possible[role])}}
        (folder / "status.json").write_text(json.dumps(status))
    return q


def test_intphys_twins_share_the_longest_beginning(tmp_path):
    q = write_intphys(tmp_path)
    pairs = find_pairs("intphys", tmp_path)
    found = {(p.possible.parent.name, p.impossible.parent.name) for p in pairs}
    assert found == {("4", "1"), ("2", "3")}  # AA with AB, BB with BA
    assert {(p.group, p.scene) for p in pairs} == {("O1", "O1/01")}
    first = next(p for p in pairs if p.possible.parent.name == "4")
    assert np.array_equal(read_clip(first.impossible), q.clips[2])


def test_grasp(tmp_path):
    for kind in ("P", "IP"):
        for name in ("Gravity", "Continuity"):
            folder = tmp_path / "level2" / f"{kind}_{name}"
            folder.mkdir(parents=True)
            for number in (1, 2):
                (folder / f"{number}.mp4").touch()
    pairs = find_pairs("grasp", tmp_path)
    assert [p.group for p in pairs] == ["Continuity"] * 2 + ["Gravity"] * 2
    assert pairs[0].impossible == tmp_path / "level2" / "IP_Continuity" / "1.mp4"
    assert pairs[0].scene != pairs[1].scene
    pairs[0].impossible.unlink()
    with pytest.raises(DataError, match="must have a twin"):
        find_pairs("grasp", tmp_path)


def test_inflevel(tmp_path):
    (tmp_path / "solidity.csv").write_text("Plausible,Implausible,prime\na.mp4,b.mp4,c.mp4\nd.mp4,e.mp4,f.mp4\n")
    pairs = find_pairs("inflevel", tmp_path)
    assert [(p.possible.name, p.impossible.name, p.group) for p in pairs] == [
        ("a.mp4", "b.mp4", "solidity"),
        ("d.mp4", "e.mp4", "solidity"),
    ]
    (tmp_path / "solidity.csv").write_text("left,right\na.mp4,b.mp4\n")
    with pytest.raises(DataError, match="must have a column possible or plausible; it has left, right"):
        find_pairs("inflevel", tmp_path)


def test_intphys2(tmp_path):
    kinds = ("2_Impossible", "1_Possible", "1_Impossible", "2_Possible")
    rows = ["name,type,SceneIndex,condition"]
    for scene in (0, 1):
        for kind in kinds:
            rows.append(f"{scene}-{kind},{kind},{scene},permanence")
            (tmp_path / f"{scene}-{kind}.mp4").touch()
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    pairs = find_pairs("intphys2", tmp_path)
    assert [(p.possible.stem, p.impossible.stem) for p in pairs] == [
        (f"{scene}-{n}_Possible", f"{scene}-{n}_Impossible") for scene in (0, 1) for n in (1, 2)
    ]
    assert {p.scene for p in pairs} == {"0", "1"}
    (tmp_path / "0-1_Possible.mp4").unlink()
    with pytest.raises(DataError, match="must hold the clip `0-1_Possible` of its table"):
        find_pairs("intphys2", tmp_path)


def test_intphys2_as_pictures(tmp_path):
    for name in ("x", "y"):
        write_pictures(tmp_path / "Images" / name, np.zeros((2, 3, 8, 8), np.uint8))
    (tmp_path / "labels.csv").write_text("filename,label,scene\nx,Possible,s\ny,Impossible,s\n")
    (pair,) = find_pairs("intphys2", tmp_path)
    assert read_clip(pair.impossible).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_another_kind_is_refused(layout, tmp_path):
    with pytest.raises(DataError, match=r"must have the layout|must hold `metadata.csv`"):
        find_pairs(layout, tmp_path)
    with pytest.raises(DataError, match="there is none"):
        find_pairs(layout, tmp_path / "nowhere")


def test_an_unknown_set_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown benchmark `intphis`; did you mean `intphys`"):
        find_pairs("intphis", tmp_path)
