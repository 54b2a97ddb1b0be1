import numpy as np
import pytest

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.intervals import Interval, cluster_bootstrap, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (48, 50, 86.5, 98.9),
        (37, 50, 60.4, 84.1),
        (96, 100, 90.2, 98.4),
        (50, 50, 92.9, 100),
        (0, 10, 0, 27.8),
    ],
)
def test_wilson_gives_the_published_intervals(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.estimate == successes / trials
    assert (100 * interval.low, 100 * interval.high) == pytest.approx((low, high), abs=0.05)


def test_wilson_solves_its_quadratic():
    # Both ends p satisfy (share - p)^2 = z^2 p (1 - p) / n.
    interval = wilson(7, 20, confidence=0.9)
    z = 1.6448536269514722
    for p in (interval.low, interval.high):
        assert (0.35 - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / 20)


def test_a_constant_difference_has_no_width():
    first = np.array([1.0, 0.0, 1.0, 1.0])
    assert paired_bootstrap(first, first - 0.25) == Interval(0.25, 0.25, 0.25)


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval():
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    interval = paired_bootstrap(values, np.zeros(400), seed=1)
    half = 1.96 * values.std() / 20
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_copies_within_a_cluster_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=30)
    once = cluster_bootstrap(values, np.arange(30), seed=3)
    copied = cluster_bootstrap(values.repeat(50), np.arange(30).repeat(50), seed=3)
    naive = cluster_bootstrap(values.repeat(50), np.arange(1500), seed=3)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.3 * (copied.high - copied.low)


def test_two_clusters_give_their_four_resamples():
    # Resampled means are 0, 1/2 (twice as often) and 1; the 2.5 % quantiles are the extremes.
    interval = cluster_bootstrap([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1])
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(arguments):
    with pytest.raises(ConfigError, match="`successes` must lie between 0 and `trials` >= 1"):
        wilson(*arguments)


def test_methods_must_be_judged_on_the_same_pairs():
    with pytest.raises(ShapeError, match=r"got \[3\] and \[2\]. Judge both methods on the same pairs"):
        paired_bootstrap([1, 0, 1], [1, 0])
    with pytest.raises(ConfigError, match=r"`confidence` must lie in \(0, 1\); got 95"):
        wilson(1, 2, confidence=95)


def test_an_interval_in_words():
    assert wilson(197, 200).percent() == "98.5 % [95.7, 99.5]"
