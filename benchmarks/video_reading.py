"""Reading plain MP4 files: exact reading against the reader of version 0.1.0.

The peer seeks by time and picks frames by the average rate of the file, as that version did; it is exact on files of
constant rate, closed groups of pictures and no edit list only, so both give the same frames here, and that is
checked. `ratio` is the peer's CPU time (of all threads) over ours, more is faster; the median of alternating rounds:

* `single`: opens a file, reads one random frame; `single_open`: one after the other from an open file.
* `clips`: opens a file, reads a clip of 16 frames at 4 per second.
* `batches`: `VideoSource.batch` of 8 such clips.
* `sequential`: all frames in order.
* `first`: as `single`, but every file is seen for the first time.

    python benchmarks/video_reading.py [--files 8] [--rounds 9] [--seconds 10] [--height 240]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch

from openjepa.data import video_index, videos
from openjepa.data.items import FileItems
from openjepa.data.video_file import VideoFile

FPS, SIZE = 30, 64
ENCODINGS = {"frequent_keys": {"g": "12", "bf": "0"}, "x264_default": {}}


class Peer:
    """The reader of version 0.1.0, as far as plain files need it."""

    def __init__(self, source, name=None, max_pixels=None):
        self._container = av.open(str(source), mode="r")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "NONE"
        self._start = float((self._stream.start_time or 0) * self._stream.time_base)
        self._reformatter = av.video.reformatter.VideoReformatter()
        self.num_frames, self.fps = self._stream.frames, float(self._stream.average_rate)

    def read(self, times, size=None):
        """Pictures [T, 3, H, W] at ascending moments."""
        times = np.minimum(np.asarray(times, float), (self.num_frames - 0.5) / self.fps)
        base, half = self._stream.time_base, 0.25 / self.fps
        out, shown = [], None
        self._container.seek(int((times[0] + self._start) / float(base)), stream=self._stream, backward=True)
        for frame in self._container.decode(self._stream):
            at = frame.time - self._start
            out += self._repeat(shown if shown is not None else frame, times, len(out), at - half, size)
            shown = frame
            if len(out) == len(times):
                return np.stack(out)
        return np.stack(out + self._repeat(shown, times, len(out), np.inf, size))

    def frames(self, size=None):
        """All pictures in order."""
        self._container.seek(self._stream.start_time or 0, stream=self._stream)
        for frame in self._container.decode(self._stream):
            yield self._picture(frame, size)

    def _repeat(self, frame, times, done, until, size):
        count = int(np.searchsorted(times[done:], until))
        return [self._picture(frame, size)] * count if count else []

    def _picture(self, frame, size):
        width, height = frame.width, frame.height
        if size is not None:
            scale = size / min(width, height)
            width, height = max(size, round(width * scale)), max(size, round(height * scale))
        interpolation = "AREA" if frame.width > width else "BILINEAR"
        picture = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=interpolation).to_ndarray()
        turns = round((frame.rotation or 0) / 90) % 4
        if turns:
            picture = np.rot90(picture, turns)
        if size is not None:
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            picture = picture[top : top + size, left : left + size]
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def close(self):
        """Closes the file."""
        self._container.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def write(folder, count, seconds, height, settings):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        paths.append(folder / f"{i}.mp4")
        texture = rng.integers(0, 256, (height // 8 + 1, height // 6 + 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "fast"} | settings)
            stream.height, stream.width, stream.pix_fmt = height, height * 2 // 3 * 2, "yuv420p"
            for j in range(seconds * FPS):
                picture = np.ascontiguousarray(texture[:height, j % 600 : j % 600 + stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
    return paths


def singles(reader, paths, moments):
    found = []
    for path, moment in zip(paths, moments, strict=True):
        with reader(path) as video:
            found.append(video.read(moment[None], SIZE))
    return np.concatenate(found)


def first(reader, paths, moments):
    video_index.KEPT.__init__()
    return singles(reader, paths, moments)


def singles_open(reader, paths, moments):
    with reader(paths[0]) as video:
        return np.concatenate([video.read(moment[None], SIZE) for moment in moments])


def clips(reader, paths, moments):
    found = []
    for path, moment in zip(paths, moments, strict=True):
        with reader(path) as video:
            found.append(video.read(np.floor(moment * FPS / 2 + 0.5) / FPS + 0.5 / FPS + np.arange(16) / 4, SIZE))
    return np.concatenate(found)


def batches(reader, paths, moments):
    videos.VideoFile = reader  # what `open_video` opens
    config = videos.ClipConfig(num_frames=16, size=SIZE, batch_size=8)
    step = int(moments[0] * 1e6)
    found = videos.VideoSource(FileItems(tuple(paths)), config).batch(step).clips
    videos.VideoFile = VideoFile
    return found.flatten(0, 1).numpy()


def sequential(reader, paths, moments):
    with reader(paths[0]) as video:
        return np.stack(list(video.frames(SIZE)))


def ratio(work, paths, rounds, seconds):
    rng, times = np.random.default_rng(1), {Peer: [], VideoFile: []}
    for i in range(rounds + 1):  # the first warms up
        moments = (rng.integers(0, seconds * FPS, len(paths)) + 0.5) / FPS
        found = {}
        for reader in (Peer, VideoFile) if i % 2 else (VideoFile, Peer):
            begin = time.process_time()
            found[reader] = work(reader, paths, moments)
            times[reader] += [time.process_time() - begin] if i else []
        if not np.array_equal(*found.values()):
            raise SystemExit(f"{work.__name__}: both must give the same frames; they do not.")
    return statistics.median(a / b for a, b in zip(*times.values(), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--height", type=int, default=240)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    for name, settings in ENCODINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = write(Path(folder), options.files, options.seconds, options.height, settings)
            for work in (singles, singles_open, clips, batches, sequential, first):
                result[f"{work.__name__}_{name}"] = round(ratio(work, paths, options.rounds, options.seconds), 3)
                print(f"{work.__name__} of {name}: {result[f'{work.__name__}_{name}']} times as fast")
    print(json.dumps({"ratio": result, "least": min(result.values()), **vars(options)}))


if __name__ == "__main__":
    main()
