import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from openjepa.data import EpisodeStore, check
from openjepa.envs import POLICIES, TwoRooms, collect, default_policy, make_policy
from openjepa.envs.collect import episode_seed
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import ActionBounds

DISC = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)


class Counting:
    """A world whose state counts steps and whose frames show it; environments with an odd seed end early."""

    max_steps = 6

    def __init__(self, num_envs):
        self.num_envs, self.bounds = num_envs, DISC

    def reset(self, seeds):
        self.seeds, self.count = np.array(seeds), 0
        return self.frames()

    def step(self, actions):
        self.count += 1
        self.last = actions
        return self.frames()

    def frames(self):
        frames = np.full((self.num_envs, 1, 2, 2), self.count, np.uint8)
        frames[:, 0, 0, 0] = self.seeds % 251
        return frames

    def states(self):
        return np.stack([self.seeds % 251, np.full(self.num_envs, self.count)], 1).astype(np.float32)

    def proprio(self):
        return self.states()[:, 1:] * 2

    def ended(self):
        return (self.seeds % 2 == 1) & (self.count >= 4)


def files_of(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def run(path, episodes, num_envs=4, world=Counting, **options):
    with EpisodeStore.resume(path) as store:
        collect(world(num_envs), make_policy("smooth", DISC), store, episodes, **{"seed": 3, **options})
    return EpisodeStore.open(path)


def test_episodes_hold_what_was_shown_and_done(tmp_path):
    store = run(tmp_path / "s", 5, info={"world": "counting"})
    assert len(store) == 5
    for i in range(5):
        seed = episode_seed(3, i)
        episode = store.episode(i)
        steps = 4 if seed % 2 else 6
        assert episode.info == {"episode": i, "world": "counting", "seed": 3, "steps": 6}
        assert episode.frames[:, 0, 1, 1].tolist() == list(range(steps + 1))
        assert (episode.frames[:, 0, 0, 0] == seed % 251).all()
        np.testing.assert_array_equal(episode.states[:, 1], np.arange(steps + 1))
        np.testing.assert_array_equal(episode.proprio[:, 0], 2 * np.arange(steps + 1))
        policy = make_policy("smooth", DISC)
        policy.reset([seed])
        np.testing.assert_array_equal(episode.actions, np.concatenate([policy.act(None) for _ in range(steps)]))


def test_the_number_of_environments_and_interruptions_leave_no_trace(tmp_path):
    run(tmp_path / "one", 9, num_envs=1)
    run(tmp_path / "many", 9, num_envs=8)
    for count in (2, 3, 7, 9, 9):
        run(tmp_path / "parts", count, num_envs=3)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "many") == files_of(tmp_path / "parts")


def test_progress_is_called_after_every_episode(tmp_path):
    calls = []
    run(tmp_path / "s", 2)
    run(tmp_path / "s", 5, progress=lambda done, wanted: calls.append((done, wanted)))
    assert calls == [(2, 5), (3, 5), (4, 5), (5, 5)]


def test_another_collection_is_not_mixed_in(tmp_path):
    run(tmp_path / "s", 2, info={"policy": "smooth"})
    with pytest.raises(DataError, match=r"its `seed` is 3, wanted 4. Repeat the first command"):
        run(tmp_path / "s", 4, seed=4, info={"policy": "smooth"})
    with pytest.raises(DataError, match="its `policy` is smooth, wanted uniform"):
        run(tmp_path / "s", 4, info={"policy": "uniform"})
    with pytest.raises(ConfigError, match="`steps` >= 1"):
        run(tmp_path / "s", 4, steps=0)
    assert len(EpisodeStore.open(tmp_path / "s")) == 2


def test_without_states_none_are_asked_for(tmp_path):
    Blind = type("Blind", (Counting,), {"states": None, "proprio": lambda self: None})
    store = run(tmp_path / "s", 1, world=Blind, with_states=False)
    assert [c.name for c in store.columns] == ["frames", "actions"]


def test_two_rooms_play_is_recorded(tmp_path):
    store = run(tmp_path / "s", 6, num_envs=4, world=TwoRooms, steps=10)
    assert store.column("frames").shape == (66, 3, 64, 64)
    world = TwoRooms(1)
    world.reset([episode_seed(3, 5)])
    episode = store.episode(5)
    np.testing.assert_array_equal(world.states()[0], episode.states[0])
    for t in range(10):
        np.testing.assert_array_equal(world.step(episode.actions[t : t + 1])[0], episode.frames[t + 1])


