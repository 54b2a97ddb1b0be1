from typing import Any

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.planning.costs import (
    Arrival,
    Last,
    PathCost,
    Weighted,
    WeightedSum,
    bind,
    closest,
    discounted,
    final,
    l1,
    mean,
    squared_l2,
)
from openjepa.planning.risk import RiskCost

Z_PATH = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 2.0]]).view(3, 1, 2)  # T N D
Z_GOAL = torch.tensor([[1.0, 0.0]])  # squared distances 4, 0, 4


def test_distances_by_hand() -> None:
    z, goal = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.zeros(2, 2)
    assert squared_l2(z, goal).item() == (5 + 1) / 2
    assert l1(z, goal).item() == 1.0


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (final, 4.0),
        (mean, 8 / 3),
        (closest, 0.0),
        (discounted, (4 + 0.75 * 0 + 0.75**2 * 4) / (1 + 0.75 + 0.75**2)),
        (Weighted(0.0, 1.0), (0.5 * 0 + 1 * 4) / 1.5),
        (Weighted(1.0, 1.0), 8 / 3),
        (Last(2), (0 + 4) / 2),
        (Last(2, until=2), (4 + 0) / 2),
        (Last(5), 8 / 3),
        (Last(1, until=9), 4.0),
    ],
)
def test_aggregates_by_hand(aggregate: object, expected: float) -> None:
    cost = PathCost(squared_l2, aggregate)  # type: ignore[arg-type]
    assert cost(Z_PATH, Z_GOAL).item() == pytest.approx(expected, rel=1e-6)


def test_stride_counts_back_from_the_last_step() -> None:
    path = torch.arange(5.0).view(5, 1, 1)
    steps = PathCost(lambda z, goal: z[..., 0, 0], sum, stride=2)(path, path[0])  # type: ignore[arg-type]
    assert steps == 0 + 2 + 4
    assert PathCost(lambda z, goal: z[..., 0, 0], sum, stride=3)(path, path[0]) == 1 + 4  # type: ignore[arg-type]


def test_a_cost_of_poses_does_not_see_velocities() -> None:
    pose, way = Z_PATH, torch.tensor([[5.0, 6.0], [7.0, 8.0], [9.0, 1.0]]).view(3, 1, 2)
    cost = PathCost(squared_l2, final, pose_dim=2)
    assert cost(torch.cat([pose, way], -1), torch.cat([Z_GOAL, torch.zeros(1, 2)], -1)).item() == 4.0


def test_a_learned_distance_is_a_distance() -> None:
    head = TemporalDistanceHead(2, 3)
    z_path = torch.randn(4, 5, 6, 2, 3, generator=torch.Generator().manual_seed(0))
    z_goal = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        costs = bind(PathCost(head), z_goal)(z_path)
        assert costs.shape == (4, 5)
        one_by_one = torch.stack([head(z_path[2, 3, t], z_goal[2]) for t in range(6)]).mean()
    torch.testing.assert_close(costs[2, 3], one_by_one)


def test_costs_add_up_and_are_costs_again() -> None:
    both = WeightedSum([PathCost(aggregate=final), WeightedSum([PathCost()], [3.0])], [0.5, 1.0])
    assert both(Z_PATH, Z_GOAL).item() == pytest.approx(0.5 * 4 + 3 * 8 / 3)
    assert WeightedSum([PathCost(), PathCost()])(Z_PATH, Z_GOAL).item() == pytest.approx(16 / 3)


def test_bound_goals_meet_their_own_environment() -> None:
    z_path = torch.zeros(2, 5, 3, 1, 2)
    bound = bind(PathCost(), torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]]]))
    assert bound(z_path).tolist() == [[0.0] * 5, [4.0] * 5]
    assert bound.select(torch.tensor([1]))(z_path[:1]).tolist() == [[4.0] * 5]
    with pytest.raises(ShapeError, match=r"with B = 2 goals; got \[1, 5, 3, 1, 2\]"):
        bound(z_path[:1])


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="`weights` must have one entry per cost"):
        WeightedSum([PathCost()], [1.0, 2.0])


def test_arrival_counts_steps_until_the_goal_is_first_reached():
    distances = torch.tensor([[5.0, 3.0, 0.5, 4.0], [5.0, 4.0, 3.0, 2.0], [0.9, 9.0, 9.0, 9.0]])
    assert Arrival(1.0)(distances).tolist() == [3, 5, 1]  # the second never arrives: one more than its four steps
    sloped = Arrival(1.0, slope=0.1)(distances)
    torch.testing.assert_close(sloped, torch.tensor([3.05, 5.2, 1.09]))
    soft = Arrival(1.0, softness=0.01)(distances)
    torch.testing.assert_close(soft, torch.tensor([3.0, 5.0, 1.0]), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError, match="`radius` must be > 0"):
        Arrival(0.0)


@pytest.mark.parametrize("make", [lambda: Last(0), lambda: Last(2, until=0), lambda: PathCost(pose_dim=0)])
def test_steps_and_widths_are_at_least_one(make: Any) -> None:
    with pytest.raises(ConfigError, match="must be at least 1; got"):
        make()


@pytest.mark.parametrize("scene_dim", [0, 2])
@pytest.mark.parametrize("form", ["squared", "quasimetric"])
def test_goals_that_are_embedded_once_cost_the_same(scene_dim: int, form: Any) -> None:
    torch.manual_seed(0)
    head = TemporalDistanceHead(1, 4, TemporalDistanceConfig(hidden_dim=8, form=form, scene_dim=scene_dim)).eval()
    cost = PathCost(head, mean, stride=2, pose_dim=4)
    z, z_goal, z_path = torch.randn(3, 1, 5), torch.randn(3, 1, 5), torch.randn(3, 6, 4, 1, 5)
    z_path[..., :2] = z[:, None, None, :, :2]  # a rollout copies the scene
    plain, embedded = bind(cost, z_goal), bind(cost, z_goal, z)
    assert plain.embedded is None
    assert embedded.embedded is not None
    torch.testing.assert_close(embedded(z_path), plain(z_path))
    some = torch.tensor([2, 0])
    torch.testing.assert_close(embedded.select(some)(z_path[some]), plain(z_path)[some])
    assert bind(PathCost(squared_l2), z_goal, z).embedded is None  # nothing to embed


def test_a_risk_can_be_asked_for_some_environments() -> None:
    goals, z_path = torch.randn(3, 1, 2), torch.randn(3, 5, 4, 1, 2)
    bound = bind(RiskCost(PathCost()), goals)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(bound.select(some)(z_path[some]), bound(z_path)[some])
