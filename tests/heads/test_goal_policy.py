import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig, fit_goal_policy, gap_features


def episodes() -> tuple[torch.Tensor, torch.Tensor]:
    """Points that each go one way at constant speed: latents [E, T, 1, 2] and actions [E, T - 1, 2]."""
    generator = torch.Generator().manual_seed(0)
    velocity = torch.rand(300, 1, 2, generator=generator) * 2 - 1
    actions = velocity.expand(-1, 15, -1)
    start = torch.rand(300, 1, 2, generator=generator) * 2 - 1
    return torch.cat([start, start + actions.cumsum(1) / 4], 1).unsqueeze(2), actions


def test_inverse_dynamics_is_displacement_over_time() -> None:
    latents, actions = episodes()
    config = GoalPolicyConfig(max_gap=10, steps=300, hidden_dim=64, lr=3e-3)
    policy = fit_goal_policy(latents, actions, config, generator=torch.Generator().manual_seed(0))
    z, goal = torch.zeros(1, 1, 2), torch.tensor([[[0.5, -0.25]]])
    for gap in (4, 8):
        action = policy(z, goal, torch.tensor([gap]))
        torch.testing.assert_close(action, goal[:, 0] * 4 / gap, atol=0.1, rtol=0)


def test_cloning_does_not_see_the_gap() -> None:
    latents, actions = episodes()
    config = GoalPolicyConfig(max_gap=10, steps=100, hidden_dim=32, sees_gap=False, dropout=0.1)
    policy = fit_goal_policy(latents, actions, config, generator=torch.Generator().manual_seed(0))
    z, goal = torch.zeros(1, 1, 2), torch.tensor([[[0.8, -0.8]]])
    action = policy(z, goal, torch.tensor([1]))
    assert torch.equal(action, policy(z, goal, torch.tensor([9])))
    assert action[0, 0] > 0.1
    assert action[0, 1] < -0.1
    again = fit_goal_policy(latents, actions, config, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(z, goal, torch.tensor([1])), action)


def test_untrained_policy_gives_about_the_mean_action_and_broadcasts() -> None:
    policy = GoalPolicy(2, 3, 4)
    policy.action_scale.measure(torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) + 7)
    action = policy(torch.zeros(5, 1, 2, 3), torch.zeros(1, 6, 2, 3), torch.ones(5, 6))
    assert action.shape == (5, 6, 4)
    assert (action - 7).abs().max() < 1


def test_gap_features_tell_neighbouring_gaps_apart() -> None:
    features = gap_features(torch.arange(1, 31) / 30)
    assert features.shape == (30, 32)
    assert torch.cdist(features, features).fill_diagonal_(9).min() > 0.5


def test_mistakes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"`actions` must be"):
        fit_goal_policy(torch.zeros(2, 5, 1, 2), torch.zeros(2, 5, 1), generator=torch.Generator())
    with pytest.raises(ConfigError, match="`hidden_dim` must be even"):
        GoalPolicyConfig(hidden_dim=5)
