"""A world solvable on paper: z' = z + a with probability p, z - a otherwise."""

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.heads.futures import (
    Branches,
    BranchHeads,
    FuturesConfig,
    build_futures,
    futures_loss,
    merge_branches,
    windows,
)
from openjepa.heads.futures_fitting import FuturesFitConfig, fit_futures
from openjepa.heads.futures_rollout import resample, roll_futures, roll_likely

KINDS = ("heads", "mixture", "ensemble", "variational")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def coin_world(p, episodes=400, steps=6):
    """Latents [E, T, 1, 2] and actions [E, T - 1, 1]: the first number jumps by +a or -a, the second falls by a."""
    draws = generator(1)
    actions = 0.5 + torch.rand(episodes, steps, 1, generator=draws)
    signs = torch.where(torch.rand(episodes, steps, 1, generator=draws) < p, 1.0, -1.0)
    start = torch.rand(episodes, 1, 2, generator=draws)
    moves = torch.cat([actions * signs, -actions], -1)
    z = torch.cat([start, start + moves.cumsum(1)], 1)
    return z.unsqueeze(2), actions


def fitted(p, config, steps=500):
    z, actions = coin_world(p)
    return fit_futures(z, actions, config, FuturesFitConfig(steps=steps, lr=3e-3), generator=generator())


class Coin(BranchHeads):
    """The truth, as a network: z + a with .7, z - a with .3, whatever was learned."""

    def branches(self, z, actions, noise=None):
        last, jump = z[:, -1:], actions[:, -1, :1]
        change = torch.stack([jump, -jump], 1) * torch.tensor([1.0, 0.0])
        return type(super().branches(z, actions))(last + change, torch.tensor([0.7, 0.3]).log().expand(len(z), -1))


def true_coin(min_prob=0.0):
    return Coin(FuturesConfig(num_futures=2, min_prob=min_prob), 2, 1)


@pytest.mark.parametrize("p", [0.5, 0.8])
@pytest.mark.parametrize(
    "config",
    [
        FuturesConfig("heads", num_futures=2, hidden_dim=32),
        FuturesConfig("heads", num_futures=2, hidden_dim=32, objective="energy"),
    ],
    ids=["winner", "energy"],
)
def test_the_coin_and_both_its_sides_are_recovered(p, config):
    network = fitted(p, config)
    z, a = torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[1.0]]])
    found = network.branches(z, a)
    order = found.z[0, :, 0].argsort(descending=True)
    torch.testing.assert_close(found.z[0][order], torch.tensor([[1.5, -0.8], [-0.5, -0.8]]), atol=0.15, rtol=0)
    assert float(found.log_probs.exp()[0][order[0]]) == pytest.approx(p, abs=0.05)


def test_a_mixture_states_the_coin():
    z, actions = coin_world(0.8)
    options = FuturesFitConfig(steps=500, lr=3e-3)
    config = FuturesConfig("mixture", num_futures=2, hidden_dim=32)
    network = fit_futures(z[..., :1], actions, config, options, generator=generator())
    means, _, log_probs = network.components(torch.tensor([[[0.5]]]), torch.tensor([[[1.0]]]))
    order = means[0, :, 0].argsort(descending=True)
    assert means[0, order, 0].tolist() == pytest.approx([1.5, -0.5], abs=0.15)
    assert log_probs.exp()[0, order].tolist() == pytest.approx([0.8, 0.2], abs=0.05)


def test_the_deterministic_predictor_returns_the_impossible_mean():
    network = fitted(0.5, FuturesConfig("ensemble", num_futures=1, hidden_dim=32, keep_share=1.0))
    found = network.likely(torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, -0.8]]), atol=0.15, rtol=0)  # neither +1 nor -1


def test_an_ensemble_agrees_on_the_mean_and_not_on_both_sides():
    network = fitted(0.5, FuturesConfig("ensemble", num_futures=3, hidden_dim=32), steps=300)
    found = network.branches(torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[1.0]]]))
    assert float((found.z[0, :, 0] - 0.5).abs().max()) < 0.4


