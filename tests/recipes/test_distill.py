"""A policy that is taught by an agent's own plans: on the points of `PointWorld`, where the right plan is known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from openjepa.agent import Agent, AgentConfig, load_agent
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.cli import main
from openjepa.config import override, to_dict
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import PointWorld
from openjepa.heads.goal_policy import GoalPolicyConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.protocols import ActionBounds
from openjepa.recipes.acting import finish
from openjepa.recipes.distill import DistillConfig, deliberate, distill
from openjepa.recipes.maze import TOY, maze
from openjepa.recipes.remembered_play import Memory
from openjepa.recipes.world_model import build
from openjepa.train import train

BOX = ActionBounds([-1.0, -1.0], [1.0, 1.0])
SMALL = DistillConfig(GoalPolicyConfig(hidden_dim=64, steps=150, max_gap=8, batch_size=64), 256, rounds=1, corrected=64)


@pytest.fixture(scope="module")
def memory():
    """Walks in a square of side 4."""
    generator = torch.Generator().manual_seed(0)
    start = 4 * torch.rand(40, 1, 2, generator=generator)
    heading = torch.randn(40, 1, 2, generator=generator)
    walk = (start + 0.2 * heading / heading.norm(dim=-1, keepdim=True) * torch.arange(16)[:, None]).clamp(0, 4)
    return Memory(walk.unsqueeze(2), torch.zeros(40, 15, 2), torch.full((40,), 16))


def agent(landmarks=None):
    planner = CEM(BOX, CEMConfig(horizon=4, knot_steps=2, num_samples=64, num_elites=8, num_iterations=4))
    return Agent(PointWorld(), planner, PathCost(), BOX, AgentConfig(replan_every=2, reach=2.0), landmarks=landmarks)


def test_it_learns_what_mode_2_does(memory):
    one, said = agent(), []
    reflex = distill(one, memory, SMALL, say=said.append)
    generator = torch.Generator().manual_seed(1)
    z, goal = 0.5 + 3 * torch.rand(2, 64, 1, 2, generator=generator)
    way = (goal - z).squeeze(1)
    far = way.abs().amin(1) > 0.8  # the right plan goes there at full speed on both axes
    plan = reflex(z, goal)
    assert plan.shape == (64, 4, 2)
    assert (plan[far, 0].sign() == way[far].sign()).float().mean() > 0.95
    asked = deliberate(one, z, goal, seed=3)
    barely = DistillConfig(GoalPolicyConfig(hidden_dim=64, steps=1), 2, 0.0, rounds=0)
    untaught, again = distill(one, memory, barely), distill(one, memory, barely)
    assert torch.equal(again(z, goal), untaught(z, goal))
    assert (plan - asked)[:, :2].square().mean() < 0.2 * (untaught(z, goal) - asked)[:, :2].square().mean()
    assert len(said) == 2


def test_it_is_given_the_goal_where_mode_2_is_given_a_subgoal():
    """A corridor that is bent: the goal lies to the left, the way to it leads up first."""
    up = torch.stack([torch.zeros(9), torch.arange(9) / 4], 1)
    left = torch.stack([-torch.arange(1, 9) / 4, torch.full((8,), 2.0)], 1)
    ways = torch.cat([up, left])[None, :, None]
    places = fit_landmarks(ways, LandmarkConfig(reversible=True))
    plans = deliberate(agent(places), ways[0, :1], ways[0, -1:], seed=0)
    assert plans[0, 0, 1] > 0.5
    assert abs(plans[0, 0, 0]) < 0.5


@pytest.mark.parametrize("wrong", [{"pairs": 1}, {"near_share": 2.0}, {"rounds": -1}, {"decisions": 0}])
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DistillConfig(**wrong)


def test_the_command_gives_a_run_a_reflex(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plain = override(maze(), {**TOY, "train.steps": 2, "train.warmup_steps": 0, "train.device": "cpu"})
    act = override(plain.act, {"refine.steps": 2, "refine.rollout": 2, "distance.steps": 2})
    config = replace(plain, act=replace(act, policy=None))
    experiment = build(config)
    record = {"recipe": "maze", **to_dict(config)}
    train(experiment.method, experiment.source, config.train, Path("runs/maze"), recipe_config=record)
    finish(config, Path("runs/maze"))
    assert load_agent("runs/maze").reflex is None
    words = ["--pairs", "32", "--rounds", "1", "--corrected", "16", "--steps", "2", "--hidden-dim", "8"]
    assert main(["distill", "runs/maze", *words]) == 0
    assert "acts by reflex" in capsys.readouterr().out
    agent = load_agent("runs/maze")
    assert agent.reflex is not None
    assert agent.reflex.policy.config.hidden_dim == 8
    assert agent.config.configurator is not None
    assert main(["distill", "runs"]) == 2
    assert "must be a run directory" in capsys.readouterr().err
