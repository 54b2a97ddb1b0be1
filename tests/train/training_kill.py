"""Kills training with SIGKILL, restarts it, and compares what is left; prints one JSON object.

Each run is a fork of this process, so that a kill costs a fraction of a second instead of an import of
PyTorch. `python training_kill.py FOLDER` does it at random moments and before every n-th call that touches
the disk.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import safetensors.torch
import torch
from training_toy import Toy, ToyConfig, ToySource, quick

from openjepa import files
from openjepa.train import checkpoint as disk
from openjepa.train import train
from openjepa.train.log import read_metrics

CONFIG = quick(steps=12, checkpoint_every=3, log_every=2)


def fork(folder: Path, *, delay: float, die_at: int = -1) -> int:
    """Starts a run in a child process; with `die_at` it kills itself before that disk operation."""
    child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if die_at >= 0:
        count_disk_calls(die_at)
    try:
        train(Toy(ToyConfig()), ToySource(delay=delay), CONFIG, folder)
        os._exit(0)
    except BaseException:
        os._exit(1)


def count_disk_calls(die_at: int) -> list[int]:
    """Replaces what the checkpoint writer calls by versions that count, and die at the given count."""
    calls = [0]

    def counted(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def wrapper(*args, **kwargs):
            if calls[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            calls[0] += 1
            return real(*args, **kwargs)

        setattr(owner, name, wrapper)

    counted(safetensors.torch, "save_file")
    counted(torch, "save")
    counted(disk, "sync")
    counted(files, "sync")
    counted(shutil, "rmtree")
    for name in ("mkdir", "rename", "replace", "write_text"):
        counted(Path, name)
    return calls


def finish(folder: Path, *, delay: float = 0.0) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(fork(folder, delay=delay), 0)[1]) == 0


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "checkpoints/step_00000012/model.safetensors").read_bytes()).hexdigest()


def is_sound(folder: Path, expected: str) -> bool:
    steps = Counter(row["step"] for row in read_metrics(folder / "metrics.jsonl"))
    left = [p.name for p in (folder / "checkpoints").iterdir() if p.name.startswith(".")]
    return weights(folder) == expected and steps == dict.fromkeys((2, 4, 6, 8, 10, 12), 1) and not left


def main(root: Path) -> None:
    torch.set_num_threads(1)
    train(Toy(ToyConfig()), ToySource(), CONFIG, root / "warm")  # imports what PyTorch imports late
    assert finish(root / "whole")
    expected = weights(root / "whole")
    rng, report = random.Random(0), {"random": 0, "at_disk": 0, "kills": 0, "points": 0}

    for trial in range(6):
        folder, delay = root / f"random{trial}", 0.02
        for _ in range(2):  # killed twice, so that a resumed run is killed, too
            child = fork(folder, delay=delay)
            time.sleep(rng.uniform(0.0, 0.35))
            os.kill(child, signal.SIGKILL)
            report["kills"] += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        report["random"] += finish(folder) and is_sound(folder, expected)

    calls = count_disk_calls(-1)
    train(Toy(ToyConfig()), ToySource(), CONFIG, root / "count")
    points = range(0, calls[0], max(1, calls[0] // 20))
    report["points"] = len(points)
    for point in points:
        folder = root / f"disk{point}"
        child = fork(folder, delay=0.0, die_at=point)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        report["at_disk"] += finish(folder) and is_sound(folder, expected)
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
