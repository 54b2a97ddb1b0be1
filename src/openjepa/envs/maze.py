"""Perfect mazes: a disc in square cells between which there is exactly one way, drawn at 64 x 64, NumPy only.

Straight distances say nothing here: two neighbouring cells may be twenty cells apart. Positions are in pixels, x to the
right, y downwards; cells are counted the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from openjepa.envs.drawing import draw_discs
from openjepa.envs.drawn_world import DrawnWorld, slide
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

SIZE = 64
BORDER = 2.0  # px of wall around the picture
HALF_WALL = 1.0  # px, half the thickness of the inner walls
CLEARANCE = 2.0  # px that the agent's centre keeps from every wall
REACH = HALF_WALL + CLEARANCE  # px that it keeps from the middle of a wall
STEP = 1.5  # px per step at full speed
SUBSTEPS = 3
REACHED = 3.0  # px, a goal nearer than this counts as reached; it comes no nearer through a wall
LARGEST = 7  # cells in a row, which leave passages of 2.5 px to the agent's centre
HELD_OUT_SHARE = 5  # one drawn maze in five never appears in `split="train"`

BACKGROUND, WALL, AGENT = (235, 235, 235), (60, 60, 80), (220, 40, 40)
NAMES = {"fixed": "maze", "random": "random-mazes"}  # by layout


@dataclass(frozen=True)
class MazeConfig:
    """Options of the world.

    Attributes:
        cells: in a row and in a column, 2 to 7.
        layout: `fixed`, or `random`: drawn per episode.
        number: of the fixed maze, >= 0; every number is another one.
        split: which drawn mazes may occur: `all`, `train`, or `held-out` (disjoint from `train`).
        max_steps: length of an episode of random play.
    """

    cells: int = 5
    layout: Literal["fixed", "random"] = "fixed"
    number: int = 0
    split: Literal["all", "train", "held-out"] = "all"
    max_steps: int = 80

    def __post_init__(self) -> None:
        if not 2 <= self.cells <= LARGEST:
            raise ConfigError(f"`cells` must be from 2 to {LARGEST}; got {self.cells}.")
        if self.layout not in NAMES or self.split not in ("all", "train", "held-out"):
            raise ConfigError(
                f"`layout` must be fixed or random, `split` all, train or held-out; got {self.layout}, {self.split}."
            )
        if self.number < 0 or self.max_steps < 1:
            raise ConfigError("`number` must be >= 0 and `max_steps` >= 1.")


class Maze(DrawnWorld):
    """A batch of mazes (see `openjepa.protocols.World`).

    A state is `[x, y]` and one number for each place where a wall may be, 1 where it is: right of the cells of every
    row but the last in it, then below the cells of every row but the last one.

    Args:
        num_envs: number of environments B.
        config: the options.

    >>> world = Maze(2, MazeConfig(cells=3))
    >>> world.reset([0, 1]).shape, len(world.state_names)
    ((2, 3, 64, 64), 14)
    """

    reached = REACHED

    def __init__(self, num_envs: int = 1, config: MazeConfig | None = None) -> None:
        self.config = config or MazeConfig()
        self.name = NAMES[self.config.layout]
        self.num_envs = num_envs
        self.max_steps = self.config.max_steps
        self.bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)
        self._positions = np.zeros((num_envs, 2))
        self._walls = np.zeros((num_envs, count_walls(self.config.cells)))
        self._empty = np.zeros((num_envs, 3, SIZE, SIZE), np.uint8)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each column of a state."""
        cells = range(self.config.cells)
        right = [f"wall_right_of_{column}_{row}" for row in cells for column in cells[:-1]]
        below = [f"wall_below_{column}_{row}" for row in cells[:-1] for column in cells]
        return ("x", "y", *right, *below)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Draws maze and position of each environment from its own seed."""
        self.check_seeds(seeds)
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            self._walls[i] = draw_walls(rng, self.config)
            self._positions[i] = draw_position(rng, self._walls[i])
        return self._enter()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P]; returns frames [B, 3, 64, 64]."""
        check_shape(states, f"B={self.num_envs} P={len(self.state_names)}", name="states")
        states = np.asarray(states, np.float64)
        self._positions, self._walls = states[:, :2].copy(), states[:, 2:].copy()
        return self._enter()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Moves by up to 1.5 px along actions [B, 2] with norm at most 1, sliding along walls."""
        self._positions = move(self._positions, self.allowed(actions), self._walls)
        return self.render()

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, 64, 64] uint8 of the present states."""
        frames = self._empty.copy()
        draw_discs(frames, self._positions, AGENT)
        return frames

    def states(self) -> np.ndarray:
        """The truth [B, P] float32, named by `state_names`."""
        return np.concatenate([self._positions, self._walls], axis=1).astype(np.float32)

    def _enter(self) -> np.ndarray:
        self._empty = draw_passages(self._walls)
        return self.render()


# ----------------------------------------------------------------------------------------------------
# Walls


def count_walls(cells: int) -> int:
    """Places W where a wall may be between that many cells in a row and in a column."""
    return 2 * cells * (cells - 1)


