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
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from openjepa.envs.gymnasium_stage import DEEDS, Stage, StageOptions
from openjepa.envs.gymnasium_states import StateAdapter
from openjepa.envs.push_t_states import push_t_adapter
from openjepa.errors import ConfigError, MissingDependencyError, check_shape, require, unknown

ADAPTERS: dict[str, Callable[[], StateAdapter]] = {"gym_pusht/PushT-v0": push_t_adapter}
PACKAGES = {"minigrid": "minigrid", "gymnasium_robotics": "robotics", "gym_pusht": "pusht"}  # and our extras
DEFAULT_STEPS = 100  # of an episode of play, where the environment has no limit of its own
PLACE_NAMES = ("episode", "step")  # of a recorded episode, from which a state that cannot be set is reached again


class GymnasiumWorld:
    """A batch of Gymnasium environments (see `openjepa.protocols.World`).

    Each environment depends on its own seed and actions alone. One that has terminated or was truncated stands still
    until the next reset; `ended` tells. Choices are one-hot vectors (see `ActionBounds.categories`). A state is what
    the adapter reads; where a reset draws more than that (a layout, a marker), the two halves of its seed follow.

    Args:
        env: id of a registered environment, or a function that makes one.
        num_envs: number of environments B.
        image_size: side of the square frames in px, or (H, W); pictures that cannot be drawn at that size are shrunk
            with antialiasing, without keeping their aspect ratio.
        adapter: how states are read, set and judged; chosen by the environment if not given.
        max_steps: steps of an episode of random play; the environment's own limit, else 100.
        success_distance: a goal nearer than this is reached, whatever rule the adapter has.
        can_end: whether `terminated` ends an episode. What ends the environment's own task need not end the way to
            another goal; most environments play on when asked. None is the adapter's choice, which is yes.
        workers: processes that share the environments through Gymnasium's `AsyncVectorEnv`; it pays where drawing
            or physics take longer than sending a frame. What is seen does not depend on it.
        draw_every: steps since the reset between two that are drawn, which saves the drawing where nobody looks; frames
            stay as they were until then, for ever with 0.
        recorded: seeds and actions [T, A] of recorded episodes, by number. An environment that cannot be put into a
            state is put where they were, by playing them again; its states then end with `PLACE_NAMES`, which are -1
            once it has left that place.
        sees_states: whether a picture, shrunk to 8 x 8 cells, is the state where the environment tells no other.
        env_options: for `gymnasium.make`, those too that are called like an argument of this class.
        **make_kwargs: for `gymnasium.make`.

    Attributes:
        sees_states: whether pictures are its states.

    Raises:
        ConfigError: for an unknown id or option, or an action space that is not supported.
        MissingDependencyError: where Gymnasium or the environment's package is not installed.
    """

    def __init__(
        self,
        env: str | Callable[[], Any],
        num_envs: int = 1,
        *,
        image_size: int | tuple[int, int] = 64,
        adapter: StateAdapter | None = None,
        max_steps: int | None = None,
        success_distance: float | None = None,
        can_end: bool | None = None,
        workers: int = 1,
        draw_every: int = 1,
        recorded: Mapping[int, tuple[int, np.ndarray]] | None = None,
        sees_states: bool = False,
        env_options: Mapping[str, Any] | None = None,
        **make_kwargs: Any,
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if min(num_envs, workers, *size) < 1 or len(size) != 2 or (max_steps is not None and max_steps < 1):
            raise ConfigError("`num_envs`, `workers`, `image_size` (a side, or H and W) and `max_steps` must be >= 1.")
        if adapter is None and isinstance(env, str) and env in ADAPTERS:
            adapter = ADAPTERS[env]()
        arguments = {**(adapter.make if adapter else {}), **make_kwargs, **(env_options or {})}
        wanted, name = (
            env,
            env if isinstance(env, str) else env.__qualname__ if isinstance(env, type) else "environment",
        )
        if isinstance(env, str):
            env = partial(_make, env, arguments)
        elif arguments:
            raise ConfigError(f"options must be given where the environment is made; got {sorted(arguments)}.")
        sets_size = not {"width", "height"} & set(arguments)  # the user's own choice wins
        staged = StageOptions(env, name, (size[0], size[1]), adapter, can_end, sets_size, draw_every, sees_states)
        self.name, self.num_envs, self.success_distance = name, num_envs, success_distance
        self.workers = min(workers, num_envs)
        self._stage = Stage(staged, num_envs if self.workers == 1 else 1)
        spec = self._stage.envs[0].spec
        self._pool: Any = None
        if self.workers > 1:
            from openjepa.envs.gymnasium_workers import Pool

            if isinstance(wanted, str):  # the specification is known there too, even if nobody registered it
                staged = replace(staged, make=partial(_make, spec, arguments))
            self._pool = Pool(staged, num_envs, self.workers)
        self.adapter, self.bounds = self._stage.adapter, self._stage.bounds
        self.frame_shape = (3, size[0], size[1])
        self.has_states, self.state_names = self._stage.has_states, self._stage.state_names
        self.sees_states = self._stage.sees_states
        self.can_reset_to = self._stage.can_reset_to or bool(recorded)
        self._recorded = {} if self._stage.can_reset_to else dict(recorded or {})
        if self._recorded and self.has_states:
            self.state_names = (*self.state_names, *PLACE_NAMES)
        self._places = np.full((num_envs, 2), -1.0)
        self.max_steps = max_steps or (spec.max_episode_steps if spec else None) or DEFAULT_STEPS

    @property
    def envs(self) -> list[Any]:
        """The environments; with several workers one that nobody plays in."""
        return self._stage.envs

    @cached_property
    def can_snapshot(self) -> bool:
        """Whether `snapshot` works: states can be set, or environments of this process copied."""
        return self._stage.can_reset_to or (self._pool is None and self._stage.can_copy())

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Starts an episode in every environment from its own seed; frames [B, 3, H, W]."""
        if len(seeds) != self.num_envs:
            raise ConfigError(f"`seeds` must have one entry per environment ({self.num_envs}); got {len(seeds)}.")
        return self._play("reset", [int(seed) for seed in seeds])

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P] of `states`; frames [B, 3, H, W]."""
        if not self.can_reset_to:
            raise ConfigError(
                f"`{self.name}` cannot be put into a state. Pass "
                "`adapter=StateAdapter(read=..., write=...)`, or make goals by `reset` with other seeds or "
                "from recorded frames."
            )
        check_shape(states, f"B={self.num_envs} P={len(self.state_names)}", name="states")
        if not self._recorded:
            return self._play("reset_to", states)
        places = np.asarray(states)[:, -2:].astype(int)
        if not {int(episode) for episode, _ in places} <= set(self._recorded):
            raise ConfigError("`states` must be states of recorded episodes; got others, which cannot be set.")
        found = ((self._recorded[int(episode)], int(step)) for episode, step in places)
        frames = self._play("replay", [(int(seed), actions[:step]) for (seed, actions), step in found])
        self._places = places.astype(np.float64)
        return frames

    def snapshot(self) -> list[Any]:
        """What `restore` needs to come back, in this process.

        Where states cannot be set, this is a deep copy of every environment: it costs as much memory and time as the
        environment is large (microseconds for a grid, milliseconds for a drawing canvas), so take it at the few
        moments that are returned to.
        """
        if not self.can_snapshot:
            raise ConfigError(
                f"`{self.name}` can neither be put into a state nor copied. Make goals by `reset` with other seeds or "
                "from recorded frames."
            )
        return list(self.states()) if self._pool is not None else self._stage.snapshot()

    def restore(self, snapshots: Sequence[Any]) -> np.ndarray:
        """Puts every environment where one of `snapshot` was; frames [B, 3, H, W]."""
        if len(snapshots) != self.num_envs:
            raise ConfigError(f"`snapshots` must have one entry per environment; got {len(snapshots)}.")
        return self._play("restore", snapshots)

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Takes actions [B, A] within `bounds`; frames [B, 3, H, W]."""
        actions = np.asarray(actions, np.float64)
        check_shape(actions, f"B={self.num_envs} A={self.bounds.dim}", name="actions")
        low, high = self.bounds.low, self.bounds.high
        slack = 1e-5 * np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)))
        is_allowed = (actions >= low - slack) & (actions <= high + slack)
        if not is_allowed.all():  # also catches NaN
            i, a = np.argwhere(~is_allowed)[0]
            raise ConfigError(
                f"`actions` must be within [{low[a]:.4g}, {high[a]:.4g}] in column {a}; got "
                f"{actions[i, a]:.4g}. Clip them with `world.bounds.clip`."
            )
        if self.bounds.categories:
            import torch  # worlds are NumPy; who only looks at one does not wait for PyTorch

            is_choice = np.abs(self.bounds.clip(torch.from_numpy(actions)).numpy() - actions).max(1) <= 1e-5
            if not is_choice.all():
                raise ConfigError(
                    f"`actions` must be one-hot in groups of {list(self.bounds.categories)}; got "
                    f"{actions[int(np.argmin(is_choice))].tolist()}. Clip them with `world.bounds.clip`."
                )
        return self._play("step", actions.clip(low, high))

    def ended(self) -> np.ndarray:
        """Whether each episode is over, terminated or truncated [B] bool; such an environment stands still."""
        return self._stage.ended.copy() if self._pool is None else self._pool.ended.copy()

    def states(self) -> np.ndarray:
        """The simulator's truth [B, P] float32, as the adapter reads it."""
        known = self._stage.states() if self._pool is None or not self.has_states else self._pool.states
        return np.concatenate([known, self._places], 1)[:, : len(self.state_names)].astype(np.float32)

    def proprio(self) -> np.ndarray | None:
        """What the agent can measure about itself [B, P] float32, where the adapter knows."""
        if self.adapter.proprio is None:
            return None
        measured = self._stage.proprio() if self._pool is None else self._pool.proprio
        return np.asarray(measured, np.float32)

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Distance of states [B, P] and goals [B, P] in the adapter's unit; [B]."""
        return self.adapter.distance(self._own(states), self._own(goals))

    def is_success(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether each goal counts as reached; [B] bool."""
        if self.success_distance is not None:
            return self.distance(states, goals) < self.success_distance
        if self.adapter.is_success is None:
            raise ConfigError(
                f"`{self.name}` does not say when a goal is reached. Give `success_distance`, in the unit of "
                "its states, or an `adapter` with `is_success`."
            )
        return self.adapter.is_success(self._own(states), self._own(goals))

    def groups(self, starts: np.ndarray, goals: np.ndarray) -> list[str] | None:
        """None: nothing is known about kinds of pairs."""
        return None

    def close(self) -> None:
        """Closes the environments and ends the processes."""
        self._stage.close()
        if self._pool is not None:
            self._pool.close()

    def _play(self, deed: str, rows: Any) -> np.ndarray:
        self._places[:] = -1
        if self._pool is not None:
            return self._pool.play(deed, rows)
        DEEDS[deed](self._stage, rows)
        return self._stage.frames.copy()

    def _own(self, states: np.ndarray) -> np.ndarray:
        beside = 2 * self._stage.keeps_seed + len(PLACE_NAMES) * bool(self._recorded)
        return np.asarray(states)[..., : len(self.state_names) - beside]


def _make(env: Any, arguments: Mapping[str, Any]) -> Any:
    """Makes an environment by its id or its specification."""
    env_id = env if isinstance(env, str) else env.id
    try:
        import gymnasium
    except ImportError as error:
        raise require("gymnasium", "sim", f"run `{env_id}`") from error
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame must not look for a screen; the user's choice wins
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen, too; read when MuJoCo is imported
    options = {"render_mode": "rgb_array", "disable_env_checker": True, **arguments}
    try:
        with warnings.catch_warnings():
            # Whether it can be drawn shows when it is drawn.
            warnings.filterwarnings("ignore", message=".*that is not in the possible render_modes.*")
            try:
                return gymnasium.make(env, **options)
            except gymnasium.error.UnregisteredEnv as error:
                return _make_from_known_package(env_id, options, error)
    except TypeError as error:
        raise ConfigError(f"`{env_id}` refuses its options {dict(arguments)}: {error}.") from error
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        cause = str(error).rstrip(".")
        raise MissingDependencyError(f"`{env_id}` needs a package that is not installed: {cause}.") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"`{env_id}` cannot be made: {error}") from error


def _make_from_known_package(env_id: str, options: Mapping[str, Any], error: Exception) -> Any:
    """Looks for an id in the packages of our extras, which register theirs when they are imported."""
    import gymnasium

    missing = []
    for package, extra in PACKAGES.items() if ":" not in env_id else ():
        try:
            with warnings.catch_warnings(action="ignore"):  # about environments that nobody asked for
                return gymnasium.make(f"{package}:{env_id}", **options)
        except ModuleNotFoundError:
            missing.append(extra)
        except gymnasium.error.UnregisteredEnv:
            continue
    said = str(unknown("environment", env_id, [*gymnasium.registry, *ADAPTERS]))
    hint = f" Is its package installed? Ours are in: pip install 'openjepa[{','.join(missing)}]'" if missing else ""
    raise ConfigError(said + hint) from error
