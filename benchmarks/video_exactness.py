"""Every kind of video against FFmpeg's sequential decoding: each frame at its own middle, and random clips.

A kind is a container, a codec, open or closed groups of pictures, B-frames, constant or variable rate, an edit list
or none, and one of eight display matrices. Every frame spells its own number and is shown at a time that is known
from the making; `exact` counts the kinds of which `info`, `frames()`, every single read and one read of all moments
are right. The random clips are moments of random files, in order or not; each picture must be FFmpeg's to the bit.

    python benchmarks/video_exactness.py [--clips 1000] [--seed 0] [--every 1]
"""

import argparse
import collections
import json
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from openjepa.data.video_file import VideoFile
from openjepa.errors import OpenJEPAError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "data"))
from video_matrix import MATRICES, RATE, number, samples, write


def sequential(path, matrix):
    """All pictures [T, 3, H, W] by FFmpeg alone, turned as the matrix says."""
    turn = MATRICES[matrix][1]
    with av.open(str(path)) as container:
        return np.stack([turn(f.to_ndarray(format="rgb24")).transpose(2, 0, 1) for f in container.decode(video=0)])


def is_exact(sample, path, draws):
    shown, frames = sample.shown.tolist(), sequential(path, sample.matrix)
    if [number(frame, sample.matrix) for frame in frames] != shown:
        raise SystemExit(f"{sample}: FFmpeg must show {shown}; it does not.")
    with VideoFile(path) as video:
        right = np.array_equal(np.stack(list(video.frames())), frames)
    with VideoFile(path) as video:
        right &= (video.info.num_frames, video.info.height, video.info.width) == (len(shown), *frames.shape[2:])
        right &= np.array_equal(video.read(sample.middles), frames)
        for i in draws.permutation(len(shown)):
            right &= np.array_equal(video.read(sample.middles[[i]])[0], frames[i])
    return right


def random_clip_is_exact(sample, path, draws):
    frames = sequential(path, sample.matrix)
    start = (sample.grid[sample.shown] - sample.grid[sample.shown[0]]) / RATE
    count, step = draws.integers(1, 17), draws.uniform(0.01, 0.3)
    times = draws.uniform(0, start[-1] + 0.1) + step * np.arange(count)
    distance = np.abs(times[:, None] - start).min(1)
    times = times[distance > 0.006]  # a GIF keeps hundredths of a second
    if draws.random() < 0.3:
        times = draws.permutation(times)
    if not len(times):
        times = sample.middles[:1]
    wanted = frames[np.searchsorted(start, times, "right") - 1]
    with VideoFile(path) as video:
        return np.array_equal(video.read(times), wanted)


def attempt(check, sample, path, draws):
    try:
        return bool(check(sample, path, draws))
    except OpenJEPAError as error:
        print(error)
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="takes every so many kinds")
    options = parser.parse_args()
    av.logging.set_level(None)
    draws = np.random.default_rng(options.seed)
    kinds = samples()[:: options.every]
    exact, random_exact, table = 0, 0, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for sample in kinds:
            paths.append(write(sample, Path(folder)))
            right = attempt(is_exact, sample, paths[-1], draws)
            exact += right
            table[f"{sample.container} {sample.codec}"] += right
            if not right:
                print(f"{sample}: not exact")
        for i in draws.integers(len(kinds), size=options.clips):
            right = attempt(random_clip_is_exact, kinds[i], paths[i], draws)
            random_exact += right
            if not right:
                print(f"{kinds[i]}: a random clip is not exact")
    result = {"combinations": len(kinds), "exact": exact, "random_clips": options.clips, "random_exact": random_exact}
    print(json.dumps({**result, "seed": options.seed, "ffmpeg": av.ffmpeg_version_info, "by_kind": table}))


if __name__ == "__main__":
    main()