# One process that imports once and forks a collector for each life, which is killed after a while.
KILLER = """
import os, random, signal, sys, time
import numpy as np
from openjepa.data import EpisodeStore
from openjepa.envs import TwoRooms, collect, make_policy

def life(path):
    with EpisodeStore.resume(path) as store:
        world = TwoRooms(3)
        collect(world, make_policy("smooth", world.bounds), store, 60, 20, seed=1)

whole, torn = sys.argv[1:3]
life(whole)
start = time.perf_counter()
life(whole + "-again")
duration = time.perf_counter() - start
moments, kills = random.Random(int(sys.argv[3])), 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        life(torn)
        os._exit(0)
    time.sleep(moments.uniform(0, duration / 4))
    os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
life(torn)
print(kills)
"""


def test_kill_at_any_moment_leaves_the_same_bytes(tmp_path):
    paths = [str(tmp_path / "whole"), str(tmp_path / "torn")]
    command = [sys.executable, "-c", KILLER, *paths, "0"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1  # lives that the signal ended; about 20
    assert check(tmp_path / "torn").is_sound
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "torn")


ARM = ActionBounds(np.full(3, -0.04), np.full(3, 0.04))  # m


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_policy_keeps_to_the_bounds_and_to_its_own_seed(name):
    bounds = {
        "one-hot": ActionBounds.of_categories([4, 2]),
        "drift": ActionBounds(np.float32([-2, 0, 1]), np.float32([2, 1, 4])),
        "arm": ARM,
        "arm-push": ARM,
    }.get(name, DISC)
    states = np.random.default_rng(0).uniform(0, 512, (100, 3, 8)).astype(np.float32)
    crowd, alone = make_policy(name, bounds), make_policy(name, bounds)
    crowd.reset([7, 8, 9])
    alone.reset([8])
    played = []
    for state in states:
        actions = crowd.act(state)
        np.testing.assert_array_equal(actions[1], alone.act(state[1:2])[0])
        played.append(actions)
    played = np.stack(played)  # [T, B, A]
    assert played.dtype == np.float32
    assert (played >= bounds.low).all()
    assert (played <= bounds.high).all()
    if bounds.max_norm and name != "push":
        assert np.linalg.norm(played, axis=2).max() <= 1 + 1e-6
    assert not np.array_equal(played[:, 0], played[:, 1])
    crowd.reset([7, 8, 9])
    np.testing.assert_array_equal(crowd.act(states[0]), played[0])


@pytest.mark.parametrize(("name", "keep"), [("smooth", 0.85), ("directed", 0.93)])
def test_smooth_play_keeps_its_heading_as_often_as_it_says(name, keep):
    policy = make_policy(name, DISC)
    policy.reset(range(400))
    actions = np.stack([policy.act(None) for _ in range(100)])  # [T, B, 2]
    speed = np.linalg.norm(actions, axis=2)
    kept = np.isclose(speed[1:], speed[:-1], atol=1e-6)
    assert abs(kept.mean() - keep) < 0.01
    assert 0.2 <= speed.min() < 0.21
    assert 0.99 < speed.max() <= 1 + 1e-6
    heading = np.arctan2(actions[..., 1], actions[..., 0])
    turn = (np.diff(heading, axis=0) + np.pi) % (2 * np.pi) - np.pi
    assert abs(turn[kept].std() - 0.25) < 0.01
    assert abs(np.cos(heading).mean()) < 0.05


def test_drift_is_stationary_with_the_right_correlation():
    policy = make_policy("drift", ActionBounds(np.float32([-4, 0]), np.float32([4, 8])))
    policy.reset(range(2000))
    actions = np.stack([policy.act(None) for _ in range(8)])  # [T, B, 2]
    np.testing.assert_allclose(actions.mean((0, 1)), [0, 4], atol=0.1)
    unit = np.clip(np.random.default_rng(0).normal(size=100000) * 0.5, -1, 1) * 4
    np.testing.assert_allclose(actions.std((0, 1)), unit.std(), rtol=0.03)
    assert abs(np.corrcoef(actions[0, :, 0], actions[1, :, 0])[0, 1] - 0.85) < 0.03


