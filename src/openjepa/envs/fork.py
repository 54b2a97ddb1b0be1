"""The fork: a disc drives to a fork in the road, where a hidden coin decides. The future is ambiguous, and known.

The picture never shows the coin. Before the fork there are two futures (or three), of probabilities that one option
sets; on a branch there is one. The steepness of the branch is drawn too, so that a future is a small range and not
a point. Positions are in pixels, x to the right, y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.envs.drawing import draw_discs
from openjepa.envs.drawn_world import DrawnWorld
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

SIZE = 64
FORK = (28.0, 32.0)  # px, where the road forks
SPEED, THROTTLE = 2.6, 0.4  # px per step, and what the action adds or takes
SLOPE = (0.6, 1.0)  # range of the steepness: px down or up per px of speed; the horizontal speed is halved
START = (4.0, 14.0)  # range of x at the start
EDGE = 5.0  # px that the disc keeps from the border
REACHED = 3.0  # px
DIRECTIONS = {2: (-1.0, 1.0), 3: (-1.0, 0.0, 1.0)}  # up, (straight,) down

BACKGROUND, ROAD, DISC = (235, 235, 235), (205, 208, 214), (220, 40, 40)


@dataclass(frozen=True)
class ForkConfig:
    """Options of the world.

    Attributes:
        ways: 2 (up, down) or 3 (up, straight, down).
        probability: of the way up, in [0, 1]; the others share the rest equally.
        max_steps: length of an episode of random play.
    """

    ways: int = 2
    probability: float = 0.5
    max_steps: int = 16

    def __post_init__(self) -> None:
        if self.ways not in DIRECTIONS:
            raise ConfigError(f"`ways` must be 2 or 3; got {self.ways}.")
        if not 0 <= self.probability <= 1 or self.max_steps < 1:
            raise ConfigError("`probability` must be in [0, 1] and `max_steps` at least 1.")

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each way, from up to down."""
        rest = (1 - self.probability) / (self.ways - 1)
        return np.array([self.probability, *[rest] * (self.ways - 1)])


class Fork(DrawnWorld):
    """A batch of forks (see `openjepa.protocols.World`); the action in [-1, 1] is a throttle.

    A state is `[x, y, way, slope, luck]`: way is -1 before the fork, and luck is the seed of what the fork will decide,
    so `reset_to` a state repeats its future, and with another luck shows another one.

    Args:
        num_envs: number of environments B.
        config: the options.

    >>> Fork(2).reset([0, 1]).shape
    (2, 3, 64, 64)
    """

    name = "fork"
    state_names = ("x", "y", "way", "slope", "luck")
    reached = REACHED

    def __init__(self, num_envs: int = 1, config: ForkConfig | None = None) -> None:
        self.config = config or ForkConfig()
        self.num_envs = num_envs
        self.max_steps = self.config.max_steps
        self.bounds = ActionBounds(-np.ones(1, np.float32), np.ones(1, np.float32))
        self._states = np.zeros((num_envs, 5))
        self._road = draw_road(self.config.ways)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Draws the start and the luck of each environment from its own seed."""
        self.check_seeds(seeds)
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            self._states[i] = rng.uniform(*START), FORK[1], -1, 0, rng.integers(2**20)
        return self.render()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, 5]; returns frames [B, 3, 64, 64]."""
        check_shape(states, f"B={self.num_envs} P=5", name="states")
        self._states = np.asarray(states, np.float64).copy()
        return self.render()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Drives on with throttle [B, 1] in [-1, 1]."""
        speed = SPEED + THROTTLE * self.allowed(actions)[:, 0]
        x, y, way, slope, luck = self._states.T.copy()
        straight = np.where(way < 0, np.minimum(speed, np.maximum(FORK[0] - x, 0)), 0)  # part before the fork
        arrives = (way < 0) & (straight < speed)
        for i in np.flatnonzero(arrives):
            way[i], slope[i] = decide(int(luck[i]), self.config)
        direction = np.array(DIRECTIONS[self.config.ways])[np.maximum(way, 0).astype(int)] * (way >= 0)
        on_branch = speed - straight
        x = x + straight + on_branch * np.where(direction == 0, 1, 0.5)
        y = y + on_branch * direction * slope
        low, high = EDGE, SIZE - EDGE
        self._states = np.stack([x.clip(low - 1, high), y.clip(low, high), way, slope, luck], 1)
        return self.render()

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, 64, 64] uint8 of the present states."""
        frames = np.repeat(self._road[None], self.num_envs, 0)
        draw_discs(frames, self._states[:, :2], DISC)
        return frames

    def states(self) -> np.ndarray:
        """The truth [B, 5] float32, named by `state_names`."""
        return self._states.astype(np.float32)


def decide(luck: int, config: ForkConfig) -> tuple[int, float]:
    """What the fork does with a disc of that luck: its way, an index of `DIRECTIONS`, and the slope."""
    rng = np.random.default_rng((0x666F726B, luck))
    way = int(np.searchsorted(np.cumsum(config.probabilities), rng.random(), side="right"))
    return min(way, config.ways - 1), float(rng.uniform(*SLOPE))


def draw_road(ways: int) -> np.ndarray:
    """The empty road [3, 64, 64] uint8: a lane to the fork and a wedge for every branch."""
    pixel = np.arange(SIZE) + 0.5
    y, x = pixel[:, None] - FORK[1], pixel[None, :] - FORK[0]
    road = (np.abs(y) < 4) & (x < 2)
    for direction in DIRECTIONS[ways]:
        if direction == 0:
            road |= (np.abs(y) < 4) & (x >= 0)
        else:
            along = y * direction
            road |= (x >= -1) & (along > 2 * SLOPE[0] * x - 5) & (along < 2 * SLOPE[1] * x + 5) & (along > -4)
    return np.where(road, np.array(ROAD)[:, None, None], np.array(BACKGROUND)[:, None, None]).astype(np.uint8)
