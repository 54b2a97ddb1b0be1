"""Choices: planners against trees whose best leaf is known on paper, and against looking at every plan."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.agent import Agent, AgentConfig
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import check_planner
from openjepa.planning import (
    CEM,
    ICEM,
    MPPI,
    CEMConfig,
    Exhaustive,
    ExhaustiveConfig,
    GradientPlanner,
    ICEMConfig,
    MeanCEM,
    MPPIConfig,
    PathCost,
    bind,
)
from openjepa.planning.candidates import Imagination
from openjepa.planning.categorical import categorical_search, chance, elite_weights
from openjepa.planning.costs import final
from openjepa.protocols import ActionBounds

H = 5
FOUR = ActionBounds.of_categories([4])
MIXED = ActionBounds.of_categories([3, 2])
SEARCHES: dict[str, Any] = {
    "cem": lambda b: CEM(b, CEMConfig(horizon=H, num_samples=96, num_elites=10)),
    "cem_parts": lambda b: CEM(b, CEMConfig(horizon=H, num_samples=96, num_elites=10, micro_batch=20)),
    "icem": lambda b: ICEM(b, ICEMConfig(horizon=H, num_samples=96, noise_exponent=1.0)),
    "mppi": lambda b: MPPI(b, MPPIConfig(horizon=H)),
}
PLANNERS = {**SEARCHES, "exhaustive": lambda b: Exhaustive(b, ExhaustiveConfig(horizon=H, max_plans=8000))}


class Grid:
    """A point on an endless grid; the choices are east, west, north, south, one unit each."""

    way = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        return frames[..., :2, 0, 0].float().unsqueeze(2)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        moves = actions[:, z.shape[1] - 1 :] @ self.way
        return z[:, -1:] + moves.cumsum(1).unsqueeze(2)


class Lock:
    """Opens, z = 1, only for the one right sequence of choices; nothing tells how near one is."""

    def __init__(self, code: Tensor) -> None:
        self.code = code  # [H, A]

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        right = (actions * self.code[: actions.shape[1]]).sum(-1) == self.code.sum(-1)[: actions.shape[1]]
        return right.float().cumprod(1)[..., None, None]


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_of_choices_keeps_the_contract(name: str) -> None:
    for bounds in (FOUR, MIXED, ActionBounds.of_categories([2]).with_frameskip(2)):
        check_planner(PLANNERS[name](bounds), bounds, horizon=H)


@pytest.mark.parametrize("name", PLANNERS)
def test_walks_to_a_cell_of_the_grid(name: str, streams: Any) -> None:
    # Five steps to a cell that is five away: three to the east, two to the south, in any order.
    goal = torch.tensor([[[3.0, -2.0]], [[-5.0, 0.0]]])
    cost = bind(PathCost(aggregate=final), goal)
    plan = PLANNERS[name](FOUR).plan(Grid(), torch.zeros(2, 1, 1, 2), cost, generators=streams(2))
    assert plan.actions[0].sum(0).tolist() == [3, 0, 0, 2]
    assert plan.actions[1].sum(0).tolist() == [0, 5, 0, 0]
    assert plan.cost.tolist() == [0, 0]


def test_looking_at_every_plan_finds_what_no_gradient_shows(streams: Any) -> None:
    code = MIXED.clip(torch.rand(4, 5, generator=torch.Generator().manual_seed(3)))
    planner = Exhaustive(MIXED, ExhaustiveConfig(horizon=4))
    z, goal = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1)
    plan = planner.plan(Lock(code), z, bind(PathCost(aggregate=final), goal), generators=streams(1))
    assert torch.equal(plan.actions[0], code)
    assert plan.cost.item() == 0
    assert plan.model_steps == (6**4 + 1) * 4


def test_an_exhaustive_search_is_as_deep_as_it_may_be(streams: Any) -> None:
    assert Exhaustive(FOUR).horizon == 6  # 4 ** 6 = 4096
    assert Exhaustive(FOUR, ExhaustiveConfig(knot_steps=3)).horizon == 18
    assert Exhaustive(ActionBounds.of_categories([7])).horizon == 4
    assert Exhaustive(ActionBounds.of_categories([1])).horizon == 1
    held = Exhaustive(FOUR, ExhaustiveConfig(horizon=5, knot_steps=2))
    plan = held.plan(Grid(), torch.zeros(1, 1, 1, 2), bind(PathCost(), torch.ones(1, 1, 2)), generators=streams(1))
    assert torch.equal(plan.actions[:, 0], plan.actions[:, 1])
    assert torch.equal(plan.actions[:, 2], plan.actions[:, 3])
    with pytest.raises(ConfigError, match="`horizon` must be at most 6 for 4 choices at a step and 4096 plans; got 7"):
        Exhaustive(FOUR, ExhaustiveConfig(horizon=7))
    with pytest.raises(ConfigError, match="`horizon` must be shorter than one step for 1024 choices"):
        Exhaustive(ActionBounds.of_categories([2] * 10), ExhaustiveConfig(max_plans=1000))
    with pytest.raises(ConfigError, match="must have categories to choose from; got a box"):
        Exhaustive(ActionBounds(-np.ones(2), np.ones(2)))


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_come_near_the_best_of_all_plans(name: str, streams: Any) -> None:
    weights = torch.randn(H, 5, 3, generator=torch.Generator().manual_seed(1))

    class Mixing:
        def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
            return torch.einsum("bha,had->bhd", actions, weights).cumsum(1).tanh().unsqueeze(2)

    z, cost = torch.zeros(1, 1, 1, 3), bind(PathCost(aggregate=final), torch.tensor([[[0.5, -0.5, 0.2]]]))
    found = PLANNERS[name](MIXED).plan(Mixing(), z, cost, generators=streams(1))
    best = PLANNERS["exhaustive"](MIXED).plan(Mixing(), z, cost, generators=streams(1))
    every = [torch.cat([torch.eye(3)[i], torch.eye(2)[j]]) for i in range(3) for j in range(2)]
    random = torch.stack([torch.stack(p) for p in itertools.islice(itertools.product(every, repeat=H), 0, None, 17)])
    costs = cost(Mixing().rollout(z, random)[None])[0]
    assert best.cost.item() <= costs.min() + 1e-6
    assert found.cost.item() <= costs.quantile(0.02)  # of uniform chance


def test_gumbel_draws_are_the_probabilities(streams: Any) -> None:
    # The first iteration without a guess draws every choice with equal probability, each group by itself.
    seen: list[Tensor] = []

    class Recording(Grid):
        way = torch.zeros(5, 2)

        def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
            seen.append(actions.clone())
            return super().rollout(z, actions)

    z = torch.zeros(1, 1, 1, 2)
    config = CEMConfig(horizon=2, num_samples=8000, num_elites=10, num_iterations=1, micro_batch=None)
    CEM(MIXED, config).plan(Recording(), z, bind(PathCost(), z[:, 0]), generators=streams(1))
    drawn = seen[0]
    assert torch.equal(MIXED.clip(drawn), drawn)
    torch.testing.assert_close(drawn.mean((0, 1)), chance(MIXED, z), atol=0.015, rtol=0)
    joint = (drawn[:, 0, 0] * drawn[:, 0, 3]).mean()
    assert abs(joint.item() - 1 / 6) < 0.015
    guess = FOUR.clip(torch.rand(1, 2, 4, generator=torch.Generator().manual_seed(0)))
    seen.clear()
    Recording.way = torch.zeros(4, 2)
    config = CEMConfig(2, num_samples=8000, num_elites=10, num_iterations=1, init_std=0.4, micro_batch=None)
    CEM(FOUR, config).plan(Recording(), z, bind(PathCost(), z[:, 0]), generators=streams(1), guess=guess)
    assert torch.equal(seen[0][0], guess[0])  # candidate 0 is the most probable
    torch.testing.assert_close(seen[0].mean(0), 0.6 * guess[0] + 0.4 * chance(FOUR, z), atol=0.015, rtol=0)


def test_elites_are_counted_and_no_choice_dies_out() -> None:
    costs = torch.tensor([[3.0, 1.0, 2.0, 9.0]])
    assert elite_weights(costs, 2).tolist() == [[0, 0.5, 0.5, 0]]

    class Watching(Imagination):
        probabilities: list[Tensor] = []

        def scores(self, candidates: Tensor) -> Tensor:
            self.probabilities.append(candidates.mean(1))
            return -candidates[..., 0].sum(-1)  # the first choice is always best

    z = torch.zeros(1, 1, 1, 2)
    problem = Watching(Grid(), z, bind(PathCost(), z[:, 0]))
    noise = torch.randn(1, 6, 500, 3, 4, generator=torch.Generator().manual_seed(0))
    categorical_search(
        problem, FOUR, noise, lambda c: elite_weights(c, 20), horizon=3, knot_steps=1, width=1.0, floor=0.2
    )
    last = problem.probabilities[-1][0]
    torch.testing.assert_close(last, torch.tensor([0.85, 0.05, 0.05, 0.05]).expand(3, 4), atol=0.04, rtol=0)


def test_coloured_noise_gives_choices_that_last(streams: Any) -> None:
    def repeats(exponent: float) -> float:
        seen: list[Tensor] = []

        class Recording(Grid):
            def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
                seen.append(actions)
                return super().rollout(z, actions)

        z = torch.zeros(1, 1, 1, 2)
        config = ICEMConfig(12, num_samples=500, num_iterations=1, noise_exponent=exponent, micro_batch=None)
        ICEM(FOUR, config).plan(Recording(), z, bind(PathCost(), z[:, 0]), generators=streams(1))
        choice = seen[0][2:].argmax(-1)
        return float((choice[:, 1:] == choice[:, :-1]).float().mean())

    assert abs(repeats(0.0) - 0.25) < 0.03
    assert repeats(2.0) > 0.5


def test_planners_of_boxes_refuse_choices_and_fixed_axes_stay_fixed(streams: Any) -> None:
    for kind in (GradientPlanner, MeanCEM):
        with pytest.raises(ConfigError, match=rf"`{kind.__name__}` must have actions in a box; got categories \(4,\)"):
            kind(FOUR)
    half_fixed = ActionBounds(np.array([-1.0, 0.5]), np.array([1.0, 0.5]))
    z = torch.zeros(1, 1, 1, 2)
    for planner in (CEM(half_fixed, CEMConfig(3)), ICEM(half_fixed, ICEMConfig(3)), MPPI(half_fixed, MPPIConfig(3))):
        plan = planner.plan(Slide(), z, bind(PathCost(), z[:, 0] + 1), generators=streams(1))
        assert (plan.actions[..., 1] == 0.5).all()
        assert plan.actions[0, 0, 0] > 0.5


class Slide:
    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        return z[:, -1:] + actions.cumsum(1).unsqueeze(2) / 4


def test_an_agent_acts_by_choices() -> None:
    class Seeing(Grid):
        def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
            return frames[..., 0, 0].float().unsqueeze(2)

    bounds = FOUR
    planner = CEM(bounds.with_frameskip(2), CEMConfig(horizon=2, num_samples=200, num_elites=20))

    class TwoSteps(Seeing):
        way = torch.cat([Grid.way, Grid.way])

    agent = Agent(TwoSteps(), planner, PathCost(aggregate=final), bounds, AgentConfig(2, frameskip=2))
    at = np.array([10, 10])

    def frames(position: np.ndarray) -> np.ndarray:
        return np.tile(position.astype(np.uint8)[None, :, None, None], (1, 1, 2, 2))

    agent.start(frames(np.array([12, 8])))
    for _ in range(4):
        action = agent.act(frames(at))
        assert action.sum() == 1
        assert set(action.ravel()) == {0.0, 1.0}
        at = at + (action[0] @ Grid.way.numpy()).astype(int)
    assert at.tolist() == [12, 8]
