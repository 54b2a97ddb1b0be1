"""Conformal p-values by hand, the exact law of false alarms, and calibrations on disk."""

import math
from itertools import combinations

import numpy as np
import pytest

from openjepa.errors import ConfigError, DataError
from openjepa.eval.plausibility.conformal import (
    Calibration,
    false_alarm_interval,
    load_calibration,
    p_values,
    threshold,
)


def test_p_values_by_hand():
    known = [3.0, 1.0, 2.0, 2.0]  # n = 4, so p is a multiple of 1 / 5
    assert p_values([0.0, 1.0, 2.0, 2.5, 3.0, 9.0], known).tolist() == [1.0, 1.0, 0.8, 0.4, 0.4, 0.2]


def test_an_exchangeable_score_alarms_at_most_at_the_level():
    # Exact: leave each of n + 1 = 20 distinct scores out in turn. At level .1 exactly 2 of 20 alarm.
    scores = np.random.default_rng(0).normal(size=20)
    p = [p_values([scores[i]], np.delete(scores, i))[0] for i in range(20)]
    assert sorted(p) == pytest.approx([i / 20 for i in range(1, 21)])
    assert sum(np.array(p) <= 0.1 + 1e-12) == 2


def test_the_threshold_agrees_with_the_p_value():
    rng = np.random.default_rng(1)
    known, new = rng.normal(size=99), rng.normal(size=500)
    for level in (0.01, 0.05, 0.1, 0.37):
        assert np.array_equal(new > threshold(known, level), p_values(new, known) <= level + 1e-12)
    assert threshold(known, 0.01) == known.max()
    assert math.isinf(threshold(known, 0.005))


def test_the_range_of_false_alarms_is_exact():
    # n = 3 calibration scores, m = 2 judged, level 1/2: alarm above the 2nd of 3. Count over all orders of 5 scores.
    counts = np.zeros(3)
    for known in combinations(range(5), 3):
        limit = sorted(known)[1]
        counts[sum(i > limit for i in range(5) if i not in known)] += 1
    law = np.cumsum(counts / counts.sum())
    for confidence in (0.2, 0.5, 0.9):
        found = false_alarm_interval(0.5, 3, 2, confidence=confidence)
        assert found.estimate == 0.5
        assert found.low == np.searchsorted(law, 0.5 - confidence / 2) / 2
        assert found.high == np.searchsorted(law, 0.5 + confidence / 2) / 2
    wide, narrow = false_alarm_interval(0.05, 99, 500), false_alarm_interval(0.05, 9999, 500)
    assert wide.high - wide.low > narrow.high - narrow.low
    assert false_alarm_interval(0.05, 10, 100).high == 0  # too few clips for any alarm


def test_a_calibration_survives_the_disk(tmp_path):
    made = Calibration((1.0, 2.0, 3.0), {"window": 5}, {"pixel difference": (1.0,)}, ((1.0, 2.0),), {"new": 0.1}, "a")
    assert load_calibration(made.save(tmp_path)) == made
    assert load_calibration(tmp_path) == made
    assert load_calibration(made.save(tmp_path / "deep" / "other.json")) == made
    assert made.p_value(2.5) == 0.5


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"must hold `calibration.json`.*--calibrate FOLDER"):
        load_calibration(tmp_path)
    (tmp_path / "calibration.json").write_text('{"scores": [1')
    with pytest.raises(DataError, match=r"is damaged .*Calibrate again\."):
        load_calibration(tmp_path)
    with pytest.raises(ConfigError, match="it is empty"):
        p_values([1.0], [])
    with pytest.raises(ConfigError, match="must be finite"):
        p_values([np.nan], [1.0])
    with pytest.raises(ConfigError, match=r"`level` must lie in \(0, 1\); got 1"):
        threshold([1.0], 1.0)
