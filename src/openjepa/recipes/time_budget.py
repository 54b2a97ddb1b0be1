"""How much training fits into a number of minutes: `openjepa train WORLD --minutes N`.

A little of the training and of every fit is done and timed, on the data themselves. What comes out is a number of steps
for each, which the run keeps; so a run that was stopped goes on to the same weights, on a faster machine too.
"""

import contextlib
import io
import math
import tempfile
import time
from dataclasses import replace
from typing import TypeVar

import torch

from openjepa.eval.health.collapse import encode_episodes
from openjepa.methods.lewm import LeWM
from openjepa.methods.memory import CONTEXT
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes import Experiment
from openjepa.recipes.acting import WorldModelConfig, fit_to_act
from openjepa.recipes.remembered_play import BEGINNINGS, Memory
from openjepa.recipes.world_model import build
from openjepa.train import train
from openjepa.train.log import read_metrics

FEWEST, MOST = 0.1, 10.0  # share of the usual steps; less learns nothing, and more hardly pays
WARM_STEPS, TIMED_STEPS = 4, 12  # of the training; the first ones are slow
PART = 25  # one of so many steps of a fit is timed
CLIPS = 60  # that the timed fits learn from
SPARE = 0.9  # share of the time that is given away: pages are written, and the doctor looks at the run

Timed = TypeVar("Timed", bound=WorldModelConfig)


def share_of_steps(config: WorldModelConfig, seconds: float) -> float:
    """By what the usual steps must be multiplied to take so long, within `FEWEST` and `MOST`, to two digits.

    Args:
        config: with the usual steps of the training and of every fit.
        seconds: of wall-clock time that all of them may take together; where none is left, the fewest steps are taken.
    """
    experiment = build(config)
    step = _training_step(experiment, config)
    memory, frame = _remembered(experiment, config)
    without_map = replace(config, act=replace(config.act, landmarks=None))
    began = time.perf_counter()
    fit_to_act(experiment.method, memory, with_share(without_map, 1 / PART))
    usual = config.train.steps * step + PART * (time.perf_counter() - began)
    skip = config.frameskip
    frames = int(experiment.source.lengths.sum()) * min(skip, BEGINNINGS) / skip  # type: ignore[attr-defined]
    share = (SPARE * seconds - frames * frame) / usual
    return float(f"{min(MOST, max(FEWEST, share)):.2g}")


def with_share(config: Timed, share: float) -> Timed:
    """The config with its steps of the training and of every fit multiplied by `share`, at least one of each."""

    def part(steps: int) -> int:
        return max(1, round(steps * share))

    act = config.act
    fits = replace(
        act,
        refine=replace(act.refine, steps=part(act.refine.steps)),
        distance=replace(act.distance, steps=part(act.distance.steps)),
        policy=replace(act.policy, steps=part(act.policy.steps)) if act.policy else None,
    )
    return replace(config, act=fits, train=replace(config.train, steps=part(config.train.steps)))


def _training_step(experiment: Experiment, config: WorldModelConfig) -> float:
    """Seconds of a step of the training, by the loop itself."""
    brief = replace(config.train, steps=WARM_STEPS + TIMED_STEPS, warmup_steps=0, log_every=WARM_STEPS)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        done = train(experiment.method, experiment.source, brief, folder)
        seconds = [line["seconds"] for line in read_metrics(done.run_dir / "metrics.jsonl") if "seconds" in line]
    return (seconds[-1] - seconds[0]) / TIMED_STEPS


def _remembered(experiment: Experiment, config: WorldModelConfig) -> tuple[Memory, float]:
    """Some windows as one would remember them, repeated to the length of an episode; seconds of encoding a frame."""
    batch, model = experiment.source.batch(0), experiment.method
    assert isinstance(batch, TrajectoryBatch)
    assert isinstance(model, LeWM)
    batch = replace(batch, frames=batch.frames[:CLIPS], actions=batch.actions[:CLIPS])
    began = time.perf_counter()
    latents = encode_episodes(model, batch)
    frame = (time.perf_counter() - began) / latents.shape[:2].numel()
    act = config.act
    longest = act.refine.rollout + (CONTEXT if act.refine.memory_dim else 0)
    times = math.ceil((1 + max(longest, act.distance.max_gap)) / batch.actions.shape[1])
    latents, actions = latents[:, 1:].repeat(1, times, 1, 1), batch.actions.repeat(1, times, 1)
    return Memory(latents, actions[:, 1:], torch.full((len(latents),), latents.shape[1])), frame
