"""Options of the demonstration, apart from it so that `--help` does not wait for PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from openjepa.errors import ConfigError

World = Literal["two-rooms", "random-doors"]


@dataclass(frozen=True)
class DemoConfig:
    """Options of the demonstration."""

    world: World = "two-rooms"  # a fixed wall, or wall and door drawn per episode
    seed: int = 0  # of everything: play, weights, batches, plans; the judged pairs have their own
    out: Path = Path("runs/demo")  # where report.html, results.json and the run go
    pairs: int = 200  # judged goals, half of them in the other room
    episodes: int | None = None  # of random play; None = the recipe's number
    steps: int | None = None  # of training; None = the recipe's number

    def __post_init__(self) -> None:
        if self.world not in get_args(World):
            raise ConfigError(f"`world` must be one of {', '.join(get_args(World))}; got {self.world}.")
        if self.seed < 0 or self.pairs < 2:
            raise ConfigError("`seed` must be 0 or more and `pairs` at least 2.")
