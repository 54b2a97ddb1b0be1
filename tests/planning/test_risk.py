"""Plans under risk, in a world on a line: a step right arrives sooner, but may throw the point far to the left."""

import math

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import PointWorld
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, ICEM, MPPI, CEMConfig, ICEMConfig, MPPIConfig, PathCost, bind
from openjepa.planning.costs import final
from openjepa.planning.risk import CVaR, Entropic, MeanStd, RiskCost, expected, spread, worst
from openjepa.protocols import ActionBounds, Futures

COSTS = torch.tensor([1.0, 5.0, 2.0, 10.0])
WEIGHTS = torch.tensor([0.4, 0.2, 0.3, 0.1])


@pytest.mark.parametrize(
    ("alpha", "by_hand"),
    [
        (1.0, 0.4 * 1 + 0.2 * 5 + 0.3 * 2 + 0.1 * 10),  # the mean
        (0.1, 10.0),  # the worst tenth
        (0.2, (0.1 * 10 + 0.1 * 5) / 0.2),  # the outcome on the boundary counts by half of its weight
        (0.45, (0.1 * 10 + 0.2 * 5 + 0.15 * 2) / 0.45),
        (1e-6, 10.0),
    ],
)
def test_cvar_by_hand(alpha, by_hand):
    assert float(CVaR(alpha)(COSTS, WEIGHTS)) == pytest.approx(by_hand, rel=1e-5)


def test_the_other_measures_by_hand():
    mean = 3.0
    variance = 0.4 * 4 + 0.2 * 4 + 0.3 * 1 + 0.1 * 49
    assert float(expected(COSTS, WEIGHTS)) == pytest.approx(mean)
    assert float(worst(COSTS, WEIGHTS)) == 10
    assert float(worst(COSTS, torch.tensor([0.4, 0.2, 0.4, 0.0]))) == 5  # what cannot happen does not count
    assert float(MeanStd(2.0)(COSTS, WEIGHTS)) == pytest.approx(mean + 2 * math.sqrt(variance))
    entropic = math.log(sum(w * math.exp(0.5 * c) for w, c in zip(WEIGHTS.tolist(), COSTS.tolist(), strict=True))) / 0.5
    assert float(Entropic(0.5)(COSTS, WEIGHTS)) == pytest.approx(entropic, rel=1e-5)


def test_measures_agree_where_nothing_is_at_risk():
    certain = torch.full((3,), 2.0)
    for measure in (expected, worst, CVaR(0.2), Entropic(1.0), MeanStd(1.0)):
        assert float(measure(certain, torch.full((3,), 1 / 3))) == pytest.approx(2.0, abs=1e-5)


def test_the_spread_by_hand():
    z = torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]]], [[[-1.0, 0.0]], [[3.0, 4.0]]]])  # [F=2, T=2, N=1, D=2]
    # Step 1: variance 1 of the first number; step 2: 4 of the second; each half as a mean over two numbers.
    assert float(spread(z, torch.tensor([0.5, 0.5]))) == pytest.approx(0.5 * 1 + 0.5 * 4)


class Gust:
    """A point on a line, z' = z + a; where a step exceeds half, a gust carries it 8 back with probability `risk`."""

    def __init__(self, risk):
        self.risk = risk
        self.drawn = []

    def encode(self, frames, proprio=None):
        return PointWorld().encode(frames)

    def rollout(self, z, actions):
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2)

    def rollout_futures(self, z, actions, *, num_futures, generator):
        self.drawn.append(float(torch.rand((), generator=generator)))
        calm = self.rollout(z, actions)
        fast = (actions[..., 0] > 0.5).any(1)
        gust = calm - 8 * fast[:, None, None, None]
        weights = torch.tensor([1 - self.risk, self.risk]).log().expand(len(z), 2)
        return Futures(torch.stack([calm, gust], 1), weights)


H = 2
BOX = ActionBounds(-np.ones(1, np.float32), np.ones(1, np.float32))
PLANNERS = {
    "cem": CEM(BOX, CEMConfig(horizon=H, num_samples=64, num_elites=8)),
    "cem_parts": CEM(BOX, CEMConfig(horizon=H, num_samples=64, num_elites=8, micro_batch=20)),
    "icem": ICEM(BOX, ICEMConfig(horizon=H)),
    "mppi": MPPI(BOX, MPPIConfig(horizon=H)),
}


def plan(planner, model, risk, rows=1):
    cost = RiskCost(PathCost(aggregate=final), risk, num_futures=2)
    z, goal = torch.zeros(rows, 1, 1, 1), torch.full((rows, 1, 1), 1.5)
    return planner.plan(model, z, bind(cost, goal), generators=[keyed_generator(0, i) for i in range(rows)])


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_weighs_the_gust_as_it_is_told(name):
    """To 1.5 in two steps: fast costs 0, or 64 in a gust; slow (.5 + .5) costs 1/4 = (1.5 - 1)^2 for certain."""
    planner = PLANNERS[name]
    bold = plan(planner, Gust(0.002), expected)  # .002 * 64 = .128 < .25
    assert float(bold.actions.max()) > 0.5
    assert float(bold.cost) == pytest.approx(0.128, abs=0.05)
    for careful in (
        plan(planner, Gust(0.002), worst),
        plan(planner, Gust(0.002), CVaR(0.005)),  # 25.6 > .25
        plan(planner, Gust(0.02), expected),  # 1.28 > .25
    ):
        assert float(careful.actions.max()) <= 0.5
        assert 0.2499 <= float(careful.cost) < 0.6


def test_all_candidates_meet_the_same_luck():
    model = Gust(0.002)
    plan(PLANNERS["cem_parts"], model, expected)
    assert len(model.drawn) > 4
    assert len(set(model.drawn)) == 1


def test_a_plan_does_not_depend_on_its_neighbours():
    three = plan(PLANNERS["cem"], Gust(0.002), CVaR(0.2), rows=3)
    one = plan(PLANNERS["cem"], Gust(0.002), CVaR(0.2), rows=1)
    torch.testing.assert_close(three.actions[:1], one.actions)


def test_the_plan_shows_the_most_probable_path_and_counts_all_futures():
    found = plan(PLANNERS["cem"], Gust(0.002), expected)
    torch.testing.assert_close(found.z_path[0, :, 0, 0], found.actions[0, :, 0].cumsum(0))
    certain = PLANNERS["cem"].plan(
        PointWorld(), torch.zeros(1, 1, 1, 1), bind(PathCost(), torch.ones(1, 1, 1)), generators=[keyed_generator(0)]
    )
    assert found.model_steps == 2 * certain.model_steps


def test_a_model_with_one_future_gets_the_wrapped_cost():
    goal, cost = torch.ones(1, 1, 1), PathCost()
    risky = bind(RiskCost(cost, worst), goal)
    path = torch.randn(1, 5, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(risky(path), bind(cost, goal)(path))
    plans = [
        PLANNERS["cem"].plan(PointWorld(), torch.zeros(1, 1, 1, 1), c, generators=[keyed_generator(0)])
        for c in (risky, bind(cost, goal))
    ]
    torch.testing.assert_close(plans[0].actions, plans[1].actions)
    with pytest.raises(ShapeError, match="with B = 1 goals"):
        risky(path[0])


def test_bad_options_are_refused():
    for make in (
        lambda: CVaR(0.0),
        lambda: Entropic(0.0),
        lambda: MeanStd(-1.0),
        lambda: RiskCost(PathCost(), worst, 0),
    ):
        with pytest.raises(ConfigError):
            make()
