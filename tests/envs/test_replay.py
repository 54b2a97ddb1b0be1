"""Worlds that cannot be put into a state: recorded episodes are played again, by the numbers of an environment."""

import numpy as np
import pytest

from openjepa.data import EpisodeStore
from openjepa.envs import GymnasiumWorld, collect, make_policy
from openjepa.envs.gymnasium_stage import glimpse
from openjepa.envs.gymnasium_world import PLACE_NAMES
from openjepa.errors import ConfigError, DataError
from openjepa.eval.acting.manifest import draw_recorded_pairs
from openjepa.eval.acting.replaying import placed, ways_to_replay
from openjepa.eval.acting.scattered_pairs import draw_scattered_pairs

gymnasium = pytest.importorskip("gymnasium")


class Slippery(gymnasium.Env):
    """A bar at a place that nobody can set; half of its steps slip, by the environment's own random numbers."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    observation_space = gymnasium.spaces.Box(-50, 50, (1,), np.float32)

    def __init__(self, luck=None):
        self.luck, self.drawn = luck, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = float(self.np_random.uniform(-9, 9))
        return np.float32([self._place]), {}

    def step(self, action):
        luck = self.np_random if self.luck is None else self.luck
        self._place += float(action[0]) * float(luck.choice([0.25, 1.0]))
        return np.float32([self._place]), 0.0, False, False, {}

    def render(self):
        self.drawn += 1
        return np.full((32, 32, 3), int(np.clip(128 + 5 * self._place, 0, 255)), np.uint8)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    path = tmp_path_factory.mktemp("slippery") / "store"
    world = GymnasiumWorld(Slippery, 3)
    with EpisodeStore.create(path) as store:
        collect(world, make_policy("drift", world.bounds), store, 5, 20, seed=4)
    with EpisodeStore.open(path) as store:
        yield store


def states_of(store):
    return {i: np.asarray(store.rows_of("states", i)) for i in range(len(store))}


def make(num_envs, ways, **options):
    return GymnasiumWorld(lambda: Slippery(**options), num_envs, recorded=ways, success_distance=0.01, draw_every=0)


def test_recorded_states_are_reached_again(played):
    ways = ways_to_replay(played, states_of(played), make)
    assert sorted(ways) == [0, 1, 2, 3, 4]
    states = placed(states_of(played))
    world = make(2, ways)
    assert world.state_names == ("observation0", *PLACE_NAMES)
    assert world.can_reset_to
    drawn = [env.drawn for env in world.envs]
    wanted = np.stack([states[3][20], states[1][7]])
    frames = world.reset_to(wanted)
    np.testing.assert_array_equal(world.states(), wanted)
    np.testing.assert_array_equal(frames[1], played.rows_of("frames", 1)[7])
    assert [env.drawn for env in world.envs] == [n + 1 for n in drawn]  # the way there is not drawn
    assert world.is_success(world.states(), wanted).all()
    world.step(np.ones((2, 1)))
    assert not world.is_success(world.states(), wanted).any()
    assert (world.states()[:, 1:] == -1).all()
    with pytest.raises(ConfigError, match="states of recorded episodes"):
        world.reset_to(world.states())


def test_pairs_are_drawn_from_recorded_episodes(played):
    ways = ways_to_replay(played, states_of(played), make)
    states = placed(states_of(played))
    world = make(1, ways)
    for pairs in (
        draw_recorded_pairs(world, states, 4, offset=10, task="slippery"),
        draw_scattered_pairs(world, states, 4, min_distance=1.0, task="slippery"),
    ):
        for pair in pairs.pairs:
            for state in (pair.start_state, pair.goal_state):
                episode, step = (int(x) for x in state[-2:])
                assert state[0] == played.rows_of("states", episode)[step, 0]


def test_a_scene_of_its_own_in_every_episode_leaves_no_far_pairs(played):
    ways = ways_to_replay(played, states_of(played), make)
    states = placed(states_of(played))
    layouts = {i: np.concatenate([np.full((len(rows), 1), i / 7), rows], 1) for i, rows in states.items()}
    with pytest.raises(DataError, match="in one scene"):
        draw_scattered_pairs(make(1, ways), layouts, 4, min_distance=0.1, task="slippery")


def test_a_world_that_does_not_repeat_itself_is_noticed(played):
    def elsewhere(num_envs, ways):
        return make(num_envs, ways, luck=np.random.default_rng(0))

    assert ways_to_replay(played, states_of(played), elsewhere) == {}


def test_episodes_of_unknown_seed_are_not_played_again(tmp_path, played):
    with EpisodeStore.create(tmp_path / "foreign") as store:
        episode = played.episode(0)
        store.append(type(episode)(episode.frames, episode.actions, states=episode.states))
    with EpisodeStore.open(tmp_path / "foreign") as store:
        assert ways_to_replay(store, states_of(store), make) == {}


def test_where_nobody_tells_a_state_the_picture_is_one(tmp_path):
    class Painter(Slippery):
        observation_space = gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)

    with EpisodeStore.create(tmp_path / "store") as store:
        world = GymnasiumWorld(Painter, 2)
        assert not world.has_states
        collect(world, make_policy("drift", world.bounds), store, 3, 12, seed=1, with_states=False)

    def seen(num_envs, ways):
        return GymnasiumWorld(Painter, num_envs, recorded=ways, sees_states=True, draw_every=0)

    with EpisodeStore.open(tmp_path / "store") as store:
        states = {i: glimpse(np.asarray(store.rows_of("frames", i))) for i in range(3)}
        ways = ways_to_replay(store, states, seen)
    world = seen(1, ways)
    assert world.state_names[0] == "picture0"
    wanted = placed(states)[2][5:6]
    world.reset_to(wanted)
    np.testing.assert_allclose(world.states(), wanted, atol=1e-6)
    world.step(np.ones((1, 1)))
    assert abs(world.states() - wanted)[:, :-2].max() > 0  # drawn although nobody asked, as the picture is the state
    assert GymnasiumWorld(Slippery, 1, sees_states=True).state_names == ("observation0",)  # what is told is better


def test_a_glimpse_is_the_mean_of_each_cell():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 40), np.uint8)
    found = glimpse(frames).reshape(2, 3, 8, 8)
    np.testing.assert_allclose(found[1, 2, 3, 5], frames[1, 2, 9:12, 25:30].mean() / 255)
