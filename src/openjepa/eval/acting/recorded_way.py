"""The ceiling of pairs that come from one recorded episode: the actions that led from start to goal, played again."""

from collections.abc import Mapping, Sequence

import numpy as np

from openjepa.errors import DataError
from openjepa.eval.acting.manifest import Manifest
from openjepa.nn.host import Array
from openjepa.protocols import ActionBounds


class RecordedWay:
    """Plays what was recorded between start and goal, then rests; knows everything and plans nothing.

    Args:
        manifest: pairs with their episode and step.
        actions: by episode, what was recorded [T, A].
        bounds: of one primitive action.
        offset: steps from start to goal.

    Raises:
        DataError: for a pair that comes from no episode.
    """

    def __init__(
        self, manifest: Manifest, actions: Mapping[int, np.ndarray], bounds: ActionBounds, offset: int
    ) -> None:
        self.ways: dict[int, np.ndarray] = {}
        for pair in manifest.pairs:
            if pair.episode_id is None or pair.start_step is None:
                raise DataError(f"pair {pair.pair_id} comes from no recorded episode, so no way to its goal is known.")
            self.ways[pair.pair_id] = actions[pair.episode_id][pair.start_step : pair.start_step + offset]
        rest = np.clip(np.zeros(bounds.dim), bounds.low, bounds.high)
        if bounds.categories:
            rest = np.concatenate([np.eye(n)[0] for n in bounds.categories])
        self.rest = rest.astype(np.float32)
        self._ids: list[int] = []
        self._step = 0

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Begins an episode in every environment; `env_ids` are the numbers of the pairs."""
        self._ids = list(range(len(goal_frames))) if env_ids is None else [int(i) for i in env_ids]
        self._step = 0

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        step, self._step = self._step, self._step + 1
        ways = [self.ways[i] for i in self._ids]
        return np.stack([way[step] if step < len(way) else self.rest for way in ways]).astype(np.float32)
