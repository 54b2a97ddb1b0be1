"""The arm: kinematics by hand, physics that obeys and blocks, scenes that are counted and look as their number says."""

import builtins
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco")

from openjepa.data import EpisodeStore
from openjepa.envs import arm, arm_scene, collect, make_policy, make_world
from openjepa.envs.arm import FAR, HIGH, LOW, NEAR, STEP, Arm, ArmConfig, draw_state
from openjepa.envs.arm_scene import FAR_HUES, HAND, HUES, TEXTURES, draw_scene, joint_angles
from openjepa.errors import ConfigError, MissingDependencyError
from openjepa.eval.health.world_conformance import check_world


@pytest.mark.parametrize("task", ["reach", "around", "push"])
def test_the_contract_of_worlds(task: str) -> None:
    check_world(lambda count: Arm(count, ArmConfig(task=task)), steps=3)
    check_world(lambda count: Arm(count, ArmConfig(task=task, gripper=True)), steps=2)


def test_inverse_kinematics_against_the_chain_written_out() -> None:
    """Base, shoulder, elbow and wrist in the vertical plane of the yaw, the hand pointing down."""
    for place in np.random.default_rng(0).uniform(LOW, HIGH, (50, 3)):
        yaw, shoulder, elbow, wrist = joint_angles(place)
        pitches = np.cumsum([shoulder, elbow, wrist])
        lengths = np.array([0.36, 0.36, HAND])
        across, up = lengths @ np.cos(pitches), 0.26 + lengths @ np.sin(pitches)
        np.testing.assert_allclose([across * np.cos(yaw), across * np.sin(yaw), up], place, atol=1e-9)
        assert pitches[-1] == pytest.approx(-np.pi / 2)


def test_the_hand_goes_where_the_action_says_and_stays_in_its_workspace() -> None:
    world = Arm(2)
    world.reset([3, 4])
    rng = np.random.default_rng(1)
    for _ in range(10):
        before, action = world.states()[:, :3], rng.uniform(-STEP, STEP, (2, 3))
        world.step(action)
        wanted = (before + action).clip(LOW, HIGH)
        assert np.abs(world.states()[:, :3] - wanted).max() < 2e-3


@pytest.mark.parametrize("wall", ["still", "drawn"])
def test_a_wall_holds_the_hand_until_it_is_above(wall: str) -> None:
    world = Arm(1, ArmConfig(task="around", wall=wall))
    world.reset([5])
    yaw, top = standing = arm.wall_of(world.config, 5)
    aside = np.array([-np.sin(yaw), np.cos(yaw), 0])
    start = 0.45 * np.array([np.cos(yaw), np.sin(yaw), 0]) + 0.08 * aside
    for height, passes in ((0.06, False), (top + 0.03, True)):
        state = world.states()
        state[0, :3] = start
        state[0, 2] = height
        world.reset_to(state)
        for _ in range(5):
            world.step(-STEP * aside[None])
        beside = arm.beside_wall(world.states()[0, :3], standing)
        assert (beside < -0.05) == passes


def test_a_push_moves_the_block_and_nothing_else_does() -> None:
    world = Arm(1, ArmConfig(task="push"))
    world.reset([0])
    state = world.states()
    state[0, :7] = [0.36, 0.0, 0.03, 0, 0.45, 0.0, 0.0]
    world.reset_to(state)
    for _ in range(3):
        world.step(np.array([[0, 0, STEP]]))
    np.testing.assert_allclose(world.states()[0, 4:7], [0.45, 0, 0], atol=2e-3)  # it lies still by itself
    world.reset_to(state)
    for _ in range(4):
        world.step(np.array([[STEP, 0, 0]]))
    x, y, _ = world.states()[0, 4:7]
    assert x > 0.52
    assert abs(y) < 0.02
    assert world.is_success(world.states(), world.states()).all()


def test_fingers_open_and_close() -> None:
    world = Arm(1, ArmConfig(gripper=True))
    world.reset([0])
    world.step(np.array([[0, 0, 0, STEP]]))
    assert world.states()[0, 3] == pytest.approx(arm.OPEN, abs=1e-3)
    world.step(np.array([[0, 0, 0, -STEP]]))
    assert world.states()[0, 3] == pytest.approx(0, abs=1e-3)