def test_gentle_play_has_a_strength_in_every_episode():
    bounds = ActionBounds(np.float32([-4, 0]), np.float32([4, 8]))
    plain, gentle = make_policy("drift", bounds), make_policy("drift", bounds, gentle=0.1)
    plain.reset(range(1000))
    gentle.reset(range(1000))
    middle, pairs = np.array([0, 4]), [(plain.act(None), gentle.act(None)) for _ in range(3)]
    strengths = np.stack([((soft - middle) / (hard - middle)).mean(1) for hard, soft in pairs])
    np.testing.assert_allclose(strengths[1:], strengths[:1].repeat(2, 0), rtol=1e-3)
    assert 0.1 <= strengths.min() < 0.102
    assert 0.98 < strengths.max() <= 1.001
    assert abs(np.log10(strengths).mean() + 0.5) < 0.02  # uniform in the logarithm, from -1 to 0
    with pytest.raises(ConfigError, match="`gentle` must be above 0 and at most 1; got 0"):
        make_policy("drift", bounds, gentle=0.0)
    with pytest.raises(ConfigError, match="`gentle` play must have actions in a box"):
        make_policy("one-hot", ActionBounds.of_categories([3]), gentle=0.1)


def test_one_hot_play_chooses_all_alike():
    policy = make_policy("one-hot", ActionBounds.of_categories([3, 2]))
    policy.reset(range(300))
    actions = np.stack([policy.act(None) for _ in range(50)])  # [T, B, 5]
    first, second = actions[..., :3].argmax(-1), actions[..., 3:].argmax(-1)
    assert (actions[..., :3].sum(-1) == 1).all()
    assert (actions[..., 3:].sum(-1) == 1).all()
    pairs = Counter(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    assert all(abs(n / first.size - 1 / 6) < 0.02 for n in pairs.values())  # the groups choose independently
    assert abs((first[1:] == first[:-1]).mean() - (0.5 + 0.5 / 3)) < 0.02  # kept, or drawn again
    uniform = make_policy("uniform", ActionBounds.of_categories([3, 2]))
    uniform.reset(range(300))
    fresh = np.stack([uniform.act(None)[:, :3].argmax(1) for _ in range(50)])
    assert abs((fresh[1:] == fresh[:-1]).mean() - 1 / 3) < 0.02


def test_favoured_choices_are_played_nine_times_in_ten():
    policy = make_policy("one-hot", ActionBounds.of_categories([5]), favoured=(1, 3))
    policy.reset(range(500))
    counts = np.stack([policy.act(None) for _ in range(40)]).mean((0, 1))
    np.testing.assert_allclose(counts, [0.02, 0.47, 0.02, 0.47, 0.02], atol=0.015)
    with pytest.raises(ConfigError, match="`favoured` must be choices of one group"):
        make_policy("one-hot", ActionBounds.of_categories([3, 2]), favoured=(1,))


def test_the_default_policy_fits_the_actions():
    def box(low, high):
        return ActionBounds(np.array(low), np.array(high))

    assert default_policy(DISC) == "smooth"
    assert default_policy(box([-3.0, -3.0], [3.0, 3.0])) == "smooth"
    assert default_policy(box([-1.0, -0.4], [1.0, 0.4])) == "drift"  # a throttle and a steering wheel
    assert default_policy(box([0.0, 0.0], [1.0, 1.0])) == "drift"
    assert default_policy(box([-1.0], [1.0])) == "drift"
    assert default_policy(ActionBounds.of_categories([2])) == "one-hot"


def test_the_pusher_heads_for_the_block():
    policy = make_policy("push", ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32)))
    policy.reset(range(500))
    states = np.tile(np.float32([100, 256, 400, 256, 0, 0, 0]), (500, 1))
    actions = policy.act(states)
    assert np.isclose(actions[:, 0], 1).mean() > 0.7  # the block is 300 px to the right
    absolute = make_policy("push", ActionBounds(np.zeros(2, np.float32), np.full(2, 512, np.float32)))
    absolute.reset(range(500))
    targets = absolute.act(states)
    np.testing.assert_allclose(((targets - states[:, :2]) / 40).clip(-1, 1), actions, atol=1e-5)


def test_wrong_policies_are_refused():
    line = ActionBounds(-np.ones(1, np.float32), np.ones(1, np.float32))
    with pytest.raises(ConfigError, match="unknown policy `smoth`; did you mean `smooth`"):
        make_policy("smoth", DISC)
    for name in ("smooth", "push"):
        with pytest.raises(ConfigError, match="two-dimensional actions; got 1"):
            make_policy(name, line)
    with pytest.raises(ConfigError, match="must have discrete actions"):
        make_policy("one-hot", line)
    for name in ("smooth", "drift", "push"):  # would play numbers of which only the largest acts
        with pytest.raises(ConfigError, match=r"must have actions in a box; got categories \(2,\). Use `one-hot`"):
            make_policy(name, ActionBounds.of_categories([2]))
    pusher = make_policy("push", DISC)
    pusher.reset([0])
    with pytest.raises(ConfigError, match="must see states; got none"):
        pusher.act(None)
