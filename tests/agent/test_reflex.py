"""Mode-1 of an agent: plans of a policy as they are, verified by the model, kept on disk with the agent."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from openjepa.agent import Agent, AgentCard, AgentConfig, load_agent, save_agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.agent.perception import Perception
from openjepa.agent.reflex import PlanShape, Reflex
from openjepa.agent.reflex_player import ReflexPlayer
from openjepa.agent.saved import add_reflex, note_judged
from openjepa.agent.saved_parts import CARD
from openjepa.errors import CheckpointError, ConfigError, ShapeError
from openjepa.eval.health.conformance import PointWorld
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.candidates import hold
from openjepa.protocols import ActionBounds

BOX = ActionBounds([-1.0, -1.0], [1.0, 1.0])
OPTIONS = AgentConfig(replan_every=2, reach=3.0, configurator=ConfiguratorConfig())


def policy(bounds=BOX, width=2, knots=3):
    torch.manual_seed(0)
    made = GoalPolicy(1, width, bounds, knots, GoalPolicyConfig(hidden_dim=8, depth=2)).eval().requires_grad_(False)
    made.standardize.measure(3 * torch.randn(50, width) + 1)
    return made


@pytest.mark.parametrize(
    "bounds",
    [
        BOX,
        ActionBounds([-1.0, 0.0], [1.0, 3.0], max_norm=1.2),
        ActionBounds([-1.0, -2.0], [1.0, 2.0], max_norm=1.2).with_frameskip(2),
        ActionBounds.of_categories([3, 2]),
    ],
    ids=["box", "ball", "frameskip", "choices"],
)
def test_it_says_what_its_policy_says(bounds):
    one = policy(bounds)
    z, goal = 4 * torch.randn(2, 7, 1, 2)
    plan = Reflex(one, PlanShape(5, 2))(z, goal)
    torch.testing.assert_close(plan, hold(one(z, goal), 2, 5))
    torch.testing.assert_close(bounds.clip(plan), plan)


def test_its_shape_must_fit_the_policy():
    with pytest.raises(ConfigError, match="`policy` must propose 4 free actions"):
        Reflex(policy(), PlanShape(7, 2))
    with pytest.raises(ConfigError, match="`horizon`"):
        PlanShape(0)


class Heading(nn.Module):
    """A policy that always says the same."""

    num_knots = 4

    def __init__(self, x):
        super().__init__()
        self.x = x
        self.bounds = ActionBounds.of_categories([2])  # so that it is asked for whole actions

    def forward(self, z, z_goal):
        return torch.tensor([self.x, 0.0]).repeat(len(z), self.num_knots, 1)


def walker(x, landmarks, config=OPTIONS):
    planner = CEM(BOX, CEMConfig(horizon=4, num_samples=32, num_elites=6))
    reflex = Reflex(Heading(x), PlanShape(4))
    return Agent(PointWorld(), planner, PathCost(), BOX, config, landmarks=landmarks, reflex=reflex)


def frames(*x):
    return np.array([[[[round(32 * one) + 128]], [[128]]] for one in x], np.uint8)


def corridor():
    """A map of a line, a place for each quarter."""
    x = torch.arange(13) / 4
    return fit_landmarks(torch.stack([x, 0 * x], -1)[None, :, None], LandmarkConfig(reversible=True))


@pytest.mark.parametrize("landmarks", [None, corridor()], ids=["critic", "map"])
def test_a_plan_that_comes_nearer_is_followed_and_another_one_is_not(landmarks):
    agent = walker(1.0, landmarks)
    agent.start(frames(3.0))
    assert agent.act(frames(0.0)).tolist() == [[1, 0]]
    assert agent.thoughts[0][0].mode == "reflex"
    assert agent.last_plan.model_steps == 4  # one plan, imagined once
    wrong = walker(-1.0, landmarks)
    wrong.start(frames(3.0))
    assert wrong.act(frames(0.5))[0, 0] > 0.5  # Mode-2 knows better
    setup, why = wrong.thoughts[0]
    assert setup.mode == ("direct" if landmarks is None else "retrieval")
    assert why.startswith("the reflex would come no nearer; ")


def test_environments_are_verified_each_on_its_own():
    agent = walker(1.0, corridor())
    agent.start(frames(3.0, 0.0, 3.0))
    actions = agent.act(frames(0.0, 2.0, 1.0), active=np.array([True, True, False]))
    assert [setup.mode for setup, _ in agent.thoughts] == ["reflex", "retrieval"]
    assert actions[0].tolist() == [1, 0]
    assert actions[1, 0] < -0.5
    assert agent.planned_for.tolist() == [0, 1]


def test_what_the_world_does_not_follow_goes_to_mode_2():
    agent = walker(1.0, corridor())
    agent.start(frames(3.0))
    modes = []
    for _ in range(3):
        for _ in range(OPTIONS.replan_every):
            agent.act(frames(1.0))  # it never moves
        modes.append(agent.thoughts[0][0].mode)
    assert modes[0] == "reflex"
    assert "reflex" not in modes[1:]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved agent, which knows no reflex yet."""
    model = LeWM(LeWMConfig(action_dim=2, embed_dim=8)).eval()
    planner = CEM(BOX, CEMConfig(horizon=4, num_samples=16, num_elites=4, num_iterations=2))
    agent = Agent(model, planner, PathCost(), BOX, AgentConfig(replan_every=2), (3, 64, 64))
    folder = tmp_path_factory.mktemp("saved") / "agent"
    save_agent(folder, agent, AgentCard(BOX, (3, 64, 64)))
    note_judged(folder, "pairs", {"success": 1.0})
    (folder / "experience").mkdir()
    (folder / "experience" / "kept").write_text("an episode")
    return folder