def test_scenes_are_counted_and_far_ones_share_no_look() -> None:
    for split, first in (("train", 0), ("near", NEAR), ("far", FAR)):
        world = Arm(4, ArmConfig(scenes=3, split=split))
        world.reset([3, 4, 5, 6])
        assert world.states()[:, -1].tolist() == [first, first + 1, first + 2, first]
    near, far = ([draw_scene(first + i) for i in range(200)] for first in (NEAR, FAR))
    assert max(max(scene.textures) for scene in near) < len(TEXTURES)
    assert min(t for scene in far for t in scene.textures if t >= 0) >= len(TEXTURES)
    for scenes, (low, high) in ((near, HUES), (far, FAR_HUES)):
        colours = np.concatenate([np.concatenate([s.colours, s.arm]) for s in scenes])
        hues = [arm_scene.colorsys.rgb_to_hsv(*colour)[0] for colour in colours]
        assert low <= min(hues)
        assert max(hues) <= high + 1e-9
    assert np.mean([t < 0 for scene in near for t in scene.textures]) == pytest.approx(0.3, abs=0.08)


def test_a_picture_is_decided_by_the_state_alone() -> None:
    """Also after another scene, another task and another world were drawn in between."""
    state = np.stack([draw_state(np.random.default_rng(i), ArmConfig(), i) for i in range(2)])
    first = Arm(2).reset_to(state)
    assert (first[0] != first[1]).mean() > 0.3
    Arm(1, ArmConfig(task="push")).reset([9])
    Arm(3, ArmConfig(split="far")).reset([7, 8, 9])
    np.testing.assert_array_equal(Arm(2).reset_to(state[::-1].copy()), first[::-1])


def test_play_is_recorded_as_it_was_done(tmp_path) -> None:
    world = make_world("arm", 4)
    with EpisodeStore.create(tmp_path / "arm") as store:
        collect(world, make_policy("arm", world.bounds), store, 4, 12)
    for i in range(4):
        episode = store.episode(i)
        assert np.abs(np.diff(episode.states[:, :3], axis=0) - episode.actions).max() < 2e-3
    pushed = make_world("arm-push", 8)
    with EpisodeStore.create(tmp_path / "push") as store:
        collect(pushed, make_policy("arm-push", pushed.bounds), store, 8, 20)
    ways = [np.linalg.norm(np.ptp(store.episode(i).states[:, 4:6], axis=0)) for i in range(8)]
    assert np.median(ways) > 0.03


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "throw"}, "`task` must be reach, around, push"),
        ({"wall": "glass"}, "`wall` must be still or drawn"),
        ({"scenes": 0}, "`scenes` must be from 1 to 1048576"),
        ({"tsk": "push"}, "unknown option `tsk` of this world; did you mean `task`?"),
    ],
)
def test_wrong_options_are_named(options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        make_world("arm", 1, **options)


def test_wrong_actions_states_and_play_are_named() -> None:
    world = Arm(1)
    world.reset([0])
    with pytest.raises(ConfigError, match=r"`actions` must be in \[-0.04, 0.04\]; got 1."):
        world.step(np.ones((1, 3)))
    with pytest.raises(ConfigError, match="`scene` of a state must be from 0 to"):
        world.reset_to(np.full((1, 5), np.nan))
    play = make_policy("arm-push", world.bounds)
    play.reset([0])
    with pytest.raises(ConfigError, match="must see a block"):
        play.act(world.states())
    with pytest.raises(ConfigError, match="must see states"):
        play.act(None)


def test_without_mujoco_one_line_says_what_to_install(monkeypatch) -> None:
    arm._studio.cache_clear()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "mujoco":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "mujoco")
    with pytest.raises(MissingDependencyError, match=r"pip install 'openjepa\[mujoco\]'"):
        Arm(1)


def test_an_arm_feels_its_hand_where_it_is_asked_to() -> None:
    world = Arm(2, ArmConfig(task="push", proprio=True))
    world.reset([0, 1])
    np.testing.assert_array_equal(world.proprio(), world.states()[:, :4])
    assert Arm(1).proprio() is None
