"""A map of where nobody has been: a room with a wall, walked through in imagination only."""

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentConfig
from openjepa.agent.imagined_map import ImagineConfig, Imagining, held_actions, imagine_map
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import PointWorld
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.protocols import ActionBounds

BOX = ActionBounds([-1.0, -1.0], [1.0, 1.0], max_norm=1.0)


def walled(z, actions):
    """Steps of one unit in a square of side 6; nothing comes within 0.4 of x = 3 below y = 5."""
    here, there = z[:, 0, -2:], (z[:, 0, -2:] + actions).clamp(0, 6)
    passed = (here[:, 0] - 3).sign() != (there[:, 0] - 3).sign()
    through = (passed | ((there[:, 0] - 3).abs() < 0.4)) & (torch.minimum(here[:, 1], there[:, 1]) < 5)
    there = torch.where(through[:, None], here, there)
    return torch.cat([z[:, 0, :-2], there], 1).unsqueeze(1)


def test_a_map_leads_around_a_wall_that_was_never_walked_around():
    start, goal = torch.tensor([[7.0, 2.0, 0.5]]), torch.tensor([[7.0, 4.0, 0.5]])  # the first number is the scene
    found = imagine_map(walled, start, held_actions(BOX, 16), ImagineConfig(hold=1), scene=1)
    steps = float(found(start, goal))
    assert 9 < steps < 14  # up to y = 5 and down again; straight ahead are 2
    assert torch.equal(found.places[0], start)
    assert (found.places[..., 0] == 7).all()
    gaps = torch.cdist(found.places[:, 0, 1:], found.places[:, 0, 1:]) + 9 * torch.eye(len(found))
    assert gaps.min() > 0.35  # of a step
    sides = found.places[found.edges][:, :, 0, 1:] - torch.tensor([3.0, 5.0])  # both ends of every edge
    crossing = sides[0, :, 0].sign() != sides[1, :, 0].sign()
    assert (sides[:, crossing, 1].amax(0) > -0.6).all()  # only where the wall ends, but for half a step
    one_way = {tuple(edge) for edge in found.edges.T.tolist()}
    assert one_way == {(b, a) for a, b in one_way}


def test_it_stops_at_its_capacity_and_where_nothing_moves():
    start = torch.zeros(1, 2)
    few = imagine_map(lambda z, a: z + a.unsqueeze(1), start, held_actions(BOX, 8), ImagineConfig(capacity=20), scene=0)
    assert 20 <= len(few) < 60
    nothing = imagine_map(lambda z, a: z.clone(), start, held_actions(BOX, 8), scene=0)
    assert (len(nothing), nothing.edges.shape[1]) == (1, 0)


def test_held_actions_are_the_corners_of_what_is_allowed():
    torch.testing.assert_close(held_actions(BOX, 8).norm(dim=1), torch.ones(8))
    square = held_actions(ActionBounds([-1.0, 0.0], [1.0, 4.0]), 4)
    torch.testing.assert_close(
        square, torch.tensor([[1.0, 2.0], [0.0, 4.0], [-1.0, 2.0], [0.0, 0.0]]), atol=1e-6, rtol=0
    )
    assert held_actions(ActionBounds.of_categories([2, 3]), 1).tolist()[4] == [0, 1, 0, 1, 0]
    line = held_actions(ActionBounds([-2.0], [1.0]), 9)
    assert line.tolist() == [[1.0], [-2.0]]


def test_every_environment_goes_by_a_map_of_its_own():
    planner = CEM(BOX, CEMConfig(horizon=4, num_samples=32, num_elites=6))
    plain = Agent(PointWorld(), planner, PathCost(), BOX, AgentConfig(replan_every=2, reach=4.0))
    player = Imagining(plain, 0, ImagineConfig(capacity=30))
    with pytest.raises(ConfigError, match="`act` must follow `start`"):
        player.act(np.zeros((1, 2, 1, 1), np.uint8))
    frames = np.array([[[[128]], [[128]]], [[[140]], [[128]]]], np.uint8)
    goals = np.array([[[[160]], [[128]]], [[[140]], [[96]]]], np.uint8)
    player.start(goals, [3, 5])
    together = player.act(frames)
    assert len(player.maps) == 2
    assert player.maps[1].places[0, 0].tolist() == [12 / 32, 0]
    assert together[0, 0] > 0.5
    assert together[1, 1] < -0.5
    assert player.decisions == 1
    player.start(goals[1:], [5])
    np.testing.assert_array_equal(player.act(frames[1:]), together[1:])
    player.start(goals)
    assert not player.act(frames, active=np.array([True, False]))[1].any()


@pytest.mark.parametrize("wrong", [{"macros": 1}, {"hold": 0}, {"radius_share": 0.0}, {"still_share": -1.0}])
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ImagineConfig(**wrong)
