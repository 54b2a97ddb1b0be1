"""`openjepa train WORLD --minutes N`: how many steps fit in, and that a run keeps what was found at its first start."""

import json

import numpy as np
import pytest

from openjepa.cli import main
from openjepa.data import EpisodeStore
from openjepa.errors import ConfigError
from openjepa.protocols import Episode
from openjepa.recipes import world
from openjepa.recipes.time_budget import FEWEST, MOST, share_of_steps, with_share
from openjepa.recipes.world import WorldConfig, resolve


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Episodes of 12 steps in which a square of 8 px moves by its action."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with EpisodeStore.create(tmp_path / "robot") as store:
        for _ in range(12):
            actions = rng.uniform(-2, 2, (12, 1)).astype(np.float32)
            frames = np.zeros((13, 3, 32, 32), np.uint8)
            for frame, x in zip(frames, 12 + np.cumsum(np.pad(actions[:, 0], (1, 0))), strict=True):
                left = int(np.clip(x, 0, 24))
                frame[:, 12:20, left : left + 8] = 255
            store.append(Episode(frames, actions))
    return tmp_path / "robot"


def test_more_time_gives_more_steps(store):
    config = resolve(WorldConfig(data=store, batch_size=4), "", {})
    found = [share_of_steps(config, seconds) for seconds in (0.0, 30.0, 1e6)]
    assert found[0] == FEWEST <= found[1] <= found[2] == MOST


def test_every_part_gets_its_share(store):
    config = resolve(WorldConfig(data=store), "", {})
    double = with_share(config, 2.0)
    parts = [(c.train.steps, c.act.refine.steps, c.act.distance.steps, c.act.policy.steps) for c in (config, double)]
    assert parts[1] == tuple(2 * steps for steps in parts[0])


def test_a_run_keeps_its_share(store, monkeypatch, capsys):
    monkeypatch.setattr(world, "share_of_steps", lambda config, seconds: 0.005)
    command = ["train", "robot", "--minutes", "3", "--batch-size", "4", "--train.device", "cpu"]
    assert main(command) == 0
    assert "3 minutes" in capsys.readouterr().out
    record = json.loads((store.parent / "runs" / "robot" / "config.json").read_text())
    assert (record["train"]["steps"], record["recipe"]["share"]) == (3, 0.005)

    monkeypatch.setattr(world, "share_of_steps", lambda config, seconds: 7.0)  # a faster machine
    assert main(command) == 0
    assert main(["train", "robot", "--minutes", "4", *command[4:]]) == 2
    assert "another run directory" in capsys.readouterr().err


def test_minutes_choose_the_steps_alone():
    with pytest.raises(ConfigError, match="leave `train"):
        WorldConfig(minutes=2.0, fit_steps=10)
    with pytest.raises(ConfigError, match="above 0"):
        WorldConfig(minutes=0.0)


def test_processes_of_one_run_do_not_measure_each_for_itself(store, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun"):
        resolve(WorldConfig(data=store, minutes=1.0), "", {})
