"""States of environments that nobody adapted: read, set and judged by what they have."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from openjepa.envs import GymnasiumWorld, StateAdapter, make_world  # noqa: E402
from openjepa.envs.gymnasium_states import adapter_for  # noqa: E402

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "benchmarks" / "worlds")]
import gymnasium_toys as toys  # noqa: E402


def test_the_seed_of_a_reset_brings_back_what_the_state_does_not_hold():
    world = GymnasiumWorld(toys.Grid, 3, image_size=10)
    assert world.state_names == ("agent_x", "agent_y", "agent_dir", "reset_seed_high", "reset_seed_low")
    seeds = [7, 2**32 - 1, 70_000]
    world.reset(seeds)
    for choice in (2, 2, 1, 2):
        frames = world.step(np.eye(3)[[choice] * 3])
    states = world.states()
    assert states.dtype == np.float32
    assert (states[:, 3].astype(int) * 2**16 + states[:, 4].astype(int)).tolist() == seeds
    other = GymnasiumWorld(toys.Grid, 3, image_size=10)  # another world, as in another process
    np.testing.assert_array_equal(other.reset_to(states), frames)
    np.testing.assert_array_equal(other.states(), states)
    moved = states.copy()
    moved[:, 4] += 1
    assert (world.distance(states, moved) == 0).all()  # a seed is no place
    moved[:, 0] += 1
    assert world.distance(states, moved).tolist() == [1, 1, 1]
    assert world.is_success(states, moved).tolist() == [False] * 3
    moved[:, :3] = states[:, :3] + [0, 0, 1]
    assert world.is_success(states, moved).all()  # the same cell, whatever the heading


def test_what_a_reset_does_not_draw_needs_no_seed():
    class Still(toys.Grid):
        def reset(self, *, seed=None, options=None):
            found = super().reset(seed=seed)
            self.wall = 5
            return found

    assert GymnasiumWorld(Still, 1).state_names == ("agent_x", "agent_y", "agent_dir")


def test_a_simulation_inside_and_a_goals_own_rule():
    world = GymnasiumWorld(toys.Maze, 2, image_size=10)
    names = ("qpos0", "qpos1", "qpos2", "qvel0", "qvel1", "qvel2", "reset_seed_high", "reset_seed_low")
    assert world.state_names == names
    renderer = world.envs[1].inside.mujoco_renderer
    assert (renderer.width, renderer.height) == (20, 20)  # to be shrunk to half of that
    frames = world.reset([3, 4])
    states = world.states()
    np.testing.assert_array_equal(world.reset_to(states), frames)  # the marker too
    goals = states.copy()
    goals[:, 1] += [0.44, 0.46]
    goals[:, 0] += 5  # no part of the achieved goal
    goals[:, 4] += 5
    np.testing.assert_allclose(world.distance(states, goals), [0.44, 0.46], atol=1e-5)
    assert world.is_success(states, goals).tolist() == [True, False]
    assert world.is_success(states[None, :1], goals[:, None]).tolist() == [[True], [False]]
    dense = GymnasiumWorld(lambda: toys.Maze(sparse=False), 1, image_size=10)
    with pytest.raises(ValueError, match=r"does not say when a goal is reached\. Give `success_distance`"):
        dense.is_success(states[:1], goals[:1])
    radius = GymnasiumWorld(toys.Maze, 2, image_size=10, success_distance=0.5)
    assert radius.is_success(states, goals).all()  # the user's radius wins


def test_angles_are_compared_the_short_way_round():
    model = SimpleNamespace(jnt_type=np.array([2, 3]), jnt_qposadr=np.array([0, 1]))  # a slide, then a hinge
    data = SimpleNamespace(qpos=np.array([0.0, 0.0]), qvel=np.zeros(2))
    env = SimpleNamespace(data=data, model=model, set_state=lambda *parts: None)
    env.unwrapped = env
    distance = adapter_for(env).distance
    np.testing.assert_allclose(distance(np.array([[0, 3.0, 9, 9]]), np.array([[0, -3.0, 0, 0]])), 2 * np.pi - 6)
    np.testing.assert_allclose(distance(np.array([[7.0, 0, 9, 9]]), np.array([[0, 2 * np.pi, 0, 0]])), 7)


def test_a_setting_that_does_not_hold_is_no_way_to_a_state():
    deaf = StateAdapter(read=lambda env: np.array([env.position]), write=lambda env, state: None)
    world = GymnasiumWorld(toys.Toy, 1, adapter=deaf)
    assert not world.can_reset_to
    assert world.state_names == ("state0",)


def test_pictures_are_drawn_at_the_size_that_is_needed():
    asked = []
    adapter = StateAdapter(draw_at=lambda env, height, width: asked.append((height, width)))
    GymnasiumWorld(toys.Toy, 1, adapter=adapter, image_size=(32, 48))
    assert asked == [(64, 96)]  # twice as large, to be shrunk with antialiasing


def test_mujoco_draws_at_the_size_of_the_frames():
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    try:
        world = make_world("Reacher-v5", 1)
        sized = make_world("Reacher-v5", 1, env_options={"width": 96, "height": 80})
    except ValueError as error:
        pytest.skip(str(error))  # no OpenGL
    renderer = world.envs[0].unwrapped.mujoco_renderer
    assert (renderer.height, renderer.width) == (128, 128)
    renderer = sized.envs[0].unwrapped.mujoco_renderer
    assert (renderer.height, renderer.width) == (80, 96)  # the user's own choice
    assert world.state_names[:5] == ("qpos0", "qpos1", "qpos2", "qpos3", "qvel0")


def test_a_two_rooms_of_another_author():
    right = np.tile([1.0, -0.2], (12, 1))
    world = make_world("foreign_two_rooms:ForeignTwoRooms-v0", 12, success_distance=10.5, image_size=32)
    assert (world.bounds.low.tolist(), world.max_steps, world.can_reset_to) == ([-1, -1], 100, True)
    world.reset(range(12))
    ways = []
    for _ in range(40):
        before, over = world.states(), world.ended()
        world.step(right)
        ways.append(np.abs(world.states() - before)[~over].max(initial=0))
    assert max(ways) == pytest.approx(5, abs=1e-4)  # px
    x, y = world.states().T
    is_held = (x > 99) & (x < 100)  # half a px before the edge of the wall
    assert is_held.any()
    assert not (is_held & (np.abs(y - 49) < 14)).any()  # nobody is held at the door
    assert world.ended().any()  # at the hidden target
    endless = make_world("foreign_two_rooms:ForeignTwoRooms-v0", 12, env_options={"hidden_target": False})
    endless.reset(range(12))
    for _ in range(40):
        endless.step(right)
    assert not endless.ended().any()
    frames = endless.reset_to(np.tile([60.0, 150.0], (12, 1)))
    rows, columns = np.nonzero((frames[0, 0] > 200) & (frames[0, 1] < 80))
    assert abs(columns.mean() * 3.5 - 60) < 3.5
    assert abs(rows.mean() * 3.5 - 150) < 3.5
