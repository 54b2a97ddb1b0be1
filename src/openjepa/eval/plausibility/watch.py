"""Watching: every new clip in a folder, or every stride of a camera's pictures, judged as it comes."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from openjepa.data.clips import Clip, is_clip, resize_frames
from openjepa.data.folders import list_folder
from openjepa.data.images import read_image
from openjepa.data.items import IMAGE_SUFFIXES
from openjepa.errors import DataError
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import EnergyModel
from openjepa.eval.plausibility.surprise import Verdict, judge

REST = 0.2  # seconds between two looks at a folder


def watch(
    source: str,
    model: EnergyModel,
    calibration: Calibration,
    *,
    level: float,
    frame_step: int = 1,
    idle: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Verdict]:
    """Judges what comes, and yields a verdict each time; the false-alarm rate holds for each clip, not for an hour.

    Clips (videos, arrays, folders of pictures) that appear in a folder are judged one by one. Pictures that appear
    in it, or come from a camera, fill a ring of the length of the calibration clips, which is judged whenever half of
    it is new.

    Args:
        source: a folder, or a camera such as `/dev/video0`.
        model: the judge.
        calibration: of this model.
        level: of an alarm.
        frame_step: every so many pictures count.
        idle: stops after so many seconds without anything new; None never does.
        clock: seconds.
        sleep: waits.
    """
    folder = Path(source)
    if folder.is_dir():
        frames = _Ring(model, calibration)
        for path in _arrivals(folder, idle, clock, sleep):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                ready = frames.add(read_image(path, model.size))
                if ready is not None:
                    yield judge(model, ready, calibration, name=path.name, level=level)
            else:
                clip = Clip(path, size=model.size, frame_step=frame_step, min_frames=model.window)
                yield judge(model, clip, calibration, name=path.name, level=level)
        return
    if not folder.exists():
        raise DataError(f"`--live` must name a folder or a camera; there is no `{source}`. Check the path.")
    ring = _Ring(model, calibration)
    for number, picture in enumerate(_camera(source)):
        if number % frame_step == 0:
            ready = ring.add(picture if model.size is None else resize_frames(picture[None], model.size)[0])
            if ready is not None:
                yield judge(model, ready, calibration, name=f"frame {number}", level=level)


class _Ring:
    """The last frames, as many as a calibration clip has; gives them out whenever half are new."""

    def __init__(self, model: EnergyModel, calibration: Calibration) -> None:
        self.length = max(model.window, int(calibration.protocol.get("length", model.window)))
        self.frames: deque[np.ndarray] = deque(maxlen=self.length)
        self.new = 0

    def add(self, frame: np.ndarray) -> np.ndarray | None:
        self.frames.append(frame)
        self.new += 1
        if len(self.frames) < self.length or self.new < max(1, self.length // 2):
            return None
        self.new = 0
        return np.stack(self.frames)


def _arrivals(
    folder: Path, idle: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Path]:
    """Paths in natural order as they appear and have stopped growing; those there already come first."""
    seen: dict[Path, int] = {}
    done: set[Path] = set()
    last = clock()
    while True:
        grown = False
        for path in (p for p in list_folder(folder) if p not in done and _counts(p)):
            size = _size(path)
            if size and seen.get(path) == size:
                done.add(path)
                grown = True
                yield path
            seen[path] = size
        last = clock() if grown or len(seen) > len(done) else last
        if idle is not None and clock() - last > idle:
            return
        sleep(REST)


def _counts(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or is_clip(path)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size


def _camera(device: str) -> Iterator[np.ndarray]:
    """Pictures [3, H, W] of a camera, through FFmpeg's v4l2 (Linux) or avfoundation (macOS)."""
    import sys

    from openjepa.data.video_file import pyav

    av = pyav()
    driver = "avfoundation" if sys.platform == "darwin" else "v4l2"
    try:
        container = av.open(device, format=driver)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"`{device}` must be a camera that {driver} opens; {error}. Give a folder instead.") from error
    with container:
        for frame in container.decode(video=0):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
