"""Mazes: one way between any two cells, walls that hold, pictures that show them, and exact shortest ways."""

from itertools import product

import networkx
import numpy as np
import pytest

from openjepa.envs import make_world
from openjepa.envs.maze import (
    AGENT,
    BACKGROUND,
    REACH,
    STEP,
    WALL,
    Maze,
    MazeConfig,
    cells_of,
    count_walls,
    draw_position,
    draw_walls,
    is_free,
    is_held_out,
    perfect_maze,
)
from openjepa.envs.maze_ways import cell_path, way_length
from openjepa.errors import ConfigError
from openjepa.eval.acting.maze_pairs import draw_maze_pairs, shortest_steps
from openjepa.eval.health.world_conformance import check_world

OPEN_U = np.array([1.0, 0.0, 0.0, 0.0])  # 2 x 2 cells: a wall between the upper two, so the way between them is a U


def test_a_maze_is_a_tree_of_cells() -> None:
    for cells in (2, 3, 5, 7):
        for seed in range(20):
            walls = perfect_maze(np.random.default_rng(seed), cells)
            assert len(walls) == count_walls(cells)
            assert cells_of(walls) == cells
            assert (walls == 0).sum() == cells**2 - 1  # as many openings as edges of a tree
            half = len(walls) // 2
            number = np.arange(cells**2).reshape(cells, cells)
            right, below = walls[:half].reshape(cells, -1) == 0, walls[half:].reshape(-1, cells) == 0
            graph = networkx.empty_graph(cells**2)
            graph.add_edges_from(zip(number[:, :-1][right], number[:, 1:][right], strict=True))
            graph.add_edges_from(zip(number[:-1][below], number[1:][below], strict=True))
            assert networkx.is_tree(graph)


@pytest.mark.parametrize("cells", [3, 5, 7])
def test_no_walk_passes_a_wall(cells: int) -> None:
    """Where a walk ends, one could also get to on foot: the cells that it enters one after another are neighbours."""
    world = Maze(40, MazeConfig(cells=cells, layout="random"))
    world.reset(range(40))
    rng = np.random.default_rng(0)
    heading = rng.uniform(0, 2 * np.pi, 40)
    before = world.states()
    for _ in range(60):
        heading += rng.normal(0, 0.4, 40)
        world.step(np.stack([np.cos(heading), np.sin(heading)], 1))
        after = world.states()
        moved = np.linalg.norm(after[:, :2] - before[:, :2], axis=1)
        assert (moved <= STEP + 1e-5).all()
        assert is_free(after[:, :2].astype(float), after[:, 2:]).all()
        for a, b in zip(before, after, strict=True):
            assert way_length(a[:2], b[:2], a[2:]) <= np.linalg.norm(a[:2] - b[:2]) * np.sqrt(2) + 1e-3
        before = after


def test_the_picture_shows_the_walls_and_the_agent() -> None:
    world = Maze(1, MazeConfig(cells=2))
    frame = world.reset_to(np.array([[17.0, 17.0, *OPEN_U]]))[0]
    assert tuple(frame[:, 17, 16]) == AGENT
    assert tuple(frame[:, 17, 31]) == tuple(frame[:, 17, 32]) == WALL  # between the upper cells
    assert tuple(frame[:, 17, 30]) == tuple(frame[:, 17, 33]) == BACKGROUND
    assert tuple(frame[:, 47, 31]) == tuple(frame[:, 31, 47]) == BACKGROUND  # open
    assert tuple(frame[:, 31, 31]) == tuple(frame[:, 0, 20]) == WALL  # the end of the wall, and the border


def test_ways_by_hand() -> None:
    """Down, around the end of the wall at (32, 32) and up again: the centre keeps 3 px from its middle."""
    left, right = np.array([20.0, 20.0]), np.array([44.0, 20.0])
    down = np.hypot(9, 15)
    assert way_length(left, right, OPEN_U) == pytest.approx(2 * down + 2 * REACH)
    assert way_length(left, np.array([20.0, 44.0]), OPEN_U) == pytest.approx(24)
    assert cell_path((0, 0), (0, 1), OPEN_U) == [(0, 0), (1, 0), (1, 1), (0, 1)]
    whole = shortest_steps(np.array([*left, *OPEN_U]), np.array([*right, *OPEN_U]))
    assert whole == np.ceil((2 * down + 2 * REACH - 3) / STEP)


