import numpy as np
import pytest

from openjepa.config import override
from openjepa.envs.bridge import REACHED, BridgeConfig
from openjepa.planning.costs import Arrival, PathCost
from openjepa.studies.bridge.oracle import BridgeSimulator, track_distance
from openjepa.studies.bridge.study import BRIDGE_RECIPE, RISKS, BridgeJudgeConfig, bridge, judge, make_agent, play
from openjepa.train import train

TOY = {
    **BRIDGE_RECIPE.toy,
    "play.episodes": 40,
    "train.steps": 2,
    "train.warmup_steps": 0,
    "train.checkpoint_every": 2,
    "judge.risks": (0.2,),
    "judge.episodes": 3,
    "judge.fit.steps": 3,
    "judge.planner.num_samples": 16,
    "judge.planner.num_elites": 4,
}


@pytest.mark.parametrize(
    ("risk", "measure", "takes_the_bridge"),
    [
        (0.2, "mean", True),  # .2 * 18 + .8 * 3 = 6 < 9: it walks into the trap
        (0.2, "cvar .2", False),
        (0.2, "worst", False),
        (0.04, "cvar .2", True),  # .2 * 18 + .8 * 3 = 6 < 9
        (0.6, "mean", False),  # .6 * 18 + .4 * 3 = 12 > 9
    ],
)
def test_with_the_true_model_the_planner_does_what_is_best_on_paper(risk, measure, takes_the_bridge):
    cost = PathCost(track_distance, Arrival(REACHED, slope=0.02))
    options = BridgeJudgeConfig()
    agent = make_agent(BridgeSimulator(BridgeConfig(risk)), cost, RISKS[measure][0], options, 0)
    found = play(agent, risk, 20, 5, options.planner.horizon, with_states=True)
    assert found.crossed.mean() == pytest.approx(float(takes_the_bridge), abs=0.11)
    assert np.array_equal(found.arrived, ~found.fell)
    if not takes_the_bridge:
        assert found.steps[~found.crossed].max() <= 10
    else:
        assert (found.steps[found.arrived & found.crossed] == 3).mean() > 0.8


def test_a_run_is_judged_by_every_measure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = override(bridge(), TOY)
    experiment = BRIDGE_RECIPE.build(config)
    train(experiment.method, experiment.source, config.train, tmp_path / "run")
    results = judge(config, tmp_path / "run")["q=0.2"]
    assert set(results) == {"stated risk", "deterministic", *RISKS}
    assert set(results["mean"]) == {"optimum", "learned", "oracle"}
    assert results["mean"]["optimum"] == {"choice": "bridge", "bridge": pytest.approx(6.0), "detour": 9.0}
    assert results["mean"]["oracle"]["episodes"] == 3
