"""One long video in an otherwise empty folder, through every command that takes it."""

import re

import numpy as np
import pytest

pytest.importorskip("av")

from openjepa.cli import main
from openjepa.data.video_file import write_video
from openjepa.recipes.pictures import TOY

SECONDS, FPS = 140, 8


def test_one_video_is_trained_on_embedded_searched_and_watched(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grey = np.repeat(np.arange(SECONDS, dtype=np.uint8), FPS)[:, None, None, None]
    (tmp_path / "camera").mkdir()
    write_video(tmp_path / "camera" / "a.mp4", np.broadcast_to(grey, (SECONDS * FPS, 3, 48, 48)), fps=FPS)

    def run(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    options = {**TOY, "train.steps": 2, "train.warmup_steps": 0, "probing.max_share": 0.1}
    words = [w for name, value in options.items() for w in (f"--{name}", *np.atleast_1d(value).tolist())]
    run("train", "vjepa2", "--data", "camera", "--run-dir", "run", *words)
    assert f"{SECONDS} rows" in run("embed", "camera", "--model", "run", "--every", "1")
    found = run("search", "embeddings", "camera/a.mp4", "--moments", "--at", "70.5", "--k", "139").splitlines()
    moments = [float(re.search(r"([\d.]+) s", line)[1]) for line in found]
    assert sorted(round(m - 0.94) for m in moments) == [s for s in range(SECONDS) if s != 70]  # each other moment once
    said = run("surprise", "run", "--calibrate", "camera", "--untrained", "1")
    assert re.search(r"calibrated on (\d+) possible clips", said)
    assert (tmp_path / "run" / "calibration.json").is_file()
    write_video(tmp_path / "new.mp4", np.broadcast_to(grey[: 8 * FPS], (8 * FPS, 3, 48, 48)), fps=FPS)
    assert main(["surprise", "run", "new.mp4", "--untrained", "1", "--out", "none"]) in (0, 1)
