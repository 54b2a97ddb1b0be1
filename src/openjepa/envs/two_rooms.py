"""Two-Rooms and relatives: a disc that moves in rooms, drawn at 64 x 64, vectorised, NumPy only.

The pictures follow the Two-Rooms family of 2502.14819 and 2602.03604: a wall with a door splits the square, so the
straight way to a goal in the other room is blocked. Positions are in pixels, x to the right, y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from openjepa.envs.drawing import draw_discs, draw_shapes
from openjepa.envs.drawn_world import DrawnWorld, slide
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

if TYPE_CHECKING:
    from openjepa.envs.facts import Facts

SIZE = 64
BORDER = 2.0  # px of wall around the picture
HALF_WALL = 2.0  # px, half the thickness of the inner walls
HALF_DOOR = 7.0  # px
CLEARANCE = 2.0  # px that the agent's centre keeps from every wall
STEP = 3.0  # px per step at full speed
SUBSTEPS = 3
GRID = 2.0  # px between places of the agent that `everywhere` tries
REACHED = 3.0  # px, a goal nearer than this counts as reached
SAME_ROOM, CROSS_ROOM = "same room", "cross room"  # groups of pairs

BACKGROUND, WALL, AGENT = (235, 235, 235), (60, 60, 80), (220, 40, 40)
CHANGED_BACKGROUND, CHANGED_WALL = (196, 222, 240), (112, 74, 42)
DIMMEST = 0.55  # share of the light at the left edge under `light="slanting"`; the right edge has all of it
WALL_X, DOOR_Y = (20, 44), (14, 50)  # inclusive ranges of the drawn layouts
OBJECTS = {  # name: colour and shape, in the order in which a world gets them
    "red disc": ((220, 40, 40), "disc"),
    "green square": ((40, 160, 70), "square"),
    "blue triangle": ((50, 90, 220), "triangle"),
    "yellow diamond": ((240, 190, 30), "diamond"),
}
OBJECT_ROOMS = "object-rooms"  # name of the world that has them
OBJECT_RADIUS, OBJECT_GAP = 3.5, 12.0  # px; the gap is the least distance between the centres of two objects
AMONG_OBJECTS = (150, 40, 190)  # the agent's colour where there are objects
NAMES = {"fixed": "two-rooms", "random": "random-doors", "four-rooms": "four-rooms"}  # by layout
HELD_OUT_SHARE = 5  # one layout in five never appears in `split="train"`


@dataclass(frozen=True)
class TwoRoomsConfig:
    """Options of the world.

    Attributes:
        layout: `fixed` (wall at 32, door at 24), `random` (wall and door drawn per episode) or `four-rooms`.
        split: which drawn layouts may occur: `all`, `train`, or `held-out` (disjoint from `train`).
        distractors: discs that move by themselves and pass through walls.
        objects: coloured things of `OBJECTS` that lie in the rooms, drawn per episode, 0 to 4. The agent moves over
            them; they are there to be spoken about.
        background: `plain`, or `noise`: every frame gets a fresh random texture.
        noise_low: darkest grey level of that texture, 0 to 255: the lower, the harder the agent is to see.
        colours: `usual`, or `changed`: a blue floor and brown walls.
        light: `even`, or `slanting`: it fades towards the left.
        max_steps: length of an episode of random play.
    """

    layout: Literal["fixed", "random", "four-rooms"] = "fixed"
    split: Literal["all", "train", "held-out"] = "all"
    distractors: int = 0
    objects: int = 0
    background: Literal["plain", "noise"] = "plain"
    noise_low: int = 100
    colours: Literal["usual", "changed"] = "usual"
    light: Literal["even", "slanting"] = "even"
    max_steps: int = 40

    def __post_init__(self) -> None:
        if self.layout not in ("fixed", "random", "four-rooms"):
            raise ConfigError(f"`layout` must be fixed, random or four-rooms; got {self.layout}.")
        if self.split not in ("all", "train", "held-out"):
            raise ConfigError(f"`split` must be all, train or held-out; got {self.split}.")
        if self.background not in ("plain", "noise"):
            raise ConfigError(f"`background` must be plain or noise; got {self.background}.")
        if self.colours not in ("usual", "changed") or self.light not in ("even", "slanting"):
            raise ConfigError(
                f"`colours` must be usual or changed and `light` even or slanting; got {self.colours}, {self.light}."
            )
        if not 0 <= self.noise_low <= 255:
            raise ConfigError(f"`noise_low` must be a grey level from 0 to 255; got {self.noise_low}.")
        if not 0 <= self.objects <= len(OBJECTS):
            raise ConfigError(f"`objects` must be from 0 to {len(OBJECTS)}; got {self.objects}.")
        if self.distractors < 0 or self.max_steps < 1:
            raise ConfigError("`distractors` must be >= 0 and `max_steps` >= 1.")


class TwoRooms(DrawnWorld):
    """A batch of Two-Rooms worlds (see `openjepa.protocols.World`).

    A state is `[x, y, wall_x, door_y]`; four rooms add `[wall_y, door_x_left, door_x_right, door_y_low]`; each object
    adds its `[x, y]`, each distractor its `[x, y, vx, vy]`, and the noisy background adds the `[seed, step]` of its
    texture. `reset_to` a state shows the same picture again.

    Args:
        num_envs: number of environments B.
        config: the options.

    >>> world = TwoRooms(2)
    >>> world.reset([0, 1]).shape
    (2, 3, 64, 64)
    """

    reached = REACHED

    def __init__(self, num_envs: int = 1, config: TwoRoomsConfig | None = None) -> None:
        self.config = config or TwoRoomsConfig()
        self.name = OBJECT_ROOMS if self.config.objects else NAMES[self.config.layout]
        self.num_envs = num_envs
        self.max_steps = self.config.max_steps
        self.bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)
        self._positions = np.zeros((num_envs, 2))
        self._layouts = np.zeros((num_envs, 6 if self.config.layout == "four-rooms" else 2))
        self._objects = np.zeros((num_envs, self.config.objects, 2))
        self._distractors = np.zeros((num_envs, self.config.distractors, 4))
        self._texture = np.zeros((num_envs, 2))
        self._rooms = np.zeros((num_envs, 3, SIZE, SIZE), np.uint8)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each column of a state."""
        names = ["x", "y", "wall_x", "door_y"]
        if self.config.layout == "four-rooms":
            names += ["wall_y", "door_x_left", "door_x_right", "door_y_low"]
        for name in self.object_names:
            names += [f"{name.replace(' ', '_')}_{c}" for c in ("x", "y")]
        for i in range(self.config.distractors):
            names += [f"distractor{i}_{c}" for c in ("x", "y", "vx", "vy")]
        if self.config.background == "noise":
            names += ["texture_seed", "texture_step"]
        return tuple(names)

    @property
    def object_names(self) -> tuple[str, ...]:
        """The objects that lie in the rooms."""
        return tuple(OBJECTS)[: self.config.objects]

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Draws layout, position, objects and distractors of each environment from its own seed."""
        self.check_seeds(seeds)
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            self._layouts[i] = draw_layout(rng, self.config)
            self._positions[i] = draw_position(rng, self._layouts[i])
            count = self.config.distractors
            self._distractors[i, :, :2] = rng.uniform(4, SIZE - 4, (count, 2))
            self._distractors[i, :, 2:] = rng.normal(0, 1.5, (count, 2))
            self._texture[i] = rng.integers(2**20), 0
            self._objects[i] = draw_objects(rng, self._layouts[i], self.config.objects)
        self._rooms = draw_rooms(self._layouts, self._palette)
        return self.render()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P]; returns frames [B, 3, 64, 64]."""
        check_shape(states, f"B={self.num_envs} P={len(self.state_names)}", name="states")
        states = np.asarray(states, np.float64)
        width = self._layouts.shape[1]
        self._positions = states[:, :2].copy()
        self._layouts = states[:, 2 : 2 + width].copy()
        first = 2 + width + 2 * self.config.objects
        self._objects = states[:, 2 + width : first].reshape(self._objects.shape).copy()
        end = first + 4 * self.config.distractors
        self._distractors = states[:, first:end].reshape(self._distractors.shape).copy()
        if self.config.background == "noise":
            self._texture = states[:, end:].copy()
        self._rooms = draw_rooms(self._layouts, self._palette)
        return self.render()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Moves by up to 3 px along actions [B, 2] with norm at most 1, sliding along walls."""
        self._positions = move(self._positions, self.allowed(actions), self._layouts)
        self._distractors[..., :2] += self._distractors[..., 2:]
        outside = (self._distractors[..., :2] < 4) | (self._distractors[..., :2] > SIZE - 4)
        self._distractors[..., 2:][outside] *= -1
        np.clip(self._distractors[..., :2], 4, SIZE - 4, out=self._distractors[..., :2])
        self._texture[:, 1] += 1
        return self.render()

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, 64, 64] uint8 of the present states."""
        frames = self._rooms.copy()
        for k, name in enumerate(self.object_names):
            colour, shape = OBJECTS[name]
            draw_shapes(frames, self._objects[:, k], colour, OBJECT_RADIUS, shape)
        if self.config.background == "noise":
            for i, (seed, step) in enumerate(self._texture.astype(int)):
                rng = np.random.default_rng((seed, step))
                coarse = rng.integers(self.config.noise_low, 256, (3, 8, 8), dtype=np.uint8)
                texture = coarse.repeat(8, axis=1).repeat(8, axis=2)
                free = (frames[i] == np.array(self._palette[1])[:, None, None]).all(0)
                frames[i][:, free] = texture[:, free]
        for k in range(self.config.distractors):
            hue = [(60, 120, 220), (60, 170, 90), (230, 160, 40)][k % 3]
            draw_discs(frames, self._distractors[:, k, :2], hue)
        draw_discs(frames, self._positions, AMONG_OBJECTS if self.config.objects else AGENT)
        if self.config.light == "slanting":
            share = np.linspace(DIMMEST, 1, SIZE)  # [W], the same for every row and colour
            frames = np.rint(frames * share).astype(np.uint8)
        return frames

    @property
    def _palette(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Colours of walls and floor."""
        changed = self.config.colours == "changed"
        return (CHANGED_WALL, CHANGED_BACKGROUND) if changed else (WALL, BACKGROUND)

    def states(self) -> np.ndarray:
        """The truth [B, P] float32, named by `state_names`."""
        things = (part.reshape(self.num_envs, -1) for part in (self._objects, self._distractors))
        parts = [self._positions, self._layouts, *things]
        if self.config.background == "noise":
            parts.append(self._texture)
        return np.concatenate(parts, axis=1).astype(np.float32)

    def groups(self, starts: np.ndarray, goals: np.ndarray) -> list[str]:
        """`CROSS_ROOM` where a wall lies between the rooms of start and goal, else `SAME_ROOM` [B]."""
        crosses = (starts[:, 0] < starts[:, 2]) != (goals[:, 0] < goals[:, 2])
        if self.config.layout == "four-rooms":
            crosses |= (starts[:, 1] < starts[:, 4]) != (goals[:, 1] < goals[:, 4])
        return [CROSS_ROOM if crossing else SAME_ROOM for crossing in crosses]

    @property
    def facts(self) -> "Facts | None":
        """See `facts.SpokenWorld`; without objects nothing is said."""
        from openjepa.envs.room_facts import room_facts  # which reads the sizes above

        return room_facts(self.state_names, self.object_names) if self.config.objects else None

    def everywhere(self, state: np.ndarray) -> np.ndarray:
        """See `facts.SpokenWorld`; places are 2 px apart."""
        axis, width = np.arange(5, 60, GRID), self._layouts.shape[1]
        places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        places = places[is_free(places, np.broadcast_to(state[2 : 2 + width], (len(places), width)))]
        found = np.repeat(state[None], len(places), 0)
        found[:, :2] = places
        return found

    def unseen(self, num_envs: int) -> "TwoRooms":
        """See `facts.SpokenWorld`: layouts that are held out where layouts are drawn, else other things and starts."""
        split: Literal["all", "held-out"] = "all" if self.config.layout == "fixed" else "held-out"
        return TwoRooms(num_envs, replace(self.config, split=split))


def is_held_out(wall_x: int, door_y: int) -> bool:
    """Whether a drawn layout belongs to the fifth that `split="train"` never shows."""
    return (wall_x * 31 + door_y * 17) % HELD_OUT_SHARE == 0


def draw_layout(rng: np.random.Generator, config: TwoRoomsConfig) -> np.ndarray:
    """Draws `[wall_x, door_y]`, or the six numbers of four rooms, on whole pixels."""
    if config.layout == "fixed":
        return np.array([32.0, 24.0])
    while True:
        wall_x = int(rng.integers(WALL_X[0], WALL_X[1] + 1))
        door_y = int(rng.integers(DOOR_Y[0], DOOR_Y[1] + 1))
        if config.layout == "four-rooms":
            wall_y = int(rng.integers(28, 37))
            door_y = int(rng.integers(12, wall_y - 10))
            doors = [
                rng.integers(11, wall_x - 8),
                rng.integers(wall_x + 9, 54),
                rng.integers(wall_y + 10, 53),
            ]
            layout = np.array([wall_x, door_y, wall_y, *doors], np.float64)
        else:
            layout = np.array([wall_x, door_y], np.float64)
        if config.split == "all" or is_held_out(wall_x, door_y) == (config.split == "held-out"):
            return layout


def draw_position(rng: np.random.Generator, layout: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Draws a free position [2], at least `margin` px farther from walls than the clearance."""
    while True:
        position = rng.uniform(BORDER + CLEARANCE, SIZE - BORDER - CLEARANCE, 2)
        near = [position, *(position + margin * np.array(d) for d in ((1, 0), (-1, 0), (0, 1), (0, -1)))]
        if is_free(np.stack(near), np.broadcast_to(layout, (5, len(layout)))).all():
            return position


def draw_objects(rng: np.random.Generator, layout: np.ndarray, count: int) -> np.ndarray:
    """Draws places [count, 2] of objects that touch neither walls nor one another, and stand in no door."""
    places: list[np.ndarray] = []
    while len(places) < count:
        place = draw_position(rng, layout, OBJECT_RADIUS)
        in_door = any(abs(place[0] - wall) < HALF_WALL + OBJECT_RADIUS for wall in layout[:1])
        if not in_door and all(np.linalg.norm(place - other) >= OBJECT_GAP for other in places):
            places.append(place)
    return np.array(places).reshape(count, 2)


def is_free(positions: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """Whether the agent's centre may be at positions [..., 2] under layouts [..., 2 or 6]; [...] bool."""
    x, y = positions[..., 0], positions[..., 1]
    low, high = BORDER + CLEARANCE, SIZE - BORDER - CLEARANCE
    inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)
    reach, gap = HALF_WALL + CLEARANCE, HALF_DOOR - CLEARANCE
    in_door = np.abs(y - layouts[..., 1]) <= gap
    if layouts.shape[-1] == 6:
        in_door |= np.abs(y - layouts[..., 5]) <= gap
        in_side_door = (np.abs(x - layouts[..., 3]) <= gap) | (np.abs(x - layouts[..., 4]) <= gap)
        inside &= (np.abs(y - layouts[..., 2]) >= reach) | in_side_door
    return inside & ((np.abs(x - layouts[..., 0]) >= reach) | in_door)


def move(positions: np.ndarray, actions: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """The true dynamics: positions [..., 2] after one step of actions [..., 2]; a pure function.

    Three substeps of at most 1 px, x before y; the half that would enter a wall is dropped, so the agent slides.
    """
    return slide(positions, actions * (STEP / SUBSTEPS), layouts, is_free, SUBSTEPS)


def path_length(positions: np.ndarray, goals: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """Length in px of the shortest way [...] between positions and goals [..., 2] in a two-room layout [..., 2].

    The way to the other room bends at the two ends of the door's corridor; ways through it are not shortened at the
    corners, so the length is exact to about 2 px.
    """
    wall, door = layouts[..., 0], layouts[..., 1]
    side = np.sign(positions[..., 0] - wall)
    reach, gap = HALF_WALL + CLEARANCE, HALF_DOOR - CLEARANCE
    entry = np.stack([wall + side * reach, np.clip(positions[..., 1], door - gap, door + gap)], -1)
    leave = np.stack([wall - side * reach, np.clip(goals[..., 1], door - gap, door + gap)], -1)
    around = (
        np.linalg.norm(positions - entry, axis=-1)
        + np.linalg.norm(entry - leave, axis=-1)
        + np.linalg.norm(leave - goals, axis=-1)
    )
    straight = np.linalg.norm(positions - goals, axis=-1)
    return np.where(np.sign(goals[..., 0] - wall) == side, straight, around)


def draw_rooms(layouts: np.ndarray, palette: Sequence[Sequence[int]] = (WALL, BACKGROUND)) -> np.ndarray:
    """Pictures [B, 3, 64, 64] uint8 of the empty rooms of layouts [B, 2 or 6]; `palette` colours walls and floor."""
    pixel = np.arange(SIZE) + 0.5
    y, x = pixel[None, :, None], pixel[None, None, :]
    column = layouts[:, :, None, None]
    door = np.abs(y - column[:, 1]) < HALF_DOOR
    if layouts.shape[1] == 6:
        door = door | (np.abs(y - column[:, 5]) < HALF_DOOR)
    wall = (np.abs(x - column[:, 0]) < HALF_WALL) & ~door
    if layouts.shape[1] == 6:
        side_door = (np.abs(x - column[:, 3]) < HALF_DOOR) | (np.abs(x - column[:, 4]) < HALF_DOOR)
        wall = wall | ((np.abs(y - column[:, 2]) < HALF_WALL) & ~side_door & ~(np.abs(x - column[:, 0]) < HALF_WALL))
    edge = (x < BORDER) | (x > SIZE - BORDER) | (y < BORDER) | (y > SIZE - BORDER)
    solid = (wall | edge)[:, None]  # [B, 1, H, W]
    colours = np.array(palette, np.uint8)[:, None, :, None, None]
    return np.where(solid, colours[0], colours[1])
