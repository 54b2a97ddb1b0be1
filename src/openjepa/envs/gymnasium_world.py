"""Any Gymnasium environment that renders `rgb_array`, as a `World`.

Your own environment takes five lines: the class that you have, and

    from openjepa.envs import GymnasiumWorld, StateAdapter
    adapter = StateAdapter(read=lambda env: env.unwrapped.position)
    world = GymnasiumWorld(lambda: MyEnv(render_mode="rgb_array"), 4, adapter=adapter, success_distance=0.1)
    frames = world.reset(seeds=[0, 1, 2, 3])  # [4, 3, 64, 64] uint8
    frames = world.step(np.zeros((4, world.bounds.dim)))

A registered one goes by its id, on the command line too; `package:Name-v0` imports the package that registers
it. Image goals are the frames of `reset` with other seeds, of `reset_to`, or of recorded episodes.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from openjepa.envs.gymnasium_states import StateAdapter, adapter_for, push_t_adapter
from openjepa.errors import ConfigError, MissingDependencyError, check_shape, require, unknown
from openjepa.protocols import ActionBounds

ADAPTERS: dict[str, Callable[[], StateAdapter]] = {"gym_pusht/PushT-v0": push_t_adapter}


class GymnasiumWorld:
    """A batch of Gymnasium environments, stepped one after the other (see `openjepa.protocols.World`).

    Each environment depends on its own seed and actions alone. An environment that has terminated stands
    still until the next reset; `ended` tells. Discrete actions of n choices are [B, n] in [0, 1]: the largest
    entry is taken, so one-hot vectors are exact.

    Args:
        env: id of a registered environment, or a function that makes one.
        num_envs: number of environments B.
        image_size: side of the square frames in px; pictures are scaled with antialiasing, without keeping
            their aspect ratio.
        adapter: how states are read, set and judged; chosen by the environment if not given.
        max_steps: steps of an episode of random play; the environment's own limit, else 100.
        success_distance: a goal nearer than this is reached, where the adapter has no rule of its own.
        **make_kwargs: for `gymnasium.make`.

    Raises:
        ConfigError: for an unknown id or option, or an action space that is not supported.
        MissingDependencyError: where Gymnasium or the environment's package is not installed.
    """

    def __init__(
        self,
        env: str | Callable[[], Any],
        num_envs: int = 1,
        *,
        image_size: int = 64,
        adapter: StateAdapter | None = None,
        max_steps: int | None = None,
        success_distance: float | None = None,
        **make_kwargs: Any,
    ) -> None:
        if num_envs < 1 or image_size < 1 or (max_steps is not None and max_steps < 1):
            raise ConfigError("`num_envs`, `image_size` and `max_steps` must be >= 1.")
        if adapter is None and isinstance(env, str) and env in ADAPTERS:
            adapter = ADAPTERS[env]()
        if isinstance(env, str):
            self.name = env
            arguments = {**(adapter.make if adapter else {}), **make_kwargs}
            self.envs = [_make(env, arguments) for _ in range(num_envs)]
        else:
            self.name = getattr(env, "__name__", "environment")
            self.envs = [env() for _ in range(num_envs)]
        self.num_envs, self.image_size, self.success_distance = num_envs, image_size, success_distance
        self._observations = [one.reset(seed=0)[0] for one in self.envs]
        self.adapter = adapter or adapter_for(self.envs[0])
        self._space = self.envs[0].action_space
        self.bounds = self.adapter.bounds or _bounds(self._space, self.name)
        spec = getattr(self.envs[0], "spec", None)
        self.max_steps = max_steps or (spec.max_episode_steps if spec else None) or 100
        self._ended = np.zeros(num_envs, bool)
        self._frames = np.zeros((num_envs, 3, image_size, image_size), np.uint8)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Starts an episode in every environment from its own seed; frames [B, 3, S, S]."""
        if len(seeds) != self.num_envs:
            raise ConfigError(f"`seeds` must have one entry per environment ({self.num_envs}); got {len(seeds)}.")
        for i, seed in enumerate(seeds):
            self._observations[i], _ = self.envs[i].reset(seed=int(seed))
            self._show(i, self._observations[i])
        self._ended[:] = False
        return self._frames.copy()

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P] of `states`; frames [B, 3, S, S]."""
        if self.adapter.write is None:
            raise ConfigError(
                f"`{self.name}` cannot be put into a state. Pass "
                "`adapter=StateAdapter(read=..., write=...)`, or make goals by `reset` with other seeds or "
                "from recorded frames."
            )
        check_shape(states, f"B={self.num_envs} P={self.states().shape[1]}", name="states")
        for i, state in enumerate(states):
            self.envs[i].reset(seed=0)
            self.adapter.write(self.envs[i], state)
            self._show(i, None)
        self._ended[:] = False
        return self._frames.copy()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Takes actions [B, A] within `bounds`; frames [B, 3, S, S]."""
        actions = np.asarray(actions, np.float64)
        check_shape(actions, f"B={self.num_envs} A={self.bounds.dim}", name="actions")
        low, high = self.bounds.low, self.bounds.high
        slack = 1e-5 * (high - low)
        is_allowed = (actions >= low - slack) & (actions <= high + slack)
        if not is_allowed.all():  # also catches NaN
            i, a = np.argwhere(~is_allowed)[0]
            raise ConfigError(
                f"`actions` must be within [{low[a]:.4g}, {high[a]:.4g}] in column {a}; got "
                f"{actions[i, a]:.4g}. Clip them with `world.bounds.clip`."
            )
        for i, action in enumerate(actions.clip(low, high)):
            if self._ended[i]:
                continue
            observation, _, terminated, _, _ = self.envs[i].step(self._to_env(i, action))
            self._observations[i] = observation
            self._ended[i] = bool(terminated) and self.adapter.can_end
            self._show(i, observation)
        return self._frames.copy()

    def ended(self) -> np.ndarray:
        """Whether each environment has terminated since its reset [B] bool; a terminated one stands still."""
        return self._ended.copy()

    def states(self) -> np.ndarray:
        """The simulator's truth [B, P] float32, as the adapter reads it."""
        if self.adapter.read is not None:
            rows = [np.asarray(self.adapter.read(env)) for env in self.envs]
        else:
            rows = [self._flat_observation(i) for i in range(self.num_envs)]
        return np.stack(rows).astype(np.float32)

    def proprio(self) -> np.ndarray | None:
        """What the agent can measure about itself [B, P] float32, where the adapter knows."""
        if self.adapter.proprio is None:
            return None
        return np.stack([np.asarray(self.adapter.proprio(env)) for env in self.envs]).astype(np.float32)

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Distance of states [B, P] and goals [B, P] in the adapter's unit; [B]."""
        return self.adapter.distance(states, goals)

    def is_success(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether each goal counts as reached; [B] bool."""
        if self.success_distance is not None:
            return self.distance(states, goals) < self.success_distance
        if self.adapter.is_success is None:
            raise ConfigError(
                f"`{self.name}` does not say when a goal is reached. Give `success_distance`, in the unit of "
                "its states, or an `adapter` with `is_success`."
            )
        return self.adapter.is_success(states, goals)

    def close(self) -> None:
        """Closes the environments."""
        for env in self.envs:
            env.close()

    def _to_env(self, i: int, action: np.ndarray) -> Any:
        if self.adapter.to_env is not None:
            return self.adapter.to_env(self.envs[i], action)
        if hasattr(self._space, "n"):
            return int(self._space.start + action.argmax())
        return action.reshape(self._space.shape).astype(self._space.dtype)

    def _show(self, i: int, observation: Any) -> None:
        try:
            picture = self.adapter.picture(self.envs[i], observation)
        except Exception as error:  # without OpenGL, MuJoCo fails in as many ways as there are platforms
            if not hasattr(self.envs[i].unwrapped, "mujoco_renderer"):
                raise
            raise ConfigError(
                f"`{self.name}` cannot be drawn ({str(error).split(',')[0] or type(error).__name__}). MuJoCo needs "
                "OpenGL: set MUJOCO_GL to egl, osmesa or glfw."
            ) from error
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
            found = f"{picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else str(type(picture))
            raise ConfigError(
                f"`{self.name}` must render pictures [H, W, 3] uint8; got {found}. Make it with "
                '`render_mode="rgb_array"`.'
            )
        size = (self.image_size, self.image_size)
        if picture.shape[:2] != size:
            bilinear = Image.Resampling.BILINEAR
            picture = np.asarray(Image.fromarray(picture).resize(size, bilinear, reducing_gap=2.0))
        self._frames[i] = picture.transpose(2, 0, 1)

    def _flat_observation(self, i: int) -> np.ndarray:
        import gymnasium

        space = self.envs[i].observation_space
        has_picture = any(len(s.shape or ()) > 1 for s in getattr(space, "spaces", {"": space}).values())
        if has_picture or not space.is_np_flattenable:
            raise ConfigError(
                f"`{self.name}` observes no plain vector, so its state is unknown. Pass "
                "`adapter=StateAdapter(read=lambda env: ...)`, or record without states."
            )
        return np.asarray(gymnasium.spaces.flatten(space, self._observations[i]))


def _make(env_id: str, arguments: dict[str, Any]) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise require("gymnasium", "sim", f"run `{env_id}`") from error
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame must not look for a screen; the user's choice wins
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen, too; read when MuJoCo is imported
    if env_id.startswith("gym_pusht/"):
        try:
            import gym_pusht  # noqa: F401  (registers the environment)
        except ImportError as error:
            raise require("gym_pusht", "pusht", f"run `{env_id}`") from error
    try:
        return gymnasium.make(env_id, render_mode="rgb_array", disable_env_checker=True, **arguments)
    except gymnasium.error.UnregisteredEnv as error:
        raise unknown("environment", env_id, [*gymnasium.registry, *ADAPTERS]) from error
    except TypeError as error:
        raise ConfigError(f"`{env_id}` refuses its options {arguments}: {error}.") from error
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise MissingDependencyError(f"`{env_id}` needs a package that is not installed: {error}.") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"`{env_id}` cannot be made: {error}") from error


def _bounds(space: Any, name: str) -> ActionBounds:
    if hasattr(space, "n"):
        return ActionBounds(np.zeros(space.n, np.float32), np.ones(space.n, np.float32))
    if not hasattr(space, "low"):
        raise ConfigError(f"`{name}` must have Box or Discrete actions; got {space}. Wrap it with an action wrapper.")
    low, high = space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ConfigError(f"actions of `{name}` must be bounded; got {space}. Wrap it with `RescaleAction`.")
    return ActionBounds(low, high)
