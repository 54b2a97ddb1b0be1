"""What the Push-T recipe adds to the shared world model: readable states, its pairs, and its figures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.config import override
from openjepa.errors import ConfigError
from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.health.collapse import LatentDiagnostics
from openjepa.eval.probing.probes import ProbeScores
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes import push_t
from openjepa.recipes.acting import finish
from openjepa.recipes.push_t import STATE_NAMES, PushTConfig, block_moved, draw_pairs, judge, read_out, readable
from openjepa.train import train


def pair(number, goal):
    return Pair(number, (0, 0, 100, 100, 6.2, 0, 0), goal, 1.0, episode_id=number)


def test_the_angle_is_read_without_its_jump():
    states = torch.tensor([[[1.0, 2, 3, 4, 0.0, 9, 9], [1, 2, 3, 4, torch.pi / 2, 9, 9]]])
    batch = readable(TrajectoryBatch(torch.zeros(1, 2, 3, 8, 8), torch.zeros(1, 1, 2), None, states))
    torch.testing.assert_close(batch.states[0], torch.tensor([[1.0, 2, 3, 4, 1, 0], [1, 2, 3, 4, 0, 1]]))
    assert batch.states.shape[-1] == len(STATE_NAMES)


def test_a_block_has_moved_or_turned():
    goals = [
        (300, 300, 100, 119, 6.2, 0, 0),  # 19 px
        (0, 0, 100, 121, 6.2, 0, 0),  # 21 px
        (0, 0, 100, 100, 0.2, 0, 0),  # 0.28 rad over the jump
        (0, 0, 100, 100, 0.5, 0, 0),  # 0.58 rad
    ]
    pairs = Manifest("push-t", {}, 0, {}, tuple(pair(i, goal) for i, goal in enumerate(goals)))
    np.testing.assert_array_equal(block_moved(pairs), [False, True, False, True])


def test_the_better_probe_is_read_out_by_name():
    zeros = (0.0,) * 6
    found = LatentDiagnostics(2, 2, 2, 1.0, 1.0, 1.0, 2.0, 2.0)
    found = replace(
        found,
        probe=ProbeScores((0.1,) * 6, zeros, (0.5, 0.0, 0.0, 0.0, 0.0, None), zeros),
        random_probe=ProbeScores(zeros, zeros, zeros, zeros),
    )
    rows = read_out(found)
    assert tuple(rows) == STATE_NAMES
    assert rows["pusher_x"] == {"overall": 0.5, "within": 0, "overall_untrained": 0, "within_untrained": 0}
    assert rows["block_angle_sin"]["overall"] == 0.1


def test_the_offset_is_checked():
    with pytest.raises(ConfigError, match="`offset` and `pairs_per_episode` must be at least 1"):
        PushTConfig(offset=0)


def test_a_toy_run_is_judged_by_configuration_alone(tmp_path):
    pytest.importorskip("gym_pusht")
    toy = {
        **push_t.TOY,
        "play.data": tmp_path / "play",
        "train.steps": 2,
        "train.warmup_steps": 0,
        "train.device": "cpu",
        "train.precision": "fp32",
        "act.refine.steps": 2,
        "act.refine.rollout": 2,
        "act.distance.steps": 2,
        "act.distance.batch_size": 4,
        "act.distance.max_gap": 4,
        "act.planner.horizon": 3,
        "act.planner.num_elites": 2,  # before `num_samples`, which must be larger
        "act.planner.num_samples": 4,
        "act.planner.num_iterations": 1,
        "act.replan_every": 2,
        "act.budget": 2,
        "act.pairs": 2,
        "offset": 7,
    }
    config = override(push_t.push_t(), toy)
    experiment = push_t.build_push_t(config)
    train(experiment.method, experiment.source, config.train, tmp_path / "run")
    finish(config, tmp_path / "run")
    results = judge(config, tmp_path / "run")
    pairs = draw_pairs(config)
    assert results["manifest"]["sha256"] == pairs.sha256
    assert results["manifest"]["offset"] == 7
    assert set(results["r2"]) == set(STATE_NAMES)
    for player in ("openjepa", "random_floor", "play_floor"):
        assert len(results[player]["steps_by_pair"]) == 2
