"""One long video in an otherwise empty folder through every command that takes it: processor time and peak memory.

`openjepa train vjepa2`, `embed` with a moment every second, `search --moments`, `surprise --calibrate` and `surprise`
of another recording, each in an interpreter of its own and by its defaults but for the number of training steps. Memory
that grows with the video shows as `growth`, megabytes of the longest less those of the shortest.

    python benchmarks/long_video.py [--minutes 10 30] [--steps 60]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 128, 96, 12
MAIN = "import sys; from openjepa.cli import main; sys.exit(main())"


def write_camera(path, minutes, seed):
    """Three discs that move and bounce; another background and other colours every minute."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    place, speed = rng.uniform(20, 76, (3, 2)), rng.uniform(-3, 3, (3, 2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_type = WIDTH, HEIGHT, "yuv420p", "NONE"
        for number in range(minutes * 60 * RATE):
            if number % (60 * RATE) == 0:
                ground, colours = rng.integers(0, 256, 3), rng.integers(0, 256, (3, 3))
            place += speed
            speed[(place < 10) | (place > (HEIGHT - 10, WIDTH - 10))] *= -1
            picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
            picture[:] = ground
            for (y, x), colour in zip(place, colours, strict=True):
                picture[(rows - y) ** 2 + (columns - x) ** 2 < 81] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def measured(words, folder):
    """Runs a command; returns its status, processor time and peak resident memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > 1 or process.returncode < 0:  # 1: something surprised
        print(errors[-2000:])
    return {
        "command": "openjepa " + " ".join(words),
        "status": process.returncode,
        "peak_rss_mb": usage.ru_maxrss // 1024,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }


def commands(steps):
    """What is run, in order."""
    yield ["train", "vjepa2", "--data", "camera", "--run-dir", "run", "--train.steps", str(steps)]
    yield ["embed", "camera", "--model", "run", "--every", "1"]
    yield ["search", "embeddings", "camera/cam.mp4", "--moments"]
    yield ["search", "embeddings", "camera/cam.mp4", "--moments", "--at", "61.5"]
    yield ["surprise", "run", "--calibrate", "camera"]
    yield ["surprise", "run", "other.mp4"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--steps", type=int, default=60, help="of training")
    options = parser.parse_args()
    result = {}
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "camera").mkdir()
            write_camera(folder / "camera" / "cam.mp4", minutes, 0)
            write_camera(folder / "other.mp4", 1, 1)
            rows = []
            for words in commands(options.steps):
                rows.append(measured(words, folder))
                print(minutes, "minutes:", rows[-1], flush=True)
            result[f"{minutes} minutes"] = rows
    least, most = (result[f"{pick(options.minutes)} minutes"] for pick in (min, max))
    growth = [b["peak_rss_mb"] - a["peak_rss_mb"] for a, b in zip(least, most, strict=True)]
    print(json.dumps({**result, "growth": growth}))


if __name__ == "__main__":
    main()
