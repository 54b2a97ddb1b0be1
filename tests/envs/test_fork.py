import numpy as np
import pytest

from openjepa.envs import make_world
from openjepa.envs.fork import FORK, Fork, ForkConfig, decide
from openjepa.errors import ConfigError


def drive(world, steps, throttle=0.0):
    frames = None
    for _ in range(steps):
        frames = world.step(np.full((world.num_envs, 1), throttle, np.float32))
    return frames


@pytest.mark.parametrize(("ways", "probability"), [(2, 0.5), (2, 0.8), (2, 0.95), (3, 0.4)])
def test_the_coin_has_the_stated_probabilities(ways, probability):
    config = ForkConfig(ways, probability)
    drawn = np.array([decide(luck, config)[0] for luck in range(4000)])
    shares = np.bincount(drawn, minlength=ways) / len(drawn)
    np.testing.assert_allclose(shares, config.probabilities, atol=4 * 0.5 / np.sqrt(4000))
    assert config.probabilities.sum() == pytest.approx(1)


def test_nothing_shows_the_coin_before_the_fork():
    world = Fork(64)
    world.reset(range(64))
    start = world.states()
    start[:, :2] = 20, 32
    frames = world.reset_to(start)
    assert len(np.unique(frames.reshape(64, -1), axis=0)) == 1
    drive(world, 9)
    states = world.states()
    assert set(states[:, 2]) == {0, 1}
    up, down = states[:, 2] == 0, states[:, 2] == 1
    assert (states[up, 1] < 32 - 4).all()
    assert (states[down, 1] > 32 + 4).all()


def test_the_way_is_exact_on_paper():
    """At 2.6 px per step from x = 25.4: one step to the fork at 28, then 1.3 px right and slope * 2.6 px aside."""
    world = Fork(1)
    world.reset_to(np.array([[25.4, 32, -1, 0, 5]]))
    drive(world, 1)
    np.testing.assert_allclose(world.states()[0, :3], [28, 32, -1], atol=1e-5)
    drive(world, 2)
    way, slope = decide(5, ForkConfig())
    np.testing.assert_allclose(world.states()[0, :2], [28 + 2.6, 32 + (2 * way - 1) * slope * 5.2], atol=1e-4)


def test_the_throttle_sets_the_speed():
    world = Fork(1)
    for throttle, speed in ((-1, 2.2), (0, 2.6), (1, 3.0)):
        world.reset_to(np.array([[10, 32, -1, 0, 0]]))
        drive(world, 1, throttle)
        assert world.states()[0, 0] == pytest.approx(10 + speed)


def test_a_state_repeats_its_future_and_another_luck_shows_another():
    world = Fork(40)
    world.reset(range(40))
    start = world.states()
    first = drive(world, 12)
    world.reset_to(start)
    assert np.array_equal(drive(world, 12), first)
    fresh = start.copy()
    fresh[:, 4] = np.random.default_rng(1).integers(2**20, size=len(fresh))
    world.reset_to(fresh)
    drive(world, 12)
    assert 5 < (world.states()[:, 1] > 32).sum() < 35


def test_three_ways_and_the_straight_one_stays_on_its_line():
    world = make_world("fork", 90, ways=3, probability=1 / 3)
    world.reset(range(90))
    drive(world, 16)
    states = world.states()
    straight = states[:, 2] == 1
    assert 10 < straight.sum() < 60
    assert (states[straight, 1] == FORK[1]).all()


def test_errors_name_the_rule():
    with pytest.raises(ConfigError, match="`ways` must be 2 or 3; got 4"):
        ForkConfig(4)
    with pytest.raises(ConfigError, match="`probability` must be in"):
        ForkConfig(2, 1.5)
    world = Fork(1)
    world.reset([0])
    for bad in (1.5, np.nan):
        with pytest.raises(ConfigError, match=r"`actions` must be in \[-1, 1\]; got \[?(1.5|nan)"):
            world.step(np.array([[bad]]))
    with pytest.raises(ConfigError, match="one entry per environment"):
        world.reset([0, 1])
    with pytest.raises(ConfigError, match="did you mean `probability`"):
        make_world("fork", probabilty=0.5)
