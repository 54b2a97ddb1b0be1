"""Physics quadruples: two possible clips and two impossible ones, spliced from the halves of the possible.

    possible    A then A      B then B
    impossible  A then B      B then A        spliced where A and B look the same, pixel by pixel

No frame of an impossible clip is odd in itself, the first frames of all four are equal, and every half occurs
once in a possible and once in an impossible clip; so neither a single frame nor the amount of change tells them
apart. Only what happened before the hiding does. (The structure follows IntPhys, 1803.07616.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from openjepa.envs.physics.drawing import (
    ASIDE,
    CLOSER,
    CLOSEST,
    NEW_HUES,
    SCENES,
    Look,
    draw_clip,
    draw_look,
    drifting,
    hue_color,
)
from openjepa.envs.physics.stories import DURATION, STORIES, Story, tell
from openjepa.errors import ConfigError, unknown

PROPERTIES: tuple[str, ...] = tuple(STORIES)
ROLES = ("AA", "BB", "AB", "BA")
PAIRS = ((0, 2), (1, 3))  # (possible, impossible) clips of a quadruple that share their first half
Novelty = Literal["turns", "new", "light", "camera"]
NOVELTIES: tuple[Novelty, ...] = ("turns", "new", "light", "camera")


@dataclass(frozen=True)
class Quadruple:
    """Four clips of one scene.

    Attributes:
        clips: [4, T, 3, H, W] uint8, in the order of `ROLES`: A then A, B then B, A then B, B then A.
        possible: [4] bool.
        violation_frame: first frame of the second half; the clips of a pair are equal before it, and what is
            impossible becomes visible at it or later.
        property: a name of `PROPERTIES`.
        scene: a name of `SCENES`.
        seed: of geometry, colours, light and speeds.
    """

    clips: np.ndarray
    possible: np.ndarray
    violation_frame: int
    property: str
    scene: str
    seed: int


def render_quadruple(property: str, seed: int, *, scene: str = "plain", length: int = 32, size: int = 64) -> Quadruple:
    """Renders the quadruple of a seed.

    Args:
        property: a name of `PROPERTIES`.
        seed: >= 0; a pure function of it.
        scene: a name of `SCENES`.
        length: frames T, 12 or more; the event always takes the whole clip.
        size: side of a picture in pixels, 32 or more.
    """
    story, look = _stage(property, seed, scene, length, size)
    a, b = (draw_clip(bodies, story, look, size, length=length) for bodies in (story.a, story.b))
    switch = _switch(a, b)
    clips = np.stack([a, b, np.concatenate([a[:switch], b[switch:]]), np.concatenate([b[:switch], a[switch:]])])
    return Quadruple(clips, np.array([True, True, False, False]), switch, property, scene, seed)


def render_possible(
    seeds: Sequence[int] | np.ndarray,
    *,
    scene: str | Sequence[str] = "plain",
    length: int = 32,
    size: int = 64,
    properties: Sequence[str] = PROPERTIES,
    closest: float = CLOSEST,
    aside: float = ASIDE,
    wait: float = 0.0,
) -> np.ndarray:
    """Renders one possible clip for each seed [B, T, 3, H, W] uint8: for training and calibration.

    Args:
        seeds: [B], each >= 0. The seed draws the property and whether A or B happens; a seed shares its scene
            with the quadruple of the same seed and property, so keep seeds of training and judging apart.
        scene: a name of `SCENES`, or several of which each seed draws one.
        length: frames T.
        size: side of a picture in pixels.
        properties: those that are drawn from.
        closest: zoom of the camera at most, >= 1; that of `evening` is never above 1.15.
        aside: units by which the camera stands aside at most, each way, >= 0; less where it is so far off that bodies
            would be seen to wait beside the stage.
        wait: units of time, of the 32 of a clip, that pass at most before anything happens, >= 0; half of all seeds
            do not wait.
    """
    return np.stack(
        [_possible(int(s), scene, length, size, properties, closest=closest, aside=aside, wait=wait) for s in seeds]
    )


def render_novel(
    seeds: Sequence[int] | np.ndarray,
    *,
    novelty: Novelty = "turns",
    scene: str | Sequence[str] = "plain",
    length: int = 32,
    size: int = 64,
    properties: Sequence[str] = PROPERTIES,
) -> np.ndarray:
    """Renders possible clips that look new [B, T, 3, H, W] uint8; what happens is what happens without the novelty.

    Args:
        seeds: as in `render_possible`.
        novelty: `turns` gives every moving body, in full view, a colour that no training clip has; `new` gives it
            that colour from the first frame on; `light` changes the colour of the light in mid-clip; `camera` lets the
            camera drift by 1 to 3.8 px of a picture of 64 px, each way, from the first frame to the last.
        scene: as in `render_possible`.
        length: frames T.
        size: side of a picture in pixels.
        properties: as in `render_possible`.
    """
    if novelty not in NOVELTIES:
        raise ConfigError(f"`novelty` must be turns, new, light or camera; got {novelty}.")
    return np.stack([_possible(int(s), scene, length, size, properties, novelty) for s in seeds])


def _possible(
    seed: int,
    scene: str | Sequence[str],
    length: int,
    size: int,
    properties: Sequence[str],
    novelty: Novelty | None = None,
    *,
    closest: float = CLOSEST,
    aside: float = ASIDE,
    wait: float = 0.0,
) -> np.ndarray:
    rng = np.random.default_rng((seed, 99))
    name, first = properties[int(rng.integers(len(properties)))], rng.random() < 0.5
    shown = scene if isinstance(scene, str) else scene[int(rng.integers(len(scene)))]
    drifts = novelty == "camera"
    drawn, closest = (2 * size, closest * CLOSER) if drifts else (size, closest)
    late = max(0.0, rng.uniform(-wait, wait)) if wait else 0.0
    story, look = _stage(name, seed, shown, length, drawn, closest=closest, aside=aside, late=late)
    bodies = story.a if first else story.b
    if novelty in ("turns", "new"):
        look = _repainted(look, story, rng, length, from_start=novelty == "new")
    clip = draw_clip(bodies, story, look, drawn, length=length)
    if drifts:
        return drifting(clip, rng.uniform(1.0, 3.8, 2) * rng.choice([-1, 1], 2))
    if novelty == "light":
        moment = int(rng.integers(length // 3, 2 * length // 3))
        tint = rng.uniform(0.7, 1.0, 3)[:, None, None]
        clip[moment:] = np.rint(clip[moment:] * tint).astype(np.uint8)
    return clip


def _repainted(look: Look, story: Story, rng: np.random.Generator, length: int, *, from_start: bool) -> Look:
    """The same look, with the bodies of a colour that is new, from the start or from a moment in view on."""
    moment = 0 if from_start else _moment_in_view(story, length)
    colors = dict(look.colors)
    for role in ("ball", "other", "block"):
        colors[role] = np.where(np.arange(length)[:, None] < moment, look.colors[role], hue_color(rng, NEW_HUES))
    return replace(look, colors=colors)


def _moment_in_view(story: Story, length: int) -> int:
    """The middle one of the frames in which the last body is in the picture and not behind a screen."""
    bodies = story.a or story.b
    path, half = bodies[-1].path, max(bodies[-1].half)
    seen = np.all((path > half) & (path < 64 - half), 1)
    for screen in story.screens:
        seen &= np.any(np.abs(path - screen.path[0]) > np.array(screen.half) + half, 1)
    early = np.flatnonzero(seen)
    return int(early[len(early) // 3]) if len(early) else length // 3


def _stage(
    name: str,
    seed: int,
    scene: str,
    length: int,
    size: int,
    *,
    closest: float = CLOSEST,
    aside: float = ASIDE,
    late: float = 0.0,
) -> tuple[Story, Look]:
    if name not in STORIES:
        raise unknown("property", name, PROPERTIES)
    if scene not in SCENES:
        raise unknown("scene", scene, SCENES)
    if length < 12 or size < 32 or seed < 0:
        raise ConfigError(f"`length` must be >= 12, `size` >= 32 and `seed` >= 0; got {length}, {size} and {seed}.")
    story = tell(name, seed, length, late=late)
    rng = np.random.default_rng((seed, PROPERTIES.index(name), SCENES.index(scene), int(DURATION)))
    return story, draw_look(rng, scene, size, from_above=story.from_above, closest=closest, aside=aside)


def _switch(a: np.ndarray, b: np.ndarray) -> int:
    """The middle of the last frames in which both histories look the same, after the first in which they differ."""
    same = (a == b).reshape(len(a), -1).all(1)
    parted = np.flatnonzero(~same)
    assert same[0], "both histories must begin with the same picture"
    gaps = [(i, j) for i, j in pairwise(parted) if j - i > 2]
    assert gaps, "there must be two frames or more in which both histories look the same"
    before, after = gaps[-1]
    return int((before + after + 1) // 2)
