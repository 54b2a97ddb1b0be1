"""A Two-Rooms as another author would write it, after the description of `swm/TwoRoom-v1` of stable-worldmodel.

224 x 224 px, white floor, black walls; a soft red spot is the agent. Wall and door never move. The action in [-1, 1]^2
moves it by up to 5 px per axis; the wall stops it outside the door. An episode starts anywhere and ends, terminated,
within 16 px of a target that is drawn with it and never shown. Importing this file registers the environment:

    PYTHONPATH=benchmarks/worlds openjepa collect foreign_two_rooms:ForeignTwoRooms-v0 --episodes 100
"""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = 224  # px
BORDER, LINE = 14, 4  # px of margin around the rooms, and of the line at its edge
MIDDLE, HALF_WALL = 112, 5  # px, the wall stands upright
DOOR, HALF_DOOR = 49, 14  # px, its centre along the wall and its half extent
RADIUS = 7.0  # px, of the agent, and the spread of its spot
SLACK = 1.75  # px beside the door that still let it through
SPEED = 5.0  # px per step and axis at full action
FOUND = 16.0  # px from the hidden target
REACHED = 10.5  # px, a goal nearer than this counts as reached


class ForeignTwoRooms(gymnasium.Env):
    """One environment; observes [x, y] of the agent, then of the hidden target, in px.

    Args:
        render_mode: `rgb_array`.
        hidden_target: whether an episode ends at the hidden target.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation_space = spaces.Box(0.0, float(SIZE), (4,), np.float32)

    def __init__(self, render_mode: str | None = None, hidden_target: bool = True) -> None:
        self.render_mode, self.hidden_target = render_mode, hidden_target
        self.agent, self.target = np.zeros(2), np.zeros(2)
        self._rooms = _draw_rooms()

    @property
    def state(self) -> np.ndarray:
        """[x, y] of the agent in px; may be set."""
        return self.agent

    @state.setter
    def state(self, position: np.ndarray) -> None:
        self.agent = np.array(position, float)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draws agent and target, neither in the wall."""
        super().reset(seed=seed)
        self.agent, self.target = (self._anywhere() for _ in range(2))
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Moves, and stops at the walls."""
        self.agent = _stop_at_walls(self.agent, self.agent + SPEED * np.clip(np.asarray(action, float), -1, 1))
        found = self.hidden_target and float(np.hypot(*(self.agent - self.target))) < FOUND
        return self._observe(), 0.0, found, False, {}

    def render(self) -> np.ndarray:
        """The rooms and the spot, [224, 224, 3] uint8."""
        pixel = np.arange(SIZE)
        squared = (pixel[None, :] - self.agent[0]) ** 2 + (pixel[:, None] - self.agent[1]) ** 2
        spot = np.exp(-squared / (2 * RADIUS**2))[..., None]
        return (self._rooms * (1 - spot) + np.array([255, 0, 0]) * spot).astype(np.uint8)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.agent, self.target]).astype(np.float32)

    def _anywhere(self) -> np.ndarray:
        while True:
            place = self.np_random.uniform(BORDER + RADIUS, SIZE - BORDER - RADIUS, 2)
            if abs(place[0] - MIDDLE) > HALF_WALL + RADIUS:
                return place


def _stop_at_walls(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    after = after.clip(BORDER + RADIUS, SIZE - BORDER - RADIUS)
    side = -1 if before[0] < MIDDLE else 1
    edge = MIDDLE + side * (HALF_WALL + RADIUS)
    enters = after[0] > edge if side < 0 else after[0] < edge
    if enters and abs(after[1] - DOOR) > HALF_DOOR + SLACK:
        after[0] = edge + 0.5 * side
    return after


def _draw_rooms() -> np.ndarray:
    rooms = np.full((SIZE, SIZE, 3), 255.0)
    wall = np.s_[:, MIDDLE - HALF_WALL : MIDDLE + HALF_WALL + 1]
    rooms[wall] = 0
    rooms[DOOR - HALF_DOOR : DOOR + HALF_DOOR + 1, wall[1]] = 255
    for low, high in ((BORDER - LINE, BORDER), (SIZE - BORDER, SIZE - BORDER + LINE)):
        rooms[low:high] = rooms[:, low:high] = 0
    return rooms


gymnasium.register("ForeignTwoRooms-v0", entry_point=ForeignTwoRooms)
