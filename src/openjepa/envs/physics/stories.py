"""What happens in a physics quadruple: for each property one scene with two histories, A and B.

Both histories begin with the same picture, then differ in view (a body enters or none does, a block is lowered or
none is), then look the same again while what distinguishes them is hidden, and end in what their own beginning
causes. Everything is solved in closed form (uniform motion, free fall, elastic collision, sliding friction), so
that a history cannot break the law that it illustrates.

Coordinates are those of a picture of 64 x 64 units, x to the right, y down; the floor is at y = 54. A clip lasts
32 units of time, whatever its number of frames.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

SIDE, DURATION, FLOOR = 64.0, 32.0, 54.0  # units
Shape = Literal["disc", "square", "diamond", "box"]
SHAPES: tuple[Shape, ...] = ("disc", "square", "diamond")


@dataclass(frozen=True)
class Body:
    """Something that is drawn in every frame.

    Attributes:
        shape: `box` has two half sides, the others one radius.
        half: half width and half height, in units.
        path: centre in each frame [T, 2], in units.
        angle: of a box, in radians, clockwise.
        role: who it is, which decides its colour: `ball`, `other`, `block`, `ledge` or `screen`.
    """

    shape: Shape
    half: tuple[float, float]
    path: np.ndarray
    angle: float = 0.0
    role: Literal["ball", "other", "block", "ledge", "screen"] = "ball"

    def mirrored(self) -> "Body":
        """The same seen in a mirror: left and right exchanged."""
        return replace(self, path=np.stack([SIDE - self.path[:, 0], self.path[:, 1]], 1), angle=-self.angle)


@dataclass(frozen=True)
class Story:
    """Two histories of one scene.

    Attributes:
        a: the bodies of history A, in the order in which they are drawn.
        b: those of history B.
        screens: boxes that stand in front of everything, the same in both.
        from_above: whether the camera looks down on a table; else it looks at a wall and a floor.
    """

    a: tuple[Body, ...]
    b: tuple[Body, ...]
    screens: tuple[Body, ...]
    from_above: bool = False


def permanence(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A body passes behind a screen, or there is none."""
    r = rng.uniform(4, 5.5)
    ball = _ball(rng, r, _rolling(rng, t, r))
    return Story((ball,), (), (_screen(rng, r),))