def test_draws_of_the_prior_reach_both_sides():
    network = fitted(0.5, FuturesConfig("variational", num_futures=16, hidden_dim=32), steps=600)
    noise = torch.randn(64, 4, generator=generator())
    found = network.branches(torch.tensor([[[0.5, 0.2]]]), torch.tensor([[[1.0]]]), noise).z[0, :, 0]
    assert bool((found > 1.2).any())
    assert bool((found < -0.2).any())


def test_a_rare_side_gets_its_probability_once_the_heads_stand_still():
    z, actions = coin_world(0.9)
    options = FuturesFitConfig(steps=250, lr=4e-3, router_steps=150)
    network = fit_futures(z, actions, FuturesConfig(num_futures=2, hidden_dim=32), options, generator=generator())
    found = network.branches(torch.rand(20, 1, 2, generator=generator()), torch.ones(20, 1, 1))
    down = found.log_probs.exp().gather(1, found.z[..., 0].argmin(1, keepdim=True))
    assert float(down.mean()) == pytest.approx(0.1, abs=0.03)
    assert not any(p.requires_grad for p in network.parameters())


def test_guesses_that_agree_count_as_one():
    z = torch.tensor([[[0.0], [0.1], [5.0], [-0.1]]])
    found = merge_branches(Branches(z, torch.tensor([[0.2, 0.4, 0.3, 0.1]]).log()), torch.tensor(0.15))
    alive = {
        round(float(p[0]), 1): round(float(w.exp()), 3) for p, w in zip(found.z[0], found.log_probs[0], strict=True)
    }
    # .1 takes 0, its neighbour; -.1 is too far from .1 itself but near 0, whose place .1 has taken.
    assert alive[0.1] == pytest.approx(0.7)
    assert alive[5.0] == pytest.approx(0.3)
    apart = merge_branches(Branches(z, torch.tensor([[0.2, 0.4, 0.3, 0.1]]).log()), torch.tensor(0.0))
    assert sorted(apart.log_probs.exp()[0].tolist()) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_fit_on_rollouts_recovers_the_coin_too():
    z, actions = coin_world(0.8)
    options = FuturesFitConfig(steps=250, rollout=3, lr=4e-3)
    network = fit_futures(z, actions, FuturesConfig(num_futures=2, hidden_dim=32), options, generator=generator())
    path, weights = roll_futures(
        network, torch.tensor([[[0.5, 0.2]]]), torch.ones(1, 2, 1), num_futures=4, generator=generator()
    )
    ends = path[0, :, -1, 0]
    assert float(weights[0].exp()[ends > 2].sum()) == pytest.approx(0.64, abs=0.1)  # twice up: to 2.5
    assert float(weights[0].exp()[(ends - 0.5).abs() < 0.5].sum()) == pytest.approx(0.32, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_the_states(kind):
    z = torch.randn(3, 4, 2, generator=generator(), requires_grad=True)
    actions = torch.randn(3, 3, 1, generator=generator())
    network = build_futures(FuturesConfig(kind, num_futures=2), 2, 1)
    futures_loss(network, z, actions, step=0, generator=generator()).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in network.parameters())


def test_windows_repeat_the_first_state():
    z = torch.arange(3.0).view(1, 3, 1)
    past, moves = windows(z, 10 * z, 2)
    assert past[..., 0].tolist() == [[0, 0], [0, 1], [1, 2]]
    assert moves[..., 0].tolist() == [[0, 0], [0, 10], [10, 20]]


# ------------------------------------------------------------------------------------------------------------ rollouts


def test_a_small_tree_is_enumerated_with_exact_probabilities():
    z, actions = torch.tensor([[[0.0, 5.0]]]), torch.tensor([[[1.0], [1.0]]])
    path, weights = roll_futures(true_coin(), z, actions, num_futures=4, generator=generator())
    ends = {(tuple(p[:, 0].tolist()), round(float(w.exp()), 4)) for p, w in zip(path[0], weights[0], strict=True)}
    assert ends == {((1, 2), 0.49), ((1, 0), 0.21), ((-1, 0), 0.21), ((-1, -2), 0.09)}
    assert bool((path[..., 1] == 5).all())


