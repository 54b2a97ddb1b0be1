"""Pairs of start and goal for an arm, each in a scene of its own."""

from dataclasses import asdict

import numpy as np

from openjepa.envs.arm import PUSHED, REACHED, SPLITS, Arm, ArmConfig, beside_wall, draw_state, wall_of
from openjepa.errors import ConfigError
from openjepa.eval.acting.manifest import STREAM, Manifest, Pair
from openjepa.nn.random import keyed_seed

ROLES = {"train": 0, "near": 1, "far": 2}  # splits of one seed draw different places


def draw_arm_pairs(
    config: ArmConfig, count: int = 200, *, seed: int = 0, min_distance: float = 0.10, first_scene: int = 0
) -> Manifest:
    """Draws places of the hand, from seeds that no collection uses; pair i is in scene `first_scene` + i of the split.

    With a wall, start and goal lie on different sides of it, both lower than its top: the straight way is blocked.
    With a block, the goal shows it elsewhere on the table, and the hand beside it where a push would have ended.

    Args:
        config: of the world; a split of fewer than `count` scenes takes them in turn.
        count: number of pairs.
        seed: of the drawing.
        min_distance: m between start and goal of what is to be moved.
        first_scene: counted within the split, so that planners are tuned in other scenes than judged ones.
    """
    if count < 1 or not 0 < min_distance <= 0.3 or first_scene < 0:
        raise ConfigError(
            "`count` must be >= 1, `min_distance` in (0, 0.3] m and `first_scene` >= 0; got "
            f"{count}, {min_distance}, {first_scene}."
        )
    world = Arm(1, config)
    base, end = SPLITS[config.split]
    scenes = min(config.scenes, end - base) if config.split == "train" else end - base
    pairs: list[Pair] = []
    drawn = 0
    for i in range(count):
        rng = np.random.default_rng((STREAM, keyed_seed(STREAM, seed, ROLES[config.split]), i))
        scene = base + (first_scene + i) % scenes
        while True:
            drawn += 1
            start, goal = (draw_state(rng, config, scene) for _ in range(2))
            if config.task == "push":
                goal = _pushed(start, goal)
            distance = float(world.distance(start[None], goal[None])[0])
            if distance >= min_distance and (
                config.task != "around" or _is_blocked(start, goal, wall_of(config, scene))
            ):
                break
        first, last = (tuple(float(x) for x in state.astype(np.float32)) for state in (start, goal))
        pairs.append(Pair(i, first, last, distance, _bin(distance)))
    protocol = {
        "pairs": "drawn",
        "success": "distance_m < reached_m at the last step",
        "reached_m": PUSHED if config.task == "push" else REACHED,
        "min_distance_m": min_distance,
        "first_scene": first_scene,
        "world": asdict(config),
    }
    return Manifest(world.name, protocol, seed, {"drawn": drawn}, tuple(pairs))


def _is_blocked(start: np.ndarray, goal: np.ndarray, wall: tuple[float, float]) -> bool:
    """Whether a wall higher than both stands between start and goal."""
    sides = beside_wall(np.stack([start[:3], goal[:3]]), wall)
    return bool(sides[0] * sides[1] < 0 and max(start[2], goal[2]) < wall[1] - 0.02)


def _pushed(start: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The goal with the hand low behind the block, as seen from where the block came."""
    way = goal[4:6] - start[4:6]
    goal = goal.copy()
    goal[:2] = goal[4:6] - 0.06 * way / max(float(np.linalg.norm(way)), 1e-9)
    goal[2] = 0.03
    return goal


def _bin(distance: float) -> str:
    """The bin of a distance in m, in words."""
    return "10-20 cm" if distance < 0.2 else "20-30 cm" if distance < 0.3 else "30+ cm"
