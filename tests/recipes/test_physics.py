"""The recipe's judging at toy size: what it reports, and that numbers of clips for different uses never meet."""

from dataclasses import replace

import numpy as np
import pytest

from openjepa.config import override
from openjepa.envs.physics.clips import PROPERTIES, render_possible
from openjepa.envs.physics.source import (
    CALIBRATION_SEEDS,
    JUDGE_SEEDS,
    NOVEL_SEEDS,
    TRAIN_SEEDS,
    PhysicsConfig,
    PhysicsSource,
)
from openjepa.errors import ConfigError
from openjepa.eval.plausibility.conformal import load_calibration
from openjepa.recipes.physics import PHYSICS, judge, pairs, possible_clips
from openjepa.train import save_checkpoint


@pytest.fixture
def toy():
    return override(PHYSICS.config, {**PHYSICS.toy, "judge.quadruples": 1})


def test_judging_reports_everything_and_leaves_a_calibration(toy, tmp_path):
    save_checkpoint(tmp_path / "checkpoints", 1, PHYSICS.build(toy).method, training={})
    found = judge(toy, tmp_path)
    assert set(found["accuracy"]) == {*PROPERTIES, "all"}
    assert found["pairs"]["all"] == 2 * len(PROPERTIES)
    assert set(found["controls"]) == {"copy last frame", "pixel difference"}
    assert set(found["untrained"]) == {*PROPERTIES, "all"}
    assert set(found["false_alarms"]) == {"known scenes", "evening"}
    assert set(found["novel_but_possible"]) == {"turns", "new", "light", "camera"}
    assert len(load_calibration(tmp_path).scores) == toy.judge.calibration


def test_pairs_share_their_beginning(toy):
    for possible, impossible, _, _ in pairs(toy):
        assert np.array_equal(possible[0], impossible[0])
        assert not np.array_equal(possible, impossible)


def test_numbers_of_clips_never_meet():
    config = PHYSICS.config
    last_judged = JUDGE_SEEDS + 60_000 + 10_000
    last_calibrated = CALIBRATION_SEEDS + 60_000 + 100_000 + config.judge.possible
    assert last_judged < CALIBRATION_SEEDS
    assert last_calibrated < NOVEL_SEEDS
    assert NOVEL_SEEDS + 60_000 + 10_000 < TRAIN_SEEDS


def test_two_processes_share_a_batch():
    source = PhysicsSource(PhysicsConfig(length=12, size=32, batch_size=4))
    whole = source.batch(3).clips
    halves = [source.batch(3, rank=r, world_size=2).clips for r in (0, 1)]
    assert np.array_equal(np.concatenate(halves), whole)
    assert not np.array_equal(source.batch(4).clips, whole)
    assert not np.array_equal(PhysicsSource(source.config, seed=1).batch(3).clips, whole)
    with pytest.raises(ConfigError, match="must be a multiple of the 3 processes"):
        source.batch(0, world_size=3)


def test_what_is_not_drawn_is_refused():
    with pytest.raises(ConfigError, match="unknown scene `evning`; did you mean `evening`"):
        PhysicsConfig(scenes=("evning",))
    with pytest.raises(ConfigError, match="`length` must be >= 12"):
        PhysicsConfig(length=8)
    with pytest.raises(ConfigError, match="`closest` must be >= 1, `aside` and `wait` >= 0"):
        PhysicsConfig(closest=0.9)


@pytest.mark.parametrize("option", [{"closest": 1.3}, {"aside": 4.5}, {"wait": 8.0}])
def test_only_training_clips_wait_and_are_seen_from_unusual_stances(toy, option):
    config = PhysicsConfig(length=12, size=32, batch_size=4)
    ordinary, unusual = (PhysicsSource(c).batch(0).clips for c in (config, replace(config, **option)))
    seeds = range(TRAIN_SEEDS, TRAIN_SEEDS + 4)
    assert np.array_equal(ordinary, render_possible(seeds, scene=config.scenes, length=12, size=32))
    assert not np.array_equal(unusual, ordinary)
    judged = replace(toy, clips=replace(toy.clips, **option))
    assert np.array_equal(possible_clips(judged, 7, 2, "plain"), possible_clips(toy, 7, 2, "plain"))
