"""What every recipe of perception shares: drawn shapes or files of your own, and probes during training.

A recipe is a config of this file with a method in it. Without `data` it draws pictures or clips of moving shapes,
whose class, position and velocity are known; with `data` it reads a folder of pictures or videos, or a list of
`path label` lines (`own_files.py`). Some of the samples are never trained on: the probes use them.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from openjepa.config import alike
from openjepa.envs.shapes import ShapeClips, ShapesConfig, ShapeSource, draw_clips
from openjepa.errors import ConfigError
from openjepa.eval.health.online_probe import OnlineProbe, OnlineProbeConfig
from openjepa.eval.health.read_out import ProbedSet
from openjepa.models.vit import ViTConfig
from openjepa.protocols import BatchSource
from openjepa.recipes import Experiment
from openjepa.recipes.own_files import SETS, open_own_files
from openjepa.recipes.pretraining_memory import memory_of
from openjepa.train import TrainConfig


@dataclass(frozen=True)
class ProbingConfig:
    """The probes during training.

    Attributes:
        items: labelled samples that fit the probes, and that score them.
        max_share: largest share of your own files that is held out for this, in (0, 1).
        online: what is measured.
    """

    items: tuple[int, int] = (600, 400)
    max_share: float = 0.2
    online: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)

    def __post_init__(self) -> None:
        if min(self.items) < 2 or not 0 < self.max_share < 1:
            raise ConfigError(
                f"`items` must be two numbers >= 2 and `max_share` lie in (0, 1); got {self.items} and "
                f"{self.max_share}."
            )


@dataclass(frozen=True)
class DrawConfig:
    """Shapes that are drawn: large ones of any colour before two colours, and a smaller one that does not count.

    Attributes:
        items: different pictures or clips of the training set, kept in memory, >= 1.
        classes: kinds of shapes, 2 to 8.
        radius: range of the object's radius as a share of the side, in (0, 0.5).
        speed: range of its speed in sides per frame, >= 0.
        rotation: share of a full turn that the angle of every shape is drawn from, from upright on, in [0, 1].
        distractors: further shapes, smaller and static, of random classes, >= 0.
        background: `plain` one colour, `gradient` two, `texture` smooth random patches.
        noise: standard deviation of pixel noise in grey levels, >= 0.
    """

    items: int = 6000
    classes: int = 8
    radius: tuple[float, float] = (0.18, 0.3)
    speed: tuple[float, float] = (0.0, 0.06)
    rotation: float = 1.0
    distractors: int = 1
    background: Literal["plain", "gradient", "texture"] = "gradient"
    noise: float = 4.0

    def shapes(self, encoder: ViTConfig, *, batch_size: int = 1, seed: int = 0) -> ShapesConfig:
        """The same in the size and number of frames that an encoder takes."""
        if encoder.img_size[0] != encoder.img_size[1]:
            raise ConfigError(f"`img_size` must be a square for shapes that are drawn; got {encoder.img_size}.")
        size, frames = encoder.img_size[0], encoder.num_frames
        drawn = alike(ShapesConfig, self, size=size, num_frames=frames, num_classes=self.classes, num_items=self.items)
        return replace(drawn, batch_size=batch_size, seed=seed)


@dataclass(frozen=True)
class PretrainingConfig:
    """What a method of perception learns from, and how it is watched; each recipe adds its `method`."""

    data: Path | None = None  # folder of pictures or videos, or a list of `path label` lines; None draws shapes
    fps: float = 4.0  # frames per second of a clip of your videos
    batch_size: int = 32  # pictures or clips of a step, over all processes
    draw: DrawConfig = field(default_factory=DrawConfig)  # what is drawn where there is no `data`
    train: TrainConfig = field(default_factory=TrainConfig)
    probing: ProbingConfig = field(default_factory=ProbingConfig)
    num_threads: int = 2  # that decode your files
    seed: int = 0


def recipe_builder(kind: type) -> Callable[[Any], Experiment]:
    """Returns the function that builds an experiment of a config whose `method` configures `kind`."""

    def build(config: Any) -> Experiment:
        method = kind(adapted(config))
        source, probe = open_data(config)
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"memory: {memory_of(config, method).text()}", file=sys.stderr)
        return Experiment(method, source, diagnostics=probe)

    return build


def adapted(config: Any) -> Any:
    """The configuration of the method with the seed of the recipe, and averages that last as long as training."""
    own: dict[str, Any] = {"seed": config.seed}
    if hasattr(config.method, "ema_steps"):
        own["ema_steps"] = config.train.total
    return replace(config.method, **own)


# ------------------------------------------------------------------------------------------------------------
# Data


def open_data(config: Any) -> tuple[BatchSource, OnlineProbe | None]:
    """The training batches, and the probe on samples that are not among them; None where there are too few."""
    train_items, test_items = config.probing.items
    encoder = config.method.encoder
    if config.data is None:
        drawn = config.draw.shapes(encoder, batch_size=config.batch_size, seed=config.seed)
        sets = (labelled_shapes(drawn, train_items), labelled_shapes(drawn, test_items, held_out=True))
        return ShapeSource(drawn, "clips" if encoder.is_video else "pictures"), OnlineProbe(
            *sets, config.probing.online
        )
    return open_own_files(config)


def labelled_shapes(config: ShapesConfig, count: int, *, held_out: bool = False) -> ProbedSet:
    """Shapes that training never sees, with class, position in the middle of the clip, and velocity.

    Args:
        config: of the training set.
        count: number of pictures or clips.
        held_out: whether they are for scoring; none of these fits a probe.
    """
    first = ShapeSource(replace(config, held_out=held_out))
    own = replace(config, seed=config.seed + SETS)
    return probed(draw_clips(own, np.arange(count) + first.first_number), is_video=config.num_frames > 1)


def probed(clips: ShapeClips, *, is_video: bool) -> ProbedSet:
    """Drawn clips as a set for probes: `position` in sides and `velocity`, the mean one, in sides per frame."""
    frames, positions = torch.from_numpy(clips.frames), torch.from_numpy(clips.positions)
    labels = torch.from_numpy(clips.labels)
    if not is_video:
        return ProbedSet(frames[:, 0], labels, {"position": positions[:, 0]})
    steps = positions.shape[1] - 1
    velocity = (positions[:, -1] - positions[:, 0]) / steps
    return ProbedSet(
        frames, labels, {"position": positions[:, steps // 2 : steps // 2 + 2].mean(1), "velocity": velocity}
    )
