from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openjepa.envs import GymnasiumWorld, StateAdapter, TwoRooms, make_policy, make_world
from openjepa.envs.gymnasium_states import DRAWN, MUJOCO, adapter_for
from openjepa.envs.push_t_states import is_push_t_success, push_t_adapter, push_t_angle
from openjepa.errors import ConfigError, MissingDependencyError, ShapeError

gymnasium = pytest.importorskip("gymnasium")


class Slider(gymnasium.Env):
    """A user's own environment: a white bar on black at a position in [0, 1]; ends at the right edge."""

    action_space = gymnasium.spaces.Box(-0.25, 0.25, (1,), np.float32)
    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    shape = (40, 80, 3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = float(self.np_random.uniform(0, 0.5))
        return np.float32([self.position]), {}

    def step(self, action):
        assert action.dtype == np.float32
        self.position = float(np.clip(self.position + action[0], 0, 1))
        return np.float32([self.position]), 0.0, self.position >= 1, False, {}

    def render(self):
        picture = np.zeros(self.shape, np.uint8)
        picture[:, : round(self.position * self.shape[1])] = 255
        return picture


class Chooser(Slider):
    action_space = gymnasium.spaces.Discrete(3, start=-1)
    observation_space = gymnasium.spaces.Box(0, 255, (40, 80, 3), np.uint8)

    def step(self, action):
        assert isinstance(action, int)
        return super().step(np.float32([action * 0.1]))


def test_a_users_environment_takes_five_lines():
    adapter = StateAdapter(read=lambda env: np.array([env.unwrapped.position]))
    world = GymnasiumWorld(Slider, 4, adapter=adapter, success_distance=0.1)
    frames = world.reset(seeds=[0, 1, 2, 3])
    goals = world.states()
    frames = world.step(np.zeros((4, world.bounds.dim)))
    assert frames.shape == (4, 3, 64, 64)
    assert frames.dtype == np.uint8
    assert world.is_success(world.states(), goals).all()
    assert not world.is_success(goals + 0.2, goals).any()
    np.testing.assert_allclose(world.distance(goals + 0.2, goals), 0.2, rtol=1e-5)
    assert world.proprio() is None
    assert world.max_steps == 100


def test_pictures_are_scaled_with_antialiasing():
    world = GymnasiumWorld(Slider, 1, image_size=20)
    world.envs[0].reset(seed=0)
    world.envs[0].position = 0.5  # of 80 px: 40 white columns, 10 of 20 after scaling
    row = world.step(np.zeros((1, 1)))[0, 0, 10].astype(float)
    assert row[:9].min() == 255
    assert row[11:].max() == 0
    np.testing.assert_allclose(row.mean(), 127.5, atol=1)


def test_an_environment_depends_on_its_own_seed_alone():
    alone, crowd = GymnasiumWorld(Slider, 1), GymnasiumWorld(Slider, 3)
    crowd.reset([5, 6, 7])
    np.testing.assert_array_equal(crowd.reset([1, 2, 3])[2], alone.reset([3])[0])
    np.testing.assert_array_equal(crowd.states()[2], alone.states()[0])  # the observation stands for the state
    with pytest.raises(ConfigError, match="one entry per environment"):
        crowd.reset([1])


def test_an_environment_that_ended_stands_still_until_reset():
    world = GymnasiumWorld(Slider, 2)
    world.reset([0, 1])
    world.envs[0].position, world.envs[1].position = 0.9, 0.1
    frames = world.step(np.full((2, 1), 0.25))
    assert world.ended().tolist() == [True, False]
    after = world.step(np.full((2, 1), -0.25))
    np.testing.assert_array_equal(after[0], frames[0])
    np.testing.assert_allclose(world.states()[:, 0], [1.0, 0.1], atol=1e-6)
    world.reset([0, 1])
    assert not world.ended().any()


def test_discrete_actions_are_one_hot():
    world = GymnasiumWorld(Chooser, 1, adapter=StateAdapter(read=lambda env: np.array([env.position])))
    assert world.bounds.dim == 3
    world.reset([0])
    world.envs[0].position = 0.5
    for choice, wanted in ((2, 0.6), (1, 0.6), (0, 0.5)):
        world.step(np.eye(3)[[choice]])
        np.testing.assert_allclose(world.states(), wanted, atol=1e-6)
    policy = make_policy("one-hot", world.bounds)
    policy.reset([0])
    assert policy.act(None).sum() == 1


@pytest.mark.parametrize("wrong", [0.3, -0.26, np.nan, np.inf])
def test_actions_out_of_range_are_refused(wrong):
    world = GymnasiumWorld(Slider, 2)
    before = world.states()
    message = r"`actions` must be within \[-0.25, 0.25\] in column 0; got .* Clip them with `world.bounds.clip`"
    with pytest.raises(ConfigError, match=message):
        world.step(np.array([[0.0], [wrong]]))
    np.testing.assert_array_equal(world.states(), before)
    clipped = world.bounds.clip(torch.tensor([[0.3], [-9.0]])).numpy()
    world.step(clipped)
    with pytest.raises(ShapeError, match="`actions` must be"):
        world.step(np.zeros((2, 2)))


def test_what_is_missing_is_said():
    world = GymnasiumWorld(Chooser, 1)
    with pytest.raises(ConfigError, match=r"observes no plain vector.*StateAdapter"):
        world.states()
    with pytest.raises(ConfigError, match=r"cannot be put into a state.*StateAdapter"):
        world.reset_to(np.zeros((1, 1)))
    with pytest.raises(ConfigError, match=r"when a goal is reached. Give `success_distance`"):
        world.is_success(np.zeros((1, 1)), np.zeros((1, 1)))
    Silent = type("Silent", (Slider,), {"render": lambda self: None})
    with pytest.raises(ConfigError, match=r"must render pictures \[H, W, 3\] uint8; got .*NoneType"):
        GymnasiumWorld(Silent).reset([0])
    boundless = type("Boundless", (Slider,), {"action_space": gymnasium.spaces.Box(-np.inf, 1, (1,))})
    with pytest.raises(ConfigError, match=r"must be bounded.*RescaleAction"):
        GymnasiumWorld(boundless)
    many = type("Many", (Slider,), {"action_space": gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)})})
    with pytest.raises(ConfigError, match="must have Box, Discrete, MultiDiscrete or MultiBinary actions; got a Dict"):
        GymnasiumWorld(many)
    with pytest.raises(ConfigError, match="must be >= 1"):
        GymnasiumWorld(Slider, 0)


