"""One agent, one folder: everything that acts, written once after training and reopened without fitting anything.

    agent/agent.json                what each part is, its options, and the SHA-256 of its weights
          world_model.safetensors   perception and world model: encoder, predictor, statistics of actions
          critic.safetensors        learned distance to a goal, where the cost holds one
          memory.safetensors        landmarks and ways between them, where the agent has a map
          hierarchy.safetensors     what upper levels plan with, where the world model has some
          actor.safetensors         policy whose proposals the planner starts from, where there is one
          reflex-....safetensors    policy that was distilled from the agent's own plans (Mode-1), where there is one

How an agent imagines its map, where it does, is said in `agent.json`: the map is drawn anew in every episode.

The names are those of LeCun's architecture (A Path Towards Autonomous Machine Intelligence, 2022): perception, world
model, critic, actor, short-term memory; the planner is the actor's Mode-2. Reading is strict: a part that is missing,
damaged, of another version or of another shape is an error that names it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from openjepa.agent.agent import Agent
from openjepa.agent.agent_config import AgentConfig
from openjepa.agent.experience import grown, recall
from openjepa.agent.imagined_map import ImagineConfig, Imagining
from openjepa.agent.reflex import Reflex, blank_reflex, describe_reflex
from openjepa.agent.saved_hierarchy import blank_hierarchy, describe_hierarchy
from openjepa.agent.saved_parts import (
    CARD,
    FORMAT,
    MEMORY,
    describe_cost,
    describe_memory,
    described_part,
    load_part,
    open_cost,
    open_memory,
)
from openjepa.agent.saved_planner import describe_planner, open_planner
from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError, OpenJEPAError, brief
from openjepa.files import cause_of, read_json, replace_text, sealed_json, sha256, sync
from openjepa.protocols import ActionBounds
from openjepa.train.checkpoint import build_method
from openjepa.version import __version__

READABLE = (1, FORMAT)  # in format 1 a map was another one, and is refused; all else is the same
WORLD_MODEL, HIERARCHY, EXPERIENCE, REFLEX, IMAGINES = "world_model", "hierarchy", "experience", "reflex", "imagines"


@dataclass(frozen=True)
class AgentCard:
    """What is known of a saved agent beside its weights; plain values only.

    Attributes:
        bounds: of one primitive action, and whether actions are numbers or choices.
        frame_shape: (C, H, W) of the pictures that it takes.
        world: name or id of the world that it learned in, "" for recorded episodes of unknown origin.
        world_options: of that world, by name.
        goals: kinds of goal that it takes.
        action_meaning: what the numbers of an action are, in words.
        trained_on: what it learned from: episodes, steps, what was left out.
        judged: what it was measured to reach, by name of the measurement; empty before `openjepa eval`.
        choices: why its options are what they are, a line each.
    """

    bounds: ActionBounds
    frame_shape: tuple[int, int, int]
    world: str = ""
    world_options: Mapping[str, Any] = field(default_factory=dict)
    goals: tuple[str, ...] = ("picture",)
    action_meaning: str = "the environment's own actions"
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    judged: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


def save_agent(folder: Path, agent: Agent, card: AgentCard) -> Path:
    """Writes an agent as one folder, which appears whole or not at all; one that is there is replaced.

    Args:
        folder: usually `RUN/agent`.
        agent: its planner is one of `PLANNERS` or proposes, verifies and repairs; its cost is a `PathCost`.
        card: what is known of it.

    Returns:
        The folder.

    Raises:
        ConfigError: for a part that has no place in the format.
        CheckpointError: where the disk is full or refuses.
    """
    parts: dict[str, nn.Module] = {}
    described: dict[str, Any] = {WORLD_MODEL: described_part(parts, WORLD_MODEL, agent.model)}
    described["cost"] = describe_cost(agent.cost, parts)
    described["planner"] = describe_planner(agent.planner, parts)
    if isinstance(agent, Imagining):
        described[IMAGINES] = {"scene_dim": agent.scene_dim, "config": to_dict(agent.imagines)}
    elif agent.landmarks is not None:
        described[MEMORY] = describe_memory(agent, parts)
    if agent.hierarchy is not None:
        parts[HIERARCHY] = agent.hierarchy
        described[HIERARCHY] = describe_hierarchy(agent.hierarchy)
    if agent.reflex is not None:
        parts[REFLEX] = agent.reflex
        described[REFLEX] = {**describe_reflex(agent.reflex), "file": REFLEX}
    values = {**vars(card), "bounds": card.bounds.to_dict(), "options": to_dict(agent.config), **described}
    temporary = folder.with_name(f".writing-{folder.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        files = {}
        for name, module in parts.items():
            path = temporary / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in module.state_dict().items()}, path)
            sync(path)
            files[path.name] = sha256(path)
        content = {"format": FORMAT, "openjepa": __version__, "files": files, **values}
        (temporary / CARD).write_text(sealed_json(content))
        sync(temporary / CARD)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"the agent cannot be written to {folder}: {cause_of(error, folder)}.") from error
    return folder


def note_judged(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Adds to a saved agent what it was measured to reach."""
    content = _read_card(folder)
    content["judged"] = {**content.get("judged", {}), name: dict(result)}
    replace_text(folder / CARD, sealed_json(content))


