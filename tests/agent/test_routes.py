"""A map that the world contradicts: a corridor with one false edge, and an agent that has to find out."""

import math

import numpy as np
import torch

from openjepa.agent import Agent, AgentConfig
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.agent.routes import Routes
from openjepa.eval.health.conformance import PointWorld
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.protocols import ActionBounds


def corridor(numbers):
    """States [..., 1, 2] on a line; one step is one unit."""
    x = torch.as_tensor(numbers, dtype=torch.float32)
    return torch.stack([x, torch.zeros_like(x)], -1).unsqueeze(-2)


def ladder():
    """Places 0 ... 9 in a row, and a jump from 2 to 8 that was seen once and is a mistake."""
    walks = torch.tensor([[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [2, 8, 8, 8, 8, 8]])
    return fit_landmarks(corridor(walks), LandmarkConfig(reversible=True))


def test_an_edge_that_fails_is_no_longer_believed():
    places = ladder()
    routes = Routes(places, corridor([9, 9]), patience=3)
    assert routes.look([0, 1], corridor([0, 0])) == [4, 4]  # by the jump
    for _ in range(3):  # the first one is stuck before it, the second one goes on
        routes.look([0], corridor([2]))
    assert routes.look([0, 1], corridor([2, 1])) == [7, 3]
    assert [len(failed) for failed in routes.failed] == [1, 0]
    assert routes.subgoals([0, 1], corridor([2, 2]), corridor([9, 9]), 3.0)[:, 0, 0].tolist() == [5, 9]
    assert float(places(corridor(2), corridor(9))) == 2  # the map itself is left as it was


def test_the_last_way_gets_another_chance():
    places = fit_landmarks(corridor(torch.tensor([[0, 1, 2, 3]])), LandmarkConfig(reversible=True))
    routes = Routes(places, corridor([3]), patience=1)
    routes.look([0], corridor([1]))
    assert routes.look([0], corridor([1])) == [2]
    assert routes.blocked == [frozenset()]
    assert len(routes.failed[0]) == 1
    assert Routes(places, corridor([3]), patience=None).look([0], corridor([1])) == [2]


def test_an_unknown_goal_is_infinitely_far():
    walks = torch.tensor([[0, 1, 2], [7, 8, 9]])
    routes = Routes(fit_landmarks(corridor(walks)), corridor([9]), patience=2)
    assert routes.look([0], corridor([0])) == [math.inf]


def test_no_edge_fails_while_an_environment_rests():
    routes = Routes(ladder(), corridor([9]), patience=1)
    for _ in range(5):
        assert routes.look([0], corridor([8]), rests=[0]) == [1]
    assert routes.failed == [[]]
    assert routes.idle == [0]
    routes.look([0], corridor([8]))
    assert len(routes.failed[0]) == 1


def agent(places, **options):
    bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))
    search = CEM(bounds, CEMConfig(4, num_samples=32, num_elites=4))
    return Agent(
        PointWorld(), search, PathCost(), bounds, AgentConfig(replan_every=2, reach=1.0, **options), None, places
    )


def frames(*positions):
    """Pictures [B, 2, 8, 8] of the point world: 32 grey levels per unit around 128."""
    values = np.array([[128 + 32 * x, 128] for x in positions]).round().astype(np.uint8)
    return np.broadcast_to(values[:, :, None, None], (*values.shape, 8, 8)).copy()


def test_every_environment_is_thought_about_by_itself():
    places = fit_landmarks(corridor(torch.tensor([[-3, -2, -1, 0, 1, 2, 3]])), LandmarkConfig(reversible=True))
    player = agent(places, configurator=ConfiguratorConfig(patience=1), edge_patience=3)
    player.start(frames(3, 1, 3), [4, 5, 6])
    first = player.act(frames(-3, 0, 3))
    assert [setup.mode for setup, _ in player.thoughts] == ["retrieval", "direct", "direct"]
    alone = agent(places, configurator=ConfiguratorConfig(patience=1), edge_patience=3)
    alone.start(frames(1), [5])
    np.testing.assert_array_equal(alone.act(frames(0))[0], first[1])
    for _ in range(2):  # two steps of a plan, then the next decision: nothing moved
        player.act(frames(-3, 0, 3))
    assert [setup.mode for setup, _ in player.thoughts] == ["wander", "wander", "direct"]
    plan = player.last_plan.actions[0]
    assert torch.equal(plan, plan[:1].expand_as(plan))
    assert "wander" in player.thoughts[0][1]


def test_beside_its_goal_an_agent_that_plans_to_stay_does_not_wander():
    places = fit_landmarks(corridor(torch.tensor([[-3, -2, -1, 0, 1, 2, 3]])), LandmarkConfig(reversible=True))
    player = agent(places, configurator=ConfiguratorConfig(patience=1), edge_patience=2)
    player.start(frames(0.47, 3), [4, 5])
    modes = []
    for position in (-1, 0, *[0.53] * 6):  # it stays across the border of two places, one step apart by the map
        for _ in range(2):
            player.act(frames(position, -3))  # the other one never moves
        modes.append([setup.mode for setup, _ in player.thoughts])
    assert [near for near, _ in modes[2:]] == ["direct"] * 6
    assert player._episode.routes.failed[0] == []
    assert [far for _, far in modes[2:]] == ["wander"] * 6
