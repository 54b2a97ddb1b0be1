"""Some Gymnasium environments played in one process: pictures of one size, states, and an end that holds.

`GymnasiumWorld` plays on one of these, or on one in each of several processes.
"""

import atexit
import copy
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from openjepa.envs.gymnasium_actions import bounds_of, to_space
from openjepa.envs.gymnasium_states import StateAdapter, adapter_for
from openjepa.errors import ConfigError, OpenJEPAError

SUPERSAMPLE = 2  # pictures that can be drawn at any size are drawn so much larger, and shrunk with antialiasing
SEED_NAMES = ("reset_seed_high", "reset_seed_low")  # 16 bits each, which float32 holds exactly
GLIMPSE = 8  # cells of a side of a shrunk picture, by which a state is known where nothing else tells it
NOTICED = 32  # grey levels of 255 by which a pixel of a frame must differ to count as another picture


@dataclass(frozen=True)
class StageOptions:
    """What a stage is made of; plain enough to be sent to another process.

    Attributes:
        make: makes one environment.
        name: of the environment, for errors.
        size: (H, W) of the frames in px.
        adapter: how states are read, set and judged; None chooses one.
        can_end: whether `terminated` ends an episode; None leaves it to the adapter.
        sets_size: whether the environment may be asked to draw at another size than its own.
        draw_every: steps since the reset between two that are drawn; 0 draws none.
        sees_states: whether the picture is the state where an environment tells no other; then every step is drawn.
    """

    make: Callable[[], Any]
    name: str
    size: tuple[int, int]
    adapter: StateAdapter | None = None
    can_end: bool | None = None
    sets_size: bool = True
    draw_every: int = 1
    sees_states: bool = False


def glimpse(frames: np.ndarray) -> np.ndarray:
    """Pictures [..., C, H, W] uint8, shrunk to what tells them apart at a glance: [..., C * 64], 0 to 1."""
    cuts = [np.linspace(0, side, min(GLIMPSE, side) + 1).round().astype(int) for side in frames.shape[-2:]]
    rows = np.add.reduceat(frames.astype(np.float64), cuts[0][:-1], axis=-2)
    cells = np.add.reduceat(rows, cuts[1][:-1], axis=-1) / np.multiply.outer(*(np.diff(cut) for cut in cuts))
    return (cells / 255).reshape(*frames.shape[:-3], -1)


def close_all(envs: list[Any], put_away: Callable[[Any], None] | None) -> None:
    """Closes environments, after all have freed what they may share."""
    for env in envs:
        if put_away is not None:
            put_away(env)
    for env in envs:
        env.close()


