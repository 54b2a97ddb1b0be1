"""Four rooms with distractors, after 2610.06805: fixed doors of which one may be closed, and discs that jump about.

A state counts in px of the published picture, whose side is 224, whatever the size that is drawn: `reset_to` and
success mean the same at 64 px. Positions are x to the right, y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.envs.drawing import draw_discs
from openjepa.envs.drawn_world import DrawnWorld, slide
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

SIDE = 224.0  # of the square, the unit of everything below
BORDER = 7.0
WALL, HALF_WALL = 112.0, 5.0  # both inner walls
DOORS = np.array([[112.0, 56.0], [112.0, 168.0], [56.0, 112.0], [168.0, 112.0]])  # centres; two in each wall
HALF_DOOR = 16.0
RADIUS = 3.5  # what the agent's centre keeps from walls
STEP = 2.5  # per step at full speed, also of the distractors
REACHED = 16.0  # of 224 px, a goal nearer than this counts as reached, wherever the distractors are
STAY = 35.0  # mean number of steps between two jumps of a distractor
MOST = 5  # distractors
SEEN_RADIUS = 2.5  # px, smallest radius of a disc in a picture
STREAM = 0x34726F6F  # of what distractors do

SIZES = (64, 224)
BACKGROUND, SOLID, AGENT, OTHER = (235, 235, 235), (60, 60, 80), (220, 40, 40), (60, 120, 220)


@dataclass(frozen=True)
class FourRoomsConfig:
    """Options of the world.

    Attributes:
        size: side of a picture in px, 64 or the published 224.
        closed_share: of the episodes, those in which one of the four doors is closed, 0 to 1.
        distractors: discs that move straight, through walls, and jump somewhere else every 35 steps or so; 0 to 5.
        max_steps: length of an episode of random play.
    """

    size: int = 64
    closed_share: float = 0.5
    distractors: int = 1
    max_steps: int = 400

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigError(f"`size` must be one of {', '.join(map(str, SIZES))}; got {self.size}.")
        if not 0 <= self.closed_share <= 1 or not 0 <= self.distractors <= MOST or self.max_steps < 1:
            raise ConfigError(
                f"`closed_share` must be in [0, 1], `distractors` from 0 to {MOST} and `max_steps` >= 1; got "
                f"{self.closed_share}, {self.distractors} and {self.max_steps}."
            )


class FourRooms(DrawnWorld):
    """A batch of four rooms (see `openjepa.protocols.World`).

    A state is `[x, y]`, 1 for each door that is closed, `[x, y, vx, vy]` of each distractor, and the `[seed, step]` of
    their luck: from a state on, they do what they did.

    Args:
        num_envs: number of environments B.
        config: the options.

    >>> world = FourRooms(2, FourRoomsConfig(size=224))
    >>> world.reset([0, 1]).shape, len(world.state_names)
    ((2, 3, 224, 224), 12)
    """

    name = "four-rooms-distractors"
    reached = REACHED

    def __init__(self, num_envs: int = 1, config: FourRoomsConfig | None = None) -> None:
        self.config = config or FourRoomsConfig()
        self.num_envs, self.max_steps = num_envs, self.config.max_steps
        self.frame_shape = (3, self.config.size, self.config.size)
        self.bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)
        self._positions = np.zeros((num_envs, 2))
        self._closed = np.zeros((num_envs, len(DOORS)))
        self._others = np.zeros((num_envs, self.config.distractors, 4))
        self._luck = np.zeros((num_envs, 2))
        self._rooms = np.zeros((num_envs, *self.frame_shape), np.uint8)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each column of a state."""
        doors = [f"door{i}_closed" for i in range(len(DOORS))]
        others = [f"distractor{i}_{c}" for i in range(self.config.distractors) for c in ("x", "y", "vx", "vy")]
        return ("x", "y", *doors, *others, "luck_seed", "luck_step")

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Draws position, closed door and distractors of each environment from its own seed."""
        self.check_seeds(seeds)
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            self._closed[i] = 0
            if rng.random() < self.config.closed_share:
                self._closed[i, rng.integers(len(DOORS))] = 1
            self._positions[i] = draw_position(rng, self._closed[i])
            self._luck[i] = rng.integers(2**20), 0
            self._others[i] = _jumped(rng, self.config.distractors)
        return self._enter()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P]; returns its frames."""
        check_shape(states, f"B={self.num_envs} P={len(self.state_names)}", name="states")
        parts = np.split(np.asarray(states, np.float64), [2, 2 + len(DOORS), -2], axis=1)
        self._positions, self._closed, self._luck = parts[0].copy(), parts[1].copy(), parts[3].copy()
        self._others = parts[2].reshape(self._others.shape).copy()
        return self._enter()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Moves along actions [B, 2] with norm at most 1, sliding along walls; the distractors move too."""
        self._positions = move(self._positions, self.allowed(actions), self._closed)
        self._luck[:, 1] += 1
        if self.config.distractors:
            self._move_others()
        return self.render()

    def _move_others(self) -> None:
        place, way = self._others[..., :2], self._others[..., 2:]
        place += way
        outside = (place < BORDER) | (place > SIDE - BORDER)
        way[outside] *= -1
        np.clip(place, BORDER, SIDE - BORDER, out=place)
        for i, (seed, step) in enumerate(self._luck.astype(int)):
            rng = np.random.default_rng((STREAM, seed, step))
            jumps = rng.random(self.config.distractors) < 1 / STAY
            if jumps.any():
                self._others[i, jumps] = _jumped(rng, self.config.distractors)[jumps]

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, H, W] uint8 of the present states."""
        frames, scale = self._rooms.copy(), self.config.size / SIDE
        radius = max(SEEN_RADIUS, RADIUS * scale)
        for k in range(self.config.distractors):
            draw_discs(frames, self._others[:, k, :2] * scale, OTHER, radius)
        draw_discs(frames, self._positions * scale, AGENT, radius)
        return frames

    def states(self) -> np.ndarray:
        """The truth [B, P] float32, named by `state_names`."""
        parts = [self._positions, self._closed, self._others.reshape(self.num_envs, -1), self._luck]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _enter(self) -> np.ndarray:
        self._rooms = draw_walls(self._closed, self.config.size)
        return self.render()


