from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import PointWorld, check_planner
from openjepa.planning import (
    CEM,
    ICEM,
    MPPI,
    CEMConfig,
    GradientPlanner,
    GradientPlannerConfig,
    ICEMConfig,
    MPPIConfig,
    PathCost,
    bind,
)
from openjepa.planning.costs import final
from openjepa.planning.mppi import path_integral_weights
from openjepa.protocols import ActionBounds

H = 6
PLANNERS: dict[str, Any] = {
    "cem": lambda b: CEM(b, CEMConfig(horizon=H, num_samples=64, num_elites=8)),
    "cem_knots": lambda b: CEM(b, CEMConfig(horizon=H, num_samples=64, num_elites=8, knot_steps=4)),
    "cem_parts": lambda b: CEM(b, CEMConfig(horizon=H, num_samples=64, num_elites=8, micro_batch=20)),
    "cem_early_stop": lambda b: CEM(b, CEMConfig(horizon=H, num_iterations=9, early_stop=0.2)),
    "icem": lambda b: ICEM(b, ICEMConfig(horizon=H)),
    "mppi": lambda b: MPPI(b, MPPIConfig(horizon=H)),
    "mppi_knots": lambda b: MPPI(b, MPPIConfig(horizon=H, knot_steps=3)),
    "gradient": lambda b: GradientPlanner(b, GradientPlannerConfig(horizon=H)),
    "gradient_knots": lambda b: GradientPlanner(b, GradientPlannerConfig(horizon=H, knot_steps=2)),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_keeps_the_contract(name: str, box: ActionBounds, disc: ActionBounds) -> None:
    shifted = ActionBounds(np.array([-3.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32))
    check_planner(PLANNERS[name](box), box, horizon=H)
    check_planner(PLANNERS[name](disc), disc, horizon=H)
    z, goal = (
        torch.zeros(1, 1, 1, 2),
        torch.tensor([[[-1.5, 1.5]]]),
    )  # a constant action of (-1, 1) gets there
    plan = PLANNERS[name](shifted).plan(
        PointWorld(), z, bind(PathCost(aggregate=final), goal), generators=[torch.Generator().manual_seed(0)]
    )
    torch.testing.assert_close(shifted.clip(plan.actions), plan.actions)
    assert plan.cost.item() < 0.1


@pytest.mark.parametrize("name", PLANNERS)
def test_finds_the_plan_that_is_known_on_paper(name: str, box: ActionBounds, streams: Any) -> None:
    # With the cost of the last step alone, any plan with sum(a) / 4 = goal is best.
    goal = torch.tensor([[[1.0, -0.5]], [[-0.25, 0.0]]])
    cost = bind(PathCost(aggregate=final), goal)
    plan = PLANNERS[name](box).plan(PointWorld(), torch.zeros(2, 1, 1, 2), cost, generators=streams(2))
    torch.testing.assert_close(plan.actions.sum(1) / 4, goal[:, 0], atol=0.12, rtol=0)


@pytest.mark.parametrize("name", PLANNERS)
def test_mean_cost_goes_straight_to_the_goal(name: str, box: ActionBounds, streams: Any) -> None:
    # A goal one unit away needs four full steps: the mean cost is least when they come first.
    goal = torch.tensor([[[1.0, 0.0]]])
    plan = PLANNERS[name](box).plan(
        PointWorld(), torch.zeros(1, 1, 1, 2), bind(PathCost(), goal), generators=streams(1)
    )
    assert (plan.actions[0, :2, 0] > 0.5).all()


def test_parts_that_are_held_pull_in_one_direction(box: ActionBounds, recording_world: Any, streams: Any) -> None:
    wide, z = box.with_frameskip(3), torch.zeros(1, 1, 1, 6)
    options = CEMConfig(horizon=4, num_samples=50, num_elites=8, knot_steps=2, holds_parts=True)
    cost = bind(PathCost(), torch.ones(1, 1, 6))
    plan = CEM(wide, options).plan(recording_world, z, cost, generators=streams(1))
    for actions in (*recording_world.seen, plan.actions):
        primitive = actions.unflatten(-1, (3, 2))
        torch.testing.assert_close(primitive, primitive[..., :1, :].expand_as(primitive))
    guess = torch.linspace(-0.2, 0.2, 24).view(1, 4, 6)
    kept = CEM(wide, replace(options, knot_steps=1, init_std=1e-6, min_std=0.0)).plan(
        recording_world, z, cost, generators=streams(1), guess=guess
    )
    torch.testing.assert_close(kept.actions, guess, atol=1e-4, rtol=0)  # a guess keeps its own


def test_init_std_is_a_standard_deviation_in_half_ranges(recording_world: Any, streams: Any) -> None:
    wide = ActionBounds(np.array([-10.0], np.float32), np.array([10.0], np.float32))
    planner = CEM(wide, CEMConfig(horizon=4, num_samples=2000, num_elites=8, num_iterations=1, init_std=0.2))
    z = torch.zeros(1, 1, 1, 1)
    planner.plan(recording_world, z, bind(PathCost(), z[:, 0]), generators=streams(1))
    candidates = recording_world.seen[0]
    assert candidates.shape == (2000, 4, 1)
    assert candidates[1:].std().item() == pytest.approx(2.0, rel=0.03)  # 0.2 of 10, never its root
    assert (candidates[0] == 0).all()  # candidate 0 is the mean


def test_clips_before_it_scores(recording_world: Any, disc: ActionBounds, streams: Any) -> None:
    planner = CEM(disc, CEMConfig(horizon=3, init_std=5.0))
    z = torch.zeros(2, 1, 1, 2)
    planner.plan(recording_world, z, bind(PathCost(), z[:, 0] + 1), generators=streams(2))
    for actions in recording_world.seen:
        assert actions.norm(dim=-1).max() <= 1 + 1e-6


def test_guess_and_best_so_far_are_candidates(recording_world: Any, box: ActionBounds, streams: Any) -> None:
    planner = CEM(box, CEMConfig(horizon=5, num_samples=16, num_elites=4, num_iterations=3, knot_steps=2))
    z, goal = torch.zeros(1, 1, 1, 2), torch.tensor([[[0.4, 0.3]]])
    guess = 0.9 * torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))
    cost = bind(PathCost(), goal)
    planner.plan(recording_world, z, cost, generators=streams(1), guess=guess)
    assert torch.equal(recording_world.seen[0][1], guess[0])  # as it is, not averaged over knots
    for i in (1, 2):
        costs = [cost(PointWorld().rollout(z, a[None])[None]).item() for a in recording_world.seen[i - 1]]
        assert torch.equal(recording_world.seen[i][1], recording_world.seen[i - 1][int(np.argmin(costs))])


