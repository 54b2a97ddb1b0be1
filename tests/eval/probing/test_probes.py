import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.eval.probing.probes import (
    MLPProbe,
    ProbeConfig,
    RidgeProbe,
    r2,
    r2_within,
    score_probes,
    split_episodes,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_ridge_agrees_with_numpy_least_squares():
    x = torch.randn(200, 5, generator=generator()) * torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0])
    y = x @ torch.randn(5, 2, generator=generator(1)) + 4
    probe = RidgeProbe(x, y, ridge=1e-12)
    design = np.concatenate([x.numpy(), np.ones((200, 1))], 1)
    weight, *_ = np.linalg.lstsq(design, y.numpy(), rcond=None)
    torch.testing.assert_close(probe(x), torch.from_numpy(design @ weight).float(), atol=1e-4, rtol=1e-4)


def test_a_large_penalty_reads_out_the_mean():
    x, y = torch.randn(50, 3, generator=generator()), torch.randn(50, 1, generator=generator(1))
    torch.testing.assert_close(RidgeProbe(x, y, ridge=1e9)(x), y.mean().expand(50, 1), atol=1e-6, rtol=0)


def test_rounding_is_not_read_out():
    # A constant latent whose only variation is below float32 resolution holds no information.
    y = torch.randn(100, 1, generator=generator())
    probe = RidgeProbe(1 + 1e-8 * y.double().repeat(1, 4), y)
    assert r2(probe(1 + 1e-8 * y.double().repeat(1, 4)), y)[0] == pytest.approx(0, abs=1e-6)


def test_the_mlp_reads_what_a_line_cannot():
    z = torch.rand(40, 20, 2, generator=generator()) * 2 - 1
    target = (z[..., :1] * z[..., 1:]).contiguous()
    scores = score_probes(z, target, ProbeConfig(mlp_steps=600))
    assert scores.linear[0] < 0.1
    assert scores.mlp[0] > 0.95
    assert scores.best() == scores.mlp[0]


def test_r2_by_hand():
    target = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
    assert r2(target, target) == (1.0, None)  # the second target is constant
    assert r2(torch.tensor([[1.0, 5.0], [1.0, 5.0]]), target) == (0.0, None)
    assert r2(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), target)[0] == pytest.approx(0.5)


def test_within_r2_ignores_what_only_tells_episodes_apart():
    mean = torch.tensor([10.0, -10.0]).view(2, 1, 1)
    walk = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1)
    target = mean + walk
    only_mean = mean.expand(2, 3, 1)
    assert r2(only_mean, target)[0] > 0.99
    assert r2_within(only_mean, target) == (0.0,)
    assert r2_within(target - mean, target) == (1.0,)
    assert r2_within(target, only_mean) == (None,)


def test_episodes_are_split_without_overlap_and_by_the_seed():
    train, test = split_episodes(10, ProbeConfig(test_share=0.3))
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(10))
    assert len(test) == 3
    assert split_episodes(10, ProbeConfig(seed=1))[1].tolist() != test.tolist()
    with pytest.raises(ConfigError, match="at least 2 episodes to split; got 1"):
        split_episodes(1, ProbeConfig())


def test_probes_are_a_function_of_the_seed():
    x, y = torch.randn(64, 3, generator=generator()), torch.randn(64, 2, generator=generator(1))
    config = ProbeConfig(mlp_steps=20, seed=5)
    torch.manual_seed(0)
    first = MLPProbe(x, y, config)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(MLPProbe(x, y, config)(x), first, rtol=0, atol=0)


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match=r"`test_share` must lie in \(0, 1\); got 1"):
        ProbeConfig(test_share=1)


def test_fewer_rows_than_columns_give_the_same_ridge():
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 20, generator=generator), torch.randn(12, 2, generator=generator)
    found = RidgeProbe(x, y, ridge=0.1)
    features = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    gram = features.T @ features + 0.1 * 12 * np.eye(20)
    wanted = np.linalg.solve(gram, features.T @ (y - y.mean(0)).double().numpy())
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-6)
