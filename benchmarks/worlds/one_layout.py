"""A world of MiniGrid whose walls never move: one layout of `MiniGrid-FourRooms-v0`, and whoever moves placed anew.

MiniGrid draws walls and doors anew in every episode. Here they are those of one seed; position and heading of the agent
come from the episode's own, and the green goal square is left out, since goals are given as pictures. Importing this
file registers the environment:

    PYTHONPATH=benchmarks/worlds openjepa train one_layout:OneFourRooms-v0 --env.highlight false
"""

from typing import Any

import gymnasium
import numpy as np
from minigrid.core.world_object import Goal
from minigrid.envs import FourRoomsEnv


class OneFourRooms(FourRoomsEnv):
    """Four rooms with the doors of one seed.

    Args:
        layout: that seed.
        **options: of the environment.
    """

    def __init__(self, layout: int = 0, **options: Any) -> None:
        self._layout, self._luck = layout, np.random.default_rng(0)
        super().__init__(**options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Draws the layout of its seed, then where the agent is."""
        if seed is not None:
            self._luck = np.random.default_rng(seed)
        super().reset(seed=self._layout, options=options)
        for x, y in np.ndindex(self.width, self.height):
            if isinstance(self.grid.get(x, y), Goal):
                self.grid.set(x, y, None)
        free = [place for place in np.ndindex(self.width, self.height) if self.grid.get(*place) is None]
        self.agent_pos = free[self._luck.integers(len(free))]
        self.agent_dir = int(self._luck.integers(4))
        return self.gen_obs(), {}


gymnasium.register(id="OneFourRooms-v0", entry_point=f"{__name__}:OneFourRooms")
