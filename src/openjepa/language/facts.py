"""What can be said of a state, and whether it is true: predicates on the simulator's states, the judge of all words.

A *fact* is a relation of the agent to things: `left of (red disc)`. Facts are read from states by name, so every world
whose states name an agent (`x`, `y`), a wall with a door and things (`THING_x`, `THING_y`) has them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from openjepa.envs.drawing import RADIUS
from openjepa.envs.two_rooms import BORDER, HALF_DOOR, HALF_WALL, OBJECT_RADIUS, SIZE
from openjepa.errors import ConfigError, DataError

TOUCH = RADIUS + OBJECT_RADIUS  # px between the centres of agent and thing that touch
NEAR = 12.0  # px, likewise, of things that are near
ASIDE = 4.0  # px by which the agent must be left of a thing to be left of it, and nearer to level with it than that
BAND = 18.0  # px from the upper or lower edge that are at the top or bottom


@dataclass(frozen=True)
class Fact:
    """A relation of the agent to things.

    Attributes:
        relation: a key of `RELATIONS`.
        things: names of what it relates to, as many as the relation takes.
    """

    relation: str
    things: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Columns of states [S, P] by meaning, each [S] or [S, 2]."""

    agent: np.ndarray
    wall: np.ndarray
    door: np.ndarray
    things: dict[str, np.ndarray]

    def way(self, thing: str) -> np.ndarray:
        """From the agent to a thing [S, 2]."""
        return self.things[thing] - self.agent

    def apart(self, thing: str) -> np.ndarray:
        """Distance from the agent to a thing [S]."""
        return np.linalg.norm(self.way(thing), axis=-1)


def _side(axis: int, sign: int) -> Callable[..., np.ndarray]:
    """The agent lies to a side of a thing, in the quarter of the plane on that side."""

    def holds(scene: Scene, thing: str) -> np.ndarray:
        way = sign * scene.way(thing)
        return (way[:, axis] >= ASIDE) & (abs(way[:, 1 - axis]) <= way[:, axis])

    return holds


def _in_room_of(scene: Scene, thing: str) -> np.ndarray:
    return _in_a_room(scene) & ((scene.agent[:, 0] < scene.wall) == (scene.things[thing][:, 0] < scene.wall))


def _behind_wall(scene: Scene, thing: str) -> np.ndarray:
    return _in_a_room(scene) & ((scene.agent[:, 0] < scene.wall) != (scene.things[thing][:, 0] < scene.wall))


def _in_a_room(scene: Scene) -> np.ndarray:
    return abs(scene.agent[:, 0] - scene.wall) > HALF_WALL


def _in_door(scene: Scene) -> np.ndarray:
    away = scene.agent - np.stack([scene.wall, scene.door], -1)
    return (abs(away[:, 0]) <= HALF_WALL + RADIUS) & (abs(away[:, 1]) < HALF_DOOR)


def _between(scene: Scene, first: str, second: str) -> np.ndarray:
    middle = (scene.things[first] + scene.things[second]) / 2
    return np.linalg.norm(scene.agent - middle, axis=-1) <= TOUCH


def _nearest(scene: Scene, thing: str) -> np.ndarray:
    return scene.apart(thing) <= np.min([scene.apart(name) for name in scene.things], axis=0)


# relation: how many things it takes, and whether it holds of scene and things, [S] bool
RELATIONS: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "touching": (1, lambda s, thing: s.apart(thing) <= TOUCH),
    "near": (1, lambda s, thing: s.apart(thing) <= NEAR),
    "nearest": (1, _nearest),
    "left of": (1, _side(0, 1)),
    "right of": (1, _side(0, -1)),
    "above": (1, _side(1, 1)),
    "below": (1, _side(1, -1)),
    "same room": (1, _in_room_of),
    "behind wall": (1, _behind_wall),
    "between": (2, _between),
    "left room": (0, lambda s: _in_a_room(s) & (s.agent[:, 0] < s.wall)),
    "right room": (0, lambda s: _in_a_room(s) & (s.agent[:, 0] > s.wall)),
    "doorway": (0, _in_door),
    "top": (0, lambda s: s.agent[:, 1] < BORDER + BAND),
    "bottom": (0, lambda s: s.agent[:, 1] > SIZE - BORDER - BAND),
}


class Facts:
    """All facts of a world, and their truth.

    Args:
        state_names: of the world's state columns.

    Raises:
        ConfigError: for a world whose states do not name what facts are about.
    """

    def __init__(self, state_names: Sequence[str]) -> None:
        names = list(state_names)
        self.things = tuple(
            name[:-2].replace("_", " ") for name in names if name.endswith("_x") and f"{name[:-2]}_y" in names
        )
        if not self.things or not {"x", "y", "wall_x", "door_y"} <= set(names):
            raise ConfigError(
                "words must be about a world whose states name the agent (x, y), a wall with a door (wall_x, door_y) "
                f"and things; its states are {', '.join(names) or 'unknown'}. Take `object-rooms`, or episodes with "
                "tasks in words."
            )
        self._columns = {name: i for i, name in enumerate(names)}
        self.all = tuple(
            Fact(relation, things)
            for relation, (count, _) in RELATIONS.items()
            for things in combinations(self.things, count)
        )
        self.index = {fact: i for i, fact in enumerate(self.all)}

    def scene(self, states: np.ndarray) -> Scene:
        """States [S, P] by meaning."""
        if states.ndim != 2 or states.shape[1] != len(self._columns):
            raise DataError(f"`states` must be [S, {len(self._columns)}]; got {list(states.shape)}.")

        def place(name: str) -> np.ndarray:
            prefix = f"{name.replace(' ', '_')}_" if name else ""
            return states[:, [self._columns[f"{prefix}x"], self._columns[f"{prefix}y"]]].astype(np.float64)

        column = self._columns
        return Scene(
            place(""),
            states[:, column["wall_x"]].astype(np.float64),
            states[:, column["door_y"]].astype(np.float64),
            {name: place(name) for name in self.things},
        )

    def holds(self, states: np.ndarray) -> np.ndarray:
        """The truth of every fact in states [S, P]; [F, S] bool."""
        scene = self.scene(states)
        return np.stack([RELATIONS[fact.relation][1](scene, *fact.things) for fact in self.all])
