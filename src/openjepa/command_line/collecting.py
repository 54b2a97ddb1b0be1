"""`openjepa collect`: record play into a store."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from openjepa.command_line.command import OK
from openjepa.command_line.converting import progress_bar
from openjepa.errors import ConfigError

DEFAULT_POLICIES = {
    "push-t": "push",
    "gym_pusht/PushT-v0": "push",
    "arm": "arm",
    "arm-around": "arm",
    "arm-push": "arm-push",
}
NUM_ENVS = 16  # environments side by side where the user does not say


@dataclass(frozen=True)
class CollectOptions:
    """Options of `collect`."""

    world: tyro.conf.Positional[str]  # a world of `openjepa list`, or a Gymnasium id
    episodes: int = 100  # finished episodes that the store has at the end
    steps: int | None = None  # actions of an episode; None = what the world says
    out: Path | None = None  # folder of the store; None = data/WORLD
    policy: str | None = None  # smooth, directed, uniform, drift, one-hot, push, arm, arm-push; None = one that fits
    seed: int = 0  # of the whole collection
    image_size: str = "64"  # side of square frames in px, or HxW
    states: bool = True  # record the simulator's truth, for probes and judging; --no-states leaves it out
    num_envs: int = NUM_ENVS  # environments side by side; the data do not depend on it
    workers: int = 1  # processes that share them; the data do not depend on it


def collect(options: CollectOptions, env: Mapping[str, Any] | None = None) -> int:
    """Records episodes, or continues a recording that was interrupted."""
    from openjepa.data import EpisodeStore
    from openjepa.envs import collect, default_policy, make_policy, make_world

    if options.num_envs < 1 or options.workers < 1:
        raise ConfigError(
            f"`--num-envs` and `--workers` must be at least 1; got {options.num_envs} and {options.workers}."
        )
    count = min(options.num_envs, max(options.episodes, 1))
    size = parse_image_size(options.image_size)
    world = make_world(options.world, count, image_size=size, workers=options.workers, env_options=env)
    with_states = options.states and world.has_states
    if options.states and not world.has_states:
        print(f"{options.world} observes no plain vector: recording without states.", file=sys.stderr)
    name = options.policy or DEFAULT_POLICIES.get(options.world) or default_policy(world.bounds)
    policy = make_policy(name, world.bounds)
    path = options.out or Path("data") / options.world.replace("/", "-").replace(":", "-")
    facts = {"world": options.world, "policy": name, **({"env_options": dict(env)} if env else {})}
    notes = {"action_bounds": world.bounds.to_dict(), "state_names": world.state_names if with_states else ()}
    try:
        with EpisodeStore.resume(path) as store, progress_bar() as show:
            collect(
                world,
                policy,
                store,
                options.episodes,
                options.steps,
                options.seed,
                progress=show,
                info=facts,
                notes=notes,
                with_states=with_states,
            )
            done = len(store)
    finally:
        world.close()
    print(f"{path}: {done} episodes of {options.world}, played by `{name}`")
    return OK


def parse_image_size(text: str) -> tuple[int, int]:
    """(H, W) in px of a word such as `64` or `64x96`.

    Raises:
        ConfigError: for anything else.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError(f"`--image-size` must be a side in px, or HxW as in 64x96; got {text}.")
    return int(sides[0]), int(sides[-1])