def test_micro_batches_bound_a_call_and_change_nothing(recording_world: Any, box: ActionBounds, streams: Any) -> None:
    z = torch.zeros(3, 1, 1, 2)
    cost = bind(PathCost(), z[:, 0] + 0.5)
    whole = CEM(box, CEMConfig()).plan(PointWorld(), z, cost, generators=streams(3))
    parts = CEM(box, CEMConfig(micro_batch=30)).plan(recording_world, z, cost, generators=streams(3))
    assert max(len(actions) for actions in recording_world.seen) == 30
    assert torch.equal(whole.actions, parts.actions)
    assert whole.model_steps == 4 * 128 * 12 + 2 * 12


def test_knots_hold_actions(recording_world: Any, box: ActionBounds, streams: Any) -> None:
    planner = CEM(box, CEMConfig(horizon=7, knot_steps=3))
    z = torch.zeros(1, 1, 1, 2)
    planner.plan(recording_world, z, bind(PathCost(), z[:, 0] + 1), generators=streams(1))
    for actions in recording_world.seen:
        assert torch.equal(actions[:, 0], actions[:, 2])
        assert torch.equal(actions[:, 3], actions[:, 5])
    assert not torch.equal(recording_world.seen[0][:, 2], recording_world.seen[0][:, 3])


def test_early_stop_of_one_environment_does_not_depend_on_the_other(box: ActionBounds, streams: Any) -> None:
    config = CEMConfig(horizon=4, num_iterations=12, early_stop=0.1, min_std=0.0)
    z, goal = torch.zeros(2, 1, 1, 2), torch.tensor([[[0.1, 0.1]], [[9.0, -9.0]]])
    both = CEM(box, config).plan(PointWorld(), z, bind(PathCost(), goal), generators=streams(2))
    for i in range(2):
        alone = CEM(box, config).plan(
            PointWorld(), z[:1], bind(PathCost(), goal[i : i + 1]), generators=[streams(2)[i]]
        )
        assert torch.equal(alone.actions[0], both.actions[i])
        assert alone.model_steps < 12 * 128 * 4


