"""`openjepa eval`, `openjepa plan` and `openjepa doctor`: look at a finished run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from openjepa.command_line.command import OK, SICK
from openjepa.command_line.runs import examine, open_run
from openjepa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from openjepa.protocols import TrajectoryBatch

EPISODES = 64  # held-out episodes that the doctor looks at
FRAMES = 64  # and frames of each


@dataclass(frozen=True)
class EvalOptions:
    """Options of `eval`."""

    run: tyro.conf.Positional[Path]  # a run directory, such as runs/two-rooms
    manifest: Path | None = None  # pairs of start and goal; None = drawn from episodes that were held out
    world: str | None = None  # where recorded episodes come from, if the run does not know
    radius: float | None = None  # within which a goal counts as reached, in the unit of the world's states


def evaluate(options: EvalOptions, env: Mapping[str, Any] | None = None) -> int:
    """Judges a run the way its recipe says, prints the figures and writes `results.json`."""
    run = open_run(options.run)
    if run.recipe.judge is None:
        raise ConfigError(
            f"the recipe `{run.name}` has no evaluation. `openjepa doctor {run.path}` looks at its latents."
        )
    if run.name == "world":
        from openjepa.recipes.judge_world import judge

        results = judge(
            in_world(run.config, options.world, env), run.path, manifest=options.manifest, radius=options.radius
        )
    elif options.manifest or options.world or options.radius or env:
        raise ConfigError(
            f"`--manifest`, `--world`, `--radius` and `--env` are for runs of the recipe `world`, not `{run.name}`."
        )
    else:
        results = run.recipe.judge(run.config, run.path)
    path = run.path / "results.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    for name, value in _flat(results).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    print(f"written to {path}")
    return OK


def in_world(config: Any, world: str | None, env: Mapping[str, Any] | None) -> Any:
    """The configuration of a run of `world`, with another world or other options where they are given."""
    if world is None and not env:
        return config
    play = replace(config.play, world=world or config.play.world, options=dict(env or config.play.options))
    return replace(config, play=play)


@dataclass(frozen=True)
class PlanOptions:
    """Options of `plan`."""

    run: tyro.conf.Positional[Path]  # a run directory, such as runs/two-rooms, or an agent's folder
    goal: Path | None = None  # a picture of the goal; None = one that is drawn
    world: str | None = None  # where to play; None = where the agent learned
    steps: int = 100  # that the agent has on its way to a picture
    seed: int = 0  # of start and goal
    out: Path | None = None  # .gif is animated, .png a strip of frames; None = plan.gif in RUN


def plan(options: PlanOptions, env: Mapping[str, Any] | None = None) -> int:
    """Plays one episode towards a goal and writes it as a picture."""
    from openjepa.eval.pages.animation import write_replay

    out = options.out or options.run / "plan.gif"
    if options.goal is None and options.world is None and not env:
        run = open_run(options.run)
        if run.recipe.replay is not None:
            replay = run.recipe.replay(run.config, run.path, options.seed)
            outcome = "reached" if replay.success else "did not reach"
            print(f"{outcome} the goal in {len(replay.frames) - 1} steps: {write_replay(replay, out)}")
            return OK
        if run.name != "world":
            raise ConfigError(f"the recipe `{run.name}` has no actor: it learns to see, not to act.")
    from openjepa.recipes.play_to_picture import play_to_picture

    result = play_to_picture(
        options.run, goal=options.goal, world=options.world, env=env, steps=options.steps, seed=options.seed
    )
    print(f"{result.words}: {write_replay(result.replay, out)}")
    return OK


@dataclass(frozen=True)
class DoctorOptions:
    """Options of `doctor`."""

    run: tyro.conf.Positional[Path]  # a run directory, or a checkpoint inside one
    data: Path | None = None  # a store of held-out episodes; None = those that the recipe keeps back
    frameskip: int = 1  # environment steps between two frames of the model; only with --data
    json: bool = False  # print the measured numbers as JSON


def doctor(options: DoctorOptions) -> int:
    """Says whether a run has collapsed, how, and what to change; status 0 for healthy, 1 for sick."""
    from openjepa.eval.health.doctor import diagnose
    from openjepa.train import load_method

    method = load_method(options.run)
    names: tuple[str, ...] = ()
    if options.data is not None:
        held_out = read_held_out(options.data, options.frameskip)
    else:
        run = open_run(options.run)
        experiment = run.recipe.build(run.config)
        if experiment.held_out is None:
            raise ConfigError(f"the recipe `{run.name}` keeps no episodes back; give some with --data STORE.")
        held_out, names = experiment.held_out(), experiment.state_names
    found = examine(method, held_out, names)
    verdict = diagnose(found)
    if options.json:
        print(json.dumps({"kind": verdict.kind, "healthy": verdict.healthy, **found.as_json()}, indent=2))
    else:
        print(verdict.text())
    return OK if verdict.healthy else SICK


def read_held_out(path: Path, frameskip: int = 1) -> "TrajectoryBatch":
    """Reads the last episodes of a store, cut to the length of the shortest.

    Raises:
        DataError: where there are fewer than two episodes or one is too short.
    """
    import numpy as np
    import torch

    from openjepa.data import EpisodeStore
    from openjepa.protocols import TrajectoryBatch

    store = EpisodeStore.open(path)
    if len(store) < 2:
        raise DataError(f"the doctor needs at least 2 episodes; `{path}` has {len(store)}. Collect more.")
    ids = range(max(0, len(store) - EPISODES), len(store))
    steps = min(int(min(store.lengths[i] for i in ids)) // frameskip, FRAMES - 1)
    if steps < 1:
        raise DataError(f"every episode needs at least {frameskip} steps; one of `{path}` is shorter.")

    def rows(name: str) -> torch.Tensor | None:
        if name not in [column.name for column in store.columns]:
            return None
        parts = [store.rows_of(name, i)[: steps * frameskip + 1 : frameskip] for i in ids]
        return torch.from_numpy(np.stack(parts))

    actions = [store.rows_of("actions", i)[: steps * frameskip].reshape(steps, -1) for i in ids]
    frames = rows("frames")
    assert frames is not None
    return TrajectoryBatch(frames, torch.from_numpy(np.stack(actions)), rows("proprio"), rows("states"))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{name}."))
        elif not (isinstance(value, (list, tuple)) and len(value) > 8):  # long lists are for the file
            found[f"{prefix}{name}"] = value
    return found
