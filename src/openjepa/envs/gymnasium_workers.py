"""Gymnasium environments played in several processes, through `gymnasium.vector.AsyncVectorEnv`.

Gymnasium gives every environment a process of its own. Here a process gets several, as one: what it is asked for is a
deed of `Stage`, and it takes its own rows of the batch.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv

from openjepa.envs.gymnasium_stage import DEEDS, Stage, StageOptions
from openjepa.errors import ConfigError, OpenJEPAError


class StageEnv(gymnasium.Env):
    """A stage as one environment; it is made at its first deed, in the process that plays on it."""

    observation_space = action_space = gymnasium.spaces.Discrete(1)  # nothing goes through them

    def __init__(self, options: StageOptions, rows: slice) -> None:
        self.options, self.rows = options, rows
        self.stage: Stage | None = None

    def play(self, deed: str, rows: Any) -> tuple[np.ndarray | None, ...] | str:
        """Does a deed with its rows; frames, states, proprio and ended, or what went wrong."""
        try:
            if self.stage is None:
                self.stage = Stage(self.options, self.rows.stop - self.rows.start)
            DEEDS[deed](self.stage, rows[self.rows])
            states = self.stage.states() if self.stage.has_states else None
            return self.stage.frames, states, self.stage.proprio(), self.stage.ended
        except OpenJEPAError as error:
            return str(error)

    def close(self) -> None:
        """Closes the environments."""
        if self.stage is not None:
            self.stage.close()


class Pool:
    """`workers` processes that share `num_envs` environments.

    Attributes:
        states: [B, P] float64 after the last deed, or None.
        proprio: [B, P], or None.
        ended: [B] bool.
    """

    def __init__(self, options: StageOptions, num_envs: int, workers: int) -> None:
        edges = np.linspace(0, num_envs, workers + 1).round().astype(int)
        makers = [partial(StageEnv, options, slice(int(a), int(b))) for a, b in pairwise(edges)]
        # Threads and drawing contexts do not survive a fork.
        self._envs = AsyncVectorEnv(makers, shared_memory=False, context="spawn")
        self.states: np.ndarray | None = None
        self.proprio: np.ndarray | None = None
        self.ended = np.zeros(num_envs, bool)

    def play(self, deed: str, rows: Any) -> np.ndarray:
        """Does a deed in every process; returns frames [B, 3, H, W]."""
        seen = self._envs.call("play", deed, rows)
        for found in seen:
            if isinstance(found, str):
                raise ConfigError(found)
        columns = zip(*seen, strict=True)
        frames, self.states, self.proprio, ended = (
            None if parts[0] is None else np.concatenate(parts) for parts in columns
        )
        assert frames is not None
        assert ended is not None
        self.ended = ended
        return frames

    def close(self) -> None:
        """Ends the processes."""
        self._envs.close()
