"""Play with an arm that reads where the hand is: wandering, and pushing the block from all sides.

Actions keep the hand within its workspace, so what is recorded is what was done, except where something stood in the
way.
"""

from collections.abc import Sequence

import numpy as np

from openjepa.envs.arm import HIGH, LOW
from openjepa.errors import ConfigError
from openjepa.protocols import ActionBounds

STREAM = 0x61726D70  # sets the random numbers of this play apart from those of a world with the same seed
ARRIVED = 0.015  # m
HELD = 0.6  # share of the wanted way, below which something holds the hand
PUSH_HEIGHT, CARRY_HEIGHT = 0.03, 0.13  # m, of the hand when it pushes, and when it passes over the block
BEHIND = 0.085  # m from the block's middle, where a push begins


class Wander:
    """Goes from place to place, each at a speed of its own, with jitter on every step.

    A place is kept until the hand is there, for at most 12 steps, and given up where something holds the hand.

    Args:
        bounds: of displacements in metres; the first three are the hand's.
        push: probability that the next way is a push of the block, 0 to 1.
        jitter: standard deviation, in the largest step.
    """

    def __init__(self, bounds: ActionBounds, push: float = 0.0, jitter: float = 0.25) -> None:
        if bounds.categories or bounds.dim not in (3, 4):
            raise ConfigError(f"play of an arm must have actions of 3 or 4 numbers; got {bounds.dim}.")
        if not 0 <= push <= 1 or jitter < 0:
            raise ConfigError(f"`push` must be in [0, 1] and `jitter` 0 or more; got {push} and {jitter}.")
        self.bounds, self.push, self.jitter = bounds, push, jitter

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in every environment."""
        self._hands = [_Hand(np.random.default_rng((STREAM, int(seed)))) for seed in seeds]

    def act(self, states: np.ndarray | None) -> np.ndarray:
        """Returns actions [B, A]; states [B, P] begin with the hand's place and hold the block's in columns 4 and 5."""
        if states is None:
            raise ConfigError("play of an arm must see states; got none. Collect with states, or use `drift` play.")
        states = np.asarray(states, np.float64)
        if self.push and states.shape[1] < 8:
            raise ConfigError("`arm-push` play must see a block; got a world without one. Use `arm` play.")
        actions = np.stack([self._move(hand, state) for hand, state in zip(self._hands, states, strict=True)])
        return actions.clip(self.bounds.low, self.bounds.high).astype(np.float32)

    def _move(self, hand: "_Hand", state: np.ndarray) -> np.ndarray:
        rng, here, step = hand.rng, state[:3], self.bounds.high[:3]
        is_held = np.linalg.norm(here - hand.last) < HELD * hand.asked
        hand.held = hand.held + 1 if is_held else 0
        if hand.way and (hand.left == 0 or hand.held == 2 or np.linalg.norm(hand.way[0] - here) < ARRIVED):
            hand.way.pop(0)
            hand.left, hand.held = 12, 0
        if not hand.way:
            is_push = rng.random() < self.push
            hand.way = _pushing_way(rng, state[4:6]) if is_push else [rng.uniform(LOW, HIGH)]
            hand.left, hand.speed = 12, rng.uniform(0.5 if is_push else 0.3, 1.0)
        hand.left -= 1
        way = hand.way[0] - here
        wanted = way * min(1.0, hand.speed / max(np.abs(way / step).max(), 1e-9))
        wanted = wanted + self.jitter * step * rng.normal(size=3) * hand.speed
        moved = (here + wanted.clip(-step, step)).clip(LOW, HIGH) - here
        hand.last, hand.asked = here.copy(), float(np.linalg.norm(moved))
        fingers = self.bounds.high[3:] * rng.uniform(-1, 1, self.bounds.dim - 3)
        return np.concatenate([moved, fingers])


class _Hand:
    """Where one hand is going."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.way: list[np.ndarray] = []
        self.left = 0  # steps until the next place is given up
        self.last, self.asked = np.zeros(3), 0.0  # where it was before the last step, and how far it was to go, in m
        self.held = 0  # steps in which it did not get there
        self.speed = 1.0


def _pushing_way(rng: np.random.Generator, block: np.ndarray) -> list[np.ndarray]:
    """Over a place behind the block, down to it, and through the block."""
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    behind, end = block - BEHIND * ahead, block + rng.uniform(0.0, 0.16) * ahead
    ways = [[*behind, CARRY_HEIGHT], [*behind, PUSH_HEIGHT], [*end, PUSH_HEIGHT]]
    return [np.clip(way, LOW, HIGH) for way in ways]
