"""Far pairs: start and goal from two different held-out episodes, so that no recorded way leads to the goal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openjepa.envs.gymnasium_world import PLACE_NAMES
from openjepa.errors import DataError
from openjepa.eval.acting.manifest import STREAM, Manifest, Pair, plain_state
from openjepa.protocols import World

TRIES = 50  # draws for one pair


def draw_scattered_pairs(
    world: World,
    states: Mapping[int, np.ndarray],
    count: int,
    *,
    min_distance: float,
    seed: int = 0,
    task: str,
    protocol: Mapping[str, Any] | None = None,
) -> Manifest:
    """Takes the start from one held-out episode and the goal from another, at least so far apart.

    What stands still within every episode and differs between them (a layout, a marker) is the scene, and a goal takes
    that of its start. Where scenes differ in their walls a goal may so lie where nobody gets; it counts as missed.

    Args:
        world: asked for distances, success and groups, never stepped.
        states: by episode number the true states [T + 1, P] of episodes that were not trained on.
        count: number of pairs.
        min_distance: true distance between start and goal, in the world's unit.
        seed: of the drawing.
        task: name of the world.
        protocol: thresholds of the world's success, plain values by name.

    Raises:
        DataError: where there are fewer than two episodes, no two states are so far apart, or scenes cannot be set.
    """
    if len(states) < 2:
        raise DataError(f"far pairs must come from at least 2 held-out episodes; got {len(states)}. Hold out more.")
    scene = scene_columns(states)
    if world.state_names[-len(PLACE_NAMES) :] == PLACE_NAMES:
        scene[-len(PLACE_NAMES) :] = False
        if scene.any():
            raise DataError("far pairs must lie in one scene; it differs between episodes, and cannot be set.")
    ids = sorted(states)
    rng = np.random.default_rng((STREAM, seed, 1))
    pairs: list[Pair] = []
    dropped = 0
    for number in range(count):
        for _ in range(TRIES):
            first, second = rng.choice(len(ids), 2, replace=False)
            start, goal = (states[ids[k]][rng.integers(len(states[ids[k]]))][None] for k in (first, second))
            goal = np.where(scene, start, goal)
            distance = float(world.distance(start, goal)[0])
            if distance >= min_distance and not bool(world.is_success(start, goal)[0]):
                break
            dropped += 1
        else:
            raise DataError(
                f"states must be at least {min_distance:.3g} apart to make {count} far pairs; {TRIES} draws found "
                f"none after {number}."
            )
        group: Sequence[str | None] = world.groups(start, goal) or [None]
        pairs.append(Pair(number, plain_state(start[0]), plain_state(goal[0]), distance, group[0]))
    rules = {"pairs": "scattered", "min_distance": min_distance, "scene_columns": int(scene.sum()), **(protocol or {})}
    return Manifest(task, rules, seed, {"drawn": count + dropped, "dropped_too_near": dropped}, tuple(pairs))


def scene_columns(states: Mapping[int, np.ndarray]) -> np.ndarray:
    """Which columns [P] of the states stand still within every episode and differ between episodes; bool."""
    rows = [np.asarray(x, np.float64) for x in states.values()]
    scale = np.concatenate(rows).std(0)
    within = np.max([np.ptp(x, axis=0) for x in rows], axis=0)
    between = np.ptp(np.stack([x[0] for x in rows]), axis=0)
    return (within <= 1e-6 * np.maximum(scale, 1e-12)) & (between > 1e-6 * np.maximum(scale, 1e-12))
