"""A budget of time, on a clock that the test moves: z' = z + a, the cost is the squared distance to the goal."""

from itertools import pairwise

import pytest
import torch

from openjepa.planning.budget import Budgeted
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import PathCost, bind
from openjepa.planning.mppi import MPPI, MPPIConfig
from openjepa.protocols import ActionBounds

BOUNDS = ActionBounds([-1.0, -1.0], [1.0, 1.0])


class Adding:
    """Each call takes a second."""

    def __init__(self):
        self.now, self.calls, self.costs = 0.0, 0, []

    def clock(self):
        return self.now

    def encode(self, frames, proprio=None):
        raise NotImplementedError

    def rollout(self, z, actions):
        self.now += 1
        self.calls += 1
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2)


def solve(planner, model, batch=2, **options):
    z = torch.zeros(batch, 1, 1, 2)
    goal = torch.tensor([[[0.5, -0.5]], [[1.5, 1.0]], [[-2.0, 0.0]]])[:batch]
    generators = [torch.Generator().manual_seed(i) for i in range(batch)]
    return planner.plan(model, z, bind(PathCost(), goal), generators=generators, **options)


PLANNERS = [
    CEM(BOUNDS, CEMConfig(horizon=3, num_samples=32, num_elites=4, num_iterations=6)),
    CEM(BOUNDS, CEMConfig(horizon=3, num_samples=32, num_elites=4, num_iterations=6, micro_batch=16)),
    MPPI(BOUNDS, MPPIConfig(horizon=3, num_samples=32, num_iterations=6)),
]


@pytest.mark.parametrize("planner", PLANNERS)
def test_with_time_enough_the_plan_is_the_planners(planner):
    expected = solve(planner, Adding())
    for until in (None, 1e9):
        model = Adding()
        budgeted = Budgeted(planner, model.clock)
        budgeted.until = until
        found = solve(budgeted, model)
        assert torch.equal(found.actions, expected.actions)
        assert torch.equal(found.cost, expected.cost)
        assert budgeted.cut_short == 0


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("seconds", [0, 1, 3])
def test_out_of_time_the_best_scored_plan_is_returned(planner, seconds):
    model = Adding()
    budgeted = Budgeted(planner, model.clock)
    budgeted.until = seconds
    found = solve(budgeted, model)
    assert model.calls == max(seconds, 1)  # the first one is always waited for
    assert budgeted.cut_short == 1
    assert found.actions.shape == (2, 3, 2)
    path = found.actions.cumsum(1).unsqueeze(2)
    torch.testing.assert_close(found.z_path, path)
    goal = torch.tensor([[[0.5, -0.5]], [[1.5, 1.0]]])
    torch.testing.assert_close(found.cost, PathCost()(path, goal))


def test_more_time_is_never_worse():
    costs = []
    for seconds in range(1, 7):
        model = Adding()
        budgeted = Budgeted(PLANNERS[0], model.clock)
        budgeted.until = seconds
        costs.append(solve(budgeted, model).cost)
    assert all((after <= before).all() for before, after in pairwise(costs))
    assert (costs[-1] < costs[0]).all()


def test_every_environment_has_a_plan_before_time_counts():
    """A planner that looks at one environment after the other, through `select`."""

    class OneByOne:
        def plan(self, model, z, cost, *, generators, guess=None, context_actions=None):
            for i in range(len(z)):
                PLANNERS[0].plan(model, z[i : i + 1], cost.select(torch.tensor([i])), generators=generators[i : i + 1])
            raise AssertionError("time was out")

    model = Adding()
    budgeted = Budgeted(OneByOne(), model.clock)
    budgeted.until = 0
    found = solve(budgeted, model, batch=3)
    assert model.calls == 6 * 2 + 2 + 1  # two whole searches (their last call scores finalists), then one call
    assert found.actions.shape == (3, 3, 2)


def test_a_path_that_the_model_did_not_imagine_is_no_plan():
    class Standing:
        def plan(self, model, z, cost, **options):
            cost(z.unsqueeze(1).expand(-1, 4, 3, -1, -1))
            return PLANNERS[0].plan(model, z, cost, **options)

    model = Adding()
    budgeted = Budgeted(Standing(), model.clock)
    budgeted.until = 0
    assert torch.equal(solve(budgeted, model).z_path[:, 0, 0], solve(budgeted, Adding()).actions[:, 0])