def test_classic_control_by_id():
    pytest.importorskip("pygame")
    world = make_world("Pendulum-v1", 2, image_size=32)
    assert world.max_steps == 200
    frames = world.reset([0, 1])
    states = world.states()
    assert states.shape == (2, 2)
    world.step(np.ones((2, 1)))
    np.testing.assert_array_equal(world.reset_to(states), frames)
    np.testing.assert_allclose(world.states(), states)
    with pytest.raises(ShapeError, match="P = 2"):
        world.reset_to(np.zeros((2, 3)))
    world.close()


def test_mujoco_is_recognised_by_what_it_offers():
    data = SimpleNamespace(qpos=np.array([1.0, 2.0]), qvel=np.array([3.0]))
    calls = []
    env = SimpleNamespace(data=data, model=SimpleNamespace(nq=2), set_state=lambda *parts: calls.append(parts))
    env.unwrapped = env
    adapter = adapter_for(env)
    assert adapter.read(env).tolist() == [1, 2, 3]
    adapter.write(env, np.array([4, 5, 6]))
    assert [part.tolist() for part in calls[0]] == [[4, 5], [6]]


def test_mujoco_without_opengl_says_what_to_set():
    class Blind(Slider):
        def render(self):
            raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    drawn_by_mujoco = StateAdapter(draw_at=lambda env, height, width: None)
    message = r"cannot be drawn \(AttributeError: 'NoneType' .*\). MuJoCo needs OpenGL: set MUJOCO_GL"
    with pytest.raises(ConfigError, match=message):
        GymnasiumWorld(Blind, 1, adapter=drawn_by_mujoco).reset([0])


def test_mujoco_states_can_be_set():
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    env = gymnasium.make("Reacher-v5", disable_env_checker=True)
    env.reset(seed=0)
    state = MUJOCO.read(env)
    assert state.shape == (8,)  # 4 positions, 4 velocities
    env.step(np.ones(2, np.float32))
    assert not np.allclose(MUJOCO.read(env), state)
    MUJOCO.write(env, state)
    np.testing.assert_allclose(MUJOCO.read(env), state)
    env.close()


