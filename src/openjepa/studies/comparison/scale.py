"""What a comparison runs: conditions, seeds, budgets, and the sizes of everything that is judged."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from openjepa.envs.two_rooms import TwoRoomsConfig
from openjepa.errors import ConfigError
from openjepa.studies.comparison.language_options import LanguageConfig

# Worlds that are trained in and judged in.
CONDITIONS: dict[str, dict[str, Any]] = {
    "clean": {},
    "agents": {"distractors": 3},
    "television": {"background": "noise", "noise_low": 200},
}
# Changes that come only when a model of the clean world is judged.
SHIFTS: dict[str, dict[str, Any]] = {
    "colours": {"colours": "changed"},
    "light": {"light": "slanting"},
}
WORDS = {
    "clean": "clean",
    "agents": "moving agents",
    "television": "noisy television",
    "colours": "changed colours",
    "light": "slanting light",
}
HIDDEN = ("permanence", "continuity", "solidity")  # properties of the judged quadruples


@dataclass(frozen=True)
class Scale:
    """How large a comparison is; the budget is that of one trained model.

    Attributes:
        seeds: of training; data and judged pairs are the same for all.
        episodes: of random play in each condition.
        held_out: of them, for probes and rollout errors.
        steps: of an episode.
        gflops: counted operations of training, forward and backward, in 10^9.
        parameters: trained ones, the decoder and other training-only parts included.
        refine_steps: of the predictor on frozen latents, the same for all.
        distance_steps: of the temporal distance, the same for all.
        pairs: of start and goal; half of them lie in different rooms.
        own_pairs: of them, for planning with dynamics that are too slow for all of them.
        budget: steps in which a goal must be reached.
        shares: of the training episodes, for the learning curve; 1 is all.
        clips: possible clips of physics, for training.
        clip_gflops: budget of a model of clips.
        quadruples: judged scenes of each property.
        play_seed: of the episodes.
        pairs_seed: of the pairs.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 460
    held_out: int = 60
    steps: int = 40
    gflops: float = 560.0
    parameters: int = 330_000
    refine_steps: int = 250
    distance_steps: int = 400
    pairs: int = 60
    own_pairs: int = 6
    budget: int = 50
    shares: tuple[float, ...] = (1.0,)
    clips: int = 400
    clip_gflops: float = 400.0
    quadruples: int = 24
    play_seed: int = 11
    pairs_seed: int = 7001

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"`seeds` must be different numbers of 0 or more; got {list(self.seeds)}.")
        if not 2 <= self.held_out < self.episodes - 1 or self.pairs < 4 or not 2 <= self.own_pairs <= self.pairs:
            raise ConfigError(
                "`held_out` must leave at least 2 episodes, `pairs` be at least 4 and `own_pairs` from 2 to `pairs`; "
                f"got {self.held_out} of {self.episodes}, {self.pairs} and {self.own_pairs}."
            )
        if min(self.gflops, self.clip_gflops) <= 0 or not all(0 < share <= 1 for share in self.shares):
            raise ConfigError("budgets must be above 0 and `shares` in (0, 1].")


def quick() -> Scale:
    """Twenty minutes on two CPU cores."""
    return Scale()


def full() -> Scale:
    """Ten times the compute, five times the data, five seeds, a learning curve; hours on a GPU (`docs/rivals.md`)."""
    return Scale(
        seeds=(0, 1, 2, 3, 4),
        episodes=2200,
        held_out=200,
        gflops=5600.0,
        refine_steps=1000,
        distance_steps=1000,
        pairs=200,
        own_pairs=40,
        shares=(0.25, 0.5, 1.0),
        clips=4000,
        clip_gflops=8000.0,
        quadruples=100,
    )


def toy() -> Scale:
    """Seconds, for the tests; its numbers mean nothing."""
    return Scale(
        seeds=(0, 1),
        episodes=8,
        held_out=3,
        steps=24,
        gflops=8.0,
        refine_steps=2,
        distance_steps=2,
        pairs=4,
        own_pairs=2,
        budget=4,
        clips=8,
        clip_gflops=8.0,
        quadruples=2,
    )


def development(scale: Scale) -> Scale:
    """The scale at which settings are tried: other episodes, pairs and seeds, five eighths of the budget."""
    return replace(
        scale,
        seeds=(100,),
        gflops=scale.gflops * 5 / 8,
        pairs=max(4, scale.pairs // 2),
        play_seed=scale.play_seed + 1,
        pairs_seed=scale.pairs_seed + 1,
    )


@dataclass(frozen=True)
class CompareConfig:
    """Options of `openjepa compare`."""

    run: tyro.conf.Positional[Path | None] = None  # a run with an agent: compares it with a language model alone
    quick: bool = False  # twenty minutes on two CPU cores instead of hours on a GPU
    out: Path = Path("runs/compare")  # where report.html, results.json and all finished cells go
    workers: int = 2  # processes, each with one thread on a CPU
    tune: bool = False  # instead of comparing, try the settings of all methods and write trials.json
    device: str = "auto"  # where the full recipe trains: cuda, mps or cpu; --quick is for the CPU
    llm: LanguageConfig = field(default_factory=LanguageConfig)  # a language model that plays the same pairs

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"`workers` must be at least 1; got {self.workers}.")


@dataclass(frozen=True)
class Cell:
    """One piece of the experiment, whose result is one file.

    Attributes:
        kind: `play`, `rival`, `cloning`, `floors`, `untrained` or `physics`.
        method: a name of `rivals.RIVALS`, or "".
        condition: a name of `CONDITIONS`, or "".
        seed: of training.
        share: of the training episodes.
        trial: number of a setting that is tried, or None for the chosen one.
        cost: about how many CPU-seconds it takes, for the time that is left.
    """

    kind: str
    method: str = ""
    condition: str = ""
    seed: int = 0
    share: float = 1.0
    trial: int | None = None
    cost: float = field(default=10.0, compare=False)

    @property
    def name(self) -> str:
        """Name of its file."""
        parts = [self.kind, self.method, self.condition, f"seed{self.seed}"]
        parts += [f"share{round(100 * self.share)}"] if self.share < 1 else []
        parts += [] if self.trial is None else [f"trial{self.trial}"]
        return "-".join(part.replace(" ", "_") for part in parts if part)

    @property
    def words(self) -> str:
        """What it does, for the progress line."""
        parts = [self.method or self.kind, WORDS.get(self.condition, self.condition), f"seed {self.seed}"]
        return ", ".join(part for part in parts if part)


def world_of(condition: str) -> TwoRoomsConfig:
    """The world of a condition or of a shift."""
    return TwoRoomsConfig(**{**CONDITIONS, **SHIFTS}[condition])
