from dataclasses import replace

import numpy as np
import pytest

from openjepa.config import override
from openjepa.envs.fork import FORK, ForkConfig
from openjepa.errors import ConfigError
from openjepa.studies.fork.clips import draw_clips, play
from openjepa.studies.fork.study import FORK_RECIPE, ForkJudgeConfig, fork, judge
from openjepa.train import train

TOY = {
    **FORK_RECIPE.toy,
    "play.episodes": 40,
    "train.steps": 2,
    "train.warmup_steps": 0,
    "train.checkpoint_every": 2,
    "judge.clips": 12,
    "judge.examples": 2,
    "judge.fit.steps": 3,
}


def test_the_judged_clips_stand_before_the_fork_and_show_every_way():
    config = ForkConfig(2, 0.8)
    clips = draw_clips(config, 40, seed=7, examples=3)
    assert clips.actions.shape == (40, 2, 4)
    assert clips.outcomes.shape == (40, 2, 3, 3, 64, 64)
    red = (clips.outcomes[..., 0, :, :].astype(int) - clips.outcomes[..., 1, :, :]) > 100
    height = np.where(red.any((-2, -1)), (red * np.arange(64)[:, None]).sum((-2, -1)) / red.sum((-2, -1)), np.nan)
    assert (height[:, 0] < 32 - 3).all()  # up
    assert (height[:, 1] > 32 + 3).all()  # down
    here = (clips.frames[:, 0].astype(int) - clips.frames[:, 1]) > 100
    x = (here * np.arange(64)).sum((1, 2)) / here.sum((1, 2))
    assert (x < FORK[0]).all()
    assert (x > FORK[0] - 4).all()  # the next step decides
    # What happened is one of the ways, with the stated share.
    assert (clips.way == 0).mean() == pytest.approx(0.8, abs=0.2)


def test_playing_the_same_state_gives_the_same_end():
    states = np.array([[26.0, 32, -1, 0, 3]], np.float32)
    actions = np.zeros((1, 8, 1), np.float32)
    assert np.array_equal(play(ForkConfig(), states, actions)[0], play(ForkConfig(), states, actions)[0])


def test_a_run_is_judged_for_every_kind_and_probability(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = override(fork(), TOY)
    experiment = FORK_RECIPE.build(config)
    train(experiment.method, experiment.source, config.train, tmp_path / "run")
    results = judge(config, tmp_path / "run")
    assert set(results) == {"p=0.5", "p=0.8", "untrained encoder"}
    assert set(results["p=0.8"]) == set(config.judge.kinds)
    for name in ("fork.png", "reliability.png"):
        assert (tmp_path / "run" / name).stat().st_size > 10_000
    for report in results["p=0.8"].values():
        assert report["cases"] == 12
        assert 0 <= report["coverage"] <= 1
    three = replace(config, judge=replace(config.judge, ways=3, probabilities=(0.4,), kinds=("heads of 4",)))
    assert set(judge(three, tmp_path / "run")["p=0.4"]) == {"deterministic", "heads of 4"}


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="`kinds` must be some of deterministic"):
        ForkJudgeConfig(kinds=("hads",))
    with pytest.raises(ConfigError, match="`stride` must be 1, 2, 4 or 8; got 3"):
        ForkJudgeConfig(stride=3)