def test_mujoco_draws_with_the_context_of_each_environment():
    """Another world's context may be in force, or none at all after one was closed: pictures would be black."""
    in_force = []

    def lazily():
        if owner.mujoco_renderer.viewer is None:  # as Gymnasium does: the first picture makes context and viewer
            owner.mujoco_renderer.viewer = SimpleNamespace(make_context_current=lambda: in_force.append("own"))
            in_force.append("own")
        return np.full((4, 4, 3), 200 if in_force[-1] == "own" else 0, np.uint8)

    data = SimpleNamespace(qpos=np.zeros(1), qvel=np.zeros(1))
    owner = SimpleNamespace(data=data, model=SimpleNamespace(nq=1, njnt=0), set_state=None, render=lazily)
    owner.mujoco_renderer = SimpleNamespace(viewer=None)
    owner.unwrapped = owner
    adapter = adapter_for(owner)
    assert adapter.picture(owner, None).mean() == 200
    in_force.append("another world's")
    assert adapter.picture(owner, None).mean() == 200


def test_mujoco_environments_of_one_kind_share_a_context_and_draw_as_alone():
    pytest.importorskip("mujoco")
    pytest.importorskip("imageio")
    try:
        together = make_world("Reacher-v5", 3, image_size=32)
    except ConfigError as error:
        pytest.skip(f"no OpenGL here: {error}")
    viewers = [env.unwrapped.mujoco_renderer.viewer for env in together._stage.envs]
    assert len({id(viewer.con) for viewer in viewers}) == 1
    assert len({id(viewer.cam) for viewer in viewers}) == 3
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2)).astype(np.float32)
    together.reset([5, 6, 7])
    for action in actions:
        shown = np.array(together.step(action))
    assert (shown[0] != shown[1]).any()
    for i in range(3):
        alone = make_world("Reacher-v5", 1, image_size=32)
        alone.reset([5 + i])
        for action in actions:
            frame = alone.step(action[i : i + 1])
        np.testing.assert_array_equal(frame[0], shown[i])
        alone.close()
    together.close()


def test_mujoco_environments_of_other_models_share_nothing():
    def env(texture):
        model = SimpleNamespace(**{name: np.zeros(2) for name in DRAWN} | {"tex_data": np.array([texture])})
        data = SimpleNamespace(qpos=np.zeros(1), qvel=np.zeros(1))
        owner = SimpleNamespace(data=data, model=model, set_state=None)
        owner.mujoco_renderer = SimpleNamespace(viewer=None, _viewers={}, _set_cam_config=lambda: None)
        owner.unwrapped = owner
        return owner

    class Viewer:
        con, opengl_context, cam = "context", "opengl", SimpleNamespace()

        def _init_camera(self):
            self.cam.lookat = 0

    first, alike, other = env(1), env(1), env(2)
    draw_with = adapter_for(first).draw_with
    draw_with(alike, first)
    assert alike.mujoco_renderer.viewer is None  # nothing was drawn yet
    first.mujoco_renderer.viewer = Viewer()
    for one in (alike, other):
        draw_with(one, first)
    assert alike.mujoco_renderer.viewer.model is alike.model
    assert alike.mujoco_renderer.viewer.con == "context"
    assert other.mujoco_renderer.viewer is None


@pytest.fixture(scope="module")
def push_t():
    pytest.importorskip("gym_pusht")
    world = make_world("push-t", 2, image_size=32)
    yield world
    world.close()


def test_push_t_returns_to_a_state(push_t):
    push_t.reset([3, 4])
    policy = make_policy("push", push_t.bounds)
    policy.reset([3, 4])
    for _ in range(6):
        frames = push_t.step(policy.act(push_t.states()))
    states = push_t.states()
    assert states.shape == (2, 7)
    assert push_t.proprio().shape == (2, 4)
    actions = np.array([[0.5, -1.0], [1.0, 0.2]])
    after = push_t.step(actions), push_t.states()
    returned = push_t.reset_to(states).astype(int)
    assert np.abs(returned - frames).max() <= 8  # states are rounded to float32
    assert (returned != frames).mean() < 0.01
    np.testing.assert_allclose(push_t.states(), states, rtol=1e-6)
    again = push_t.step(actions), push_t.states()
    np.testing.assert_allclose(again[1][:, :4], after[1][:, :4], atol=1.0)  # px; contacts are not remembered
    assert np.abs(again[0].astype(int) - after[0]).mean() < 1
    assert push_t.is_success(again[1], after[1]).all()


