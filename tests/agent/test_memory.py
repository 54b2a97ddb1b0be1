"""A world whose wall the model does not know: only an agent that remembers gets round it."""

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentConfig, FailedPlanConfig
from openjepa.agent.memory import DoubtfulCost, Episode, FailedPlans, Moves
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import PointWorld
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import bind, closest, squared_l2
from openjepa.planning.risk import RiskCost
from openjepa.protocols import ActionBounds

WALL, HALF_WIDTH = 0.5, 0.6  # the wall stands at x = 0.5 between y = -0.6 and 0.6


def frames(positions: np.ndarray) -> np.ndarray:
    return (np.rint(positions * 32) + 128).astype(np.uint8)[:, :, None, None]


def step(positions: np.ndarray, actions: np.ndarray) -> np.ndarray:
    moved = positions + np.asarray(actions, np.float64) / 4
    crosses = (positions[:, 0] < WALL) != (moved[:, 0] < WALL)
    hit = crosses & (np.abs(moved[:, 1]) < HALF_WIDTH)
    return np.where(hit[:, None] & np.array([True, False]), positions, moved)


def ends(
    bounds: ActionBounds, failed_plans: FailedPlanConfig | None, starts: list[list[float]], ids: list[int]
) -> np.ndarray:
    planner = CEM(bounds, CEMConfig(horizon=8, num_samples=96, num_elites=12))
    agent = Agent(PointWorld(), planner, PathCost(squared_l2, closest), bounds, AgentConfig(failed_plans=failed_plans))
    positions = np.array(starts)
    agent.start(frames(np.array([[1.0, 0.0]] * len(starts))), env_ids=ids)
    for _ in range(50):
        positions = step(positions, agent.act(frames(positions)))
    return positions


def test_an_agent_that_remembers_gets_round_a_wall_that_its_model_does_not_know(disc: ActionBounds) -> None:
    starts = [[0.0, 0.0], [-0.2, 0.2]]
    assert (ends(disc, None, starts, [0, 1])[:, 0] < WALL).all()
    found = ends(disc, FailedPlanConfig(), starts, [0, 1])
    np.testing.assert_allclose(found, [[1.0, 0.0]] * 2, atol=0.15)
    np.testing.assert_array_equal(ends(disc, FailedPlanConfig(), starts[1:], [1]), found[1:])  # whatever its neighbours


def states(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).unsqueeze(1)


def test_a_plan_has_failed_where_most_of_the_way_is_missing() -> None:
    memory = FailedPlans(FailedPlanConfig(missing_share=0.5, radius_share=0.5, capacity=1))
    cost = bind(PathCost(squared_l2, closest), states([4.0, 0.0], [4.0, 0.0]))
    rows = torch.arange(2)
    start = states([0.0, 0.0], [0.0, 0.0])
    memory.compare(start, states([1.0, 0.0], [1.0, 0.0]), states([0.6, 0.0], [0.9, 0.1]))  # both went most of the way
    assert memory.doubt(cost, start, 2, rows) is cost
    memory.compare(start, states([1.0, 0.0], [1.0, 0.0]), states([0.0, 0.0], [0.9, 0.1]))  # the first did not
    doubtful = memory.doubt(cost, start, 2, rows)
    assert isinstance(doubtful, DoubtfulCost)
    path = torch.tensor([[[1.0, 0.0], [4.0, 0.0]], [[1.5, 0.0], [4.0, 0.0]], [[0.0, 9.0], [4.0, 0.0]]])  # [S, T, D]
    found = doubtful(path.unsqueeze(2).expand(2, -1, -1, -1, -1))
    # Staying costs 16. Radius 0.5: the path through the place is worth that, one at a distance of a radius exp(-1/2)
    # of it, and one far away nothing.
    expected = torch.tensor([[16.0, 16 * float(np.exp(-0.5)), 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_only_the_latest_places_are_kept() -> None:
    memory = FailedPlans(FailedPlanConfig(capacity=2))
    cost, start = bind(PathCost(), states([4.0, 0.0])), states([0.0, 0.0])
    for x in (1.0, 2.0, 3.0):
        memory.compare(start, states([x, 0.0]), start)
    doubtful = memory.doubt(cost, start, 1, torch.tensor([0]))
    assert isinstance(doubtful, DoubtfulCost)
    assert doubtful.places[0, :, 0].tolist() == [2.0, 3.0]


def test_options_out_of_range_and_many_futures_are_named(disc: ActionBounds) -> None:
    with pytest.raises(ConfigError, match=r"must be > 0 and `capacity` at least 1; got 0\.5, 0\.75 and 0"):
        FailedPlanConfig(capacity=0)
    with pytest.raises(ConfigError, match="`failed_plans` must be None under a `RiskCost`"):
        Agent(PointWorld(), CEM(disc), RiskCost(PathCost()), disc, AgentConfig(failed_plans=FailedPlanConfig()))


def test_who_is_to_stay_beside_a_goal_rests_and_is_not_stuck() -> None:
    moves = Moves(3)
    for x in (0.0, 1.0, 2.0):
        moves.look([0, 1, 2], torch.full((3, 1, 2), x), [True, True, False])
    for count in (1, 2):
        moves.expect([0, 1, 2], torch.tensor([0.01, 1.0, 0.01]))  # the second one is to go on, but cannot
        moves.look([0, 1, 2], torch.full((3, 1, 2), 2.0), [True, True, False])
        assert moves.rests == [True, False, False]
        assert moves.idle == [0, count, count]  # the third one is far from its goal
    moves.look([0], torch.full((1, 1, 2), 2.0))  # nothing is known of the way
    assert moves.idle[0] == 1


def test_a_diary_counts_model_steps_however_often_an_agent_looks():
    config = AgentConfig(frameskip=4, looks=2)
    episode = Episode(config, torch.zeros(1, 1, 1), [0], None, None, None, None, keeps=True)
    for decision in range(5):
        episode.memory.see(torch.full((1, 1, 1), float(decision)))
        episode.look(torch.tensor([0]), torch.tensor([0]), decision)
    assert [(step, z.item()) for step, _, z in episode._lived] == [(0, 0), (1, 2), (2, 4)]
