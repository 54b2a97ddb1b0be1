"""What can be said of rooms: where the agent is, and how it lies to things. Positions are in pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.envs.drawing import RADIUS
from openjepa.envs.facts import Facts, Relations
from openjepa.envs.two_rooms import BORDER, HALF_DOOR, HALF_WALL, OBJECT_RADIUS, SIZE

TOUCH = RADIUS + OBJECT_RADIUS  # px between the centres of agent and thing that touch
NEAR = 12.0  # px, likewise, of things that are near
ASIDE = 4.0  # px by which the agent must be left of a thing to be left of it, and nearer to level with it than that
BAND = 18.0  # px from the upper or lower edge that are at the top or bottom


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


RELATIONS: Relations = {
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


def room_facts(state_names: Sequence[str], things: Sequence[str]) -> Facts:
    """What can be said of rooms in which things lie.

    Args:
        state_names: of the states: the agent (x, y), a wall with a door (wall_x, door_y), and each thing's place.
        things: names of what lies there.
    """
    column = {name: i for i, name in enumerate(state_names)}

    def read(states: np.ndarray) -> Scene:
        def place(name: str) -> np.ndarray:
            prefix = f"{name.replace(' ', '_')}_" if name else ""
            return states[:, [column[f"{prefix}x"], column[f"{prefix}y"]]]

        wall, door = states[:, column["wall_x"]], states[:, column["door_y"]]
        return Scene(place(""), wall, door, {name: place(name) for name in things})

    return Facts(RELATIONS, things, read, len(column))
