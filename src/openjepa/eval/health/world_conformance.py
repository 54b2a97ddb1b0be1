"""Checks that a world keeps its contract, like Gymnasium's `check_env`: for those of OpenJEPA and for your own."""

from collections.abc import Callable

import numpy as np

from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import ConformanceError
from openjepa.protocols import ActionBounds, World

SEEDS = (11, 12, 13)


def check_world(make: Callable[[int], World], *, steps: int = 6) -> None:
    """Checks a kind of world on a few steps of random play.

    Args:
        make: makes a world of that many environments.
        steps: of play.

    Raises:
        ConformanceError: with the first rule that is broken.
    """
    world, alone = make(len(SEEDS)), make(1)
    try:
        _check_facts(world)
        frames, states, ended = _play(world, SEEDS, steps)
        again = _play(world, SEEDS, steps)
        _same(again[0], frames, "determinism", "equal seeds and actions show different frames")
        one = _play(alone, SEEDS[1:2], steps)
        _same(one[0][:, 0], frames[:, 1], "batch independence", "an environment depends on its neighbours")
        _same(world.ended(), ended[-1], "end", "`ended` changes without a step")
        over = (ended[:-1] <= ended[1:]).all()
        _require(bool(over), "end", "an episode that had ended goes on without a reset.")
        still = (frames[1:] == frames[:-1]).all((2, 3, 4)) | ~ended[:-1]
        _require(bool(still.all()), "end", "an environment that has ended does not stand still.")
        _check_actions(world)
        if world.has_states:
            _check_states(world, states[-1])
        if world.can_snapshot:
            _check_snapshots(world)
    finally:
        world.close()
        alone.close()


def _check_facts(world: World) -> None:
    _require(world.num_envs == len(SEEDS), "number", f"`num_envs` must be {len(SEEDS)}; got {world.num_envs}.")
    _require(bool(world.name) and world.max_steps >= 1, "facts", "`name` must not be empty and `max_steps` at least 1.")
    _require(
        bool(world.state_names) == world.has_states,
        "states",
        "`state_names` must name columns exactly if `has_states`.",
    )
    _require(world.has_states or not world.can_reset_to, "states", "`can_reset_to` needs states.")


def _play(world: World, seeds: tuple[int, ...], steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T + 1, B, C, H, W], states [T + 1, B, P] (P = 0 without any) and ends [T + 1, B] of random play."""
    frames, ends = [world.reset(seeds)], [world.ended()]
    _require(not ends[0].any(), "end", "an episode that was just reset has ended.")
    states = [_states(world)]
    for t in range(steps):
        actions = np.stack([random_action(world.bounds, (seed, t)) for seed in seeds])
        kept = actions.copy()
        frames.append(world.step(actions).copy())
        _same(actions, kept, "inputs unchanged", "`step` writes into its actions")
        ends.append(world.ended())
        states.append(_states(world))
    for shown in frames:
        wanted = (len(seeds), *world.frame_shape)
        found = f"must be uint8 {list(wanted)}; got {shown.dtype} {list(shown.shape)}."
        _require(shown.dtype == np.uint8 and shown.shape == wanted, "frames", found)
    return np.stack(frames), np.stack(states), np.stack(ends)


def _states(world: World) -> np.ndarray:
    if not world.has_states:
        return np.zeros((world.num_envs, 0), np.float32)
    states = world.states()
    wanted = (world.num_envs, len(world.state_names))
    _require(states.shape == wanted, "states", f"must be {list(wanted)}; got {list(states.shape)}.")
    return states


def random_action(bounds: ActionBounds, key: tuple[int, ...]) -> np.ndarray:
    """One allowed action [A] float64, drawn from a key."""
    import torch

    rng = np.random.default_rng(key)
    drawn = bounds.low + rng.random(bounds.dim) * (bounds.high - bounds.low)
    return bounds.clip(torch.from_numpy(drawn)).numpy()


def _check_actions(world: World) -> None:
    world.reset(SEEDS)
    wrong = np.full((world.num_envs, world.bounds.dim), np.nan)
    try:
        world.step(wrong)
    except ConfigError:
        return
    raise ConformanceError("actions", "an action of NaN is not refused with a `ConfigError`.")


def _check_states(world: World, states: np.ndarray) -> None:
    near = world.distance(states, states)
    _require(near.shape == (world.num_envs,), "distance", f"must be [{world.num_envs}]; got {list(near.shape)}.")
    _require(bool(np.allclose(near, 0, atol=1e-4)), "distance", "a state is not at distance 0 of itself.")
    groups = world.groups(states, states)
    _require(groups is None or len(groups) == world.num_envs, "groups", "must name a group for every pair.")
    if not world.can_reset_to:
        return
    world.reset(SEEDS)
    world.reset_to(states)
    found = world.states()
    _require(bool(np.allclose(found, states, rtol=1e-4, atol=1e-4)), "reset_to", "another state than asked for.")
    _require(not world.ended().any(), "reset_to", "an episode has ended before its first step.")


def _check_snapshots(world: World) -> None:
    world.reset(SEEDS)
    kept = world.snapshot()
    actions = np.stack([random_action(world.bounds, (seed,)) for seed in SEEDS])
    there = world.restore(kept).copy()
    world.step(actions)
    _same(world.restore(kept), there, "snapshot", "a place that was returned to twice looks different")


def _same(found: np.ndarray, wanted: np.ndarray, rule: str, complaint: str) -> None:
    _require(np.array_equal(found, wanted), rule, f"{complaint}.")


def _require(holds: bool, rule: str, found: str) -> None:
    if not holds:
        raise ConformanceError(rule, found)
