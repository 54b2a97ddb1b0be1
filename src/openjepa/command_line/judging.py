"""`openjepa eval`, `openjepa plan` and `openjepa doctor`: look at a finished run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from openjepa.command_line.command import OK, SICK
from openjepa.command_line.runs import check_up, check_up_run, open_run
from openjepa.command_line.speaking import is_picture_name
from openjepa.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from openjepa.data.data_use import DataUse
    from openjepa.planning.hierarchical import Hierarchy
    from openjepa.protocols import TrajectoryBatch

EPISODES = 64  # held-out episodes that the doctor looks at
FRAMES = 64  # and frames of each
PICTURES = (".png", ".svg", ".pdf")


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
    goal: str | None = None  # a picture of the goal, or words ("go to the red disc"); None = a picture that is drawn
    world: str | None = None  # where to play; None = where the agent learned
    steps: int = 100  # that the agent has on its way to a picture
    seed: int = 0  # of start and goal
    out: Path | None = None  # .gif is animated, .png a strip of frames, .html also says why; None = plan.gif in RUN


def plan(options: PlanOptions, env: Mapping[str, Any] | None = None) -> int:
    """Plays one episode towards a goal and writes it as a picture."""
    from openjepa.eval.pages.animation import write_replay

    out = options.out or options.run / "plan.gif"
    if options.goal is None and options.world is None and not env:
        run = open_run(options.run)
        if run.recipe.replay is not None and out.suffix != ".html":
            replay = run.recipe.replay(run.config, run.path, options.seed)
            outcome = "reached" if replay.success else "did not reach"
            print(f"{outcome} the goal in {len(replay.frames) - 1} steps: {write_replay(replay, out)}")
            return OK
        if run.name != "world" and run.recipe.finish is None:
            raise ConfigError(f"the recipe `{run.name}` has no actor: it learns to see, not to act.")
    from openjepa.recipes.play_to_picture import play_to_picture
    from openjepa.recipes.play_to_words import play_to_words

    where: dict[str, Any] = {"world": options.world, "env": env, "steps": options.steps, "seed": options.seed}
    if options.goal is None or is_picture_name(options.goal):
        result = play_to_picture(options.run, goal=None if options.goal is None else Path(options.goal), **where)
    else:
        result = play_to_words(options.run, options.goal, **where)
    for thought in result.thoughts:
        print(thought)
    if out.suffix == ".html":
        from openjepa.recipes.played_page import write_played_page

        print(f"{result.words}: {write_played_page(out, f'Plan: {options.run.name}', result)}")
    else:
        print(f"{result.words}: {write_replay(result.replay, out)}")
    return OK


@dataclass(frozen=True)
class DoctorOptions:
    """Options of `doctor`."""

    run: tyro.conf.Positional[Path]  # a run directory, or a checkpoint inside one
    data: Path | None = None  # a store of held-out episodes; None = those that the recipe keeps back
    frameskip: int | None = None  # environment steps between two frames of the model, with --data; None = the agent's
    window: int | None = None  # frames of a training window, for what it cannot use, with --data; None = the run's
    out: Path | None = None  # a picture (.png, .svg, .pdf) of where in the frame the model is blind
    json: bool = False  # print the measured numbers as JSON


def doctor(options: DoctorOptions) -> int:
    """Says whether a run has collapsed, how, and what to change; status 0 for healthy, 1 for sick.

    Looked at is the world model that acts, where the run has a finished agent, else that of the last checkpoint.
    """
    if options.out is not None and options.out.suffix not in PICTURES:
        raise ConfigError(f"`--out` must end in {', '.join(PICTURES)}; got {options.out}.")
    method, folder, frameskip, hierarchy = _examined(options.run)
    if options.data is not None:
        held_out, use = read_held_out(
            options.data, options.frameskip or frameskip, _window(folder) if options.window is None else options.window
        )
        checked = check_up(method, held_out, data=use, hierarchy=hierarchy)
    else:
        run = open_run(folder)
        kept_back = check_up_run(method, run.recipe.build(run.config), hierarchy)
        if kept_back is None:
            raise ConfigError(f"the recipe `{run.name}` keeps no episodes back; give some with --data STORE.")
        checked = kept_back
    print(json.dumps(checked.as_json(), indent=2) if options.json else checked.text())
    if options.out is not None:
        figure = checked.picture()
        if figure is None:
            raise DataError(f"{options.out} was not drawn: nothing was found that moves in a way pictures foretell.")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.out, dpi=160, facecolor="white")
        if not options.json:
            print(f"picture: {options.out}")
    return OK if checked.healthy else SICK


def _examined(path: Path) -> "tuple[Any, Path, int, Hierarchy | None]":
    """The model that the doctor looks at, its run, the environment steps of one of its steps, and its upper levels."""
    from openjepa.agent.saved import find_agent, load_agent
    from openjepa.train import load_method

    try:
        folder = find_agent(path)
    except CheckpointError:
        return load_method(path), path, 1, None
    agent = load_agent(folder)
    run_dir = path if (path / "config.json").is_file() else folder.parent
    return agent.model, run_dir, agent.config.frameskip, agent.hierarchy


def _window(folder: Path) -> int:
    """Frames of the windows that a run learned from; 2, one model step, where no recipe says it."""
    try:
        return int(getattr(open_run(folder).config, "window", 2))
    except (CheckpointError, ConfigError):
        return 2


def read_held_out(path: Path, frameskip: int = 1, window: int = 2) -> "tuple[TrajectoryBatch, DataUse]":
    """Reads the last episodes of a store, each in full up to a number of frames, and counts what windows cannot use.

    Raises:
        DataError: where there are fewer than two episodes of one model step.
    """
    from openjepa.data import EpisodeStore
    from openjepa.data.data_use import data_use
    from openjepa.data.whole_episodes import long_enough, read_episodes

    if window < 2 or frameskip < 1:
        raise ConfigError(f"`window` must be >= 2 and `frameskip` >= 1; got {window} and {frameskip}.")
    store = EpisodeStore.open(path)
    ids = long_enough(store, range(len(store)), frameskip)[-EPISODES:]
    if len(ids) < 2:
        raise DataError(
            f"the doctor needs at least 2 episodes of {frameskip} steps or more; `{path}` has {len(ids)} among "
            f"{len(store)}. Collect more."
        )
    use = data_use(store.lengths, (window - 1) * frameskip)
    return read_episodes(store, ids, frameskip, max_frames=FRAMES), use


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{name}."))
        elif not (isinstance(value, (list, tuple)) and len(value) > 8):  # long lists are for the file
            found[f"{prefix}{name}"] = value
    return found
