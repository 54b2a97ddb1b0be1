"""Watching a folder with a stub: clips as they come, pictures as a ring, half-written files left alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import DataError
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import Judge
from openjepa.eval.plausibility.watch import watch


class Stub(Judge):
    """Energy is how far the red of the first pixel moved."""

    name, window, size, rows = "model", 2, None, ("1 ahead",)

    def positions(self, length):
        return np.arange(1, length)

    def energies(self, clips):
        red = torch.as_tensor(clips)[:, :, 0, 0, 0].double().numpy()
        return np.abs(np.diff(red, axis=1))[:, None]

    def untrained(self, seed):
        return self


CALM = Calibration(tuple(float(i) for i in range(10)) * 2, {"length": 4})


class Clock:
    """Time that passes only while somebody sleeps; `events` happen then."""

    def __init__(self, *events):
        self.now, self.events = 0.0, list(events)

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.events:
            self.events.pop(0)()


def run(folder, clock, idle=1.0):
    return list(watch(str(folder), Stub(), CALM, level=0.05, idle=idle, clock=clock.time, sleep=clock.sleep))


def clip(*red):
    out = np.zeros((len(red), 3, 4, 4), np.uint8)
    out[:, 0] = np.array(red)[:, None, None]
    return out


def test_clips_are_judged_as_they_come(tmp_path):
    np.save(tmp_path / "1.npy", clip(0, 1, 2))
    found = run(tmp_path, Clock(lambda: np.save(tmp_path / "2.npy", clip(0, 200, 0))))
    assert [(v.name, v.is_surprising) for v in found] == [("1.npy", False), ("2.npy", True)]


def test_a_file_that_still_grows_is_left_alone(tmp_path):
    whole = tmp_path / "whole.npy"
    np.save(whole, clip(0, 200, 0))
    content = whole.read_bytes()
    whole.unlink()
    growing = tmp_path / "growing.npy"
    sizes = [len(content) // 4, len(content) // 2, len(content)]
    growing.write_bytes(content[:10])
    found = run(tmp_path, Clock(*(lambda n=n: growing.write_bytes(content[:n]) for n in sizes)))
    assert [v.name for v in found] == ["growing.npy"]


def test_pictures_fill_a_ring(tmp_path):
    for i, red in enumerate((0, 1, 2, 3, 4, 5, 205, 206)):
        Image.fromarray(clip(red)[0].transpose(1, 2, 0)).save(tmp_path / f"{i}.png")
    found = run(tmp_path, Clock())
    assert [(v.name, v.is_surprising) for v in found] == [("3.png", False), ("5.png", False), ("7.png", True)]


def test_a_camera_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="must name a folder or a camera; there is no"):
        list(watch(str(tmp_path / "video9"), Stub(), CALM, level=0.05))
    pytest.importorskip("av")
    file = tmp_path / "no_camera"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="must be a camera that"):
        list(watch(str(file), Stub(), CALM, level=0.05))
