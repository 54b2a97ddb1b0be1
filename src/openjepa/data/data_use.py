"""How much of recorded play training can use: lengths of episodes, and the steps that no window holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.errors import ConfigError


@dataclass(frozen=True)
class DataUse:
    """What is recorded, and what of it is lost to windows of one length.

    Attributes:
        episodes: number of episodes.
        steps: environment steps of all of them.
        lengths: steps of the shortest episode, the quartiles, and those of the longest one.
        window_steps: environment steps that a window spans.
        short_episodes: episodes that are shorter than one window.
        unused_steps: their steps, which no window holds.
    """

    episodes: int
    steps: int
    lengths: tuple[int, int, int, int, int]
    window_steps: int
    short_episodes: int
    unused_steps: int

    @property
    def unused_share(self) -> float:
        """Share of the steps that no window holds, 0 to 1."""
        return self.unused_steps / self.steps

    def text(self) -> str:
        """Returns the numbers as two sentences."""
        first, low, middle, high, last = self.lengths
        spread = f"from {first:,} to {last:,} steps (quartiles {low:,}, {middle:,}, {high:,})"
        used = self.steps - self.unused_steps
        return (
            f"{self.episodes:,} episodes are {spread if first < last else f'{first:,} steps'} long. Windows of "
            f"{self.window_steps:,} steps use {used:,} of their {self.steps:,} steps; {self.short_episodes:,} episodes "
            "are too short for one."
        )


def data_use(lengths: Sequence[int] | np.ndarray, window_steps: int = 1) -> DataUse:
    """Counts what windows cannot use.

    Args:
        lengths: [E] environment steps of each episode.
        window_steps: environment steps that a window spans, >= 1.

    >>> use = data_use([40, 40, 3], window_steps=8)
    >>> use.short_episodes, use.unused_steps, use.lengths
    (1, 3, (3, 21, 40, 40, 40))
    """
    steps = np.asarray(lengths, np.int64).reshape(-1)
    if not len(steps) or window_steps < 1:
        raise ConfigError(
            f"`lengths` must hold at least one episode and `window_steps` be >= 1; got {len(steps)} and {window_steps}."
        )
    short = steps < window_steps
    first, low, middle, high, last = np.quantile(steps, (0, 0.25, 0.5, 0.75, 1)).astype(int).tolist()
    return DataUse(
        len(steps),
        int(steps.sum()),
        (first, low, middle, high, last),
        window_steps,
        int(short.sum()),
        int(steps[short].sum()),
    )
