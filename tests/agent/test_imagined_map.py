"""A map of where nobody has been: a room with a wall, walked through in imagination only."""

import json

import numpy as np
import pytest
import torch

from openjepa.agent import AgentCard, AgentConfig, load_agent, save_agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.imagined_map import ImagineConfig, Imagining, held_actions, imagine_map
from openjepa.agent.saved_parts import CARD
from openjepa.errors import CheckpointError, ConfigError
from openjepa.eval.health.conformance import PointWorld
from openjepa.files import sha256
from openjepa.methods.cell_map import CellMapConfig, CellMapModel
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import MovingDistance
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
    options = AgentConfig(replan_every=2, reach=4.0, configurator=ConfiguratorConfig())
    parts = PointWorld(), planner, PathCost(), BOX, options
    player = Imagining(*parts, scene_dim=0, imagines=ImagineConfig(capacity=30))
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
    assert player.landmarks is None
    assert [setup.mode for setup, _ in player.thoughts] == ["direct", "direct"]
    assert player.planned_for.tolist() == [0, 1]
    assert player.last_plan.actions.shape == (2, 4, 2)
    assert player.headed_for.flatten(1).tolist() == [[1, 0], [12 / 32, -1]]
    player.start(goals[1:], [5])
    np.testing.assert_array_equal(player.act(frames[1:]), together[1:])
    player.start(goals)
    assert not player.act(frames, active=np.array([True, False]))[1].any()
    assert player.planned_for.tolist() == [0]
    again = player.with_planner(planner)
    again.start(goals[1:], [5])
    np.testing.assert_array_equal(again.act(frames[1:]), together[1:])
    assert len(again.landmarks) >= 30
    with pytest.raises(ConfigError, match="takes goals as pictures"):
        player.pursue(None, frames)


def test_it_is_saved_and_imagines_the_same_map_again(tmp_path):
    torch.manual_seed(0)
    model = CellMapModel(CellMapConfig(width=4, spot_width=4, hidden_dim=16)).eval()
    planner = CEM(BOX, CEMConfig(horizon=4, num_samples=16, num_elites=4))
    cost = PathCost(MovingDistance(model.scene_dim), stride=2)
    options, how = AgentConfig(replan_every=2, reach=4.0), ImagineConfig(macros=6, hold=2, capacity=15)
    agent = Imagining(model, planner, cost, BOX, options, (3, 64, 64), scene_dim=model.scene_dim, imagines=how)
    save_agent(tmp_path / "agent", agent, AgentCard(BOX, (3, 64, 64)))
    again = load_agent(tmp_path / "agent")
    assert isinstance(again, Imagining)
    assert (again.imagines, again.scene_dim, again.config) == (how, model.scene_dim, options)
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64)).astype(np.uint8)
    acted = []
    for one in (agent, again):
        one.start(frames[1:])
        acted.append(one.act(frames[:2]))
    np.testing.assert_array_equal(*acted)
    assert torch.equal(again.maps[0].places, agent.maps[0].places)
    card = json.loads((tmp_path / "agent" / CARD).read_text())
    path = tmp_path / "agent" / "world_model.safetensors"
    assert card["files"] == {path.name: sha256(path)}
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"world_model.*damaged"):
        load_agent(tmp_path / "agent")


def test_a_distance_of_what_moves_does_not_see_the_scene():
    z, goal = torch.tensor([[[5.0, 1.0, 2.0]]]), torch.tensor([[[9.0, 4.0, 6.0]]])
    assert float(MovingDistance(1)(z, goal)) == 5.0


@pytest.mark.parametrize("wrong", [{"macros": 1}, {"hold": 0}, {"radius_share": 0.0}, {"still_share": -1.0}])
def test_options_are_checked(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ImagineConfig(**wrong)
