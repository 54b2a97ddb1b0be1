"""Policies that make data: random play in several tempers, and a scripted pusher.

A policy is vectorised over environments, each of which has its own random stream: what environment i does
depends on its seed (and state) alone, never on how many others there are.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from openjepa.envs.arm_play import Wander
from openjepa.envs.push_t_states import PUSH_T_REACH
from openjepa.errors import ConfigError, unknown
from openjepa.protocols import ActionBounds

FAVOUR = 0.9  # share of fresh choices that are favoured ones, where some are
STREAM = 0x706C6179  # sets a policy's random numbers apart from those of a world with the same seed


class Policy(Protocol):
    """What plays. `act` is called once per step after `reset`."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in every environment, each from its own seed."""
        ...

    def act(self, states: np.ndarray | None) -> np.ndarray:
        """Returns actions [B, A] float32 within the bounds; `states` [B, P] are for scripted policies."""
        ...


class SmoothRandom:
    """Walks that keep their heading: the random play of the Two-Rooms recipes, for actions in the plane.

    Every step the heading is kept with probability `keep` and jittered by N(0, `jitter`) rad; otherwise it is
    drawn anew, with a speed uniform in [.2, 1] of the largest action.

    Args:
        bounds: of two-dimensional actions.
        keep: probability, 0 to 1; higher is more directed.
        jitter: rad.
    """

    def __init__(self, bounds: ActionBounds, keep: float = 0.85, jitter: float = 0.25) -> None:
        check_box(bounds, "smooth")
        if bounds.dim != 2:
            raise ConfigError(f"`smooth` play must have two-dimensional actions; got {bounds.dim}. Use `drift`.")
        if not 0 <= keep <= 1:
            raise ConfigError(f"`keep` must be in [0, 1]; got {keep}.")
        self.bounds, self.keep, self.jitter = bounds, keep, jitter

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode; the first heading is drawn at the first step."""
        self._draws = _Draws(seeds, uniform=3, normal=1)
        self._heading = np.zeros(len(seeds))
        self._speed = np.full(len(seeds), -1.0)

    def act(self, states: np.ndarray | None = None) -> np.ndarray:
        """Returns actions [B, 2]."""
        uniform, normal = self._draws.next()
        is_new = (uniform[:, 0] >= self.keep) | (self._speed < 0)
        jittered = self._heading + self.jitter * normal[:, 0]
        self._heading = np.where(is_new, 2 * np.pi * uniform[:, 1], jittered)
        self._speed = np.where(is_new, 0.2 + 0.8 * uniform[:, 2], self._speed)
        unit = np.stack([np.cos(self._heading), np.sin(self._heading)], 1) * self._speed[:, None]
        return _scale(self.bounds, unit)


class UniformRandom:
    """Independent uniform actions in the box; a norm limit shortens those that are too long."""

    def __init__(self, bounds: ActionBounds) -> None:
        check_box(bounds, "uniform")
        self.bounds = bounds

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode."""
        self._draws = _Draws(seeds, uniform=self.bounds.dim)

    def act(self, states: np.ndarray | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        return _scale(self.bounds, 2 * self._draws.next()[0] - 1)


class Drift:
    """Smooth random actions of any width: a discrete Ornstein-Uhlenbeck process per axis, cut to the box.

    Args:
        bounds: of the actions.
        keep: correlation of successive actions, 0 to 1.
        std: of the stationary process, in half-widths of the box.
    """

    def __init__(self, bounds: ActionBounds, keep: float = 0.85, std: float = 0.5) -> None:
        check_box(bounds, "drift")
        if not 0 <= keep < 1 or std <= 0:
            raise ConfigError(f"`keep` must be in [0, 1) and `std` > 0; got {keep}, {std}.")
        self.bounds, self.keep, self.std = bounds, keep, std

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode with a draw from the stationary distribution."""
        self._draws = _Draws(seeds, normal=self.bounds.dim)
        self._value = self.std * self._draws.next()[1]

    def act(self, states: np.ndarray | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        fresh = self.std * np.sqrt(1 - self.keep**2) * self._draws.next()[1]
        self._value = self.keep * self._value + fresh
        return _scale(self.bounds, self._value)


class OneHotRandom:
    """Random choices for categories, one-hot; every group repeats its own choice with probability `keep`.

    A fresh choice is uniform, so in the long run all choices are equally frequent, whatever `keep`; or, nine times in
    ten, uniform among `favoured` ones.

    Args:
        bounds: of categories.
        keep: probability, 0 to 1.
        favoured: numbers of choices of the only group, such as those that do anything; empty favours none.
    """

    def __init__(self, bounds: ActionBounds, keep: float = 0.5, favoured: Sequence[int] = ()) -> None:
        if not bounds.categories:
            raise ConfigError("`one-hot` play must have discrete actions; got a box. Use `drift` or `uniform`.")
        if not 0 <= keep < 1:
            raise ConfigError(f"`keep` must be in [0, 1); got {keep}.")
        if favoured and (len(bounds.categories) > 1 or not set(favoured) <= set(range(bounds.dim))):
            raise ConfigError(f"`favoured` must be choices of one group of {bounds.categories}; got {favoured}.")
        self.bounds, self.keep, self._favoured = bounds, keep, np.array(favoured, int)
        self._sizes = np.array(bounds.categories)
        self._first = self._sizes.cumsum() - self._sizes  # column where each group begins

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode."""
        groups = len(self._sizes)
        self._draws = _Draws(seeds, uniform=2 * groups)
        self._choice = np.full((len(seeds), groups), -1)

    def act(self, states: np.ndarray | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        stay, fresh = np.split(self._draws.next()[0], 2, axis=1)  # each [B, groups]
        is_new = (stay >= self.keep) | (self._choice < 0)
        chosen = (fresh * self._sizes).astype(int)
        if len(self._favoured):
            among = np.minimum(fresh / FAVOUR * len(self._favoured), len(self._favoured) - 1).astype(int)
            rest = (fresh - FAVOUR) / (1 - FAVOUR) * self._sizes
            chosen = np.where(fresh < FAVOUR, self._favoured[among], rest.astype(int))
        self._choice = np.where(is_new, chosen, self._choice)
        actions = np.zeros((len(self._choice), self.bounds.dim), np.float32)
        np.put_along_axis(actions, self._first + self._choice, 1, axis=1)
        return actions


class Gentle:
    """Another play with a strength of its own in every episode: near rest, things move otherwise than when hurled.

    Args:
        policy: whose actions are drawn towards the middle of the box.
        bounds: of the actions.
        least: share of the strength in the gentlest episode, above 0 up to 1; shares are uniform in their logarithm.
    """

    def __init__(self, policy: Policy, bounds: ActionBounds, least: float) -> None:
        check_box(bounds, "gentle")
        if not 0 < least <= 1:
            raise ConfigError(f"`gentle` must be above 0 and at most 1; got {least}.")
        self.policy, self.bounds, self.least = policy, bounds, least

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in every environment and draws its strength."""
        self.policy.reset(seeds)
        draws = [np.random.default_rng((STREAM, int(seed), 1)).random() for seed in seeds]
        self._strength = self.least ** np.array(draws)[:, None]

    def act(self, states: np.ndarray | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        middle = (self.bounds.low + self.bounds.high) / 2
        actions = middle + self._strength * (self.policy.act(states) - middle)
        return actions.clip(self.bounds.low, self.bounds.high).astype(np.float32)


class PushTowardsBlock:
    """Scripted play for Push-T: mostly pushes at the block, from random sides; reads the true state.

    A target is kept for 5 to 15 steps. With probability `push` it lies 20 to 120 px beyond the block's centre
    as seen from the pusher, scattered by N(0, 30) px; otherwise anywhere on the table.

    Args:
        bounds: relative actions in [-1, 1] (the default of Push-T), or targets in [0, 512] px.
        push: probability, 0 to 1.
    """

    def __init__(self, bounds: ActionBounds, push: float = 0.7) -> None:
        check_box(bounds, "push")
        if bounds.dim != 2:
            raise ConfigError(f"`push` play must have two-dimensional actions; got {bounds.dim}. It is for Push-T.")
        self.bounds, self.push = bounds, push
        self._is_relative = bool((bounds.low < 0).any())

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode; the first target is drawn at the first step."""
        self._draws = _Draws(seeds, uniform=5, normal=2)
        self._left = np.zeros(len(seeds), int)
        self._target = np.zeros((len(seeds), 2))

    def act(self, states: np.ndarray | None) -> np.ndarray:
        """Returns actions [B, 2]; states [B, P] begin with the positions of pusher and block in px."""
        if states is None:
            raise ConfigError("`push` play must see states; got none. Collect with states, or use `smooth` play.")
        uniform, normal = self._draws.next()
        pusher, block = states[:, :2].astype(np.float64), states[:, 2:4].astype(np.float64)
        way = block - pusher
        way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
        beyond = block + way * (20 + 100 * uniform[:, 1:2]) + 30 * normal
        anywhere = 30 + 452 * uniform[:, 2:4]
        fresh = np.where(uniform[:, :1] < self.push, beyond, anywhere).clip(10, 502)
        is_new = self._left == 0
        self._target = np.where(is_new[:, None], fresh, self._target)
        self._left = np.where(is_new, 5 + (uniform[:, 4] * 11).astype(int), self._left) - 1
        if not self._is_relative:
            return self._target.astype(np.float32)
        return ((self._target - pusher) / PUSH_T_REACH).clip(-1, 1).astype(np.float32)


POLICIES: dict[str, Callable[[ActionBounds], Policy]] = {
    "smooth": SmoothRandom,
    "directed": lambda bounds: SmoothRandom(bounds, keep=0.93),
    "uniform": lambda bounds: OneHotRandom(bounds, keep=0.0) if bounds.categories else UniformRandom(bounds),
    "drift": Drift,
    "one-hot": OneHotRandom,
    "push": PushTowardsBlock,
    "arm": Wander,
    "arm-push": lambda bounds: Wander(bounds, push=0.8),
}


def make_policy(
    name: str, bounds: ActionBounds, *, favoured: Sequence[int] = (), gentle: float | None = None
) -> Policy:
    """Makes a policy by its name in `POLICIES`.

    Args:
        name: of the policy.
        bounds: of its actions.
        favoured: choices that `one-hot` play prefers.
        gentle: share of its strength that play has in the gentlest episodes, see `Gentle`; None is always all of it.

    Raises:
        ConfigError: for an unknown name, with the nearest one, or one that cannot play such actions.
    """
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES)
    if gentle is not None:
        return Gentle(make_policy(name, bounds, favoured=favoured), bounds, gentle)
    if favoured and name == "one-hot":
        return OneHotRandom(bounds, favoured=favoured)
    return POLICIES[name](bounds)


def default_policy(bounds: ActionBounds) -> str:
    """The policy that suits such actions: `one-hot` for categories, `smooth` in the plane, else `drift`.

    A plane is a box of two like axes around zero, in which a heading means something; a throttle beside a steering
    wheel is none.
    """
    if bounds.categories:
        return "one-hot"
    is_plane = bounds.dim == 2 and (bounds.low == -bounds.high).all() and bounds.high[0] == bounds.high[1]
    return "smooth" if is_plane else "drift"


def check_box(bounds: ActionBounds, name: str) -> None:
    """Refuses categories, of which only the largest entry would act."""
    if bounds.categories:
        raise ConfigError(
            f"`{name}` play must have actions in a box; got categories {bounds.categories}. Use `one-hot`."
        )


class _Draws:
    """Uniform [B, U] and standard normal [B, N] numbers for each step, environment i from seed i alone."""

    BLOCK = 64  # steps drawn at once, so that the cost of a generator's call is shared

    def __init__(self, seeds: Sequence[int], uniform: int = 0, normal: int = 0) -> None:
        self._generators = [np.random.default_rng((STREAM, int(seed))) for seed in seeds]
        self._widths = uniform, normal
        self._step = 0

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        at = self._step % self.BLOCK
        if at == 0:
            uniform, normal = self._widths
            draws = [(g.random((self.BLOCK, uniform)), g.normal(size=(self.BLOCK, normal))) for g in self._generators]
            self._uniform, self._normal = (np.stack(parts, 1) for parts in zip(*draws, strict=True))
        self._step += 1
        return self._uniform[at], self._normal[at]


def _scale(bounds: ActionBounds, unit: np.ndarray) -> np.ndarray:
    """Maps [-1, 1] on each axis to the box and cuts what is outside it or longer than the norm limit."""
    actions = (bounds.low + bounds.high) / 2 + unit * (bounds.high - bounds.low) / 2
    actions = actions.clip(bounds.low, bounds.high)
    if bounds.max_norm is not None:
        norm = np.linalg.norm(actions, axis=1, keepdims=True)
        actions = actions * np.minimum(bounds.max_norm / np.maximum(norm, 1e-12), 1)
    return actions.astype(np.float32)
