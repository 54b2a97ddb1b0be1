from typing import Any

import pytest
import torch
from torch import Tensor

from openjepa.agent import AcceptanceRule, ProposalConfig, ProposeVerifyRepair
from openjepa.agent.actor import cost_of_standing_still, propose
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import PointWorld, check_planner
from openjepa.planning import CEM, CEMConfig, PathCost, bind
from openjepa.planning.costs import final
from openjepa.protocols import ActionBounds

CONFIG = ProposalConfig(horizon=6, gaps=(2, 6))
REPAIR = CEMConfig(horizon=6, num_samples=32, num_elites=6, num_iterations=2, init_std=0.25)


def exact_policy(z: Tensor, z_goal: Tensor, gap: Tensor) -> Tensor:
    """The action that covers the way in the given number of steps."""
    return (z_goal - z)[:, 0] * 4 / gap[:, None]


def wrong_policy(z: Tensor, z_goal: Tensor, gap: Tensor) -> Tensor:
    return -exact_policy(z, z_goal, gap)


def test_proposals_are_paths_in_the_model(box: ActionBounds) -> None:
    z, goal = torch.zeros(1, 1, 1, 2), torch.tensor([[[0.75, 0.0]]])
    plans = propose(exact_policy, PointWorld(), z, goal, box, CONFIG)
    assert plans.shape == (1, 2, 6, 2)
    # Two steps: clipped to 1 at first, the rest as soon as the bounds allow. Six steps: evenly.
    torch.testing.assert_close(plans[0, 0, :, 0], torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(plans[0, 1, :, 0], torch.full((6,), 0.5))


@pytest.mark.parametrize("policy", [exact_policy, wrong_policy])
def test_keeps_the_contract(policy: Any, box: ActionBounds, disc: ActionBounds) -> None:
    for bounds in (box, disc):
        check_planner(ProposeVerifyRepair(policy, bounds, CONFIG, repair=REPAIR), bounds, horizon=6)


def test_stages_are_taken_where_they_are_needed(box: ActionBounds, streams: Any) -> None:
    def half_wrong(z: Tensor, z_goal: Tensor, gap: Tensor) -> Tensor:
        right = (z_goal[:, 0, :1] > 0).float()
        return (2 * right - 1) * exact_policy(z, z_goal, gap)

    accept = AcceptanceRule(torch.zeros(0), torch.tensor([0.05]))
    full = CEM(box, CEMConfig(horizon=6, num_samples=256, num_elites=16, num_iterations=6))
    planner = ProposeVerifyRepair(half_wrong, box, CONFIG, repair=REPAIR, accept=accept, fallback=full)
    z = torch.zeros(3, 1, 1, 2)
    goal = torch.tensor([[[1.0, 0.0]], [[-0.03, 0.0]], [[-1.0, 0.0]]])
    cost = bind(PathCost(aggregate=final), goal)
    plan = planner.plan(PointWorld(), z, cost, generators=streams(3))
    assert plan.terms["stage"].tolist() == [0, 0, 2]
    assert plan.terms["steps"][0].item() == (2 + 3) * 6
    assert plan.model_steps == plan.terms["steps"][2].item() > full.config.num_samples * 6 * 6
    assert (plan.cost < 0.05).all()
    for i in range(3):  # and an environment does not care about its neighbours
        alone = planner.plan(PointWorld(), z[:1], cost.select(torch.tensor([i])), generators=[streams(3)[i]])
        assert torch.equal(alone.actions[0], plan.actions[i])


def test_repair_is_never_worse_than_the_proposal_and_cheap(box: ActionBounds, streams: Any) -> None:
    z, goal = torch.zeros(1, 1, 1, 2), torch.tensor([[[0.9, -0.6]]])
    cost = bind(PathCost(), goal)
    proposals = propose(exact_policy, PointWorld(), z, goal, box, CONFIG)
    best = min(cost(PointWorld().rollout(z, p[None])[None]).item() for p in proposals[0])
    plan = ProposeVerifyRepair(exact_policy, box, CONFIG, repair=REPAIR).plan(
        PointWorld(), z, cost, generators=streams(1)
    )
    assert plan.cost.item() <= best
    assert plan.model_steps == (2 + 3) * 6 + (2 * 32 + 2) * 6


def test_context_reaches_the_model(delayed_world: Any, box: ActionBounds) -> None:
    line = ActionBounds(box.low[:1], box.high[:1])
    z, past, goal = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1), torch.tensor([[[1.0]]])
    plans = propose(exact_policy, delayed_world, z, goal, line, ProposalConfig(3, (2,)), past)
    # From 0, last action 1: a = 1 leads to 0.5 with gap 1 left: a = 1 leads to 1; there a = 0.
    torch.testing.assert_close(plans.flatten(), torch.tensor([1.0, 1.0, 0.0]))


def test_acceptance_is_a_quantile_by_difficulty() -> None:
    still = torch.arange(10.0)
    rule = AcceptanceRule.calibrate(still, 10 * still, quantile=1.0, num_classes=2)
    assert rule.edges.tolist() == [4.5]
    assert rule.limits.tolist() == [40, 90]
    verdict = rule.accepts(torch.tensor([2.0, 2.0, 7.0]), torch.tensor([39.0, 41.0, 41.0]))
    assert verdict.tolist() == [True, False, True]
    z = torch.tensor([[1.0], [3.0]]).view(2, 1, 1, 1)
    assert cost_of_standing_still(z, bind(PathCost(), torch.zeros(2, 1, 1)), 4).tolist() == [1, 9]


def test_mistakes_are_named(box: ActionBounds, streams: Any) -> None:
    planner = ProposeVerifyRepair(exact_policy, box, CONFIG)
    z = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ConfigError, match="Make it with `bind"):
        planner.plan(PointWorld(), z, lambda path: path.sum((-3, -2, -1)), generators=streams(1))
    with pytest.raises(ConfigError, match=r"`repair.horizon` must be that of the proposals \(6\); got 5"):
        ProposeVerifyRepair(exact_policy, box, CONFIG, repair=CEMConfig(horizon=5))
    with pytest.raises(ConfigError, match="all `gaps` must be at least 1"):
        ProposalConfig(gaps=(0,))
    with pytest.raises(ConfigError, match=r"`num_classes` must be in \[1, 3\]"):
        AcceptanceRule.calibrate(torch.zeros(3), torch.zeros(3), num_classes=4)