def immutability(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A body that passes behind a screen keeps its shape and its size; A and B differ in one of them."""
    r = rng.uniform(4, 5.5)
    path = _rolling(rng, t, r)
    kinds = rng.permutation(len(SHAPES))
    a = Body(SHAPES[kinds[0]], (r, r), path)
    if rng.random() < 0.5:
        return Story((a,), (Body(SHAPES[kinds[1]], (r, r), path),), (_screen(rng, r),))
    small = 0.6 * r
    lower = np.stack([path[:, 0], np.full(len(t), FLOOR - small)], 1)
    return Story((a,), (Body(a.shape, (small, small), lower),), (_screen(rng, r),))


def continuity(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A body falls behind one of two screens and bounces back up; it does so where it fell."""
    r, g = rng.uniform(4, 5.5), rng.uniform(0.5, 0.6)
    start = rng.uniform(0.3, 1.5)
    top, bottom = -r - 1, FLOOR - r
    landing = np.sqrt(2 * (bottom - top) / g)
    since = np.minimum(np.abs(t - start - landing), landing)  # a perfect bounce is symmetric in time
    y = np.where(t < start, top, bottom - g * landing * since + g * since**2 / 2)
    height = rng.uniform(30, 33)
    at = (rng.uniform(16, 19), rng.uniform(45, 48))
    balls = [_ball(rng, r, np.stack([np.full(len(t), x), y], 1)) for x in at]
    same = replace(balls[1], shape=balls[0].shape)
    half = r + rng.uniform(2, 4)
    screens = tuple(_box("screen", x, FLOOR - height / 2, half, height / 2) for x in at)
    return Story((balls[0],), (same,), screens)


def solidity(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A block that is lowered behind a screen stops a rolling body and throws it back; without it, it rolls on."""
    r, x_screen = rng.uniform(4, 5.5), rng.uniform(32, 35)
    height = rng.uniform(6, 7)
    block = _lowered(rng, t, (3.0, height), (x_screen + rng.uniform(0, 3), FLOOR - height), role="block")
    free = _rolling(rng, t, r, delay=(3, 4.5), speed=(2.4, 2.8))
    wall = block.path[-1, 0] - 3.0 - r
    back = np.where(free[:, 0] > wall, 2 * wall - free[:, 0], free[:, 0])
    ball = _ball(rng, r, free)
    stopped = replace(ball, path=np.stack([back, free[:, 1]], 1))
    return Story((block, stopped), (ball,), (_screen(rng, r, x=x_screen, height=rng.uniform(17, 20)),))


def collision(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A heavy body that slid behind a screen throws a rolling one back at half its speed; without it, it rolls on."""
    r, x_screen = rng.uniform(4, 5), rng.uniform(32, 35)
    half, rest = rng.uniform(5, 6), x_screen + rng.uniform(1, 3)
    start, stop = rng.uniform(0.3, 1), rng.uniform(10, 11)
    friction = 2 * (SIDE + half + 1 - rest) / (stop - start) ** 2
    x_other = rest + friction / 2 * np.clip(stop - np.maximum(t, start), 0, None) ** 2
    speed = rng.uniform(2.4, 2.8)
    free = _rolling(rng, t, r, delay=(3, 4.5), speed=(speed, speed))
    touch = rest - half - r
    after = np.clip((free[:, 0] - touch) / speed, 0, None)  # time since they touched
    back = np.where(after > 0, touch - speed / 2 * after, free[:, 0])
    sliding = np.minimum(after, speed / 2 / friction)  # three times the mass: it leaves at half the speed, and stops
    x_other = x_other + speed / 2 * sliding - friction / 2 * sliding**2
    other = Body("square", (half, half), np.stack([x_other, np.full(len(t), FLOOR - half)], 1), role="other")
    ball = _ball(rng, r, free)
    screen = _screen(rng, half, x=x_screen, height=rng.uniform(17, 20))
    return Story((other, replace(ball, path=np.stack([back, free[:, 1]], 1))), (ball,), (screen,))


def gravity(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A body falls on a slope that was lowered behind a screen, and rolls out on its lower side."""
    r, x = rng.uniform(4, 5), rng.uniform(30, 34)
    tilt = rng.uniform(0.4, 0.5)
    slope = _lowered(rng, t, (8.0, 1.6), (x, FLOOR - 8.0), angle=tilt, role="block")
    start, g, v0 = rng.uniform(5, 6.5), 0.6, 2.0
    since = np.clip(t - start, 0, None)
    fall = -r - 2 + v0 * since + g / 2 * since**2
    landing = FLOOR - 9.5 - r  # on the middle of the slope
    touch = (-v0 + np.sqrt(v0**2 + 2 * g * (landing + r + 2))) / g
    rolled = np.clip(since - touch, 0, None)
    along, edge = 0.25 * rolled**2, 8.0  # down to the end of the slope, then on the floor at the speed it has
    reach = np.sqrt(edge / 0.25)
    aside = np.where(rolled < reach, along, edge + 2 * 0.25 * reach * (rolled - reach))
    y = np.where(rolled > 0, np.minimum(landing + aside * np.tan(tilt), FLOOR - r), fall)
    right = np.stack([x + aside, y], 1)
    left = np.stack([x - aside, y], 1)
    ball = _ball(rng, r, right)
    screen = _box("screen", x, FLOOR - 12, rng.uniform(14, 15.5), 12)
    return Story((slope, ball), (replace(slope, angle=-tilt), replace(ball, path=left)), (screen,))


def support(rng: np.random.Generator, t: np.ndarray) -> Story:
    """A body rolls over a gap that a plank was lowered into; without the plank it falls and goes on below."""
    r, x, ledge = rng.uniform(4, 5), rng.uniform(32, 34), rng.uniform(37, 39)
    gap = rng.uniform(7.5, 8.5)
    plank = _lowered(rng, t, (gap, 1.5), (x, ledge + 1.5), role="block")
    left = _box("ledge", (x - gap - 20) / 2, ledge + 1.5, (x - gap + 20) / 2, 1.5)
    right = _box("ledge", (x + gap + 84) / 2, ledge + 1.5, (84 - x - gap) / 2, 1.5)
    on = _rolling(rng, t, r, delay=(2.5, 4), speed=(2.4, 2.7))
    high = np.full(len(t), ledge - r)
    falling = np.clip((on[:, 0] - (x - gap)) / 2.5, 0, None)
    low = np.minimum(high + 0.9 * falling**2 / 2, FLOOR - r)
    ball = _ball(rng, r, np.stack([on[:, 0], high], 1))
    fallen = replace(ball, path=np.stack([on[:, 0], low], 1))
    screen = _box("screen", x, (ledge - 12 + FLOOR) / 2, gap + rng.uniform(4.5, 6), (FLOOR - ledge + 12) / 2)
    return Story((left, right, plank, ball), (left, right, fallen), (screen,))


def inertia(rng: np.random.Generator, t: np.ndarray) -> Story:
    """Seen from above, a body passes under a roof and goes straight on; A comes from one corner, B from the other."""
    r, speed, start = rng.uniform(4, 5.5), rng.uniform(2.2, 2.5), rng.uniform(0.3, 1.5)
    x = -r - 1 + speed * np.clip(t - start, 0, None)
    slope = rng.uniform(0.45, 0.65)
    down = 32 + slope * (x - 32)
    ball = _ball(rng, r, np.stack([x, down], 1))
    other = replace(ball, path=np.stack([x, SIDE - down], 1))
    half = r + rng.uniform(7.5, 9)
    return Story((ball,), (other,), (_box("screen", 32, 32, half, half),), from_above=True)


STORIES: dict[str, Callable[[np.random.Generator, np.ndarray], Story]] = {
    "permanence": permanence,
    "continuity": continuity,
    "solidity": solidity,
    "gravity": gravity,
    "support": support,
    "inertia": inertia,
    "collision": collision,
    "immutability": immutability,
}


def tell(name: str, seed: int, length: int, *, late: float = 0.0) -> Story:
    """Returns the story of a property and a seed, sampled at `length` moments; half of all seeds are mirrored.

    It begins `late` units of time after the clip does.
    """
    rng = np.random.default_rng((seed, list(STORIES).index(name)))
    mirror = rng.random() < 0.5
    story = STORIES[name](rng, np.arange(length) * DURATION / length - late)
    if not mirror:
        return story
    a, b, screens = (tuple(body.mirrored() for body in bodies) for bodies in (story.a, story.b, story.screens))
    return Story(a, b, screens, story.from_above)


def _ball(rng: np.random.Generator, r: float, path: np.ndarray) -> Body:
    return Body(SHAPES[rng.integers(len(SHAPES))], (r, r), path)


def _rolling(
    rng: np.random.Generator,
    t: np.ndarray,
    r: float,
    *,
    delay: tuple[float, float] = (0.3, 1.5),
    speed: tuple[float, float] = (2.2, 2.6),
) -> np.ndarray:
    """A path [T, 2] along the floor, which enters from the left after a delay."""
    since = np.clip(t - rng.uniform(*delay), 0, None)
    return np.stack([-r - 1 + rng.uniform(*speed) * since, np.full(len(t), FLOOR - r)], 1)


def _lowered(
    rng: np.random.Generator,
    t: np.ndarray,
    half: tuple[float, float],
    rest: tuple[float, float],
    *,
    angle: float = 0.0,
    role: Literal["other", "block"] = "block",
) -> Body:
    """A box that comes down from above at constant speed and stays where it is put."""
    reach = half[0] * abs(np.sin(angle)) + half[1]
    high = -reach - 1
    start, stop = rng.uniform(0.3, 1), rng.uniform(8.5, 9.5)
    y = high + (rest[1] - high) * np.clip((t - start) / (stop - start), 0, 1)
    return Body("box", half, np.stack([np.full(len(t), rest[0]), y], 1), angle, role)


def _screen(rng: np.random.Generator, r: float, *, x: float | None = None, height: float | None = None) -> Body:
    """A screen on the floor that hides a body of radius r for a while."""
    x = rng.uniform(31, 33) if x is None else x
    height = rng.uniform(16, 22) if height is None else height
    return _box("screen", x, FLOOR - height / 2, r + rng.uniform(7, 9), height / 2)


def _box(role: Literal["ledge", "screen"], x: float, y: float, half_x: float, half_y: float) -> Body:
    foot = 1.0 if role == "screen" else 0.0  # a screen stands a little before what it hides
    return Body("box", (half_x, half_y + foot), np.array([[x, y + foot]]), role=role)