def test_ways_as_dijkstra_finds_them() -> None:
    """On a grid of pixels whose steps go in 16 directions, ways are at most 2.8 % too long."""
    grid = np.arange(5, 60)
    hops = [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)]
    for seed, cells in enumerate((3, 5, 6)):
        rng = np.random.default_rng(seed)
        walls = perfect_maze(rng, cells)
        x, y = np.meshgrid(grid, grid, indexing="ij")
        free = is_free(np.stack([x, y], -1)[None].astype(float), walls[None])[0]
        places = {(int(a), int(b)) for a, b in zip(x[free], y[free], strict=True)}
        graph = networkx.Graph()
        for a, b in places:
            for dx, dy in hops:
                box = product(range(dx + 1), range(0, dy + 1) if dy > 0 else range(dy, 1))  # no corner is cut
                if all((a + i, b + j) in places for i, j in box):
                    graph.add_edge((a, b), (a + dx, b + dy), weight=float(np.hypot(dx, dy)))
        start, *goals = [sorted(places)[i] for i in rng.permutation(len(places))[:12]]
        known = networkx.single_source_dijkstra_path_length(graph, start)
        for goal in goals:
            exact = way_length(np.array(start), np.array(goal), walls)
            assert exact <= known[goal] + 1e-6
            assert known[goal] <= 1.028 * exact + 2


def test_layouts_and_splits() -> None:
    fixed = [draw_walls(np.random.default_rng(seed), MazeConfig(number=3)) for seed in range(3)]
    assert np.array_equal(fixed[0], fixed[1])
    assert not np.array_equal(fixed[0], draw_walls(np.random.default_rng(0), MazeConfig(number=4)))
    for split, held_out in (("train", False), ("held-out", True)):
        config = MazeConfig(layout="random", split=split)  # type: ignore[arg-type]
        drawn = [draw_walls(np.random.default_rng(seed), config) for seed in range(30)]
        assert {is_held_out(walls) for walls in drawn} == {held_out}
        assert len({walls.tobytes() for walls in drawn}) == 30
    shares = np.mean([is_held_out(perfect_maze(np.random.default_rng(seed), 5)) for seed in range(400)])
    assert 0.1 < shares < 0.3


@pytest.mark.parametrize("name", ["maze", "random-mazes"])
def test_it_is_a_world(name: str) -> None:
    check_world(lambda n: make_world(name, n, env_options={"cells": 4}))


def test_seeds_say_everything() -> None:
    config = MazeConfig(layout="random")
    many, alone = Maze(3, config), Maze(1, config)
    frames = many.reset([5, 6, 7])
    assert np.array_equal(frames[1:2], alone.reset([6]))
    actions = np.random.default_rng(0).uniform(-0.7, 0.7, (5, 3, 2))
    for a in actions:
        assert np.array_equal(many.step(a)[1:2], alone.step(a[1:2]))
    again = Maze(3, config)
    assert np.array_equal(again.reset_to(many.states()), many.render())


def test_pairs_are_as_far_apart_as_was_asked() -> None:
    config = MazeConfig(number=1)
    pairs = draw_maze_pairs(config, 20, steps=(45, 70), seed=3)
    steps = [shortest_steps(a, b) for a, b in zip(pairs.starts, pairs.goals, strict=True)]
    assert min(steps) >= 45
    assert max(steps) <= 70
    assert pairs.sha256 == draw_maze_pairs(config, 20, steps=(45, 70), seed=3).sha256
    assert pairs.task == "maze"


def test_wrong_options_are_one_line() -> None:
    for wrong in ({"cells": 1}, {"cells": 8}, {"layout": "spiral"}, {"number": -1}):
        with pytest.raises(ConfigError, match="must be"):
            MazeConfig(**wrong)  # type: ignore[arg-type]
    world = Maze(1)
    world.reset([0])
    with pytest.raises(ConfigError, match="norm of at most 1"):
        world.step(np.ones((1, 2)))
    assert draw_position(np.random.default_rng(0), np.zeros(4)).shape == (2,)
