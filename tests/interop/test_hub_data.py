"""A LeRobot data set of the Hub by its id, through the real client, which talks to a server on this machine."""

import json

import numpy as np
import pytest

from openjepa.data.robot.lerobot_writer import LeRobotOptions, write_lerobot
from openjepa.protocols import Episode

from .hub_server import Hub
from .test_hub import run_with_hub

pytest.importorskip("huggingface_hub")

SCRIPT = """
import sys
from openjepa.cli import main

assert main(["data", "convert", "me/tiny", sys.argv[1] + "/store"]) == 0
assert main(["data", "check", sys.argv[1] + "/store"]) == 0
assert main(["data", "convert", "me/nothing", sys.argv[1] + "/other"]) == 2
"""


class Listed(list):
    def episode(self, number):
        return self[number]


def test_a_data_set_of_the_hub_is_fetched_and_read(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    source = Listed([Episode(frames, np.ones((3, 2), np.float32), info={"task": "go"})])
    write_lerobot(source, tmp_path / "data", LeRobotOptions(fps=5, codec="png"))
    (tmp_path / "data" / "README.md").write_text("not fetched")
    hub = Hub()
    for path in (p for p in (tmp_path / "data").rglob("*") if p.is_file()):
        hub.files[str(path.relative_to(tmp_path / "data"))] = path.read_bytes()
    lines = run_with_hub(hub, SCRIPT, tmp_path)
    assert "1 episodes of me/tiny" in json.dumps(lines)
    assert "README.md" not in hub.downloads
    assert "meta/info.json" in hub.downloads
