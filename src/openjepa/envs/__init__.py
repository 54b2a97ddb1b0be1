"""Worlds that show pictures, and the policies that play in them."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from openjepa.envs.arm import Arm, ArmConfig
from openjepa.envs.bridge import Bridge, BridgeConfig
from openjepa.envs.collect import collect
from openjepa.envs.fork import Fork, ForkConfig
from openjepa.envs.four_rooms import FourRooms, FourRoomsConfig
from openjepa.envs.gymnasium_states import StateAdapter
from openjepa.envs.gymnasium_world import GymnasiumWorld
from openjepa.envs.maze import Maze, MazeConfig
from openjepa.envs.policies import POLICIES, Policy, default_policy, make_policy
from openjepa.envs.two_rooms import OBJECTS, TwoRooms, TwoRoomsConfig
from openjepa.errors import ConfigError, did_you_mean, unknown
from openjepa.protocols import World

__all__ = [
    "POLICIES",
    "WORLDS",
    "Arm",
    "ArmConfig",
    "Bridge",
    "BridgeConfig",
    "Fork",
    "ForkConfig",
    "FourRooms",
    "FourRoomsConfig",
    "GymnasiumWorld",
    "Maze",
    "MazeConfig",
    "Policy",
    "StateAdapter",
    "TwoRooms",
    "TwoRoomsConfig",
    "collect",
    "default_policy",
    "is_environment_id",
    "make_policy",
    "make_world",
]


def _configured(kind: type, options: dict[str, Any], **preset: Any) -> Any:
    """The options of a built-in world as its configuration."""
    known = [f.name for f in dataclasses.fields(kind)]
    for name in options:
        if name not in known:
            raise ConfigError(f"unknown option `{name}` of this world{did_you_mean(name, known)}")
    return kind(**{**preset, **options})


def _two_rooms(num_envs: int, options: dict[str, Any], **preset: Any) -> TwoRooms:
    return TwoRooms(num_envs, _configured(TwoRoomsConfig, options, **preset))


DRAWN: dict[str, Callable[[int, dict[str, Any]], World]] = {
    "two-rooms": lambda num_envs, options: _two_rooms(num_envs, options),
    "random-doors": lambda num_envs, options: _two_rooms(num_envs, options, layout="random"),
    "four-rooms": lambda num_envs, options: _two_rooms(num_envs, options, layout="four-rooms"),
    "four-rooms-distractors": lambda num_envs, options: FourRooms(num_envs, _configured(FourRoomsConfig, options)),
    "distractors": lambda num_envs, options: _two_rooms(num_envs, options, distractors=2),
    "object-rooms": lambda num_envs, options: _two_rooms(num_envs, {"objects": len(OBJECTS), **options}),
    "noisy-background": lambda num_envs, options: _two_rooms(num_envs, options, background="noise"),
    "fork": lambda num_envs, options: Fork(num_envs, _configured(ForkConfig, options)),
    "maze": lambda num_envs, options: Maze(num_envs, _configured(MazeConfig, options)),
    "random-mazes": lambda num_envs, options: Maze(num_envs, _configured(MazeConfig, options, layout="random")),
    "bridge": lambda num_envs, options: Bridge(num_envs, _configured(BridgeConfig, options)),
    "arm": lambda num_envs, options: Arm(num_envs, _configured(ArmConfig, options)),
    "arm-around": lambda num_envs, options: Arm(num_envs, _configured(ArmConfig, options, task="around")),
    "arm-push": lambda num_envs, options: Arm(num_envs, _configured(ArmConfig, options, task="push")),
}
BY_ID = {"push-t": "gym_pusht/PushT-v0"}  # short names of Gymnasium environments
WORLDS = (*DRAWN, *BY_ID)


def make_world(
    name: str,
    num_envs: int = 1,
    *,
    image_size: int | tuple[int, int] | None = None,
    workers: int = 1,
    env_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> World:
    """Makes a built-in world by its name, else a Gymnasium environment by its id.

    Args:
        name: a key of `WORLDS`, or an id such as `CartPole-v1`, `gym_pusht/PushT-v0` or
            `my_package:MyEnv-v0`.
        num_envs: number of environments B.
        image_size: side of square frames in px, or (H, W); None is 64, or what a world that is drawn here says itself.
        workers: processes that share a Gymnasium world; what is seen does not depend on it.
        env_options: of a drawn world's configuration, or for `gymnasium.make`, as `--env.NAME VALUE` gives them.
        **options: of `TwoRoomsConfig`, or of `GymnasiumWorld` and the environment behind it.

    Raises:
        ConfigError: for an unknown name or option, with the nearest one.

    >>> make_world("random-doors", 2, max_steps=30).max_steps
    30
    """
    if name in DRAWN:
        world = DRAWN[name](num_envs, {**options, **(env_options or {})})
        side = world.frame_shape[-1]
        if image_size not in (None, side, (side, side)):
            raise ConfigError(f"`image_size` of `{name}` must be {side}, at which it is drawn; got {image_size}.")
        return world
    size = 64 if image_size is None else image_size
    name = BY_ID.get(name, name)
    if not is_environment_id(name):
        raise unknown("environment", name, WORLDS)
    return GymnasiumWorld(name, num_envs, image_size=size, workers=workers, env_options=env_options, **options)


def is_environment_id(name: str) -> bool:
    """Whether a word is written like the id of a Gymnasium environment, such as `package:Name-v0`."""
    return bool(re.fullmatch(r"([\w.]+:)?([\w-]+/)?[\w.-]+", name) and re.search(r"[/:]|-v\d", name))