class Stage:
    """`count` environments side by side, each of which depends on its own seed and actions alone.

    Attributes:
        envs: the environments.
        frames: [count, 3, H, W] uint8, what they show.
        ended: [count] bool, terminated or truncated since the last reset; such an environment stands still.
        keeps_seed: whether a state ends with `SEED_NAMES`, because a reset draws more than the state holds (a layout,
            a marker) that only its seed brings back.
    """

    def __init__(self, options: StageOptions, count: int) -> None:
        self.options = options
        with self._guard("be made"):
            self.envs = [options.make() for _ in range(count)]
        with self._guard("reset"):
            self._observations = [env.reset(seed=0)[0] for env in self.envs]
        self.adapter = options.adapter or adapter_for(self.envs[0], self._observations[0])
        self.space = self.envs[0].action_space
        self.bounds = self.adapter.bounds or bounds_of(self.space, options.name)
        self.can_end = self.adapter.can_end if options.can_end is None else options.can_end
        if not self.can_end:  # play goes on by intention
            warnings.filterwarnings("ignore", message=".*already returned terminated.*")
        self.frames = np.zeros((count, 3, *options.size), np.uint8)
        self.ended = np.zeros(count, bool)
        self._seeds, self._steps = np.zeros(count, np.int64), np.zeros(count, int)
        self._picture_shape: tuple[int, ...] | None = None
        if self.adapter.draw_at is not None and options.sets_size:
            for env in self.envs:
                self.adapter.draw_at(env, *(SUPERSAMPLE * side for side in options.size))
        # Some renderers choose their camera at the first picture, so all environments draw theirs in one state.
        for i, observation in enumerate(self._observations):
            if i and self.adapter.draw_with is not None:
                self.adapter.draw_with(self.envs[i], self.envs[0])
            self._show(i, observation)
        self._close = weakref.finalize(self, close_all, self.envs, self.adapter.put_away)
        atexit.register(self._close)  # after the first picture: before its renderer ends, which has just registered
        is_told = self.adapter.read is not None or self._observes_a_vector()
        self.has_states, self.sees_states = is_told or options.sees_states, options.sees_states and not is_told
        self.draw_every = 1 if self.sees_states else options.draw_every
        self.can_reset_to, self.keeps_seed = self._try_to_reset_to()
        self.state_names = self._names()

    def reset(self, seeds: Sequence[int]) -> None:
        """Starts an episode in every environment from its own seed."""
        for i, seed in enumerate(seeds):
            self._reset_one(i, int(seed))
            self._show(i, self._observations[i])

    def reset_to(self, states: np.ndarray) -> None:
        """Puts every environment into a state [count, P], in float64 where it must be exact."""
        assert self.adapter.write is not None
        for i, state in enumerate(np.asarray(states, np.float64)):
            seed = int(state[-2]) * 2**16 + int(state[-1]) if self.keeps_seed else 0
            self._reset_one(i, seed)
            with self._guard("be put into a state"):
                self.adapter.write(self.envs[i], state[: len(state) - 2 * self.keeps_seed])
            self._show(i, None)

    def step(self, actions: np.ndarray) -> None:
        """Takes actions [count, A] float64 within the bounds where no episode is over."""
        for i, action in enumerate(actions):
            if not self.ended[i]:
                self._step_one(i, action)
                if self.draw_every and self._steps[i] % self.draw_every == 0:
                    self._show(i, self._observations[i])

    def replay(self, ways: Sequence[tuple[int, np.ndarray]]) -> None:
        """Starts an episode in every environment and takes its actions [T, A] again; only the end is drawn.

        Args:
            ways: seed and actions of each.
        """
        for i, (seed, actions) in enumerate(ways):
            self._reset_one(i, seed)
            for action in np.asarray(actions, np.float64):
                if not self.ended[i]:
                    self._step_one(i, action)
            self._steps[i] = 0
            self._show(i, self._observations[i])

    def states(self) -> np.ndarray:
        """The simulator's truth [count, P] float64."""
        rows = [self._own_state(i) for i in range(len(self.envs))]
        if len({row.shape for row in rows} | {(self.num_columns,)}) > 1:
            raise ConfigError(
                f"`{self.options.name}` must keep the size of its state ({self.num_columns}); got "
                f"{sorted(row.size for row in rows)}. Give an adapter that reads a vector of one size."
            )
        if not self.keeps_seed:
            return np.stack(rows)
        return np.concatenate([np.stack(rows), np.stack([self._seeds >> 16, self._seeds & 0xFFFF], 1)], 1)

    def proprio(self) -> np.ndarray | None:
        """What the agent can measure about itself [count, P], where the adapter knows."""
        if self.adapter.proprio is None:
            return None
        return np.stack([np.asarray(self.adapter.proprio(env)) for env in self.envs])

    def snapshot(self) -> list[Any]:
        """What `restore` needs: exact states where they can be set, else deep copies of the environments."""
        if self.can_reset_to:
            return list(self.states())
        with self._guard("be copied"):
            parts = zip(self.envs, self._observations, self.ended.tolist(), self._seeds.tolist(), strict=True)
            return [copy.deepcopy(part) for part in parts]

    def restore(self, snapshots: Sequence[Any]) -> None:
        """Puts every environment where a snapshot was; a snapshot serves any number of times."""
        if self.can_reset_to:
            return self.reset_to(np.stack(snapshots))
        for i, part in enumerate(snapshots):
            self.envs[i], self._observations[i], self.ended[i], self._seeds[i] = copy.deepcopy(part)
            self._show(i, self._observations[i])
        return None

    def can_copy(self) -> bool:
        """Whether an environment can be copied: one that holds a window or a file cannot."""
        try:
            copy.deepcopy(self.envs[0])
        except Exception:  # a copy fails in as many ways as there are things that cannot be copied
            return False
        return True

    def close(self) -> None:
        """Closes the environments; one that nobody closes is closed before it is gone."""
        self._close()
        atexit.unregister(self._close)

    # ----------------------------------------------------------------------------------------------------------

    def _reset_one(self, i: int, seed: int) -> None:
        with self._guard("reset"):
            self._observations[i], _ = self.envs[i].reset(seed=seed)
        self._seeds[i], self._steps[i], self.ended[i] = seed, 0, False

    def _step_one(self, i: int, action: np.ndarray) -> None:
        if self.adapter.to_env is not None:
            own = self.adapter.to_env(self.envs[i], action)
        else:
            own = to_space(self.space, self.bounds, action)
        with self._guard("step"):
            self._observations[i], _, terminated, truncated, _ = self.envs[i].step(own)
        self.ended[i] = (bool(terminated) and self.can_end) or bool(truncated)
        self._steps[i] += 1

    def _own_state(self, i: int) -> np.ndarray:
        """State [P] float64 of one environment, without its seed."""
        if self.adapter.read is not None:
            with self._guard("be read"):
                return np.asarray(self.adapter.read(self.envs[i]), np.float64)
        if self.sees_states:
            return glimpse(self.frames[i])
        if not self.has_states:
            raise ConfigError(
                f"`{self.options.name}` observes no plain vector, so its state is unknown. Pass "
                "`adapter=StateAdapter(read=lambda env: ...)`, or record without states."
            )
        import gymnasium

        with self._guard("be read"):
            flat = gymnasium.spaces.flatten(self.envs[i].observation_space, self._observations[i])
        return np.asarray(flat, np.float64)

    def _observes_a_vector(self) -> bool:
        from gymnasium import spaces

        space = self.envs[0].observation_space
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
        return bool(space.is_np_flattenable) and not any(len(part.shape or ()) > 1 for part in parts)

    def _try_to_reset_to(self) -> tuple[bool, bool]:
        """Whether states can be set, and whether a reset draws what they do not hold; found by trying."""
        env, read, write = self.envs[0], self.adapter.read, self.adapter.write
        if read is None or write is None:
            return False, False
        with self._guard("be put into a state"):
            observation, _ = env.reset(seed=1)
            state, shown = np.array(read(env), np.float64), self._frame(env, observation)
            self._observations[0], _ = env.reset(seed=0)
            write(env, state)
            is_set = np.allclose(read(env), state, rtol=1e-5, atol=1e-6)
            again = self._frame(env, None)
            self._observations[0], _ = env.reset(seed=0)
        return bool(is_set), bool(is_set and (np.abs(again.astype(int) - shown) > NOTICED).any())

    def _names(self) -> tuple[str, ...]:
        if not self.has_states:
            self.num_columns = 0
            return ()
        own = self._own_state(0)
        if own.ndim != 1:
            raise ConfigError(f"an adapter's `read` must return a vector [P]; got {list(own.shape)}.")
        self.num_columns = len(own)
        kind = "picture" if self.sees_states else "observation" if self.adapter.read is None else "state"
        numbered = tuple(f"{kind}{i}" for i in range(len(own)))
        names = self.adapter.names(self.envs[0]) if self.adapter.names is not None else numbered
        return (*names, *SEED_NAMES) if self.keeps_seed else names

    def _show(self, i: int, observation: Any) -> None:
        self.frames[i] = self._frame(self.envs[i], observation)

    def _frame(self, env: Any, observation: Any) -> np.ndarray:
        """What an environment shows, [3, H, W] at the size of the frames."""
        picture = self._picture(env, observation)
        if self._picture_shape not in (None, picture.shape):
            raise ConfigError(
                f"`{self.options.name}` must draw pictures of one size; got {list(self._picture_shape or ())} and then "
                f"{list(picture.shape)}."
            )
        self._picture_shape = picture.shape
        height, width = self.options.size
        if picture.shape[:2] != (height, width):
            bilinear = Image.Resampling.BILINEAR
            picture = np.asarray(Image.fromarray(picture).resize((width, height), bilinear, reducing_gap=2.0))
        return picture.transpose(2, 0, 1)

    def _picture(self, env: Any, observation: Any) -> np.ndarray:
        with self._guard("be drawn"):
            picture = self.adapter.picture(env, observation)
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
            found = f"{picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else str(type(picture))
            raise ConfigError(
                f"`{self.options.name}` must render pictures [H, W, 3] uint8; got {found}. Make it with "
                '`render_mode="rgb_array"`.'
            )
        return picture

    @contextmanager
    def _guard(self, deed: str) -> Iterator[None]:
        """Words what goes wrong inside somebody else's environment as one line."""
        try:
            yield
        except OpenJEPAError:
            raise
        except Exception as error:  # foreign code fails in as many ways as there are environments
            said = (str(error).splitlines() or [""])[0]
            why = f"{type(error).__name__}: {said}".rstrip(": ")
            draws_mujoco = deed == "be drawn" and self.adapter.draw_at is not None
            remedy = " MuJoCo needs OpenGL: set MUJOCO_GL to egl, osmesa or glfw." if draws_mujoco else ""
            raise ConfigError(f"`{self.options.name}` cannot {deed} ({why}).{remedy}") from error


# What may be asked of a stage by name, in this process or another.
DEEDS: dict[str, Callable[[Stage, Any], None]] = {
    "reset": Stage.reset,
    "reset_to": Stage.reset_to,
    "replay": Stage.replay,
    "restore": Stage.restore,
    "step": Stage.step,
}
