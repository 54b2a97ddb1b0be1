"""Simple physics from possible clips only: what cannot happen is never seen, and yet recognised.

    openjepa train physics
    openjepa eval runs/physics                       calibrates the run, and judges it on quadruples
    openjepa surprise runs/physics my_clip.mp4

1,500 steps of 32 clips. What three training seeds tell of pairs, single clips, false alarms, colours, light and a
camera that drifts: docs/plausibility.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.envs.physics.clips import (
    NOVELTIES,
    PAIRS,
    PROPERTIES,
    render_novel,
    render_possible,
    render_quadruple,
)
from openjepa.envs.physics.source import (
    CALIBRATION_SEEDS,
    JUDGE_SEEDS,
    NOVEL_SEEDS,
    PhysicsConfig,
    PhysicsSource,
)
from openjepa.errors import ConfigError
from openjepa.eval.intervals import Interval
from openjepa.eval.plausibility.conformal import Calibration, false_alarm_interval, p_values
from openjepa.eval.plausibility.energy import CausalEnergy
from openjepa.eval.plausibility.surprise import LEVEL, auroc, calibrate, chunks, clip_scores, judge_pairs
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig
from openjepa.recipes import Experiment, Recipe
from openjepa.train import TrainConfig, load_method

LEVELS = (0.01, 0.05, 0.1)
TOY = {
    "clips.batch_size": 2,
    "clips.length": 12,
    "clips.size": 32,
    "method.encoder.image_size": 32,
    "method.encoder.width": 4,
    "method.encoder.hidden_dim": 8,
    "method.trait_width": 4,
    "method.trait_keypoints": 2,
    "method.trait_dim": 2,
    "method.embed_dim": 6,
    "method.predictor_dim": 12,
    "method.num_heads": 2,
    "method.depth": 1,
    "judge.quadruples": 2,
    "judge.calibration": 8,
    "judge.possible": 8,
    "judge.networks": 2,
}


@dataclass(frozen=True)
class PlausibilityConfig:
    """What a run is judged on; all numbers are counts.

    Attributes:
        quadruples: of each property; two pairs each.
        calibration: possible clips of the scenes of training.
        possible: possible clips on which false alarms are counted, in each scene.
        networks: untrained ones beside it.
        scene: look that training and calibration never see.
        offset: added to all numbers of judged clips: another value gives fresh clips.
    """

    quadruples: int = 40
    calibration: int = 999
    possible: int = 500
    networks: int = 20
    scene: str = "evening"
    offset: int = 0

    def __post_init__(self) -> None:
        if min(self.quadruples, self.calibration, self.possible) < 1 or self.networks < 0 or self.offset < 0:
            raise ConfigError("`quadruples`, `calibration` and `possible` must be >= 1, the others >= 0.")


@dataclass(frozen=True)
class PhysicsRecipeConfig:
    """Clips, model and judging; `seed` decides everything that is drawn."""

    clips: PhysicsConfig = field(default_factory=PhysicsConfig)
    method: CausalJEPAConfig = field(default_factory=CausalJEPAConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=1500,
            lr=3e-3,
            final_lr=6e-5,
            weight_decay=1e-4,
            warmup_steps=40,
            checkpoint_every=100,
        )
    )
    judge: PlausibilityConfig = field(default_factory=PlausibilityConfig)
    seed: int = 0


def build(config: PhysicsRecipeConfig) -> Experiment:
    """Makes the method and the stream of possible clips."""
    seed = config.seed
    return Experiment(CausalJEPA(replace(config.method, seed=seed)), PhysicsSource(config.clips, seed=seed))


def possible_clips(config: PhysicsRecipeConfig, first: int, count: int, scene: str | tuple[str, ...]) -> np.ndarray:
    """Possible clips [B, T, 3, H, W] by their numbers, in one scene or several."""
    c = config.clips
    seeds = np.arange(first, first + count)
    return render_possible(seeds, scene=scene, length=c.length, size=c.size, properties=c.properties)


def calibrate_run(model: CausalEnergy, config: PhysicsRecipeConfig) -> Calibration:
    """Scores possible clips of the scenes of training, on seeds that training never sees."""
    clips = possible_clips(
        config, CALIBRATION_SEEDS + config.judge.offset, config.judge.calibration, config.clips.scenes
    )
    protocol = {"frame_step": 1, "length": config.clips.length}
    return calibrate(model, clips, protocol=protocol, networks=config.judge.networks, source="physics, possible clips")


def pairs(config: PhysicsRecipeConfig, scene: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, str, int]]:
    """Yields the matched pairs of all properties: (possible, impossible, property, scene number)."""
    c, j = config.clips, config.judge
    for number, name in enumerate(PROPERTIES):
        for i in range(j.quadruples):
            look = scene or c.scenes[i % len(c.scenes)]
            seed = JUDGE_SEEDS + j.offset + i
            q = render_quadruple(name, seed, scene=look, length=c.length, size=c.size)
            for possible, impossible in PAIRS:
                yield q.clips[possible], q.clips[impossible], name, number * j.quadruples + i


def false_alarms(model: CausalEnergy, calibration: Calibration, clips: np.ndarray) -> dict[str, Any]:
    """Share of possible clips that alarm at each level, and the range in which it lies if calibration holds."""
    p = p_values(clip_scores(model, clips), calibration.scores)
    found = {}
    for level in LEVELS:
        expected = false_alarm_interval(level, len(calibration.scores), len(clips))
        share = float(np.mean(p <= level))
        found[f"{level:g}"] = {
            "alarms": share,
            "expected": [expected.low, expected.high],
            "within": bool(expected.low <= share <= expected.high),
        }
    return found


def measure_pairs(config: PhysicsRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Accuracy on matched pairs by property: the model, its controls, and untrained networks."""
    model = CausalEnergy(load_method(run_dir))
    result = judge_pairs(model, pairs(config), networks=config.judge.networks)
    controls = {name: {g: _plain(i) for g, i in by.items()} for name, by in result.controls.items()}
    return {
        "accuracy": {g: _plain(i) for g, i in result.accuracy.items()},
        "controls": controls,
        "untrained": {g: list(x) for g, x in result.untrained.items()},
        "pairs": result.pairs,
    }


