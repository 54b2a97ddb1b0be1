"""Clips of the fork for judging: the last frame before the fork, and everything that may really follow it."""

from dataclasses import dataclass

import numpy as np

from openjepa.envs import make_policy
from openjepa.envs.fork import FORK, Fork, ForkConfig, decide
from openjepa.errors import ConfigError


@dataclass(frozen=True)
class Clips:
    """Judged cases.

    Attributes:
        frames: [R, 3, 64, 64] uint8, the last picture before the fork.
        actions: [R, H, f], model actions that follow.
        outcomes: [R, W, S, 3, 64, 64] uint8, real pictures after them, by way.
        after: [R, 3, 64, 64] uint8, what happened.
        way: [R].
        unambiguous: pictures [U, 2, 3, 64, 64] and actions [U, H, f] of clips without a fork ahead.
    """

    frames: np.ndarray
    actions: np.ndarray
    outcomes: np.ndarray
    after: np.ndarray
    way: np.ndarray
    unambiguous: tuple[np.ndarray, np.ndarray]


def draw_clips(
    config: ForkConfig, count: int, *, seed: int, examples: int = 8, stride: int = 4, horizon: int = 8
) -> Clips:
    """Plays fresh clips to the last frame before the fork, then every way from there.

    Args:
        config: of the fork.
        count: clips.
        seed: of the first clip; the others follow.
        examples: real outcomes per way and clip.
        stride: environment steps per model step; divides `horizon`.
        horizon: environment steps ahead.
    """
    seeds = [seed + i for i in range(count)]
    world = Fork(count, config)
    policy = make_policy("drift", world.bounds)
    world.reset(seeds)
    policy.reset(seeds)
    states, actions = [world.states()], []
    for _ in range(16 + max(horizon, stride)):  # the fork is passed by step 12, a clear road 4 steps later
        actions.append(policy.act(None))
        world.step(actions[-1])
        states.append(world.states())
    path, moves = np.stack(states, 1), np.stack(actions, 1)  # [R, T + 1, 5], [R, T, 1]
    last = (path[:, :, 0] < FORK[0]).sum(1) - 1  # [R], the last state before the fork
    rows = np.arange(count)
    future = moves[rows[:, None], last[:, None] + np.arange(horizon)]  # [R, H, 1]
    start = path[rows, last]
    after = play(config, start, future)
    ways = [
        [play(config, with_way(start, way, number, config), future)[0] for number in range(examples)]
        for way in range(config.ways)
    ]
    clear = path[rows, last + 4], moves[rows[:, None], last[:, None] + 4 + np.arange(stride)]
    world.reset_to(clear[0])
    before = world.render()
    return Clips(
        frames=Fork(count, config).reset_to(start),
        actions=future.reshape(count, horizon // stride, stride),
        outcomes=np.stack([np.stack(way, 1) for way in ways], 1),
        after=after[0],
        way=after[1][:, 2].astype(int),
        unambiguous=(
            np.stack([before, play(config, *clear)[0]], 1),
            clear[1].reshape(count, 1, stride),
        ),
    )


def play(config: ForkConfig, states: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last picture and state after actions [R, H, 1] from states [R, 5]."""
    world = Fork(len(states), config)
    frames = world.reset_to(states)
    for t in range(actions.shape[1]):
        frames = world.step(actions[:, t])
    return frames, world.states()


def with_way(states: np.ndarray, way: int, seed: int, config: ForkConfig) -> np.ndarray:
    """The same states [R, 5] with a luck that leads each of them onto a given way."""
    rng = np.random.default_rng((seed, way))
    lucky = [luck for luck in rng.integers(2**20, size=4096).tolist() if decide(luck, config)[0] == way]
    if not lucky:
        raise ConfigError(f"`probability` {config.probability} leaves no chance to way {way}.")
    fresh = states.copy()
    fresh[:, 4] = rng.choice(lucky, size=len(states))
    return fresh
