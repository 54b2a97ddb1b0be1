"""What can be said of an arm: where its hand is over the table, as the arm itself looks at it.

Each axis of the workspace has a lowest, a middle and a highest quarter of which something is said, so that two
places lie apart by as much as either is wide. What lies on the table is not spoken of: see `docs/language.md`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from openjepa.envs.facts import Facts, Relations

AXES = (  # what is said of x (away from the base), y (to the arm's left) and z (up): low, middle, high
    ("close to the base", "half out", "far out"),
    ("right side", "middle", "left side"),
    ("low", "half up", "high"),
)
QUARTER = 0.25  # share of an axis of which something is said
HAND = ("gripper", "hand")  # what moves is called


def _relations() -> Relations:
    starts = (0.0, (1 - QUARTER) / 2, 1 - QUARTER)
    return {
        name: (0, _within(axis, start, start + QUARTER))
        for axis, names in enumerate(AXES)
        for name, start in zip(names, starts, strict=True)
    }


def _within(axis: int, start: float, end: float) -> Callable[[np.ndarray], np.ndarray]:
    """Whether places [S, 3], as shares of the workspace, lie in a part of an axis; its ends have no end."""
    low, high = start if start > 0 else -np.inf, end if end < 1 else np.inf
    return lambda hand: (hand[:, axis] >= low) & (hand[:, axis] <= high)


def arm_facts(low: np.ndarray, high: np.ndarray, state_names: Sequence[str]) -> Facts:
    """What can be said of a hand in a workspace.

    Args:
        low: m, the workspace's corner nearest to the base, lowest, on the right [3].
        high: the opposite corner [3].
        state_names: of the states, which begin with the hand's place.
    """
    return Facts(_relations(), (), lambda states: (states[:, :3] - low) / (high - low), len(state_names), HAND)
