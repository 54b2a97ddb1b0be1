import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, DataError
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig, attentive_probe
from openjepa.eval.probing.linear_probe import LinearProbeConfig, LogisticProbe, choose_rows, linear_probe


def blobs(count, generator, spread=1.0):
    """Four Gaussian classes on the corners of a square in 6-D, which two independent signs tell apart."""
    labels = torch.randint(4, (count,), generator=generator)
    centres = torch.zeros(4, 6)
    centres[:, :2] = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    return centres[labels] + spread * torch.randn(count, 6, generator=generator), labels


def test_the_optimum_is_where_the_gradient_vanishes():
    generator = torch.Generator().manual_seed(0)
    x, labels = blobs(200, generator)
    probe = LogisticProbe(x, labels, penalty=1e-2)
    # By hand: d/dW = X^T (softmax - onehot) / N + 2 p W, d/db = mean(softmax - onehot).
    features = probe.scaler(x)
    error = (features @ probe.weight + probe.bias).softmax(1) - torch.nn.functional.one_hot(labels, 4)
    gradient = features.T @ error / 200 + 2e-2 * probe.weight
    assert gradient.abs().max() < 1e-5
    assert error.mean(0).abs().max() < 1e-5


def test_two_classes_on_a_line_by_hand():
    # With the penalty p, labels +-1 and x = +-1 standardised, w1 = -w0 = w solves sigma(-2 w) = 2 p w.
    x, labels = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    probe = LogisticProbe(x, labels, penalty=0.05)
    w = float(probe.weight[0, 1])
    assert 1 / (1 + np.exp(2 * w)) == pytest.approx(2 * 0.05 * w, abs=1e-5)
    assert float(probe.weight[0, 0]) == pytest.approx(-w, abs=1e-5)


def test_the_score_comes_near_the_bayes_rate():
    generator = torch.Generator().manual_seed(1)
    scores = linear_probe(*blobs(2000, generator, 0.5), *blobs(4000, generator, 0.5))
    bayes = (0.5 * (1 + torch.erf(torch.tensor(2 / 2**0.5)))) ** 2  # each sign is 2 deviations away
    assert scores.accuracy == pytest.approx(float(bayes), abs=0.015)
    assert scores.best_on_test >= scores.accuracy
    assert scores.rows == 2000


def test_few_labels_are_drawn_by_class():
    generator = torch.Generator().manual_seed(2)
    labels = torch.tensor([0] * 300 + [1] * 100 + [2] * 5)
    rows = choose_rows(labels, shots=3, generator=generator)
    assert torch.bincount(labels[rows]).tolist() == [3, 3, 3]
    assert (rows.diff() > 0).all()
    rows = choose_rows(labels, share=0.01, generator=generator)
    assert torch.bincount(labels[rows]).tolist() == [3, 1, 1]
    assert len(choose_rows(labels, generator=generator)) == 405
    with pytest.raises(DataError, match="`shots` must be at most the 5 rows of class 2; got 6"):
        choose_rows(labels, shots=6, generator=generator)


def test_few_labels_are_used():
    generator = torch.Generator().manual_seed(3)
    train, test = blobs(400, generator, 0.3), blobs(400, generator, 0.3)
    scores = linear_probe(*train, *test, LinearProbeConfig(shots=5))
    assert scores.rows == 20
    assert scores.accuracy > 0.7  # chance is 0.25


def test_an_attentive_probe_finds_what_the_mean_hides():
    """The class is the sign of one token that a marker singles out; the mean blurs it."""
    generator = torch.Generator().manual_seed(4)

    def data(count):
        tokens = torch.randn(count, 5, 8, generator=generator)
        tokens[..., 0] = 0
        place = torch.randint(5, (count,), generator=generator)
        labels = (tokens[torch.arange(count), place, 1] > 0).long()
        tokens[torch.arange(count), place, 0] = 4
        return tokens, labels

    (x, y), (test_x, test_y) = data(600), data(300)
    config = AttentiveTrainConfig(
        learning_rates=(1e-6, 1e-2), weight_decays=(0.01,), epochs=25, batch_size=64, depth=1, num_heads=2
    )
    scores = attentive_probe(x, y, test_x, test_y, config)
    mean = linear_probe(x.mean(1), y, test_x.mean(1), test_y)
    assert mean.accuracy < 0.8
    assert scores.accuracy > 0.9
    assert scores.learning_rate == 1e-2  # the other head has hardly moved
    assert len(scores.heads) == 2
    assert scores.best_on_test == max(head[3] for head in scores.heads)
    again = attentive_probe(x, y, test_x, test_y, config)
    assert again.heads == scores.heads


def test_the_published_grid_has_twenty_heads():
    config = AttentiveTrainConfig()
    assert len(config.learning_rates) * len(config.weight_decays) == 20
    assert (config.epochs, config.depth, config.num_heads) == (20, 4, 16)


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"`shots` must be >= 1, and `share` None beside it; got 3 and 0.1"):
        LinearProbeConfig(shots=3, share=0.1)
    with pytest.raises(ConfigError, match=r"`share` must lie in \(0, 1\]; got 2"):
        LinearProbeConfig(share=2)
    with pytest.raises(ConfigError, match="`learning_rates` must be positive numbers"):
        AttentiveTrainConfig(learning_rates=())
