from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.eval.health.conformance import PointWorld
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig, fit_goal_policy, imitate_play
from openjepa.planning.costs import PathCost
from openjepa.protocols import ActionBounds

CONFIG = GoalPolicyConfig(max_gap=4, steps=200, hidden_dim=64, lr=5e-3)


def positions() -> Tensor:
    """Points that jump about: latents [E, T, 1, 2] that no recorded action explains."""
    return torch.rand(200, 5, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_learns_the_plan_of_least_cost_without_an_example_of_it(disc: ActionBounds) -> None:
    policy = fit_goal_policy(PointWorld(), PathCost(), positions(), disc, CONFIG, horizon=3, generator=seed())
    now = torch.tensor([[[0.1, 0.0]], [[-0.2, 0.1]]])
    goal = torch.tensor([[[0.2, -0.1]], [[0.2, 0.1]]])
    plan = policy(now, goal)
    assert plan.shape == (2, 3, 2)
    # The first goal is 0.14 away, less than the 0.25 of a step: there at once, then rest. The second takes two steps.
    expected = torch.tensor([[[0.4, -0.4], [0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.6, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(plan, expected, atol=0.15, rtol=0)
    assert (plan.norm(dim=-1) <= 1 + 1e-5).all()


def test_a_free_action_is_held_to_the_end_of_the_horizon(box: ActionBounds) -> None:
    policy = fit_goal_policy(
        PointWorld(), PathCost(), positions(), box, CONFIG, horizon=3, knot_steps=2, generator=seed()
    )
    plan = policy(torch.zeros(1, 1, 2), torch.tensor([[[0.3, 0.0]]]))
    assert plan.shape == (1, 2, 2)
    # Two steps of a, then one of b: a / 4, a / 2, a / 2 + b / 4 are nearest to 0.3 for a = 0.72, b = -0.24.
    torch.testing.assert_close(plan[0, :, 0], torch.tensor([0.72, -0.24]), atol=0.15, rtol=0)


def test_choices_are_learned_through_their_probabilities() -> None:
    switch = ActionBounds.of_categories([2])

    class Line:
        """The first choice leads down, the second up."""

        def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
            raise NotImplementedError

        def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
            return z + (actions[..., 1] - actions[..., 0]).cumsum(1)[..., None, None] / 4

    policy = fit_goal_policy(Line(), PathCost(), positions()[..., :1], switch, CONFIG, horizon=2, generator=seed())
    far = torch.tensor([[[0.27]], [[-0.27]]])
    plan = policy(-far, far)
    assert plan.tolist() == [[[0, 1], [0, 1]], [[1, 0], [1, 0]]]


def test_nothing_else_learns_and_equal_streams_give_equal_policies(box: ActionBounds) -> None:
    class Learnable(PointWorld, torch.nn.Module):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.step = torch.nn.Parameter(torch.tensor(0.25))

        def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
            return z + actions.cumsum(1).unsqueeze(2) * self.step

    model = Learnable()

    def fitted(number: int) -> Tensor:
        few = GoalPolicyConfig(max_gap=4, steps=3, hidden_dim=8)
        policy = fit_goal_policy(model, PathCost(), positions(), box, few, horizon=2, generator=seed(number))
        assert not any(p.requires_grad for p in policy.parameters())
        return policy(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))

    assert torch.equal(fitted(0), fitted(0))
    assert not torch.equal(fitted(0), fitted(1))
    assert model.step.grad is None


def test_states_beyond_an_episode_are_never_seen(box: ActionBounds) -> None:
    latents, few = positions(), GoalPolicyConfig(max_gap=4, steps=3, hidden_dim=8)
    lengths = torch.full((200,), 3)

    def fitted(padded: Callable[[Tensor], Tensor]) -> Tensor:
        changed = latents.clone()
        changed[:, 3:] = padded(changed[:, 3:])
        found = fit_goal_policy(
            PointWorld(), PathCost(), changed, box, few, horizon=2, generator=seed(), lengths=lengths
        )
        return found(torch.zeros(1, 1, 2), torch.ones(1, 1, 2))

    assert torch.equal(fitted(torch.zeros_like), fitted(lambda z: z + 100))
    with pytest.raises(DataError, match="every episode must have from 2 to 5 states"):
        fit_goal_policy(PointWorld(), PathCost(), latents, box, horizon=2, generator=seed(), lengths=lengths - 2)


def test_broadcasts_and_stays_in_lopsided_bounds() -> None:
    bounds = ActionBounds([-1.0, 5.0], [0.0, 9.0])
    policy = GoalPolicy(2, 3, bounds, 4)
    plan = policy(torch.randn(5, 1, 2, 3, generator=seed()), torch.zeros(1, 6, 2, 3))
    assert plan.shape == (5, 6, 4, 2)
    assert torch.equal(bounds.clip(plan), plan)
    policy.net[-1].bias.data.fill_(20)  # type: ignore[union-attr, operator]
    torch.testing.assert_close(policy(torch.zeros(2, 3), torch.zeros(2, 3))[0], torch.tensor([0.0, 9.0]))


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="`batch_size` and `steps` must be at least 1 and `lr` above 0"):
        GoalPolicyConfig(steps=0)


def walks(second: float) -> tuple[Tensor, Tensor]:
    """Points [E, 3, 1, 2] that go 0.25 a, then `second` times that: each action a leads there, whatever its aim was."""
    actions = torch.rand(300, 1, 2, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.6
    actions = torch.cat([actions, second * actions], 1)
    start = positions()[torch.arange(300) % 200, :1, 0]
    return torch.cat([start, start + 0.25 * actions.cumsum(1)], 1).unsqueeze(2), actions


def test_play_is_imitated_as_if_every_later_moment_had_been_its_goal(box: ActionBounds) -> None:
    latents, actions = walks(1.0)
    config = GoalPolicyConfig(max_gap=1, steps=400, hidden_dim=64, lr=5e-3)
    policy = imitate_play(latents, actions, box, config, horizon=1, generator=seed())
    plan = policy(torch.zeros(1, 1, 2), torch.tensor([[[0.1, -0.05]]]))
    torch.testing.assert_close(plan, torch.tensor([[[0.4, -0.2]]]), atol=0.05, rtol=0)


def test_what_was_done_after_the_goal_is_not_the_way_to_it(box: ActionBounds) -> None:
    """Goals one step ahead in plans of one knot of two steps: the second step, the other way, must not count."""
    latents, actions = walks(-1.0)
    config = GoalPolicyConfig(max_gap=1, steps=400, hidden_dim=64, lr=5e-3)
    policy = imitate_play(latents, actions, box, config, horizon=2, knot_steps=2, generator=seed())
    plan = policy(torch.zeros(1, 1, 2), torch.tensor([[[0.1, 0.0]]]))
    torch.testing.assert_close(plan, torch.tensor([[[0.4, 0.0]]]), atol=0.05, rtol=0)


def test_play_of_another_shape_is_refused(box: ActionBounds) -> None:
    with pytest.raises(ShapeError, match="actions"):
        imitate_play(*walks(1.0)[:1], torch.zeros(300, 1, 2), box, CONFIG, horizon=2, generator=seed())
