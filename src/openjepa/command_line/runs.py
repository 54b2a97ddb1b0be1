"""Run directories: which recipe made them, how healthy they are, and the page that shows it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from openjepa.data.data_use import DataUse
    from openjepa.eval.health.collapse import LatentDiagnostics
    from openjepa.eval.health.doctor import Diagnosis
    from openjepa.eval.health.hierarchy import LevelHealth
    from openjepa.planning.hierarchical import Hierarchy
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
        inner = path / "run"  # a demonstration keeps its run beside its report
        where = f" Its run is `{inner}`." if (inner / "config.json").is_file() else ""
        raise ConfigError(f"{file} names no recipe: this run was not made by `openjepa train`.{where}")
    options = dict(recorded)
    name = options.pop("recipe")
    recipe = load_experiment(name)
    return Run(path, name, recipe, from_dict(type(recipe.config), options))


@dataclass(frozen=True)
class CheckUp:
    """What the doctor found about a model.

    Attributes:
        verdict: in words.
        found: the numbers.
        held_out: the episodes that it looked at.
        data: what of the training episodes windows can use, where that is known.
        levels: what was found about the upper levels of a hierarchy, from the lowest.
    """

    verdict: "Diagnosis"
    found: "LatentDiagnostics"
    held_out: "TrajectoryBatch"
    data: "DataUse | None" = None
    levels: "tuple[LevelHealth, ...]" = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found, at any level."""
        return self.verdict.healthy and not any(level.complaints for level in self.levels)

    def text(self) -> str:
        """Returns the verdict as lines for a terminal, and that on the upper levels after it."""
        lines = [self.verdict.text()]
        if self.levels:
            complaints = [words for level in self.levels for words in level.complaints]
            lines += ["", "Upper levels", *(f"  - {level.text()}" for level in self.levels)]
            lines += [f"  sick: {words}" for words in complaints] or ["  healthy: nothing was found"]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Returns verdict and numbers as plain values."""
        head = {"kind": self.verdict.kind, "healthy": self.verdict.healthy, "also": list(self.verdict.also)}
        levels = [{**vars(level), "complaints": list(level.complaints)} for level in self.levels]
        data = None if self.data is None else to_dict(self.data)
        return {**head, **self.found.as_json(), "data": data, "levels": levels}

    def picture(self) -> "Figure | None":
        """Draws where in the frame the model is blind; None where nothing is known to move."""
        from openjepa.eval.health.blind_map import blind_map
        from openjepa.eval.pages.figures import blind_spots

        if self.found.sight is None:
            return None
        spots = blind_map(self.held_out, self.found.sight)
        return blind_spots(*(part.numpy() for part in (spots.frame, spots.unseen, spots.motion, spots.blind)))


def check_up(
    method: Any,
    held_out: "TrajectoryBatch",
    state_names: tuple[str, ...] = (),
    *,
    data: "DataUse | None" = None,
    hierarchy: "Hierarchy | None" = None,
) -> CheckUp:
    """Measures a world model closely on held-out episodes, beside an untrained twin, and its upper levels; judges them.

    Raises:
        ConfigError: for a method that has no latents to look at.
    """
    from torch.nn import Module

    from openjepa.eval.health.collapse import measure, untrained_twin
    from openjepa.eval.health.doctor import diagnose
    from openjepa.models.frozen_tokens import FrozenTokens
    from openjepa.protocols import WorldModel

    if not isinstance(method, WorldModel):
        raise ConfigError(
            f"the doctor must be given a world model with `encode` and `rollout`; got {type(method).__name__}."
        )
    found = measure(method, held_out, untrained=untrained_twin(method), state_names=state_names, closely=True)
    levels: tuple[LevelHealth, ...] = ()
    if hierarchy is not None:
        from openjepa.eval.health.collapse import encode_episodes
        from openjepa.eval.health.hierarchy import examine
        from openjepa.methods.hjepa import HJEPA

        assert isinstance(method, HJEPA)  # a hierarchy is read for no other
        levels = examine(method, hierarchy, encode_episodes(method, held_out), held_out.actions, held_out.lengths)
    frozen = isinstance(method, Module) and any(isinstance(part, FrozenTokens) for part in method.modules())
    return CheckUp(diagnose(found, data=data, frozen=frozen), found, held_out, data, levels)


def check_up_run(method: Any, experiment: "Experiment", hierarchy: "Hierarchy | None" = None) -> CheckUp | None:
    """The same on the episodes that a recipe keeps back; None where it keeps none."""
    from openjepa.data import WindowSource
    from openjepa.data.data_use import data_use

    if experiment.held_out is None:
        return None
    source = experiment.source
    data = data_use(source.lengths, source.window_steps) if isinstance(source, WindowSource) else None
    return check_up(method, experiment.held_out(), experiment.state_names, data=data, hierarchy=hierarchy)


def write_run_report(run_dir: Path, name: str, summary: str, experiment: "Experiment") -> None:
    """Writes `report.html` and `diagnosis.json` beside a finished run, and prints the verdict."""
    from openjepa.eval.pages.figures import training_curves
    from openjepa.eval.pages.report import Report
    from openjepa.train.log import read_metrics

    report = Report(f"Run: {name}", summary)
    method, hierarchy = experiment.method, None
    if (run_dir / "agent" / "hierarchy.safetensors").is_file():
        from openjepa.agent.saved import load_agent

        agent = load_agent(run_dir)
        method, hierarchy = agent.model, agent.hierarchy
    checked = check_up_run(method, experiment, hierarchy)
    if checked is not None:
        (run_dir / "diagnosis.json").write_text(json.dumps(checked.as_json(), indent=2) + "\n")
        print(checked.text())
        report.diagnosis(checked.verdict, checked.found)
        for level in checked.levels:
            report.text(f"{level.text()}. {' '.join(f'Sick: {words}.' for words in level.complaints)}")
        picture = checked.picture()
        if picture is not None:
            report.figure(picture, "What moves in held-out frames, and what of it the latent does not hold (red).")
    metrics = read_metrics(run_dir / "metrics.jsonl")
    if metrics:
        report.section("Training")
        report.figure(training_curves(metrics), "Unweighted terms of the loss, and the diagnostics, by step.")
    print(f"report: {report.write(run_dir / 'report.html')}")
