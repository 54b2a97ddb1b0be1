"""Pairs of start and goal in mazes, by how far apart they are along the passages."""

import math
from dataclasses import asdict

import numpy as np

from openjepa.envs.maze import REACHED, STEP, Maze, MazeConfig, draw_position
from openjepa.envs.maze_ways import way_length
from openjepa.errors import ConfigError, DataError
from openjepa.eval.acting.manifest import STREAM, Manifest, Pair
from openjepa.nn.random import keyed_seed

TRIES = 400  # positions that are drawn in one maze for one pair


def shortest_steps(start: np.ndarray, goal: np.ndarray) -> int:
    """Steps at full speed along the shortest way between states [P], until the goal counts as reached."""
    return max(0, math.ceil((way_length(start[:2], goal[:2], start[2:]) - REACHED) / STEP))


def draw_maze_pairs(
    config: MazeConfig, count: int = 100, *, steps: tuple[float, float], seed: int = 0, task: str = ""
) -> Manifest:
    """Draws pairs of free positions, from seeds that no collection uses.

    Args:
        config: of the world; of a drawn layout, every pair has a maze of its own.
        count: number of pairs.
        steps: fewest and most steps at full speed along the shortest way.
        seed: of the drawing.
        task: name of the world; by default the world's own.

    Raises:
        DataError: where mazes of this size hardly have positions so far apart.
    """
    low, high = steps
    if count < 1 or not 0 < low <= high:
        raise ConfigError(f"`count` must be >= 1 and `steps` two numbers 0 < low <= high; got {count} and {steps}.")
    world = Maze(1, config)
    pairs: list[Pair] = []
    drawn = dropped = 0
    while len(pairs) < count:
        if dropped > 50 * count:
            raise DataError(
                f"mazes of {config.cells} x {config.cells} cells must have ways of {low} to {high} steps; hardly one "
                "has. Take more cells, or nearer goals."
            )
        world.reset([keyed_seed(STREAM, seed, drawn)])
        start = world.states()[0]
        rng = np.random.default_rng((STREAM, seed, drawn))
        drawn += 1
        for _ in range(TRIES):
            goal = start.copy()
            goal[:2] = draw_position(rng, start[2:].astype(float))
            if low <= shortest_steps(start, goal) <= high:
                break
        else:
            dropped += 1
            continue
        way = way_length(start[:2], goal[:2], start[2:])
        here, there = (tuple(float(x) for x in state) for state in (start, goal))
        pairs.append(Pair(len(pairs), here, there, way))
    protocol = {
        "pairs": "drawn",
        "success": "distance_px < reached_px",
        "reached_px": REACHED,
        "shortest_steps": [low, high],
        "world": asdict(config),
    }
    statistics = {"drawn": drawn, "dropped_too_near_or_far": dropped}
    return Manifest(task or world.name, protocol, seed, statistics, tuple(pairs))