def add_reflex(folder: Path, reflex: Reflex, options: AgentConfig) -> None:
    """Gives a saved agent a Mode-1, and the options that use it; what it was measured to reach before is forgotten.

    The new weights lie beside the old ones before the card names them, so a process that dies at any moment leaves a
    whole agent.
    """
    content = _read_card(folder)
    old = content.pop(REFLEX, {}).get("file")
    draft = folder / f".writing-{REFLEX}"
    try:
        save_file({key: value.contiguous() for key, value in reflex.state_dict().items()}, draft)
        sync(draft)
        checksum = sha256(draft)
        name = f"{REFLEX}-{checksum[:8]}"
        draft.replace(folder / f"{name}.safetensors")
    except OSError as error:
        raise CheckpointError(f"the reflex cannot be written to {folder}: {cause_of(error, folder)}.") from error
    files = {path: value for path, value in content["files"].items() if path != f"{old}.safetensors"}
    content["files"] = {**files, f"{name}.safetensors": checksum}
    content[REFLEX] = {**describe_reflex(reflex), "file": name}
    content |= {"options": to_dict(options), "judged": {}}
    replace_text(folder / CARD, sealed_json(content))
    if old not in (None, name):
        (folder / f"{old}.safetensors").unlink(missing_ok=True)


def find_agent(path: Path | str) -> Path:
    """The folder of the agent that a path means: the folder itself, a run, or a demonstration.

    Raises:
        CheckpointError: where there is none.
    """
    path = Path(path)
    for folder in (path, path / "agent", path / "run" / "agent"):
        if (folder / CARD).is_file():
            return folder
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. Give the folder of a finished run.")
    if (path / "checkpoints").is_dir() or (path / "run").is_dir():
        raise CheckpointError(
            f"{path} holds no finished agent. Run the `openjepa train` (or `demo`) command that made it again: it goes "
            "on where it stopped and writes the agent at the end."
        )
    raise CheckpointError(f"{path} holds no agent ({CARD} is missing). Give the folder of a finished run.")


def read_card(path: Path | str) -> AgentCard:
    """Reads what is known of a saved agent without its weights; see `load_agent`."""
    folder = find_agent(path)
    return _card(folder, _read_card(folder))