def test_a_saved_agent_is_given_a_reflex_and_keeps_all_else(tmp_path, saved):
    folder = shutil.copytree(saved, tmp_path / "agent")
    assert load_agent(folder).reflex is None
    first = Reflex(policy(width=8, knots=2), PlanShape(4, 2))
    add_reflex(folder, first, OPTIONS)
    again = load_agent(folder)
    z, goal = torch.randn(2, 3, 1, 8)
    torch.testing.assert_close(again.reflex(z, goal), first(z, goal), rtol=0, atol=0)
    assert again.config.configurator == OPTIONS.configurator
    assert (folder / "experience" / "kept").read_text() == "an episode"
    assert not json.loads((folder / CARD).read_text())["judged"]  # that was another agent
    other = policy(width=8, knots=4)
    add_reflex(folder, Reflex(other, PlanShape(4)), OPTIONS)
    assert len(list(folder.glob("reflex*"))) == 1
    torch.testing.assert_close(load_agent(folder).reflex(z, goal), other(z, goal))
    save_agent(tmp_path / "copy", load_agent(folder), AgentCard(BOX, (3, 64, 64)))
    torch.testing.assert_close(load_agent(tmp_path / "copy").reflex(z, goal), other(z, goal))


def test_a_damaged_reflex_is_named(tmp_path, saved):
    folder = shutil.copytree(saved, tmp_path / "agent")
    add_reflex(folder, Reflex(policy(width=8, knots=2), PlanShape(4, 2)), OPTIONS)
    path = next(folder.glob("reflex-*"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{path.name} is damaged"):
        load_agent(folder)


def test_alone_it_follows_the_policy_and_goes_anywhere_where_nothing_moves():
    one = walker(1.0, None)
    player = ReflexPlayer(one.perception, one.reflex, BOX, replan_every=2, seed=3)
    with pytest.raises(ConfigError, match="`act` must follow `start`"):
        player.act(frames(0.0))
    player.start(frames(3.0, 3.0), [4, 7])
    seen = []
    for step in range(8):
        seen.append(player.act(frames(0.25 * step, 0.25 * min(step, 2))))  # the second one meets a wall
    assert player.decisions == 4
    seen = np.stack(seen)
    assert (seen[:, 0] == [1, 0]).all()
    assert (seen[:4, 1] == [1, 0]).all()
    assert not (seen[6:, 1] == [1, 0]).any()
    assert (seen[6, 1] == seen[7, 1]).all()
    player.start(frames(3.0), [7])
    for step in range(8):
        action = player.act(frames(0.25 * min(step, 2)))
    np.testing.assert_array_equal(action[0], seen[7, 1])  # its luck is that of its number


def test_alone_it_takes_the_parts_of_an_action_one_after_the_other():
    class Parts(Heading):
        num_knots = 2

        def forward(self, z, z_goal):
            return torch.arange(8).view(1, 2, 4).float().expand(len(z), -1, -1)

    reflex = Reflex(Parts(0.0), PlanShape(2))
    player = ReflexPlayer(walker(1.0, None).perception, reflex, BOX, frameskip=2, replan_every=2)
    player.start(frames(1.0))
    assert [player.act(frames(0.0))[0].tolist() for _ in range(5)] == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 1]]


def test_alone_it_sees_what_the_agent_sees():
    torch.manual_seed(0)
    model = LeWM(LeWMConfig(action_dim=2, embed_dim=8)).eval()
    seen = Perception(model, frame_shape=(3, 64, 64))
    player = ReflexPlayer(seen, Reflex(policy(width=8, knots=2), PlanShape(4, 2)), BOX, replan_every=3)
    goal, now = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 64, 64)).astype(np.uint8)
    player.start(goal)
    actions = np.stack([player.act(now)[0] for _ in range(3)])
    with torch.no_grad():
        plan = player.reflex(seen.goal(now), seen.goal(goal))
    np.testing.assert_allclose(actions, plan[0, :3].numpy(), atol=1e-5)
    with pytest.raises(ShapeError, match="`frames` must be 64 x 64 px"):
        player.act(now[..., :32])
    with pytest.raises(ShapeError, match="`frames` must be uint8"):
        player.act(now.astype(np.float32))
