"""What computes nothing does not wait for PyTorch; `benchmarks/start.py` measures the time."""

import subprocess
import sys

import numpy as np

from openjepa.data import EpisodeStore
from openjepa.protocols import Episode

SCRIPT = """
import contextlib, io, sys
from openjepa import cli
from openjepa.command_line.command import Group

commands = [["--help"], ["--version"], ["list"], ["data", "info", "store"], ["data", "check", "store"]]
for name, command in cli.COMMANDS.items():
    commands.append([name, "--help"])
    if isinstance(command, Group):
        commands += [[name, inner, "--help"] for inner in command.commands]
for words in commands:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = cli.main(words)
    assert status == 0 and said.getvalue(), (words, status)
    heavy = {"torch", "matplotlib", "av", "gymnasium", "h5py", "safetensors"} & set(sys.modules)
    assert not heavy, f"openjepa {' '.join(words)} imports {heavy}"
print(len(commands))
"""


def test_help_and_looking_at_stores_import_nothing_heavy(tmp_path):
    with EpisodeStore.create(tmp_path / "store") as store:
        store.append(Episode(np.zeros((3, 3, 4, 4), np.uint8), np.zeros((2, 2), np.float32)))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