def test_push_t_pictures_do_not_show_the_action(push_t):
    push_t.reset([3, 4])
    states = push_t.states()
    push_t.step(np.ones((2, 2)))
    frames = push_t.reset_to(states)
    np.testing.assert_array_equal(frames, push_t.reset([3, 4]))
    saturated_red = (frames[:, 0] > 200) & (frames[:, 1] < 100) & (frames[:, 2] < 100)  # the marker's colour
    assert not saturated_red.any()


def test_push_t_actions_are_relative_to_the_pusher(push_t):
    push_t.reset([3, 4])
    start = push_t.states()[:, :2]
    for _ in range(3):
        push_t.step(np.array([[1.0, 0.0], [0.0, 0.0]]))
    moved = push_t.states()[:, :2] - start
    assert 20 < moved[0, 0] < 120
    assert abs(moved[0, 1]) < 1e-3
    np.testing.assert_allclose(moved[1], 0, atol=1e-3)
    with pytest.raises(ConfigError, match="`actions` must be within"):
        push_t.step(np.array([[1.1, 0.0], [0.0, 0.0]]))
    absolute = make_world("gym_pusht/PushT-v0", 1, adapter=push_t_adapter(reach=None))
    assert absolute.bounds.high.tolist() == [512, 512]
    absolute.close()


def test_push_t_success_is_the_moderate_rule():
    goal = np.array([[100.0, 100, 300, 300, 0.1, 0, 0]])

    def reached(*change):
        return bool(is_push_t_success(goal + np.array([[*change, 0, 0]]), goal)[0])

    assert reached(0, 0, 0, 0, 0)
    assert reached(10, 10, 10, 9, 0)  # norm 19.5
    assert not reached(10, 10, 10, 10.1, 0)
    assert reached(0, 0, 0, 0, np.deg2rad(19.9) - 2 * np.pi)
    assert not reached(0, 0, 0, 0, np.deg2rad(-20.1))
    np.testing.assert_allclose(push_t_angle(goal + np.pi, goal), np.pi)


def test_worlds_are_found_by_name_with_a_hint():
    world = make_world("random-doors", 2, split="train")
    assert isinstance(world, TwoRooms)
    assert (world.config.layout, world.config.split) == ("random", "train")
    assert make_world("distractors").config.distractors == 2
    with pytest.raises(ConfigError, match="unknown environment `random-dors`; did you mean `random-doors`"):
        make_world("random-dors")
    with pytest.raises(ConfigError, match="unknown option `layuot` of this world; did you mean `layout`"):
        make_world("two-rooms", layuot="fixed")
    with pytest.raises(ConfigError, match="unknown environment `CartPol-v1`; did you mean `CartPole-v"):
        make_world("CartPol-v1")
    with pytest.raises(ConfigError, match="`CartPole-v1` refuses its options"):
        make_world("CartPole-v1", colour="red")
    with pytest.raises(MissingDependencyError, match="needs a package that is not installed"):
        make_world("no_such_package:Env-v0")
    for name in ("a b/c:d:e", "no_such_space/Env-v0"):
        with pytest.raises(ConfigError, match="unknown environment"):
            make_world(name)


def test_steps_that_nobody_sees_are_not_drawn():
    seen, blind = GymnasiumWorld(Slider, 2), GymnasiumWorld(Slider, 2, draw_every=0)
    first = blind.reset([0, 1]).copy()
    assert np.array_equal(first, seen.reset([0, 1]))
    actions = np.full((2, blind.bounds.dim), 0.2)
    assert np.array_equal(blind.step(actions), first)
    assert not np.array_equal(seen.step(actions), first)
    assert np.array_equal(blind.states(), seen.states())
    assert np.array_equal(blind.reset([2, 3]), seen.reset([2, 3]))
    second = GymnasiumWorld(Slider, 2, draw_every=2)
    second.reset([2, 3])
    one, two = seen.step(actions).copy(), seen.step(actions)
    assert not np.array_equal(second.step(actions), one)
    assert np.array_equal(second.step(actions), two)


@pytest.mark.parametrize(("world", "angles"), [("Pendulum-v1", [0]), ("Acrobot-v1", [0, 1]), ("CartPole-v1", [2])])
def test_an_angle_is_a_number_of_which_a_full_turn_is_not_seen(world, angles):
    world = make_world(world, 1)
    world.reset(seeds=[0])
    state = world.states()
    for number in range(state.shape[1]):
        turned = state.copy()
        turned[0, number] += 2 * np.pi
        expected = 0 if number in angles else 2 * np.pi
        np.testing.assert_allclose(world.distance(turned, state), expected, atol=1e-5)  # states are float32