def measure_alarms(config: PhysicsRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Calibrates the run, and counts alarms on possible clips: known looks, an unseen one, and novelties."""
    model, j, c = CausalEnergy(load_method(run_dir)), config.judge, config.clips
    calibration = calibrate_run(model, config)
    calibration.save(run_dir)
    first = CALIBRATION_SEEDS + j.offset + 100_000
    scenes: dict[str, str | tuple[str, ...]] = {"known scenes": c.scenes, j.scene: j.scene}
    alarms, novel = {}, dict[str, dict[str, float]]()
    for name, scene in scenes.items():
        clips = possible_clips(config, first, j.possible, scene)
        alarms[name] = false_alarms(model, calibration, clips)
        for kind in NOVELTIES:
            seeds = np.arange(NOVEL_SEEDS + j.offset, NOVEL_SEEDS + j.offset + j.possible // 2)
            clips = render_novel(
                seeds, novelty=kind, scene=scene, length=c.length, size=c.size, properties=c.properties
            )
            share = float(np.mean(p_values(clip_scores(model, clips), calibration.scores) <= LEVEL))
            novel.setdefault(kind, {})[name] = share
    return {
        "false_alarms": alarms,
        "novel_but_possible": novel,
        "single_clips": single_clips(model, config, calibration),
        "calibrated_on": j.calibration,
    }


def single_clips(
    model: CausalEnergy, config: PhysicsRecipeConfig, calibration: Calibration
) -> dict[str, dict[str, float]]:
    """Unmatched clips by property, each judged on its own: AUROC, and the share of impossible ones that alarm."""
    scores: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for chunk in chunks(pairs(config)):
        possible, impossible = (clip_scores(model, np.stack([pair[i] for pair in chunk])) for i in (0, 1))
        for pair, a, b in zip(chunk, possible, impossible, strict=True):
            first, second = scores.setdefault(pair[2], ([], []))
            first.append(a)
            second.append(b)
    return {
        name: {
            "auroc": auroc(np.array(a), np.array(b)),
            "alarms": float(np.mean(p_values(np.array(b), calibration.scores) <= LEVEL)),
        }
        for name, (a, b) in scores.items()
    }


def judge(config: PhysicsRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Calibrates a run, then judges quadruples, false alarms and clips that are new but possible."""
    return {**measure_alarms(config, run_dir), **measure_pairs(config, run_dir)}


def _plain(interval: Interval) -> list[float]:
    return [interval.estimate, interval.low, interval.high]


PHYSICS = Recipe(
    "video model of simple physics; judges what is possible",
    PhysicsRecipeConfig(),
    build,
    TOY,
    judge,
)