def test_a_large_tree_keeps_its_mean():
    """Ten coins of +-1 with p = .7 have the mean 10 (2 p - 1) = 4; over many draws the particles have it, too."""
    z, actions = torch.zeros(1, 1, 2), torch.ones(1, 10, 1)
    means = []
    for seed in range(200):
        path, weights = roll_futures(true_coin(), z, actions, num_futures=16, generator=generator(seed))
        assert float(weights.exp().sum()) == pytest.approx(1.0, abs=1e-5)
        means.append(float((weights.exp() * path[:, :, -1, 0]).sum()))
    assert sum(means) / len(means) == pytest.approx(4.0, abs=0.12)
    assert torch.tensor(means).std() < 1.0  # a single draw has 10 * 4 * .7 * .3 = 8.4 ** .5 = 2.9


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rows_meet_equal_luck_and_neighbours_do_not_matter(kind):
    network = build_futures(FuturesConfig(kind, num_futures=3), 2, 1).eval()
    z = torch.randn(4, 1, 2, generator=generator())
    z[3] = z[0]
    actions = torch.randn(4, 5, 1, generator=generator())
    actions[3] = actions[0]
    path, weights = roll_futures(network, z, actions, num_futures=6, generator=generator(7))
    torch.testing.assert_close(path[0], path[3])
    torch.testing.assert_close(weights[0], weights[3])
    alone, own = roll_futures(network, z[1:2], actions[1:2], num_futures=6, generator=generator(7))
    torch.testing.assert_close(alone, path[1:2])
    torch.testing.assert_close(own, weights[1:2])
    torch.testing.assert_close(weights.exp().sum(1), torch.ones(4))


def test_the_most_probable_path_follows_the_larger_side():
    path = roll_likely(true_coin(), torch.zeros(1, 1, 2), torch.ones(1, 3, 1))
    assert path[0, :, 0].tolist() == [1, 2, 3]


def test_rare_futures_are_left_out():
    z, actions = torch.zeros(1, 1, 2), torch.ones(1, 1, 1)
    _, weights = roll_futures(true_coin(min_prob=0.31), z, actions, num_futures=2, generator=generator())
    assert weights.exp().tolist() == [[1.0, 0.0]]


def test_members_of_an_ensemble_keep_to_themselves():
    network = build_futures(FuturesConfig("ensemble", num_futures=3), 2, 1).eval()
    z, actions = torch.randn(2, 1, 2, generator=generator()), torch.randn(2, 3, 1, generator=generator())
    path, weights = roll_futures(network, z, actions, num_futures=3, generator=generator())
    state = z[:, 0]
    for t in range(3):
        state = state + network.members[1](torch.cat([state, actions[:, t]], -1))
    torch.testing.assert_close(path[:, 1, -1], state)
    torch.testing.assert_close(weights.exp(), torch.full((2, 3), 1 / 3))


def test_resampling_keeps_large_leaves_and_is_unbiased():
    weights = torch.tensor([[0.5, 0.1, 0.15, 0.05, 0.2]])
    total = torch.zeros(5)
    for i in range(1000):
        index, kept = resample(weights.log(), 3, torch.tensor((i + 0.5) / 1000))
        assert index.shape == (1, 3)
        assert index[0].unique().numel() == 3
        total[index[0]] += kept[0].exp()
    torch.testing.assert_close(total / 1000, weights[0], atol=2e-3, rtol=0)


def test_resampling_leaves_few_leaves_alone():
    weights = torch.tensor([[0.75, 0.0, 0.25, 0.0]])
    index, kept = resample(weights.log(), 3, torch.tensor(0.4))
    alive = dict(zip(index[0].tolist(), kept[0].exp().tolist(), strict=True))
    assert alive[0] == pytest.approx(0.75)
    assert alive[2] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "head"}, "`kind` must be one of heads, mixture, ensemble, variational"),
        ({"num_futures": 0}, "must be at least 1"),
        ({"min_prob": 0.5}, r"`min_prob` must be in \[0, 1 / `num_futures`\)"),
        ({"keep_share": 0.0}, "`keep_share` in"),
        ({"weight": 0.0}, "`weight` > 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FuturesConfig(**options)
