"""The true ways of a world with walls: how long the shortest is, and a player who walks it (the ceiling).

For drawing pairs and for judging only: an agent sees pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openjepa.envs import four_rooms as rooms
from openjepa.protocols import ActionBounds, World

NEIGHBOURS = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i or j) and np.gcd(i, j) == 1]  # 16 directions
LOOK = 8  # nodes that a guide looks ahead
SHORTEST = 1.014  # mean ratio of a way in 16 directions to a straight one


@dataclass
class Passages:
    """Where a point may be in the plane, as a grid of nodes, and the shortest ways between them.

    Attributes:
        free: positions [..., 2] to bool [...].
        low: of both coordinates.
        high: likewise.
        spacing: of the nodes.
        speed: way per step.
        scene: numbers of the columns of a state that a goal shares with its start.
        gain: of a guide, of the way that is left and of its velocity; None where nothing has a velocity.
    """

    free: Callable[[np.ndarray], np.ndarray]
    low: np.ndarray
    high: np.ndarray
    spacing: float
    speed: float
    scene: Sequence[int] = ()
    gain: tuple[float, float] | None = None
    _fields: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes = [np.arange(a, b + 1e-9, self.spacing) for a, b in zip(self.low, self.high, strict=True)]
        self.nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)  # [I, J, 2]
        self.open = self.free(self.nodes)
        between = (0.25, 0.5, 0.75)
        self._joined = []
        for shift in NEIGHBOURS:
            way = np.array(shift) * self.spacing
            clear = np.all([self.free(self.nodes + share * way) for share in between], axis=0)
            self._joined.append((shift, clear & self.open, float(np.linalg.norm(way))))

    def in_scene_of(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """A goal with the walls of its start."""
        found = goal.copy()
        found[list(self.scene)] = start[list(self.scene)]
        return found

    def node(self, position: np.ndarray) -> tuple[int, int]:
        """The open node that is nearest to a position [2]."""
        gap = np.where(self.open, np.linalg.norm(self.nodes - position, axis=-1), np.inf)
        i, j = np.unravel_index(int(gap.argmin()), gap.shape)
        return int(i), int(j)

    def field(self, goal: np.ndarray) -> np.ndarray:
        """Length of the shortest way from every node to a goal [2]."""
        place = self.node(goal)
        if place not in self._fields:
            far = np.full((self.open.shape[0] + 4, self.open.shape[1] + 4), np.inf)
            inner = far[2:-2, 2:-2]
            inner[place] = 0
            while True:
                before = inner.copy()
                for (i, j), clear, way in self._joined:
                    there = far[2 + i : far.shape[0] - 2 + i, 2 + j : far.shape[1] - 2 + j]
                    np.minimum(inner, np.where(clear, there + way, np.inf), out=inner)
                if np.array_equal(before, inner):
                    break
            self._fields[place] = before
        return self._fields[place]

    def steps(self, start: np.ndarray, goal: np.ndarray) -> float:
        """Steps at full speed along the shortest way."""
        return float(self.field(goal)[self.node(start)]) / SHORTEST / self.speed

    def towards(self, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The point [2] to head for: the goal where it is in sight, else the node in sight nearest to it."""
        if self._in_sight(position, goal[None])[0]:
            return goal
        i, j = self.node(position)
        part = np.s_[max(0, i - LOOK) : i + LOOK + 1, max(0, j - LOOK) : j + LOOK + 1]
        nodes, left = self.nodes[part].reshape(-1, 2), self.field(goal)[part].ravel()
        worth = np.where(self._in_sight(position, nodes) & self.open[part].ravel(), left, np.inf)
        return nodes[int(worth.argmin())] if np.isfinite(worth).any() else self.nodes[i, j]

    def _in_sight(self, position: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        shares = np.linspace(0, 1, 4 * LOOK)[1:, None, None]
        return self.free(position + shares * (nodes - position)).all(0)


class Guide:
    """Walks the shortest way; sees the true states as proprioception.

    Args:
        ways: of a state.
        bounds: of the actions.
    """

    def __init__(self, ways: Callable[[np.ndarray], Passages], bounds: ActionBounds) -> None:
        self.ways, self.bounds = ways, bounds

    def start(self, goal_frames: np.ndarray, env_ids: Any = None, goal_proprio: Any = None) -> None:
        """Remembers the goals' true positions."""
        self._goals, self._ways = np.asarray(goal_proprio, float), None

    def act(self, frames: np.ndarray, proprio: Any = None, active: Any = None) -> np.ndarray:
        """Actions [B, 2] towards the goals."""
        states = np.asarray(proprio, float)
        if self._ways is None:
            self._ways = [self.ways(state) for state in states]
        actions = []
        for state, goal, ways in zip(states, self._goals, self._ways, strict=True):
            way = ways.towards(state[:2], goal[:2]) - state[:2]
            if ways.gain is None:
                actions.append(
                    way
                    / max(ways.speed, float(np.abs(way).max() if self.bounds.max_norm is None else np.linalg.norm(way)))
                )
            else:
                actions.append(ways.gain[0] * way - ways.gain[1] * state[2:4])
        return self.bounds.clip(_tensor(np.stack(actions))).numpy()


def _tensor(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(x.astype(np.float32))


def four_rooms(world: World, state: np.ndarray) -> Passages:
    """Ways of `four-rooms-distractors`, whose doors a state tells."""
    closed = state[2 : 2 + len(rooms.DOORS)]
    edge = rooms.BORDER + rooms.RADIUS

    def free(positions: np.ndarray) -> np.ndarray:
        return rooms.is_free(positions, np.broadcast_to(closed, (*positions.shape[:-1], len(closed))))

    key = tuple(int(door) for door in closed)
    if key not in _KNOWN:
        low, high = np.full(2, edge), np.full(2, rooms.SIDE - edge)
        _KNOWN[key] = Passages(free, low, high, 3.5, rooms.STEP, range(2, 2 + len(rooms.DOORS)))
    return _KNOWN[key]


def foreign_rooms(world: World, state: np.ndarray) -> Passages:
    """Ways of the foreign Two-Rooms, whose walls never move."""
    import foreign_two_rooms as rooms

    low, high = rooms.BORDER + rooms.RADIUS, rooms.SIZE - rooms.BORDER - rooms.RADIUS

    def free(positions: np.ndarray) -> np.ndarray:
        inside = ((positions >= low) & (positions <= high)).all(-1)
        beside = np.abs(positions[..., 0] - rooms.MIDDLE) > rooms.HALF_WALL + rooms.RADIUS
        return inside & (beside | (np.abs(positions[..., 1] - rooms.DOOR) < rooms.HALF_DOOR))

    if "foreign" not in _KNOWN:
        _KNOWN["foreign"] = Passages(free, np.full(2, low), np.full(2, high), 3.5, rooms.SPEED)
    return _KNOWN["foreign"]


def point_maze(world: Any, state: np.ndarray) -> Passages:
    """Ways of a maze of gymnasium-robotics, in m."""
    if world.name not in _KNOWN:
        maze = world.envs[0].unwrapped.maze
        walls, side = np.array([[cell == 1 for cell in row] for row in maze.maze_map]), maze.maze_size_scaling
        first = maze.cell_rowcol_to_xy(np.array([0, 0]))

        def free(positions: np.ndarray) -> np.ndarray:
            found = np.ones(positions.shape[:-1], bool)
            for dx in (-BALL, BALL):
                for dy in (-BALL, BALL):
                    column = np.rint((positions[..., 0] + dx - first[0]) / side).astype(int)
                    row = np.rint((first[1] - positions[..., 1] - dy) / side).astype(int)
                    inside = (column >= 0) & (column < walls.shape[1]) & (row >= 0) & (row < walls.shape[0])
                    found &= inside & ~walls[row.clip(0, walls.shape[0] - 1), column.clip(0, walls.shape[1] - 1)]
            return found

        half = np.array([walls.shape[1], walls.shape[0]]) * side / 2
        _KNOWN[world.name] = Passages(free, -half, half, side / 8, 0.05, gain=(8.0, 2.0))
    return _KNOWN[world.name]


BALL = 0.12  # m, radius of the ball and a little
_KNOWN: dict[Any, Passages] = {}
