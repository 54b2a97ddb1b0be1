"""Pairs in worlds that cannot be put into a state: recorded episodes are played again up to a start or a goal.

Such a world must repeat itself: from the same seed the same actions must lead to the same end. `ways_to_replay` looks.
"""

from collections.abc import Callable, Mapping

import numpy as np

from openjepa.data import EpisodeStore
from openjepa.envs.collect import episode_seed
from openjepa.protocols import World

TRIED = 8  # episodes that are played again to see whether the world repeats itself
CLOSE = 1e-3  # share of its spread by which a column of the state may differ then

Ways = dict[int, tuple[int, np.ndarray]]


def ways_to_replay(store: EpisodeStore, states: Mapping[int, np.ndarray], make: Callable[[int, Ways], World]) -> Ways:
    """Seed and actions [T, A] of recorded episodes by number; empty where playing them again leads elsewhere.

    Args:
        store: episodes that `collect` recorded; of others nobody knows the seed.
        states: [T + 1, P] of those that are asked for, by number.
        make: makes a world of so many environments that knows these ways.
    """
    ways: Ways = {}
    for i in states:
        info = store.record(i).info
        if not isinstance(info.get("seed"), int) or info.get("episode") != i:
            return {}
        ways[i] = (episode_seed(info["seed"], i), np.asarray(store.rows_of("actions", i)))
    some = sorted(ways)[:TRIED]
    if not some:
        return {}
    ends = placed({i: states[i] for i in some})
    wanted = np.stack([ends[i][-1] for i in some])
    world = make(len(some), ways)
    try:
        world.reset_to(wanted)
        found = world.states()
    finally:
        world.close()
    spread = np.concatenate([ends[i] for i in some]).std(0)
    return ways if (abs(found - wanted) <= CLOSE * spread + 1e-6).all() else {}


def placed(states: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """States [T + 1, P] of recorded episodes by number, with `PLACE_NAMES` behind them: [T + 1, P + 2]."""
    return {
        i: np.concatenate([rows, np.stack([np.full(len(rows), i), np.arange(len(rows))], 1)], 1).astype(np.float32)
        for i, rows in states.items()
    }
