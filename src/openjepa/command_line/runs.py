"""Run directories: which recipe made them, how healthy they are, and the page that shows it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openjepa.config import from_dict
from openjepa.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from openjepa.eval.health.collapse import LatentDiagnostics
    from openjepa.protocols import TrajectoryBatch
    from openjepa.recipes import Experiment, Recipe


@dataclass(frozen=True)
class Run:
    """A run directory and the recipe that made it.

    Attributes:
        path: the directory.
        name: of the recipe.
        recipe: the recipe itself.
        config: its configuration in this run.
    """

    path: Path
    name: str
    recipe: "Recipe"
    config: Any


def open_run(path: Path) -> Run:
    """Reads which recipe, with which options, made a run.

    Raises:
        CheckpointError: where there is no run.
        ConfigError: where the run was not made by a recipe.
    """
    from openjepa.studies import load_experiment
    from openjepa.train.run_dir import read_record

    file = path / "config.json"
    if not file.is_file():
        raise CheckpointError(f"`{path}` must be a run directory with a config.json; there is none. Train first.")
    recorded = read_record(path).get("recipe")
    if not isinstance(recorded, dict) or "recipe" not in recorded:
        raise ConfigError(f"{file} names no recipe: this run was not made by `openjepa train`.")
    options = dict(recorded)
    name = options.pop("recipe")
    recipe = load_experiment(name)
    return Run(path, name, recipe, from_dict(type(recipe.config), options))


def examine(method: Any, held_out: "TrajectoryBatch", state_names: tuple[str, ...] = ()) -> "LatentDiagnostics":
    """Measures a world model on held-out episodes beside an untrained twin.

    Raises:
        ConfigError: for a method that has no latents to look at.
    """
    from openjepa.eval.health.collapse import measure, untrained_twin
    from openjepa.protocols import WorldModel

    if not isinstance(method, WorldModel):
        raise ConfigError(
            f"the doctor must be given a world model with `encode` and `rollout`; got {type(method).__name__}."
        )
    return measure(method, held_out, untrained=untrained_twin(method), state_names=state_names)


def write_run_report(run_dir: Path, name: str, summary: str, experiment: "Experiment") -> None:
    """Writes `report.html` and `diagnosis.json` beside a finished run, and prints the verdict."""
    from openjepa.eval.health.doctor import diagnose
    from openjepa.eval.pages.figures import training_curves
    from openjepa.eval.pages.report import Report
    from openjepa.train.log import read_metrics

    report = Report(f"Run: {name}", summary)
    if experiment.held_out is not None:
        found = examine(experiment.method, experiment.held_out(), experiment.state_names)
        verdict = diagnose(found)
        (run_dir / "diagnosis.json").write_text(
            json.dumps({"kind": verdict.kind, "healthy": verdict.healthy, **found.as_json()}, indent=2) + "\n"
        )
        print(verdict.text())
        report.diagnosis(verdict, found)
    metrics = read_metrics(run_dir / "metrics.jsonl")
    if metrics:
        report.section("Training")
        report.figure(training_curves(metrics), "Unweighted terms of the loss, and the diagnostics, by step.")
    print(f"report: {report.write(run_dir / 'report.html')}")
