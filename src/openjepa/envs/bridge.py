"""The bridge: a goal at the end of a short bridge that may break, or at the end of a detour three times as long.

The disc runs on a square track of side b. Start and goal are neighbouring corners; the side between them is the
bridge. A gap in its middle is crossed in one leap, and whoever leaps falls into the pit with probability q, drawn at
the crossing and visible nowhere before, and stays there. What is best depends on q and on what is asked for; `optimum`
has the answer on paper. Positions are in pixels, x to the right, y downwards; s is the way along the track, clockwise
from the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.envs.drawing import draw_discs
from openjepa.envs.drawn_world import DrawnWorld
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

SIZE = 64
CORNER, SIDE = 11.0, 42.0  # px, of the square track
AROUND = 4 * SIDE
STEP = 14.0  # px per step at full speed
GAP = 3.0  # px, half the gap in the middle of the bridge; a step that would end in it ends at its edge
REACHED = 5.0  # px along the track
START = (0.0, 4.0)  # px, range of s at the start of a judged episode
PIT = (32.0, 24.0)  # px, where a fallen disc lies

BACKGROUND, TRACK, PLANKS, WATER = (235, 235, 235), (196, 200, 208), (176, 132, 88), (86, 128, 176)
DISC, FALLEN = (220, 40, 40), (20, 20, 60)


@dataclass(frozen=True)
class BridgeConfig:
    """Options of the world.

    Attributes:
        risk: probability q of falling at a crossing, in [0, 1].
        max_steps: length of an episode of random play.
    """

    risk: float = 0.2
    max_steps: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.risk <= 1 or self.max_steps < 1:
            raise ConfigError("`risk` must be in [0, 1] and `max_steps` at least 1.")


class Bridge(DrawnWorld):
    """A batch of bridges (see `openjepa.protocols.World`); the action in [-1, 1] is the speed, clockwise.

    A state is `[x, y, s, fallen, luck, crossings]`; luck is the seed of what happens at each crossing.

    Args:
        num_envs: number of environments B.
        config: the options.

    >>> Bridge(2).reset([0, 1]).shape
    (2, 3, 64, 64)
    """

    name = "bridge"
    state_names = ("x", "y", "s", "fallen", "luck", "crossings")
    reached = REACHED  # which the fallen never are

    def __init__(self, num_envs: int = 1, config: BridgeConfig | None = None) -> None:
        self.config = config or BridgeConfig()
        self.num_envs = num_envs
        self.max_steps = self.config.max_steps
        self.bounds = ActionBounds(-np.ones(1, np.float32), np.ones(1, np.float32))
        self._s, self._fallen = np.zeros(num_envs), np.zeros(num_envs, bool)
        self._luck, self._crossings = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._ground = draw_ground()

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Draws a place on the track, half of them by the bridge, and the luck, each from its own seed."""
        self.check_seeds(seeds)
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(int(seed))
            reach = AROUND / 2 if rng.random() < 0.5 else SIDE / 2  # half of the episodes start by the bridge
            outside = rng.choice([-1, 1]) * rng.uniform(GAP, reach)  # and nobody in the gap
            self._s[i], self._luck[i] = (outside + SIDE / 2) % AROUND, rng.integers(2**20)
        self._fallen[:], self._crossings[:] = False, 0
        return self.render()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, 6]; returns frames [B, 3, 64, 64]."""
        check_shape(states, f"B={self.num_envs} P=6", name="states")
        states = np.asarray(states, np.float64)
        self._s, self._fallen = states[:, 2].copy(), states[:, 3] > 0.5
        self._luck, self._crossings = states[:, 4].astype(np.int64), states[:, 5].astype(np.int64)
        return self.render()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Runs up to 14 px along the track by actions [B, 1] in [-1, 1]; the fallen stay where they are."""
        after, crosses = move(self._s, self.allowed(actions)[:, 0])
        crosses &= ~self._fallen
        for i in np.flatnonzero(crosses):
            rng = np.random.default_rng((0x6272696467, int(self._luck[i]), int(self._crossings[i])))
            self._fallen[i] = rng.random() < self.config.risk
        self._crossings += crosses
        self._s = np.where(self._fallen, self._s, after)
        return self.render()

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, 64, 64] uint8 of the present states."""
        frames = np.repeat(self._ground[None], self.num_envs, 0)
        positions = self._positions()
        for fallen, colour in ((False, DISC), (True, FALLEN)):
            rows = np.flatnonzero(self._fallen == fallen)
            some = frames[rows]
            draw_discs(some, positions[rows], colour, radius=3.5)
            frames[rows] = some
        return frames

    def _positions(self) -> np.ndarray:
        return np.where(self._fallen[:, None], np.array(PIT), on_track(self._s))

    def states(self) -> np.ndarray:
        """The truth [B, 6] float32, named by `state_names`."""
        columns = [self._s, self._fallen, self._luck, self._crossings]
        return np.concatenate([self._positions(), np.stack(columns, 1)], 1).astype(np.float32)

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Shorter way along the track in px [B]; half the track for the fallen."""
        gap = np.abs(states[..., 2] - goals[..., 2]) % AROUND
        return np.where(states[..., 3] > 0.5, AROUND / 2, np.minimum(gap, AROUND - gap))