def test_context_of_a_model_with_memory(delayed_world: Any, box: ActionBounds, streams: Any) -> None:
    # The last action of 1 still moves the point by a quarter: only -1 keeps it where it is.
    z, past = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1)
    line = ActionBounds(box.low[:1], box.high[:1])
    cost = bind(PathCost(), torch.zeros(1, 1, 1))
    for planner in (
        CEM(line, CEMConfig(horizon=1)),
        ICEM(line, ICEMConfig(horizon=1)),
        MPPI(line, MPPIConfig(horizon=1)),
        GradientPlanner(line, GradientPlannerConfig(horizon=1)),
    ):
        plan = planner.plan(delayed_world, z, cost, generators=streams(1), context_actions=past)
        assert plan.actions.item() == pytest.approx(-1, abs=0.05)
    with pytest.raises(ShapeError, match=r"`context_actions` must be \[1, 1, 1\]"):
        planner.plan(delayed_world, z, cost, generators=streams(1))


def test_temperature_is_scale_free() -> None:
    costs = torch.rand(3, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        path_integral_weights(costs, 0.1, normalise=True),
        path_integral_weights(10 * costs, 0.1, normalise=True),
    )
    raw = path_integral_weights(costs, 0.1, normalise=False)
    torch.testing.assert_close(raw, path_integral_weights(10 * costs, 1.0, normalise=False))
    expected = torch.exp(-(costs - costs.amin(1, keepdim=True)) / 0.1)
    torch.testing.assert_close(raw, expected / expected.sum(1, keepdim=True))
    flat = path_integral_weights(torch.ones(1, 4), 0.1, normalise=True)
    torch.testing.assert_close(flat, torch.full((1, 4), 0.25))


def test_mppi_plan_ignores_the_unit_of_the_cost(box: ActionBounds, streams: Any) -> None:
    z, goal = torch.zeros(1, 1, 1, 2), torch.tensor([[[0.7, 0.2]]])

    def plan(scale: float, config: MPPIConfig) -> torch.Tensor:
        planner = MPPI(box, config)
        return planner.plan(
            PointWorld(), z, lambda path: scale * bind(PathCost(), goal)(path), generators=streams(1)
        ).actions

    torch.testing.assert_close(plan(1, MPPIConfig()), plan(10, MPPIConfig()))
    raw, hot = (MPPIConfig(normalise_cost=False, temperature=t) for t in (0.1, 1.0))
    torch.testing.assert_close(plan(1, raw), plan(10, hot))


def test_gradient_planner_leaves_no_gradient_in_the_model(box: ActionBounds, streams: Any) -> None:
    class Scaled(torch.nn.Module, PointWorld):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def rollout(self, z: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            return PointWorld.rollout(self, z, self.gain * actions)

    model, z = Scaled(), torch.zeros(1, 1, 1, 2)
    with torch.no_grad():  # an agent calls it like this
        plan = PLANNERS["gradient"](box).plan(model, z, bind(PathCost(), z[:, 0] + 0.5), generators=streams(1))
    assert model.gain.grad is None
    assert not plan.cost.requires_grad
    assert plan.cost < 0.2


def test_broken_model_is_named(box: ActionBounds, streams: Any) -> None:
    z = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ConfigError, match="cost must be finite; got NaN or infinity"):
        CEM(box).plan(PointWorld(), z, lambda path: path.sum((-3, -2, -1)) * torch.nan, generators=streams(1))


def test_arguments_are_checked(box: ActionBounds, streams: Any) -> None:
    z = torch.zeros(2, 1, 1, 2)
    cost = bind(PathCost(), z[:, 0])
    with pytest.raises(ShapeError, match=r"`generators` must be one per environment \(2\); got 1"):
        CEM(box).plan(PointWorld(), z, cost, generators=streams(1))
    with pytest.raises(ShapeError, match=r"`guess` must be"):
        CEM(box).plan(PointWorld(), z, cost, generators=streams(2), guess=torch.zeros(2, 3, 2))
    endless = ActionBounds(box.low, np.array([np.inf, 1], np.float32))
    with pytest.raises(ConfigError, match="`bounds` must be finite with low < high"):
        CEM(endless).plan(PointWorld(), z, cost, generators=streams(2))
    with pytest.raises(ConfigError, match=r"`num_elites` must be at least 2 and below `num_samples` \(8\); got 8"):
        CEMConfig(num_samples=8, num_elites=8)
    with pytest.raises(ConfigError, match=r"`num_kept` must be in \[0, 10\]; got 11"):
        ICEMConfig(num_kept=11)
    with pytest.raises(ConfigError, match="`temperature` must be > 0"):
        MPPIConfig(temperature=0)
    with pytest.raises(ConfigError, match=r"`lr` and `init_std` must be > 0; got 0 and 0.5"):
        GradientPlannerConfig(lr=0)
