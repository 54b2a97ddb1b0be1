"""How much processor time a command that computes nothing takes before it answers.

Every `--help`, `openjepa list`, and `data info` and `data check` of a small store, each in an interpreter of its own,
the rounds interleaved with those of two yardsticks: an interpreter that imports NumPy, and one that imports PyTorch.

    python benchmarks/start.py [--rounds 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from openjepa.cli import COMMANDS
from openjepa.command_line.command import Group
from openjepa.data import EpisodeStore
from openjepa.protocols import Episode

MAIN = "import sys; from openjepa.cli import main; sys.exit(main())"


def cpu_seconds(*words):
    """Processor time, user and system, of one fresh interpreter."""
    before = os.times()
    subprocess.run([sys.executable, "-c", *words], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def commands(store):
    """The words of every command that computes nothing."""
    yield ["--help"]
    yield ["list"]
    yield ["data", "info", store]
    yield ["data", "check", store]
    for name, command in COMMANDS.items():
        yield [name, "--help"]
        if isinstance(command, Group):
            yield from ([name, inner, "--help"] for inner in command.commands)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        with EpisodeStore.create(store) as writer:
            for _ in range(20):
                writer.append(Episode(np.zeros((41, 3, 64, 64), np.uint8), np.zeros((40, 2), np.float32)))
        tried = {" ".join(words).replace(name, "..."): [MAIN, *words] for words in commands(str(store))}
        tried |= {"import numpy": ["import numpy"], "import torch": ["import torch"]}
        seconds = {label: [] for label in tried}
        for _ in range(rounds):
            for label, words in tried.items():
                seconds[label].append(cpu_seconds(*words))
    median = {label: statistics.median(found) for label, found in seconds.items()}
    for label, found in median.items():
        print(f"{found:6.2f} s  {label}")
    ours = {label: found for label, found in median.items() if not label.startswith("import ")}
    slowest = max(ours, key=lambda label: ours[label])
    result = {
        "slowest_s": round(ours[slowest], 3),
        "slowest": slowest,
        "import_torch_s": round(median["import torch"], 3),
        "import_numpy_s": round(median["import numpy"], 3),
        "ratio_to_import_torch": round(ours[slowest] / median["import torch"], 3),
        "rounds": rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
