"""Judging with a stub whose energies are known: a jump is found, pairs are counted, p-values are right."""

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, DataError
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import Judge
from openjepa.eval.plausibility.surprise import (
    TINTED,
    calibrate,
    clip_scores,
    is_pair_right,
    judge,
    judge_pairs,
    pair_scores,
    tint_light,
)
from openjepa.eval.plausibility.surprise_figures import draw_verdicts, strip_frames


class Stub(Judge):
    """Foretells that the red channel of the first pixel stays; energy is how far it moved."""

    name, window, size, rows = "model", 2, 4, ("1 ahead", "2 ahead")

    def positions(self, length):
        if length < 2:
            raise DataError("too short")
        return np.arange(1, length)

    def energies(self, clips):
        values = torch.as_tensor(clips)[:, :, 0, 0, 0].double().numpy()
        one = np.abs(np.diff(values, axis=1))
        two = np.full_like(one, np.nan)
        two[:, 1:] = np.abs(values[:, 2:] - values[:, :-2])
        return np.stack([one, two], 1)

    def untrained(self, seed):
        return Blind(seed)


class Blind(Stub):
    """Sees nothing: the same energy for every clip, apart from its length."""

    def __init__(self, seed):
        self.name = f"untrained {seed}"

    def energies(self, clips):
        return np.ones((len(clips), 2, clips.shape[1] - 1))


def clip(*values):
    out = np.zeros((len(values), 3, 4, 4), np.uint8)
    out[:, 0, 0, 0] = values
    return out


def test_scores_of_a_known_jump():
    video = clip(0, 1, 2, 12, 13)
    # one ahead: 1 1 10 1; two ahead: - 2 11 11; their mean: 1 1.5 10.5 6
    assert clip_scores(Stub(), video[None])[0] == 10.5
    assert pair_scores(Stub(), video[None])[0] == pytest.approx((1 + 1.5 + 10.5 + 6) / 4)


def test_a_jump_is_named_and_calibrated():
    ordinary = [clip(*range(0, 5 * s, s)) for s in (1, 2, 3, 4)]  # steady motion; scores 1.5 times the speed
    calibration = calibrate(Stub(), ordinary, networks=3, source="stub")
    assert sorted(calibration.scores) == [1.5, 3.0, 4.5, 6.0]
    assert calibration.protocol == {"window": 2, "rows": ["1 ahead", "2 ahead"], "length": 5}
    assert set(calibration.controls) == {"pixel difference"}
    assert len(calibration.untrained) == 3
    verdict = judge(Stub(), clip(0, 1, 2, 12, 13), calibration, level=0.2, untrained=[Blind(s) for s in range(3)])
    assert verdict.p_value == 1 / 5
    assert verdict.is_surprising
    assert verdict.moment == 3
    assert verdict.untrained == (1.0, 1.0, 1.0)
    assert "SURPRISING, p = 0.2 (highest energy 10.5 at frame 3)" in verdict.text()
    assert "0 of 3 raise an alarm" in verdict.text()
    assert verdict.as_json()["rows"]["2 ahead"][0] is None
    calm = judge(Stub(), clip(0, 1, 2, 3, 4), calibration, level=0.2)
    assert calm.p_value == 1.0
    with pytest.raises(ConfigError, match=r"`level` must be in \[0.2, 1\) with 4 calibration clips; got 0.05"):
        judge(Stub(), clip(0, 1, 2, 3, 4), calibration)


def test_clips_of_other_lengths_are_not_padded():
    lengths = [clip(0, 9, 0), clip(0, 9, 0, 0, 0, 0), clip(0, 3)]
    assert sorted(calibrate(Stub(), lengths, networks=0).scores) == [3.0, 9.0, 9.0]


def test_the_tinted_clip_keeps_what_happens():
    video = np.random.default_rng(0).integers(0, 255, (2, 6, 3, 4, 4), np.uint8)
    out = tint_light(video)
    assert np.array_equal(out[:, :3], video[:, :3])
    assert np.array_equal(out[:, 3:, 0], video[:, 3:, 0])
    assert np.array_equal(out[:, 3:, 2], np.rint(video[:, 3:, 2] * 0.65))
    steady = Calibration((1.0,) * 20, alarms={TINTED: 0.0})
    assert judge(Stub(), clip(0, 0, 0, 0), steady).tinted == 1.0  # the stub looks at red only


def test_pairs_are_counted_by_group_and_resampled_by_scene():
    assert is_pair_right(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])).tolist() == [1.0, 0.5, 0.0]
    calm, jump = clip(0, 0, 0, 0), clip(0, 0, 9, 9)
    pairs = [(calm, jump, "a", 0), (calm, jump, "a", 0), (jump, calm, "b", 1), (calm, clip(0, 5), "b", 2)]
    result = judge_pairs(Stub(), pairs, networks=2)
    assert result.accuracy["a"].estimate == 1
    assert result.accuracy["b"].estimate == 0.5
    assert result.accuracy["all"].estimate == 0.75
    assert result.pairs == {"a": 2, "b": 2, "all": 4}
    assert result.untrained["all"] == (0.5, 0.0)
    assert result.controls["pixel difference"]["a"].estimate == 1
    with pytest.raises(DataError, match="at least one matched pair"):
        judge_pairs(Stub(), [])


def test_the_picture_shows_every_clip():
    calibration = Calibration((1.0, 2.0, 3.0, 4.0))
    clips = [clip(0, 1, 2, 12, 13), clip(0, 1, 2, 3, 4)]
    verdicts = [judge(Stub(), c, calibration, level=0.2, keep=strip_frames(5)) for c in clips]
    figure = draw_verdicts(verdicts, calibration)
    assert len(figure.axes) == 2
    assert "surprising" in figure.axes[0].get_title(loc="left")
    assert "plausible" in figure.axes[1].get_title(loc="left")
