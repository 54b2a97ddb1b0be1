"""Cells of physics: how surprised is each rival by what cannot happen?

Clips without actions (all zero), trained on possible ones only. Each rival is judged by its own surprise: latent
error, pixel error, or negative log-likelihood; the pairs of a quadruple share their halves, so no single frame tells
the class. See `envs.physics`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.physics.clips import PAIRS, render_possible, render_quadruple
from openjepa.methods.lewm import LeWM
from openjepa.models.latent_rollout import predict_next
from openjepa.nn.random import keyed_generator
from openjepa.protocols import TrajectoryBatch
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.rivals import Shape, plan_training
from openjepa.studies.comparison.scale import HIDDEN, Cell, Scale
from openjepa.studies.comparison.worlds import fit_method

LENGTH = 16  # frames of a clip
BATCH = 16  # clips of a step
# The whole past is seen: what is hidden must be remembered.
SHAPE = Shape(window=LENGTH, context_len=LENGTH - 1, batch=BATCH)
FIRST_JUDGED = 1_000_000  # seeds of judged scenes; training uses those from 0


class ClipSource:
    """Batches of possible clips with zero actions, as a `BatchSource`; clips are rendered once."""

    def __init__(self, count: int, seed: int) -> None:
        self.clips = torch.from_numpy(render_possible(range(count), length=LENGTH))
        self.seed = seed

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> TrajectoryBatch:
        """See `BatchSource.batch`."""
        rows = torch.randint(len(self.clips), (BATCH,), generator=keyed_generator(self.seed, step))
        return without_actions(self.clips[rows])


def without_actions(clips: Tensor) -> TrajectoryBatch:
    """Clips [B, T, 3, H, W] as windows of an agent that does nothing."""
    return TrajectoryBatch(clips, torch.zeros(clips.shape[0], clips.shape[1] - 1, 2))


def judge_physics(cell: Cell, scale: Scale, out: Path, device: str) -> dict[str, Any]:
    """Trains on possible clips and scores quadruples, beside an untrained network and the pixel difference."""
    training = plan_training(cell.method, scale.parameters, scale.clip_gflops, shape=SHAPE, seed=cell.seed)
    fresh: Any = rivals.build(training.config).eval()
    quadruples = judged_quadruples(scale)
    found: dict[str, Any] = {"untrained": score(surprise_of(fresh), quadruples)}
    found["pixel difference"] = score(pixel_difference, quadruples)
    source = ClipSource(scale.clips, cell.seed)
    model, seconds = fit_method(
        rivals.build(training.config), source, training, out / "runs" / cell.name, cell.seed, device
    )
    found["trained"] = score(surprise_of(model), quadruples)
    facts = {
        "parameters": training.parameters,
        "steps": training.steps,
        "gflops": training.gflops,
        "train_seconds": seconds,
    }
    return {**facts, "scores": found}


def judged_quadruples(scale: Scale) -> dict[str, np.ndarray]:
    """Scenes of each property [S, 4, T, 3, H, W] uint8, none of which was trained on."""
    seeds = range(FIRST_JUDGED, FIRST_JUDGED + scale.quadruples)
    return {name: np.stack([render_quadruple(name, s, length=LENGTH).clips for s in seeds]) for name in HIDDEN}


def surprise_of(model: Any) -> Callable[[Tensor], Tensor]:
    """The surprise [B, T - 1] of clips [B, T, 3, H, W] under a model's own measure."""

    @torch.no_grad()
    def surprise(clips: Tensor) -> Tensor:
        batch = without_actions(clips)
        if not isinstance(model, LeWM):
            return model.surprise(batch.frames, batch.actions)
        z = model.encode(batch.frames).squeeze(2)
        predicted = predict_next(model.predictor, z, batch.actions, model.config.predictor.context_len)
        return (predicted - z[:, 1:]).square().mean(-1)

    return surprise


def pixel_difference(clips: Tensor) -> Tensor:
    """What copying the last frame would get wrong [B, T - 1]: the control that needs no learning."""
    return (clips[:, 1:].float() - clips[:, :-1].float()).square().mean((-3, -2, -1))


def score(surprise: Callable[[Tensor], Tensor], quadruples: dict[str, np.ndarray]) -> dict[str, Any]:
    """For each property and scene: the maximum over time of each clip, and which pairs are told apart.

    Pairs are compared by the mean over time, single clips by the maximum, as the published protocol does.
    """
    found = {}
    for name, clips in quadruples.items():
        flat = torch.from_numpy(clips).flatten(0, 1)
        values = torch.cat([surprise(part) for part in flat.split(32)]).unflatten(0, clips.shape[:2])  # [S, 4, T - 1]
        mean, top = values.mean(-1), values.amax(-1)
        told = torch.stack([mean[:, bad] > mean[:, good] for good, bad in PAIRS], 1)  # [S, 2]
        found[name] = {"maxima": top.tolist(), "pairs": told.int().tolist()}
    return found


def auroc(maxima: np.ndarray) -> float:
    """Area under the curve of telling impossible clips from possible ones by their maximum.

    Args:
        maxima: [S, 4] in the order of a quadruple: two possible clips, then two impossible ones.
    """
    good, bad = maxima[:, :2].ravel(), maxima[:, 2:].ravel()
    above = (bad[:, None] > good).mean()
    return float(above + 0.5 * (bad[:, None] == good).mean())
