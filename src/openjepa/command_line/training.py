"""`openjepa demo`, `openjepa compare` and `openjepa train`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from openjepa.command_line.command import OK
from openjepa.command_line.options import with_config
from openjepa.errors import ConfigError, listing


def demo_options(words: Sequence[str]) -> type:
    """The configuration of the demonstration is its options."""
    from openjepa.recipes.demo import DemoConfig

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

    recipe: tyro.conf.Positional[str]  # see `openjepa list`; `openjepa train RECIPE --help` shows its options
    run_dir: Path | None = None  # where the run goes; None = runs/RECIPE


def train_options(words: Sequence[str]) -> type:
    """The options of the recipe that the first word names, and where the run goes."""
    from openjepa.studies import experiments, load_experiment

    own: list[tuple[str, Any, Any]] = [
        ("recipe", tyro.conf.Positional[str], ...),
        ("run_dir", Path | None, None),
    ]
    if not words or words[0].startswith("-"):
        if any(word in ("-h", "--help") for word in words):
            return TrainHelp
        known = listing(sorted(experiments()))
        raise ConfigError(
            f"`train` needs a recipe: openjepa train RECIPE. Known: {known}. `openjepa list` tells what each does."
        )
    return with_config("TrainOptions", own, load_experiment(words[0]).config)


def train(options: Any) -> int:
    """Trains a recipe, or goes on where an earlier start was stopped; then asks the doctor."""
    from openjepa.command_line.runs import write_run_report
    from openjepa.config import to_dict
    from openjepa.studies import load_experiment
    from openjepa.train import train

    recipe = load_experiment(options.recipe)
    run_dir = options.run_dir or Path("runs") / options.recipe
    experiment = recipe.build(options.config)
    result = train(
        experiment.method,
        experiment.source,
        options.config.train,
        run_dir,
        recipe_config={"recipe": options.recipe, **to_dict(options.config)},
        diagnostics=experiment.diagnostics,
    )
    if os.environ.get("RANK", "0") == "0":  # one process of `torchrun` speaks for all
        print(f"{run_dir}: finished {result.step} steps")
        write_run_report(run_dir, options.recipe, recipe.summary, experiment)
    return OK
