"""The language of an agent, one folder beside it: `RUN/language`, reopened without fitting anything.

    language/language.json            encoder, shapes, captions, origin, SHA-256 of the weights and of the agent
             language.safetensors     head, remembered places, features of trained texts, calibration

It belongs to one agent: with another world model a state means something else, so a changed agent is an error.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from openjepa.agent.saved import WORLD_MODEL, find_agent, load_agent
from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, OpenJEPAError
from openjepa.files import cause_of, sha256, sync
from openjepa.heads.language import SetEnergy, TextHeadConfig
from openjepa.language.costs import Places
from openjepa.language.encoders import TextEncoder
from openjepa.language.language import Language, Refusal
from openjepa.planning.costs import PathCost

FORMAT = 4
CARD, WEIGHTS = "language.json", "language.safetensors"


def folder_of(run: Path | str) -> Path:
    """Where the language of an agent is: beside its folder."""
    return find_agent(run).parent / "language"


def save(run: Path | str, language: Language) -> Path:
    """Writes the language of a run's agent as one folder, which appears whole or not at all.

    Args:
        run: of the agent, or its folder.
        language: what is written.

    Raises:
        CheckpointError: where there is no agent, or the disk refuses.
    """
    folder, agent = folder_of(run), find_agent(run)
    head = language.head
    tensors = {f"head.{name}": value.contiguous() for name, value in head.state_dict().items()}
    tensors |= {
        "places": language.places.z.contiguous(),
        "trained": language.trained.half().contiguous(),
        "known": language.refusal.known.contiguous(),
        "fitting": language.refusal.fitting.contiguous(),
    }
    if language.said is not None:
        tensors["said"] = language.said.contiguous()
    temporary = folder.with_name(f".writing-{folder.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / WEIGHTS)
        sync(temporary / WEIGHTS)
        card = {
            "format": FORMAT,
            "weights": sha256(temporary / WEIGHTS),
            "world_model": sha256(agent / f"{WORLD_MODEL}.safetensors"),
            "encoder": language.encoder.name,
            "head": {"token_dim": head.token_dim, "state_dim": head.state_dim, "config": to_dict(head.config)},
            "scene_dim": language.places.scene_dim,
            "captions": list(language.captions),
            "level": language.refusal.level,
            "change": language.change,
            "facts": language.facts,
        }
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n")
        sync(temporary / CARD)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"the language cannot be written to {folder}: {cause_of(error, folder)}.") from error
    return folder


def load(run: Path | str, *, encoder: TextEncoder | None = None) -> Language:
    """Reopens the language of a run's agent.

    Args:
        run: of the agent, or its folder.
        encoder: an open one of the kind that the language was trained with; None opens it.

    Raises:
        CheckpointError: where there is none, or it is damaged, or of another agent.
    """
    agent, folder = find_agent(run), folder_of(run)
    if not (folder / CARD).is_file():
        raise CheckpointError(
            f"{run} has no words yet ({folder / CARD} is missing). Run: openjepa train language {run}"
        )
    try:
        card = json.loads((folder / CARD).read_bytes())
        if card["format"] != FORMAT or sha256(folder / WEIGHTS) != card["weights"]:
            raise ValueError("another format, or other weights")
        if sha256(agent / f"{WORLD_MODEL}.safetensors") != card["world_model"]:
            raise CheckpointError(
                f"{folder} was trained for another agent than {agent}. Run again: openjepa train language {run}"
            )
        return _open(card, load_file(folder / WEIGHTS), load_agent(agent).cost, encoder)
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, OpenJEPAError) as error:
        if isinstance(error, ImportError):  # the text encoder is not installed
            raise
        raise CheckpointError(f"{folder} is damaged ({error}). Run again: openjepa train language {run}") from error


def _open(card: dict[str, Any], tensors: dict[str, Any], distance: Any, encoder: TextEncoder | None) -> Language:
    shape = card["head"]
    head = SetEnergy(shape["token_dim"], shape["state_dim"], from_dict(TextHeadConfig, shape["config"]))
    head.load_state_dict({name[5:]: value for name, value in tensors.items() if name.startswith("head.")})
    assert isinstance(distance, PathCost)
    return Language(
        head.eval().requires_grad_(False),
        encoder or TextEncoder(card["encoder"]),
        Places(tensors["places"], card["scene_dim"]),
        distance,
        tuple(card["captions"]),
        tensors["trained"].float(),
        Refusal(tensors["known"], tensors["fitting"], card["level"]),
        card["change"],
        card["facts"],
        tensors.get("said"),
    )