def is_free(positions: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Whether the agent's centre may be at positions [..., 2] with doors closed [..., 4]; [...] bool."""
    x, y = positions[..., 0], positions[..., 1]
    reach, gap = HALF_WALL + RADIUS, HALF_DOOR - RADIUS
    inside = (np.abs(positions - SIDE / 2) <= SIDE / 2 - BORDER - RADIUS).all(-1)
    upright = np.stack([np.abs(y - DOORS[i, 1]) <= gap for i in (0, 1)], -1) & (closed[..., :2] == 0)
    lying = np.stack([np.abs(x - DOORS[i, 0]) <= gap for i in (2, 3)], -1) & (closed[..., 2:] == 0)
    beside = (np.abs(x - WALL) >= reach) | upright.any(-1)
    return inside & beside & ((np.abs(y - WALL) >= reach) | lying.any(-1))


def move(positions: np.ndarray, actions: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """The true dynamics: positions [..., 2] after one step of actions [..., 2]; x before y, each stopped by walls."""
    return slide(positions, STEP * actions, closed, is_free)


def draw_position(rng: np.random.Generator, closed: np.ndarray) -> np.ndarray:
    """Draws a free position [2]."""
    while True:
        position = rng.uniform(BORDER + RADIUS, SIDE - BORDER - RADIUS, 2)
        if is_free(position, closed):
            return position


def draw_walls(closed: np.ndarray, size: int) -> np.ndarray:
    """Pictures [B, 3, size, size] uint8 of the empty rooms with doors closed [B, 4]."""
    pixel = (np.arange(size) + 0.5) * SIDE / size
    y, x = pixel[None, :, None], pixel[None, None, :]
    open_ = (closed == 0)[:, :, None, None]
    gaps = [(np.abs(y - DOORS[i, 1]) < HALF_DOOR) & open_[:, i] for i in (0, 1)]
    solid = (np.abs(x - WALL) < HALF_WALL) & ~(gaps[0] | gaps[1])
    gaps = [(np.abs(x - DOORS[i, 0]) < HALF_DOOR) & open_[:, i] for i in (2, 3)]
    solid = solid | ((np.abs(y - WALL) < HALF_WALL) & ~(gaps[0] | gaps[1]))
    edge = (np.minimum(x, y) < BORDER) | (np.maximum(x, y) > SIDE - BORDER)
    colours = np.array((SOLID, BACKGROUND), np.uint8)[:, None, :, None, None]
    return np.where((solid | edge)[:, None], colours[0], colours[1])


def _jumped(rng: np.random.Generator, count: int) -> np.ndarray:
    """Places and ways [count, 4] of distractors that were put anywhere."""
    heading = rng.uniform(0, 2 * np.pi, count)
    place = rng.uniform(BORDER, SIDE - BORDER, (count, 2))
    return np.concatenate([place, STEP * np.stack([np.cos(heading), np.sin(heading)], 1)], 1)
