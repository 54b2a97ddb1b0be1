"""Every kind of action space, end and error that an environment of another author may bring."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium")
from gymnasium import spaces  # noqa: E402

from openjepa.envs import GymnasiumWorld, StateAdapter, default_policy, make_policy, make_world  # noqa: E402
from openjepa.errors import ConfigError, OpenJEPAError  # noqa: E402
from openjepa.eval.health.world_conformance import check_world  # noqa: E402
from openjepa.protocols import ActionBounds  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import gymnasium_toys as toys  # noqa: E402

INT64 = np.iinfo(np.int64)
BOXES = {
    "float64": spaces.Box(-0.1, 0.1, (2,), np.float64),
    "float16": spaces.Box(np.float16(-0.1), np.float16(0.3), (2,), np.float16),
    "matrix": spaces.Box(-2, 5, (2, 3), np.float32),
    "uint8": spaces.Box(0, 3, (2,), np.uint8),
    "int": spaces.Box(-2, 1, (1,), np.int32),
    "huge": spaces.Box(INT64.min, INT64.max - 1, (1,), np.int64),
    "fixed_axis": spaces.Box(np.float32([0.1, -1]), np.float32([0.1, 1])),
}
CHOICES = {
    "discrete": (spaces.Discrete(3, start=-1), (3,)),
    "one": (spaces.Discrete(1), (1,)),
    "multi": (spaces.MultiDiscrete([2, 4, 3]), (2, 4, 3)),
    "table": (spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [0, 9]]), (2, 3, 4, 1)),
    "bits": (spaces.MultiBinary(3), (2, 2, 2)),
    "bit_table": (spaces.MultiBinary([2, 2]), (2, 2, 2, 2)),
}


def six_steps(make, *arguments, **options):
    world = make(*arguments, **options)
    try:
        world.reset([0, 1])
        for _ in range(6):
            world.step(np.zeros((2, 1)))
            world.states()
    finally:
        world.close()


def world_of(space, count=2):
    return GymnasiumWorld(lambda: toys.Toy(action_space=space), count, image_size=8)


@pytest.mark.parametrize("name", BOXES)
def test_a_box_gets_only_actions_that_it_contains(name):
    space = BOXES[name]
    world = world_of(space)
    assert world.bounds.low.tolist() == space.low.ravel().astype(float).tolist()
    assert world.bounds.categories == ()
    world.reset([0, 1])
    policy = make_policy("uniform", world.bounds)
    policy.reset([0, 1])
    for _ in range(60):
        world.step(policy.act(None))
    for edge in (world.bounds.low, world.bounds.high):
        world.step(np.stack([edge, edge]))  # exact
        world.step(np.stack([edge, edge]).astype(np.float32))  # rounded as a model or a store has it
        assert (world.envs[0].seen[-1] == world.envs[0].seen[-2]).all()
        assert world.envs[0].seen[-1].dtype == space.dtype
    low, high = world.envs[0].seen[-3], world.envs[0].seen[-1]
    assert (low == space.low).all()
    assert (high == space.high).all() or name == "huge"  # float64 does not hold the last digits


def test_whole_numbers_are_rounded_and_their_ends_are_played():
    world = world_of(spaces.Box(-2, 1, (1,), np.int32), 1)
    world.reset([0])
    for value, wanted in ((-2, -2), (-1.4, -1), (0.6, 1), (1, 1)):
        world.step(np.array([[value]]))
        assert world.envs[0].seen[-1].tolist() == [wanted]
    policy = make_policy("uniform", world.bounds)
    policy.reset([0])
    for _ in range(100):
        world.step(policy.act(None))
    assert {int(action[0]) for action in world.envs[0].seen} == {-2, -1, 0, 1}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_one_hot_groups(name):
    space, categories = CHOICES[name]
    world = world_of(space)
    assert world.bounds == ActionBounds.of_categories(categories)
    world.reset([0, 1])
    policy = make_policy(default_policy(world.bounds), world.bounds)
    policy.reset([0, 1])
    for _ in range(80):
        world.step(policy.act(None))
    played = {str(np.asarray(action).tolist()) for action in world.envs[0].seen}
    assert len(played) == min(np.prod(categories), len(played))
    per_group = np.array([np.asarray(action).ravel() for action in world.envs[0].seen])
    assert [len(set(column)) for column in per_group.T.tolist()] == list(categories)  # enough of every choice
    world.step(world.bounds.clip(torch.rand(2, world.bounds.dim)).numpy())
    if sum(categories) > len(categories):
        with pytest.raises(ConfigError, match=r"`actions` must be one-hot in groups of .*Clip them"):
            world.step(np.full((2, world.bounds.dim), 0.5))


def test_unsuitable_action_spaces_are_refused_in_one_line():
    for space in (spaces.Dict({"a": spaces.Discrete(2)}), spaces.Tuple([spaces.Discrete(2)]), spaces.Text(3)):
        with pytest.raises(ConfigError, match=r"must have Box, Discrete, MultiDiscrete or MultiBinary actions; got a "):
            world_of(space)
    half_open = spaces.Box(np.float32([-np.inf, 0]), np.float32([0, 1]))
    for space in (half_open, spaces.Box(-1, np.inf, (40,), np.float32)):
        with pytest.raises(ConfigError, match="must be bounded; got") as error:
            world_of(space)
        assert "\n" not in str(error.value)
    own = StateAdapter(bounds=ActionBounds(-np.ones(2), np.zeros(2)))
    world = GymnasiumWorld(lambda: toys.Toy(action_space=half_open), 1, adapter=own)
    world.reset([0])
    world.step(np.array([[-0.5, 0.0]]))  # the adapter's own bounds


def test_an_end_of_either_kind_holds_until_the_reset():
    for kind in (toys.Truncated, toys.Terminated):
        world = GymnasiumWorld(kind, 2, image_size=8)
        world.reset([0, 1])
        ends = []
        for _ in range(6):
            world.step(np.zeros((2, 1)))
            ends.append(world.ended().tolist())
        assert ends == [[False, False]] * 2 + [[True, True]] * 4
        assert not world.reset([0, 1])[0].any() or not world.ended().any()
    goes_on = GymnasiumWorld(toys.Terminated, 1, image_size=8, can_end=False)
    goes_on.reset([0])
    for _ in range(5):
        goes_on.step(np.zeros((1, 1)))
    assert not goes_on.ended().any()
    assert goes_on.envs[0].count == 5
    stays = GymnasiumWorld(toys.Truncated, 1, image_size=8, can_end=False)  # truncation always ends
    stays.reset([0])
    for _ in range(5):
        stays.step(np.zeros((1, 1)))
    assert stays.ended().all()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (toys.Unseen, r"`Unseen` cannot be drawn \(NotImplementedError\)"),
        (toys.Growing, r"`Growing` must draw pictures of one size; got \[40, 80, 3\] and then \[48, 80, 3\]"),
        (toys.Rambling, r"`Rambling` (must keep the size of its state \(1\); got \[2, 2\]|cannot be read)"),
        (toys.Crashing, r"`Crashing` cannot step \(ValueError: the gearbox broke\)"),
    ],
)
def test_what_breaks_in_the_environment_is_one_line(kind, message):
    with pytest.raises(OpenJEPAError, match=message) as error:
        six_steps(GymnasiumWorld, kind, 2)
    assert "\n" not in str(error.value)


def test_copies_bring_back_what_cannot_be_set():
    world = GymnasiumWorld(toys.Picturing, 3, image_size=16)
    assert (world.has_states, world.state_names, world.can_reset_to, world.can_snapshot) == (False, (), False, True)
    world.reset([0, 1, 2])
    world.step(np.zeros((3, 1)))
    kept = world.snapshot()
    future = [world.step(np.zeros((3, 1))) for _ in range(4)]
    for _ in range(2):  # a snapshot serves more than once
        world.restore(kept)
        for frames in future:
            np.testing.assert_array_equal(world.step(np.zeros((3, 1))), frames)
    world.restore(kept[::-1])
    np.testing.assert_array_equal(world.step(np.zeros((3, 1))), future[0][::-1])
    locked = GymnasiumWorld(toys.Locked, 1)
    assert not locked.can_snapshot
    with pytest.raises(ConfigError, match="can neither be put into a state nor copied"):
        locked.snapshot()
    with pytest.raises(ConfigError, match="observes no plain vector"):
        world.states()


def test_pictures_of_any_shape():
    world = GymnasiumWorld(toys.Toy, 1, image_size=(20, 10))
    assert world.frame_shape == (3, 20, 10)
    assert world.reset([0]).shape == (1, 3, 20, 10)
    world.envs[0].position = 0.5  # 40 of 80 columns are white, 5 of 10 after shrinking
    row = world.step(np.zeros((1, 1)))[0, 0, 10]
    assert row[:4].min() == 255
    assert row[6:].max() == 0


def test_options_reach_the_environment_whatever_they_are_called():
    world = make_world("gymnasium_toys:Toy-v0", 1, env_options={"size": 7, "image_size": 5}, image_size=12)
    assert (world.envs[0].unwrapped.size, world.envs[0].unwrapped.image_size) == (7, 5)
    assert world.frame_shape == (3, 12, 12)
    with pytest.raises(ConfigError, match=r"`gymnasium_toys:Toy-v0` refuses its options .*colour"):
        make_world("gymnasium_toys:Toy-v0", 1, env_options={"colour": 1})
    assert make_world("two-rooms", 1, env_options={"layout": "random"}).name == "random-doors"
    with pytest.raises(ConfigError, match="`image_size` of `two-rooms` must be 64"):
        make_world("two-rooms", 1, image_size=96)
    with pytest.raises(ConfigError, match="options must be given where the environment is made; got \\['size'\\]"):
        GymnasiumWorld(toys.Toy, 1, size=3)


def test_several_processes_show_the_same():
    alone, shared = (make_world("gymnasium_toys:Crashing-v0", 3, workers=n, image_size=16) for n in (1, 2))
    try:
        np.testing.assert_array_equal(shared.reset([5, 6, 7]), alone.reset([5, 6, 7]))
        for _ in range(4):
            np.testing.assert_array_equal(shared.step(np.zeros((3, 1))), alone.step(np.zeros((3, 1))))
            np.testing.assert_array_equal(shared.states(), alone.states())
            np.testing.assert_array_equal(shared.ended(), alone.ended())
        with pytest.raises(ConfigError, match=r"cannot step \(ValueError: the gearbox broke\)"):
            shared.step(np.zeros((3, 1)))
        assert (shared.state_names, shared.bounds) == (alone.state_names, alone.bounds)
    finally:
        shared.close()


@pytest.mark.parametrize("kind", [toys.Toy, toys.Truncated, toys.Picturing, toys.Grid, toys.Maze])
def test_foreign_worlds_keep_the_contract(kind):
    check_world(lambda count: GymnasiumWorld(kind, count, image_size=20))


@pytest.mark.parametrize(
    "name", ["two-rooms", "random-doors", "four-rooms", "noisy-background", "maze", "fork", "bridge"]
)
def test_drawn_worlds_keep_the_contract(name):
    check_world(lambda count: make_world(name, count))