def load_agent(path: Path | str, *, device: str = "cpu", remember: bool = False) -> Agent:
    """Reopens a saved agent, ready for `start(goal)` and `act(observation)`; nothing is fitted.

    Args:
        path: of the agent's folder, or of the run that it is in.
        device: where it sees and plans.
        remember: whether an agent with a map goes on from what it lived through, and keeps what it lives through now
            (`agent.finish()`); else it acts as it did after its training.

    Raises:
        CheckpointError: for a part that is missing, damaged, of another version or of another shape.
    """
    folder = find_agent(path)
    content = _read_card(folder)
    card = _card(folder, content)
    _check_files(folder, content)
    try:
        options = replace(from_dict(AgentConfig, content["options"]), device=device)
        bounds = card.bounds.with_frameskip(options.frameskip)
        model: Any = build_method(content[WORLD_MODEL], source=str(folder / CARD))
        load_part(folder, WORLD_MODEL, model)
        cost = open_cost(folder, content["cost"], device)
        planner = open_planner(content["planner"], bounds, lambda name, part: load_part(folder, name, part).to(device))
        if IMAGINES in content:
            known = content[IMAGINES]
            how = from_dict(ImagineConfig, known["config"])
            parts = model.to(device).eval(), planner, cost, card.bounds, options, card.frame_shape
            return Imagining(*parts, scene_dim=known["scene_dim"], imagines=how)
        landmarks = open_memory(folder, content[MEMORY], cost, device) if MEMORY in content else None
        hierarchy = None
        if HIERARCHY in content:
            hierarchy = blank_hierarchy(content[HIERARCHY], model)
            load_part(folder, HIERARCHY, hierarchy).to(device)
        reflex = None
        if REFLEX in content:
            reflex = blank_reflex(content[REFLEX], bounds)
            load_part(folder, content[REFLEX]["file"], reflex).to(device)
        diary = None
        if remember and landmarks is not None:
            diary = folder / EXPERIENCE
            landmarks = grown(landmarks, recall(diary))
        shape, model = card.frame_shape, model.to(device).eval()
        return Agent(model, planner, cost, card.bounds, options, shape, landmarks, hierarchy, diary, reflex)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, OpenJEPAError) as error:
        why = (
            f"`{error.args[0]}` is missing." if isinstance(error, KeyError) else brief(str(error).splitlines()[0], 300)
        )
        raise CheckpointError(
            f"{folder / CARD} does not describe an agent that this version ({__version__}, format {FORMAT}) knows: "
            f"{why} It was written by openjepa {content.get('openjepa', '?')} in format {content['format']}. Train "
            "again, or install that version."
        ) from error


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD

    def damaged(why: str) -> CheckpointError:
        return CheckpointError(f"{path} is damaged: {why}. Copy the agent again.")

    try:
        content = read_json(path, damaged=damaged)
    except OSError as error:
        raise damaged(cause_of(error, path)) from None
    version = content.get("format")
    if version not in READABLE:
        raise CheckpointError(
            f"{path} must have a format up to {FORMAT}; it has {version!r}, written by openjepa "
            f"{content.get('openjepa', '?')}. Train again, or install that version."
        )
    return content


def _card(folder: Path, content: Mapping[str, Any]) -> AgentCard:
    known = {name: content[name] for name in vars(AgentCard).get("__dataclass_fields__", {}) if name in content}
    try:
        known["bounds"] = ActionBounds.from_dict(known["bounds"])
        for name in ("frame_shape", "goals", "choices"):
            known[name] = tuple(known[name])
        return AgentCard(**known)
    except (KeyError, TypeError, AttributeError, OverflowError, ConfigError) as error:
        raise CheckpointError(f"{folder / CARD} is damaged: {error}. Copy the agent again.") from None


def _check_files(folder: Path, content: Mapping[str, Any]) -> None:
    files = content.get("files")
    if not isinstance(files, dict):
        raise CheckpointError(f"{folder / CARD} is damaged: it lists no files. Copy the agent again.")
    for name, wanted in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(f"{path} is missing: the agent is not whole. Copy it again.")
        if sha256(path) != wanted:
            raise CheckpointError(f"{path} is damaged: its SHA-256 differs from {CARD}. Copy the agent again.")