def move(s: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The way along the track after one step, and whether the gap is crossed; a pure function."""
    middle = SIDE / 2
    before = (s - middle + AROUND / 2) % AROUND - AROUND / 2  # from the middle of the gap, in [-2b, 2b)
    after = before + STEP * speed
    ahead = np.where(before < 0, after > -GAP, after < GAP) & (np.abs(before) < AROUND / 4)
    crosses = ahead & (np.where(before < 0, after, -after) >= GAP)
    stopped = np.where(before < 0, -GAP, GAP)  # too slow for the leap
    return (np.where(ahead & ~crosses, stopped, after) + middle) % AROUND, crosses


def on_track(s: np.ndarray) -> np.ndarray:
    """Positions [..., 2] of ways s [...] along the track, clockwise from the upper left corner."""
    side, along = np.divmod(np.asarray(s) % AROUND, SIDE)
    x = np.select([side == 0, side == 1, side == 2], [along, SIDE, SIDE - along], 0.0)
    y = np.select([side == 0, side == 1, side == 2], [0.0, along, SIDE], SIDE - along)
    return np.stack([x, y], -1) + CORNER


def start_states(count: int, seed: int) -> np.ndarray:
    """Starts of judged episodes [count, 6]: near the corner before the bridge, each with its own luck."""
    rng = np.random.default_rng(seed)
    s, zero = rng.uniform(*START, count), np.zeros(count)
    luck = rng.integers(2**20, size=count)
    return np.concatenate([on_track(s), np.stack([s, zero, luck, zero], 1)], 1).astype(np.float32)


def goal_state() -> np.ndarray:
    """The goal [6]: the corner behind the bridge."""
    return np.array([*on_track(np.array(SIDE)), SIDE, 0, 0, 0], np.float32)


BRIDGE_STEPS, DETOUR_STEPS = 3, 9  # at full speed, from any start


@dataclass(frozen=True)
class Optimum:
    """What is best on paper, with the cost "steps until the goal, `horizon` for those who never arrive".

    Attributes:
        risk: q.
        alpha: share of the worst outcomes that counts: 1 is the mean, towards 0 the worst case.
        bridge: cost of the bridge.
        detour: cost of the detour.
    """

    risk: float
    alpha: float
    bridge: float
    detour: float

    @property
    def choice(self) -> str:
        """`bridge` or `detour`, whichever costs less."""
        return "bridge" if self.bridge < self.detour else "detour"


def optimum(risk: float, alpha: float, horizon: int) -> Optimum:
    """CVaR of both ways: the mean over the worst `alpha` of the outcomes.

    The bridge costs `horizon` with probability q and 3 steps otherwise, the detour always 9. The mean prefers the
    bridge below q = (9 - 3) / (horizon - 3), CVaR below `alpha` times that.

    >>> [optimum(q, 1.0, 18).choice for q in (0.2, 0.5)], optimum(0.2, 0.2, 18).choice
    (['bridge', 'detour'], 'detour')
    """
    if not 0 < alpha <= 1 or not 0 <= risk <= 1:
        raise ConfigError(f"`alpha` must be in (0, 1] and `risk` in [0, 1]; got {alpha} and {risk}.")
    fallen = min(1.0, risk / alpha)
    return Optimum(risk, alpha, fallen * horizon + (1 - fallen) * BRIDGE_STEPS, float(DETOUR_STEPS))


def draw_ground() -> np.ndarray:
    """The empty world [3, 64, 64] uint8: the water, the square track, and the planks of the bridge with their gap."""
    pixel = np.arange(SIZE) + 0.5
    y, x = pixel[:, None], pixel[None, :]
    inner, outer = CORNER + 2.5, CORNER - 2.5
    far = CORNER + SIDE
    in_square = (x > outer) & (x < far + 2.5) & (y > outer) & (y < far + 2.5)
    in_yard = (x > inner) & (x < far - 2.5) & (y > inner) & (y < far - 2.5)
    track = in_square & ~in_yard
    water = ((x - 32) / 13) ** 2 + ((y - 20) / 16) ** 2 < 1
    ground = np.where(water, np.array(WATER)[:, None, None], np.array(BACKGROUND)[:, None, None])
    ground = np.where(track, np.array(TRACK)[:, None, None], ground)
    over_water = track & water & (y < inner)
    planks = over_water & (x.astype(int) % 3 > 0)
    ground = np.where(planks, np.array(PLANKS)[:, None, None], ground)
    hole = over_water & (np.abs(x - CORNER - SIDE / 2) < GAP)
    return np.where(hole, np.array(WATER)[:, None, None], ground).astype(np.uint8)
