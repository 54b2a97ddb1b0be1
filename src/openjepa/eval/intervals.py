"""Intervals that say how far a measured number can be trusted.

A proportion gets Wilson's interval (Wilson 1927), which stays inside [0, 1] and does not shrink to a point
at 0 or 100 %. A difference measured on the same pairs gets a paired bootstrap; samples that share a scene,
an episode or a seed are resampled together (cluster bootstrap), because frames of one episode are not
independent samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from openjepa.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval around it.

    Attributes:
        estimate: what was measured.
        low: lower end.
        high: upper end.
        confidence: share of repetitions of which such an interval covers the truth, in (0, 1).
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.95

    def percent(self) -> str:
        """Returns the interval of a proportion in words.

        >>> wilson(48, 50).percent()
        '96.0 % [86.5, 98.9]'
        """
        return f"{100 * self.estimate:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Returns Wilson's score interval of a proportion.

    Args:
        successes: 0 to `trials`.
        trials: at least 1; the number of independent trials.
        confidence: in (0, 1).

    >>> round(wilson(200, 200).low, 3)
    0.981
    """
    _check_confidence(confidence)
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(
            f"`successes` must lie between 0 and `trials` >= 1; got {successes} of {trials}. "
            "An empty evaluation has no success rate."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    denominator = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / denominator
    half = z / denominator * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 100 % the matching end is exact; rounding must not move it past the estimate.
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == trials else float(centre + half)
    return Interval(share, low, high, confidence)


def paired_bootstrap(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """Returns the percentile interval of `mean(first - second)`, resampling pairs.

    Args:
        first: [N] outcomes of one method on N pairs (bool or float).
        second: [N] outcomes of the other method on the same pairs, in the same order.
        seed: of the resampling.
        resamples: number of bootstrap samples.
        confidence: in (0, 1).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ShapeError(
            f"`first` and `second` must be [N], with one N; got {list(a.shape)} and {list(b.shape)}. "
            "Judge both methods on the same pairs."
        )
    return cluster_bootstrap(a - b, np.arange(len(a)), seed=seed, resamples=resamples, confidence=confidence)


def cluster_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[int] | np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """Returns the percentile interval of the mean, resampling whole clusters with replacement.

    Args:
        values: [N] measurements.
        clusters: [N] the scene, episode or seed that each measurement belongs to.
        seed: of the resampling.
        resamples: number of bootstrap samples.
        confidence: in (0, 1).
    """
    _check_confidence(confidence)
    x, groups = np.asarray(values, np.float64), np.asarray(clusters)
    if x.shape != groups.shape or x.ndim != 1 or not len(x):
        raise ShapeError(
            f"`values` and `clusters` must be [N] with the same N >= 1; got {list(x.shape)} and {list(groups.shape)}."
        )
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=x)
    counts = np.bincount(index).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 2_000_000 // len(sums))  # bounds memory: [rows, clusters] at a time
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        draw = rng.integers(0, len(sums), (stop - start, len(sums)))
        means[start:stop] = sums[draw].sum(1) / counts[draw].sum(1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(x.mean()), float(low), float(high), confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"`confidence` must lie in (0, 1); got {confidence}.")
