from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openjepa.agent import Agent, AgentCard, ProposalConfig, ProposeVerifyRepair, load_agent, save_agent
from openjepa.agent.actor import cost_of_standing_still
from openjepa.agent.memory import DoubtfulCost
from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import PointWorld, check_planner
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.planning import CEMConfig, PathCost, bind
from openjepa.planning.costs import final
from openjepa.protocols import ActionBounds

REPAIR = CEMConfig(horizon=6, knot_steps=2, num_samples=32, num_elites=6, num_iterations=2)
ONLY_THE_POLICY = ProposalConfig(num_policy=1, num_last=0, num_wide=0)


def exact_policy(z: Tensor, z_goal: Tensor) -> Tensor:
    """The way in six equal steps, as three free actions that are held for two steps each."""
    return ((z_goal - z) * 4 / 6).expand(-1, 3, -1)


def wrong_policy(z: Tensor, z_goal: Tensor) -> Tensor:
    return -exact_policy(z, z_goal)


def half_right_policy(z: Tensor, z_goal: Tensor) -> Tensor:
    return (z_goal[..., :1] > 0).float() * 2 * exact_policy(z, z_goal) - exact_policy(z, z_goal)


def test_candidates_are_the_proposal_the_last_plan_the_middle_and_plans_around_them(
    box: ActionBounds, streams: Any
) -> None:
    planner = ProposeVerifyRepair(exact_policy, box, ProposalConfig(3, 4, 5, near_std=0.1), repair=REPAIR)
    z, goal = torch.zeros(2, 1, 1, 2), torch.tensor([[[0.75, 0.0]], [[0.0, -0.3]]])
    guess = torch.linspace(-0.4, 0.4, 24).view(2, 6, 2)
    plans = planner.candidates(z, goal, streams(2), guess)
    assert plans.shape == (2, 12, 6, 2)
    torch.testing.assert_close(plans[:, 0], torch.tensor([[[0.5, 0.0]], [[0.0, -0.2]]]).expand(-1, 6, -1))
    assert torch.equal(plans[:, 3], guess)  # to the step, although it cannot be held
    assert not plans[:, 7].any()
    assert torch.equal(plans[:, 4:, 0::2], plans[:, 4:, 1::2])
    near, wide = plans[:, 1:3] - plans[:, :1], plans[:, 8:]
    assert 0.03 < near.std() < 0.2 < wide.std()
    alone = planner.candidates(z[1:], goal[1:], streams(2)[1:], guess[1:])
    assert torch.equal(alone[0], plans[1])
    first = planner.candidates(z, goal, streams(2), None)
    assert torch.equal(first[:, 3], plans[:, 0])  # before there is a last plan, the proposal counts twice


@pytest.mark.parametrize("policy", [exact_policy, wrong_policy])
def test_keeps_the_contract(policy: Any, box: ActionBounds, disc: ActionBounds) -> None:
    for bounds in (box, disc):
        check_planner(ProposeVerifyRepair(policy, bounds, repair=REPAIR), bounds, horizon=6)


def test_keeps_the_contract_for_choices() -> None:
    bounds = ActionBounds.of_categories([2, 3])

    def always_first(z: Tensor, z_goal: Tensor) -> Tensor:
        return bounds.clip(torch.zeros(len(z), 3, 5))

    check_planner(ProposeVerifyRepair(always_first, bounds, repair=REPAIR), bounds, horizon=6)


def test_only_what_gains_too_little_is_repaired(box: ActionBounds, streams: Any) -> None:
    planner = ProposeVerifyRepair(half_right_policy, box, ONLY_THE_POLICY, repair=REPAIR)
    z, goal = torch.zeros(2, 1, 1, 2), torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])
    cost = bind(PathCost(aggregate=final), goal)
    plan = planner.plan(PointWorld(), z, cost, generators=streams(2))
    assert plan.terms["stage"].tolist() == [0, 1]
    assert plan.terms["steps"].tolist() == [6, 6 + (2 * 32 + 2) * 6]
    assert plan.model_steps == 6 + (2 * 32 + 2) * 6 // 2  # on average
    assert plan.cost[0] < 1e-8
    assert plan.cost[1] < 0.2
    for i in range(2):  # and an environment does not care about its neighbours
        alone = planner.plan(
            PointWorld(), z[i : i + 1], cost.select(torch.tensor([i])), generators=streams(2)[i : i + 1]
        )
        assert torch.equal(alone.actions[0], plan.actions[i])


def test_what_is_accepted_is_a_share_of_standing_still(box: ActionBounds, streams: Any) -> None:
    def timid(z: Tensor, z_goal: Tensor) -> Tensor:
        return exact_policy(z, z_goal) / 10  # a tenth of the way, which leaves 81 % of the squared distance

    z, cost = torch.zeros(1, 1, 1, 2), bind(PathCost(aggregate=final), torch.tensor([[[1.0, 0.0]]]))
    assert cost_of_standing_still(z, cost, 6).tolist() == [1.0]
    for gain, stage in ((0.18, 0), (0.2, 1)):
        config = ProposalConfig(1, 0, 0, accept_gain=gain)
        planner = ProposeVerifyRepair(timid, box, config, repair=REPAIR)
        plan = planner.plan(PointWorld(), z, cost, generators=streams(1))
        assert plan.terms["stage"].tolist() == [stage]


