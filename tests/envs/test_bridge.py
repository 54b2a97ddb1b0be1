import numpy as np
import pytest
import torch

from openjepa.envs import make_world
from openjepa.envs.bridge import (
    AROUND,
    GAP,
    PIT,
    SIDE,
    Bridge,
    BridgeConfig,
    goal_state,
    move,
    on_track,
    optimum,
    start_states,
)
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import check_branching_model
from openjepa.studies.bridge.oracle import BridgeSimulator, track_distance


def run(world, speed, steps):
    for _ in range(steps):
        world.step(np.full((world.num_envs, 1), speed, np.float32))
    return world.states()


def test_the_track_is_a_square():
    corners = on_track(np.arange(5) * SIDE)
    np.testing.assert_allclose(corners, [[11, 11], [53, 11], [53, 53], [11, 53], [11, 11]])


def test_the_gap_is_crossed_in_one_leap_or_not_at_all():
    s = np.array([10.0, 10.0, 18.0, 24.0, 24.0, 30.0, 100.0, 2.0, 160.0])
    speed = np.array([1.0, 0.8, 0.4, -0.5, -0.1, -1.0, 1.0, -1.0, 1.0])
    after, crosses = move(s, speed)
    # 10 + 14 reaches the far edge at 24; 10 + 11.2 and 18 + 5.6 end in the gap, which starts at 18.
    np.testing.assert_allclose(after, [24, 18, 18, 17, 24, 16, 114, 156, 6])
    assert crosses.tolist() == [True, False, False, True, False, True, False, False, False]


def test_nobody_is_ever_in_the_gap():
    world = Bridge(500, BridgeConfig(0.0))
    world.reset(range(500))
    rng = np.random.default_rng(0)
    for _ in range(20):
        gap = np.abs(world.states()[:, 2] - SIDE / 2)
        assert gap.min() > GAP - 1e-4
        world.step(rng.uniform(-1, 1, (500, 1)))


@pytest.mark.parametrize("risk", [0.0, 0.3, 1.0])
def test_the_bridge_takes_three_steps_and_its_share(risk):
    world = make_world("bridge", 1000, risk=risk)
    world.reset_to(start_states(1000, 0))
    states = run(world, 1, 3)
    goals = np.repeat(goal_state()[None], 1000, 0)
    fell = states[:, 3] > 0.5
    assert fell.mean() == pytest.approx(risk, abs=0.06)
    assert np.array_equal(world.is_success(states, goals), ~fell)
    np.testing.assert_allclose(states[fell, :2], np.broadcast_to(PIT, (fell.sum(), 2)))
    assert (world.distance(states, goals)[fell] == AROUND / 2).all()
    later = run(world, -1, 3)
    np.testing.assert_array_equal(later[fell, :2], states[fell, :2])  # the pit keeps what it has


def test_the_detour_takes_nine_steps_and_is_safe():
    world = Bridge(200, BridgeConfig(1.0))
    world.reset_to(start_states(200, 1))
    goals = np.repeat(goal_state()[None], 200, 0)
    assert not world.is_success(run(world, -1, 8), goals).any()
    assert world.is_success(run(world, -1, 1), goals).all()


def test_nothing_shows_who_will_fall():
    world = Bridge(50, BridgeConfig(0.5))
    states = start_states(50, 0)
    states[:, [0, 1, 2]] = states[0, [0, 1, 2]]
    frames = world.reset_to(states)
    assert len(np.unique(frames.reshape(50, -1), axis=0)) == 1
    world.step(np.ones((50, 1)))
    frames = world.step(np.ones((50, 1)))
    assert len(np.unique(frames.reshape(50, -1), axis=0)) == 2


def test_the_optimum_by_hand():
    assert optimum(0.2, 1.0, 18).bridge == pytest.approx(0.2 * 18 + 0.8 * 3)
    assert optimum(0.1, 0.2, 18).bridge == pytest.approx(0.5 * 18 + 0.5 * 3)
    assert optimum(0.3, 0.2, 18).bridge == 18
    # The mean flips at (9 - 3) / (18 - 3) = .4, CVaR .2 at .08.
    assert [optimum(q, 1.0, 18).choice for q in (0.39, 0.41)] == ["bridge", "detour"]
    assert [optimum(q, 0.2, 18).choice for q in (0.079, 0.081)] == ["bridge", "detour"]
    with pytest.raises(ConfigError, match="`alpha` must be in"):
        optimum(0.1, 0.0, 18)


def test_the_simulator_says_what_the_world_does():
    config = BridgeConfig(0.3)
    model, starts = BridgeSimulator(config), start_states(300, 3)
    rng = np.random.default_rng(0)
    speeds = rng.choice([-1.0, 1.0], size=(300, 6))
    z, actions = torch.from_numpy(starts)[:, None, None], torch.from_numpy(speeds[..., None]).float()
    found = model.rollout_futures(z, actions, num_futures=8, generator=torch.Generator())
    world = Bridge(300, config)
    world.reset_to(starts)
    for t in range(6):
        world.step(speeds[:, t : t + 1])
        states = torch.from_numpy(world.states())
        # What happened is one of the futures.
        gaps = (found.z[:, :, t, 0, :2] - states[:, None, :2]).norm(dim=-1) + (found.log_weights == -torch.inf) * 99
        assert float(gaps.amin(1).max()) < 1e-3
    down = found.z[:, :, -1, 0, 3] > 0.5
    stated = float((found.log_weights.exp() * down).sum(1).mean())
    assert stated == pytest.approx(float((states[:, 3] > 0.5).float().mean()), abs=0.08)
    goal = torch.from_numpy(goal_state())[None]
    np.testing.assert_allclose(
        track_distance(states[:, None], goal), world.distance(world.states(), goal_state()), atol=1e-3
    )


def test_the_simulator_conforms():
    z = torch.from_numpy(start_states(3, 0))[:, None, None]
    check_branching_model(BridgeSimulator(), z, torch.tensor([1.0, -1.0, 0.3])[:, None, None].expand(3, 5, 1))


def test_errors_name_the_rule():
    with pytest.raises(ConfigError, match="`risk` must be in"):
        BridgeConfig(1.2)
    world = Bridge(1)
    world.reset([0])
    with pytest.raises(ConfigError, match=r"`actions` must be in \[-1, 1\]"):
        world.step(np.array([[2.0]]))
