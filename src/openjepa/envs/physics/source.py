"""Batches of possible physics clips, drawn as they are asked for: training without a file."""

from dataclasses import dataclass

import numpy as np
import torch

from openjepa.envs.physics.clips import PROPERTIES, render_possible
from openjepa.envs.physics.drawing import ASIDE, CLOSEST, SCENES
from openjepa.errors import ConfigError, unknown
from openjepa.protocols import VideoBatch

# Numbers of clips for different uses never meet; training counts up from the last of these.
JUDGE_SEEDS, CALIBRATION_SEEDS, NOVEL_SEEDS, TRAIN_SEEDS = 100_000, 300_000, 500_000, 1_000_000


@dataclass(frozen=True)
class PhysicsConfig:
    """Which clips are drawn.

    Attributes:
        scenes: looks that occur, equally often.
        properties: laws that occur, equally often.
        length: frames of a clip, 12 or more; an event always takes the whole clip.
        size: side of a picture in pixels, 32 or more.
        batch_size: clips of a global batch, >= 1.
        closest: zoom of the camera of a training clip at most, >= 1; clips that are judged are drawn with the default.
        aside: units by which that camera stands aside at most, each way, >= 0; likewise.
        wait: units of time, of the 32 of a clip, that pass at most before anything happens in a training clip, >= 0;
            half of them do not wait. From close or aside, bodies are seen late; where none ever was, that surprises.
    """

    scenes: tuple[str, ...] = ("plain", "textured")
    properties: tuple[str, ...] = PROPERTIES
    length: int = 16
    size: int = 64
    batch_size: int = 32
    closest: float = CLOSEST
    aside: float = ASIDE
    wait: float = 0.0

    def __post_init__(self) -> None:
        for kind, names, known in (("scene", self.scenes, SCENES), ("property", self.properties, PROPERTIES)):
            for name in names:
                if name not in known:
                    raise unknown(kind, name, known)
            if not names:
                raise ConfigError(f"at least one {kind} must be named; got none.")
        if self.length < 12 or self.size < 32 or self.batch_size < 1:
            raise ConfigError("`length` must be >= 12, `size` >= 32 and `batch_size` >= 1.")
        if self.closest < 1 or min(self.aside, self.wait) < 0:
            raise ConfigError("`closest` must be >= 1, `aside` and `wait` >= 0.")


class PhysicsSource:
    """A `BatchSource` of possible clips; clip number n of training is a pure function of n and the seed."""

    def __init__(self, config: PhysicsConfig | None = None, *, seed: int = 0) -> None:
        self.config, self.seed = config or PhysicsConfig(), seed

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> VideoBatch:
        """Returns this rank's share of batch `step`: clips [B, T, 3, H, W] uint8."""
        c = self.config
        if c.batch_size % world_size:
            raise ConfigError(f"`batch_size` must be a multiple of the {world_size} processes; got {c.batch_size}.")
        share = c.batch_size // world_size
        first = TRAIN_SEEDS + (self.seed << 32) + step * c.batch_size + rank * share
        seeds = np.arange(first, first + share)
        clips = render_possible(
            seeds,
            scene=c.scenes,
            length=c.length,
            size=c.size,
            properties=c.properties,
            closest=c.closest,
            aside=c.aside,
            wait=c.wait,
        )
        return VideoBatch(torch.from_numpy(clips))