def test_a_repaired_plan_is_never_worse_than_the_proposal(disc: ActionBounds, streams: Any) -> None:
    hopeless = CEMConfig(horizon=6, num_samples=3, num_elites=2, num_iterations=1, init_std=5.0)

    def shaky(z: Tensor, z_goal: Tensor) -> Tensor:
        wobble = torch.linspace(-1, 1, 12).view(6, 2)
        return disc.clip((z_goal - z) * 4 / 6 + wobble * z_goal.norm(dim=-1, keepdim=True))

    config = ProposalConfig(1, 0, 0, accept_gain=1.0)  # nothing is accepted
    planner = ProposeVerifyRepair(shaky, disc, config, repair=hopeless)
    goal = torch.randn(50, 1, 2, generator=torch.Generator().manual_seed(0))
    z, cost = torch.zeros(50, 1, 1, 2), bind(PathCost(), goal)
    proposed = cost(PointWorld().rollout(z, shaky(z[:, 0], goal)).unsqueeze(1))[:, 0]
    plan = planner.plan(PointWorld(), z, cost, generators=streams(50))
    assert plan.terms["stage"].all()
    assert (plan.cost <= proposed).all()
    torch.testing.assert_close(plan.cost, cost(plan.z_path.unsqueeze(1))[:, 0])


def test_a_proposal_through_a_place_where_plans_failed_is_searched_around(box: ActionBounds, streams: Any) -> None:
    z, goal = torch.zeros(2, 1, 1, 2), torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    cost = bind(PathCost(aggregate=final), goal)
    still = cost_of_standing_still(z, cost, 6)
    places = torch.tensor([[[0.5, 0.0]], [[0.5, 9.0]]])  # of the second environment far away
    doubtful = DoubtfulCost(cost, still, places, torch.full((2, 1), 0.2))
    planner = ProposeVerifyRepair(exact_policy, box, ONLY_THE_POLICY, repair=REPAIR)
    plan = planner.plan(PointWorld(), z, doubtful, generators=streams(2))
    assert plan.terms["stage"].tolist() == [1, 0]
    gap = (plan.z_path[0, :, 0] - places[0]).norm(dim=-1).min()
    assert gap > 0.2
    assert plan.cost[0] < 0.7


def test_context_reaches_the_model(delayed_world: Any, box: ActionBounds, streams: Any) -> None:
    line = ActionBounds(box.low[:1], box.high[:1])
    z, past, goal = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1), torch.tensor([[[1.0]]])

    def onwards(z: Tensor, z_goal: Tensor) -> Tensor:
        return torch.ones(1, 3, 1)

    repair = CEMConfig(horizon=3, num_samples=8, num_elites=2, num_iterations=1)
    planner = ProposeVerifyRepair(onwards, line, ONLY_THE_POLICY, repair=repair)
    plan = planner.plan(delayed_world, z, bind(PathCost(), goal), generators=streams(1), context_actions=past)
    torch.testing.assert_close(plan.z_path.flatten(), torch.tensor([0.5, 1.0, 1.5]))


def test_mistakes_are_named(box: ActionBounds, streams: Any) -> None:
    z = torch.zeros(1, 1, 1, 2)
    planner = ProposeVerifyRepair(exact_policy, box, repair=REPAIR)
    with pytest.raises(ConfigError, match="Make it with `bind"):
        planner.plan(PointWorld(), z, lambda path: path.sum((-3, -2, -1)), generators=streams(1))
    other = ProposeVerifyRepair(exact_policy, box, repair=CEMConfig(horizon=5))
    with pytest.raises(ShapeError, match=r"`the policy's plan` must be .*K = 5; got"):
        other.plan(PointWorld(), z, bind(PathCost(), torch.ones(1, 1, 2)), generators=streams(1))
    with pytest.raises(ConfigError, match="`num_policy` must be at least 1"):
        ProposalConfig(num_policy=0)
    with pytest.raises(ConfigError, match="`accept_gain` in"):
        ProposalConfig(accept_gain=1.5)


def test_a_saved_actor_proposes_the_same(disc: ActionBounds, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LeWM(LeWMConfig(embed_dim=3)).eval()
    policy = GoalPolicy(1, 3, disc.with_frameskip(1), 3, GoalPolicyConfig(hidden_dim=8)).eval()
    policy.standardize.measure(torch.randn(9, 3))
    planner = ProposeVerifyRepair(policy, disc, ProposalConfig(2, 2, 1, accept_gain=0.5), repair=REPAIR)
    agent = Agent(model, planner, PathCost(), disc, frame_shape=(3, 64, 64))
    save_agent(tmp_path / "agent", agent, AgentCard(disc, (3, 64, 64)))
    again = load_agent(tmp_path / "agent")
    assert isinstance(again.planner, ProposeVerifyRepair)
    assert (again.planner.config, again.planner.repair.config) == (planner.config, REPAIR)
    frames = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    for one in (agent, again):
        one.start(frames)
    assert (agent.act(frames.flip(0)) == again.act(frames.flip(0))).all()
