"""A few long videos: drawn in proportion to duration, held out by time, and probed only where that means something."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from openjepa.config import override
from openjepa.data.items import FileItems
from openjepa.errors import DataError
from openjepa.recipes import load_recipe
from openjepa.recipes.own_files import split_files, split_time
from openjepa.recipes.pictures import TOY
from openjepa.recipes.pretraining import open_data
from openjepa.train import train

SHORT = {"train.steps": 2, "train.warmup_steps": 0, "train.log_every": 1, "train.diagnose_every": 1}


def toy(name="vjepa2", **values):
    recipe = load_recipe(name)
    return recipe, override(recipe.config, {**TOY, **SHORT, **values})


def brightening(path, seconds, fps=8):
    """A video whose grey level is its second."""
    from openjepa.data.video_file import write_video

    grey = np.repeat(np.arange(seconds, dtype=np.uint8), fps)
    write_video(path, np.broadcast_to(grey[:, None, None, None], (seconds * fps, 3, 48, 48)), fps=fps)


def test_a_split_by_time_by_hand():
    split = split_time(np.array([1000.0, np.nan, 5.0]), clip=2.0, share=0.2, counts=(3, 2))
    # The last 200 s are kept, 20 s before them are in neither part. Of the 200, 20 in the middle are a gap too; the
    # other 180 are shared 3 to 2: 800 to 908 and 928 to 1000, with 3 and 2 clips evenly in them.
    np.testing.assert_allclose(split.ends, [780.0, np.inf, np.inf])
    assert split.fit == [(0, pytest.approx(800.0)), (0, pytest.approx(836.0)), (0, pytest.approx(872.0))]
    assert split.score == [(0, pytest.approx(928.0)), (0, pytest.approx(964.0))]
    assert split_time(np.array([30.0, 20.0]), clip=2.0, share=0.2, counts=(600, 400)) is None


def test_a_file_that_is_listed_twice_is_on_one_side():
    items = FileItems(tuple(Path(f"{i % 20}.png") for i in range(40)), tuple(range(40)))
    kept, held_out = split_files(items, 8, 0)
    assert 4 <= len(held_out) == len(set(held_out.paths)) <= 8
    assert len(kept) == 2 * (20 - len(held_out))
    assert not set(kept.paths) & set(held_out.paths)
    assert all(items.paths[label] == path for path, label in zip(kept.paths, kept.labels, strict=True))


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("camera")
    brightening(folder / "long.mp4", 200)
    return folder


def test_one_long_video_is_trained_on_and_its_end_is_kept(camera, tmp_path, capsys):
    recipe, config = toy(data=camera)
    experiment = recipe.build(config)
    said = capsys.readouterr().err
    assert "holds few files: 17 clips are kept of the last 20% of each, after a gap" in said
    trained = np.concatenate([experiment.source.batch(step).clips for step in range(20)])
    kept = np.concatenate([experiment.diagnostics.train.pixels, experiment.diagnostics.test.pixels])
    assert trained[..., 0, 0].max() <= 156 + 1  # 160 s, less a gap of 4 s; the codec may err by one
    assert kept[..., 0, 0].min() >= 160 - 1
    assert kept[..., 0, 0].max() >= 196
    found = train(
        experiment.method, experiment.source, config.train, tmp_path / "run", diagnostics=experiment.diagnostics
    )
    assert {"feature_std", "effective_rank"} <= set(found.metrics)
    assert "knn" not in found.metrics


def test_clips_are_drawn_in_proportion_to_duration(tmp_path, capsys):
    pytest.importorskip("av")
    brightening(tmp_path / "a.mp4", 10)
    brightening(tmp_path / "b.mp4", 30)
    recipe, config = toy(data=tmp_path)
    experiment = recipe.build(config)
    assert experiment.diagnostics is None  # 40 s are too little to keep some of
    assert "probes: left out: " in capsys.readouterr().err
    drawn = np.concatenate([experiment.source.slots.numbers(step) for step in range(500)])
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.25, 0.75], abs=0.03)


def test_too_few_pictures_are_trained_on_without_probes(tmp_path, capsys):
    from PIL import Image

    draws = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(draws.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    source, probe = open_data(toy("ijepa", data=tmp_path)[1])
    assert probe is None
    assert source.batch(0).images.shape == (4, 3, 48, 48)
    assert capsys.readouterr().err.endswith("holds 12 files, too few to keep 4 of them\n")


def test_classes_that_are_not_there_are_said(tmp_path, capsys):
    from PIL import Image

    for i in range(24):
        Image.new("RGB", (48, 48), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
    _, probe = open_data(toy("ijepa", data=tmp_path)[1])
    assert probe.train.labels is None
    assert "has no classes: k-NN and linear are left out" in capsys.readouterr().err


def test_tar_shards_are_trained_on(tmp_path, capsys):
    pytest.importorskip("av")
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for i in range(3):
                brightening(tmp_path / "clip.mp4", 3 + i)
                tar.add(tmp_path / "clip.mp4", f"{shard}{i}.mp4")
    (tmp_path / "clip.mp4").unlink()
    recipe, config = toy(data=tmp_path)
    experiment = recipe.build(config)
    assert "holds tar shards, which are trained on whole" in capsys.readouterr().err
    assert experiment.diagnostics is None
    assert len(experiment.source.items) == 6
    assert experiment.source.batch(0).clips.shape[2:] == (3, 48, 48)
    recipe, config = toy(data=tmp_path / "1.tar")
    assert len(recipe.build(config).source.items) == 3
    (tmp_path / "empty").mkdir()
    recipe, config = toy(data=tmp_path / "empty")
    with pytest.raises(DataError, match="must hold files ending in"):
        recipe.build(config)
