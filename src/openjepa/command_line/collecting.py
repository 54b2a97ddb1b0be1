"""`openjepa collect` and `openjepa data`: record play into a store, and look at what is in one."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from openjepa.command_line.command import OK, SICK
from openjepa.errors import ConfigError

DEFAULT_POLICIES = {"push-t": "push", "gym_pusht/PushT-v0": "push"}
NUM_ENVS = 16  # environments side by side where the user does not say


@dataclass(frozen=True)
class CollectOptions:
    """Options of `collect`."""

    world: tyro.conf.Positional[str]  # a world of `openjepa list`, or a Gymnasium id
    episodes: int = 100  # finished episodes that the store has at the end
    steps: int | None = None  # actions of an episode; None = what the world says
    out: Path | None = None  # folder of the store; None = data/WORLD
    policy: str | None = None  # smooth, directed, uniform, drift, one-hot, push; None = one that fits
    seed: int = 0  # of the whole collection
    num_envs: int = NUM_ENVS  # environments side by side; the data do not depend on it


def collect(options: CollectOptions) -> int:
    """Records episodes, or continues a recording that was interrupted."""
    from tqdm import tqdm

    from openjepa.data import EpisodeStore
    from openjepa.envs import collect, default_policy, make_policy, make_world

    if options.num_envs < 1:
        raise ConfigError(f"`--num-envs` must be at least 1; got {options.num_envs}.")
    world = make_world(options.world, min(options.num_envs, max(options.episodes, 1)))
    name = options.policy or DEFAULT_POLICIES.get(options.world) or default_policy(world.bounds)
    policy = make_policy(name, world.bounds)
    path = options.out or Path("data") / options.world.replace("/", "-").replace(":", "-")
    with EpisodeStore.resume(path) as store, tqdm(unit="episode", file=sys.stderr, disable=None) as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        facts = {"world": options.world, "policy": name}
        collect(world, policy, store, options.episodes, options.steps, options.seed, progress=show, info=facts)
        done = len(store)
    print(f"{path}: {done} episodes of {options.world}, played by `{name}`")
    return OK


@dataclass(frozen=True)
class DataOptions:
    """Options of `data`."""

    action: tyro.conf.Positional[Literal["info", "check"]]  # info: what is inside; check: verify every byte
    path: tyro.conf.Positional[Path]  # folder of an episode store


def data(options: DataOptions) -> int:
    """Describes a store, or verifies it; status 1 for a damaged one."""
    from openjepa.data import check, describe

    if options.action == "check":
        report = check(options.path)
        print(report)
        return OK if report.is_sound else SICK
    for name, value in describe(options.path).items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key}: {inner}")
        else:
            print(f"{name}: {value}")
    return OK