def cells_of(walls: np.ndarray) -> int:
    """Cells in a row of walls [..., W]; undoes `count_walls`."""
    return round((1 + np.sqrt(1 + 2 * walls.shape[-1])) / 2)


def is_held_out(walls: np.ndarray) -> bool:
    """Whether a drawn maze [W] belongs to the fifth that `split="train"` never shows."""
    parts = np.packbits(walls.astype(bool)).astype(int)
    return int(parts @ np.arange(1, 1 + len(parts))) % HELD_OUT_SHARE == 0


def draw_walls(rng: np.random.Generator, config: MazeConfig) -> np.ndarray:
    """The walls [W] of the fixed maze, or of a drawn one of the wanted split."""
    if config.layout == "fixed":
        return perfect_maze(np.random.default_rng((0x6D617A65, config.number)), config.cells)
    while True:
        walls = perfect_maze(rng, config.cells)
        if config.split == "all" or is_held_out(walls) == (config.split == "held-out"):
            return walls


def perfect_maze(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Walls [W] between which there is one way from every cell to every other: a random depth-first walk opens them."""
    right, below = np.ones((cells, cells - 1)), np.ones((cells - 1, cells))
    way = [(int(rng.integers(cells)), int(rng.integers(cells)))]  # row and column
    seen = {way[0]}
    while way:
        row, column = way[-1]
        beside = [(row, column + 1), (row, column - 1), (row + 1, column), (row - 1, column)]
        fresh = [c for c in beside if min(c) >= 0 and max(c) < cells and c not in seen]
        if not fresh:
            way.pop()
            continue
        there = fresh[int(rng.integers(len(fresh)))]
        if there[0] == row:
            right[row, min(column, there[1])] = 0
        else:
            below[min(row, there[0]), column] = 0
        seen.add(there)
        way.append(there)
    return np.concatenate([right.ravel(), below.ravel()])


def _grid(walls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walls [B, W] as upright ones [B, rows, lines] and lying ones [B, lines, columns], those around included."""
    cells = cells_of(walls)
    upright, lying = np.ones((len(walls), cells, cells + 1), bool), np.ones((len(walls), cells + 1, cells), bool)
    half = walls.shape[1] // 2
    upright[:, :, 1:-1] = walls[:, :half].reshape(-1, cells, cells - 1) > 0.5
    lying[:, 1:-1] = walls[:, half:].reshape(-1, cells - 1, cells) > 0.5
    return upright, lying


def _is_near_wall(x: np.ndarray, y: np.ndarray, walls: np.ndarray, reach: float) -> np.ndarray:
    """Whether places [B, ...] are nearer than `reach` to a wall, on both axes where it ends."""
    cells = cells_of(walls)
    upright, lying = _grid(walls)
    pitch = (SIZE - 2 * BORDER) / cells
    env = np.arange(len(walls)).reshape(-1, *[1] * (x.ndim - 1))
    column, row = (((p - BORDER) // pitch).astype(int).clip(0, cells - 1) for p in (x, y))
    line_x, line_y = (np.rint((p - BORDER) / pitch).astype(int).clip(0, cells) for p in (x, y))
    near_x = np.abs(x - BORDER - line_x * pitch) < reach
    near_y = np.abs(y - BORDER - line_y * pitch) < reach
    by_side = near_x & upright[env, row, line_x] | near_y & lying[env, line_y, column]
    return by_side | near_x & near_y  # wherever lines cross, a wall begins: else there would be a way around


def is_free(positions: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Whether the agent's centre may be at positions [B, ..., 2] between walls [B, W]; [B, ...] bool."""
    x, y = positions[..., 0], positions[..., 1]
    low, high = BORDER + REACH, SIZE - BORDER - REACH
    inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)
    return inside & ~_is_near_wall(x, y, walls, REACH)


def draw_position(rng: np.random.Generator, walls: np.ndarray) -> np.ndarray:
    """Draws a free position [2]."""
    while True:
        position = rng.uniform(BORDER + REACH, SIZE - BORDER - REACH, 2)
        if is_free(position[None], walls[None])[0]:
            return position


def move(positions: np.ndarray, actions: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """The true dynamics: positions [B, 2] after one step of actions [B, 2]; a pure function.

    Three substeps, x before y; the half that would enter a wall is dropped, so the agent slides.
    """
    return slide(positions, actions * (STEP / SUBSTEPS), walls, is_free, SUBSTEPS)


def draw_passages(walls: np.ndarray) -> np.ndarray:
    """Pictures [B, 3, 64, 64] uint8 of empty mazes with walls [B, W]."""
    pixel = np.arange(SIZE) + 0.5
    y, x = np.broadcast_arrays(pixel[None, :, None], pixel[None, None, :])
    edge = (x < BORDER) | (x > SIZE - BORDER) | (y < BORDER) | (y > SIZE - BORDER)
    solid = (_is_near_wall(x, y, walls, HALF_WALL) | edge)[:, None]
    return np.where(solid, *(np.array(c, np.uint8)[None, :, None, None] for c in (WALL, BACKGROUND)))
