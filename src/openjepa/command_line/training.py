"""`openjepa demo`, `openjepa compare` and `openjepa train`."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from openjepa.command_line import speaking
from openjepa.command_line.command import OK
from openjepa.command_line.options import with_config
from openjepa.errors import ConfigError, DataError, unknown


def demo_options(words: Sequence[str]) -> type:
    """The configuration of the demonstration is its options."""
    from openjepa.recipes.demo_options import DemoConfig

    return DemoConfig


def demo(options: Any) -> int:
    """Collects, trains, plans and writes the report."""
    from openjepa.recipes.demo import run

    run(options)
    return OK


def compare_options(words: Sequence[str]) -> type:
    """The configuration of the comparison is its options."""
    from openjepa.studies.comparison.scale import CompareConfig

    return CompareConfig


def compare(options: Any) -> int:
    """Trains and judges all rivals and writes the report."""
    from openjepa.studies.comparison.compare import run

    run(options)
    return OK


@dataclass(frozen=True)
class TrainHelp:
    """What `openjepa train --help` shows before a recipe is named."""

    what: tyro.conf.Positional[str]  # a recipe, a world or a store; `openjepa train WHAT --help` shows its options
    run_dir: Path | None = None  # where the run goes; None = runs/WHAT


def train_options(words: Sequence[str]) -> type:
    """The options of what the first word names (a recipe, a world or a store), and where the run goes."""
    from openjepa.studies import experiments, load_experiment

    own: list[tuple[str, Any, Any]] = [
        ("what", tyro.conf.Positional[str], ...),
        ("run_dir", Path | None, None),
    ]
    if not words or words[0].startswith("-"):
        if any(word in ("-h", "--help") for word in words):
            return TrainHelp
        raise ConfigError(
            "`train` needs a recipe, a world or a store: openjepa train WHAT. `openjepa list` names what is known."
        )
    if words[0] in experiments():
        return with_config("TrainOptions", own, load_experiment(words[0]).config)
    if words[0] == speaking.LANGUAGE:
        return speaking.language_options(words)
    from openjepa.recipes.world import WorldConfig

    _check_generic(words[0])
    return with_config("TrainOptions", own, WorldConfig())


def _check_generic(word: str) -> None:
    """Whether a word that names no recipe can be a store or a world.

    Raises:
        ConfigError: where it is neither, with the nearest recipe.
        DataError: for a folder that holds no store.
    """
    from openjepa.data.robot.convert import is_robot_data
    from openjepa.envs import WORLDS, is_environment_id
    from openjepa.studies import experiments

    path = Path(word)
    if path.is_dir():
        if not (path / "store.json").is_file() and not is_robot_data(path):
            raise DataError(
                f"`{word}` must be a store of episodes (store.json), a LeRobot data set (meta/info.json) or hold DROID "
                "trajectories; it is none. See `openjepa collect`."
            )
    elif word not in WORLDS and not is_environment_id(word):
        raise unknown("recipe", word, [*experiments(), *WORLDS], command="openjepa list")


def train(options: Any, env: Mapping[str, Any] | None = None) -> int:
    """Trains, or goes on where an earlier start was stopped; then saves the agent and asks the doctor."""
    if isinstance(options, speaking.TrainLanguageOptions):
        if env:
            raise ConfigError("`--env.` options are for worlds; a run keeps its own when it learns words.")
        return speaking.train_language(options)
    from openjepa.command_line.runs import write_run_report
    from openjepa.config import to_dict
    from openjepa.recipes import world_recipe
    from openjepa.studies import experiments, load_experiment
    from openjepa.train import train

    run_dir = options.run_dir or Path("runs") / _run_name(options.what)
    if options.what in experiments():
        if env:
            raise ConfigError(f"`--env.` options are for worlds; `{options.what}` is a recipe with options of its own.")
        name, recipe, config = options.what, load_experiment(options.what), options.config
    else:
        name, recipe = "world", world_recipe()
        config = _resolved(options, dict(env or {}), run_dir)
    experiment = recipe.build(config)
    result = train(
        experiment.method,
        experiment.source,
        config.train,
        run_dir,
        recipe_config={"recipe": name, **to_dict(config)},
        diagnostics=experiment.diagnostics,
    )
    if os.environ.get("RANK", "0") == "0":  # one process of `torchrun` speaks for all
        print(f"{run_dir}: finished {result.step} steps")
        if recipe.finish is not None:
            recipe.finish(config, run_dir)
            print(f"agent: {run_dir / 'agent'}")
        write_run_report(run_dir, options.what, recipe.summary, experiment)
    return OK


def _resolved(options: Any, env: dict[str, Any], run_dir: Path) -> Any:
    """The generic recipe with every option chosen; says what was measured."""
    from openjepa.data.robot.convert import is_robot_data
    from openjepa.recipes.world import resolve

    path = Path(options.what)
    config, world = options.config, options.what
    if path.is_dir():
        if not (path / "store.json").is_file() and is_robot_data(path):
            path = robot_store(path, run_dir, config.image_size)
        config, world = replace(config, data=path), ""
    kept = None
    if config.minutes is not None and (run_dir / "config.json").is_file():
        from openjepa.command_line.runs import open_run

        kept = open_run(run_dir).config
    resolved = resolve(config, world, env, kept=kept)
    for line in resolved.choices:
        print(line)
    return resolved


def robot_store(folder: Path, run_dir: Path, size: int) -> Path:
    """A robot's data as a store beside the run; the folder itself is only read. One process of several writes it."""
    from openjepa.data import EpisodeStore
    from openjepa.data.robot.convert import open_robot_data, to_store

    out = run_dir.with_name(f"{run_dir.name}-episodes")
    with open_robot_data(folder, size=size, other_cameras=False) as data:
        if os.environ.get("RANK", "0") == "0":
            count = to_store(data, out, say=print)
            print(f"{out}: {count} episodes of {folder}, the centre square of each frame at {size} px (--image-size)")
        else:
            while not (out / "store.json").is_file() or len(EpisodeStore.open(out)) < len(data):
                time.sleep(0.5)
    return out


def _run_name(what: str) -> str:
    """The folder of a run under `runs`: the recipe, the world's id, or the last part of a store's path."""
    return Path(what).resolve().name if Path(what).is_dir() else what.replace("/", "-").replace(":", "-")
