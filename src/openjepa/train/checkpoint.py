"""Checkpoints: folders that appear whole or not at all, are verified when read, and are kept by policy.

    checkpoints/step_00000400/model.safetensors   every parameter and buffer of the method
                              method.json         its name, its configuration, the version of openjepa
                              training.pt         optimiser and counters, to resume (read with weights_only)
                              manifest.json       size and SHA-256 of the files above
    checkpoints/latest                            the name of the newest folder

A folder is written under a temporary name, flushed to the disk, and renamed. A process that dies at any
moment leaves either the old state or the new one, and at worst a temporary folder, which the next start
removes.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from openjepa.baselines import RIVALS
from openjepa.config import from_dict, to_dict
from openjepa.errors import CheckpointError, ConfigError, TrainingError, unknown
from openjepa.files import cause_of, read_json, replace_text, sha256, sync
from openjepa.methods import METHODS, MethodEntry
from openjepa.train.state import load_method_state, method_state
from openjepa.version import __version__

MODEL, METHOD, TRAINING, MANIFEST, LATEST = (
    "model.safetensors",
    "method.json",
    "training.pt",
    "manifest.json",
    "latest",
)
TEMPORARY, ASIDE = ".writing-", "damaged_"
NAME = re.compile("step_[0-9]+")
TABLES = {"openjepa.methods": METHODS, "openjepa.baselines": RIVALS}  # by the package of the class


# ----------------------------------------------------------------------------------------------------
# Writing


def save_checkpoint(
    checkpoints: Path,
    step: int,
    method: nn.Module,
    *,
    training: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> Path:
    """Writes `checkpoints/step_{step}` and points `latest` to it.

    Args:
        checkpoints: folder of a run's checkpoints, created if missing.
        step: number of finished optimiser steps.
        method: the method, with a dataclass as `.config`.
        training: tensors and plain values that resuming needs.
        state: the method's tensors where they have been gathered already.

    Returns:
        The new folder.

    Raises:
        TrainingError: when the disk is full or refuses; earlier checkpoints stay as they were.
    """
    folder = checkpoints / f"step_{step:08d}"
    temporary = checkpoints / f"{TEMPORARY}{folder.name}"
    tensors = dict(method_state(method) if state is None else state)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        safetensors.torch.save_file(tensors, temporary / MODEL)
        (temporary / METHOD).write_text(json.dumps(describe_method(method), indent=2) + "\n")
        if training is not None:
            torch.save(dict(training), temporary / TRAINING)
        _write_manifest(temporary, step)
        if folder.exists():  # a damaged one that the run fell back from
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync(checkpoints)
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingError(
            f"the checkpoint of step {step} cannot be written to {checkpoints}: "
            f"{cause_of(error, checkpoints)}. {last_good(checkpoints)} "
            "Free some space and run the same command again."
        ) from error
    point_latest(folder)
    return folder


def describe_method(method: nn.Module) -> dict[str, Any]:
    """Returns what reopens a method: its name in the table, its configuration, and our version."""
    name = name_of_method(type(method)) or type(method).__name__  # reopened by `methods`
    return {"method": name, "config": to_dict(method.config), "openjepa": __version__}


def name_of_method(kind: type) -> str | None:
    """Returns the name of a class in the table of methods or rivals, or None for one from elsewhere."""
    package, _, file = kind.__module__.rpartition(".")
    table = TABLES.get(package, {})
    by_file = sorted(table, key=lambda name: name != file)  # most often that is the entry; no other is imported
    return next((name for name in by_file if table[name]()[0] is kind), None)


def _write_manifest(folder: Path, step: int) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"format": 1, "step": step, "files": files}, indent=2) + "\n")
    sync(manifest)
    sync(folder)


def point_latest(folder: Path) -> None:
    """Makes `latest` name this folder, in one atomic step."""
    latest, name = folder.parent / LATEST, folder.name + "\n"
    if not latest.is_file() or latest.read_bytes() != name.encode():
        replace_text(latest, name)


def prune(checkpoints: Path, *, keep: int, keep_every: int | None) -> None:
    """Removes all but the newest `keep` checkpoints and those at multiples of `keep_every` steps."""
    for folder in list_checkpoints(checkpoints)[keep:]:
        if keep_every is None or step_of(folder) % keep_every:
            doomed = folder.with_name(f"{TEMPORARY}{folder.name}")  # a half-removed folder must not look like one
            folder.rename(doomed)
            shutil.rmtree(doomed)


def put_aside(folder: Path) -> Path:
    """Renames a damaged checkpoint so that it no longer counts as one; returns the new path."""
    aside = folder.with_name(f"{ASIDE}{folder.name}")
    if aside.exists():
        shutil.rmtree(aside)
    folder.rename(aside)
    return aside


def clean(checkpoints: Path) -> None:
    """Removes what an interrupted writer has left; only the one process that writes may call it."""
    for left in checkpoints.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left)
    for left in checkpoints.parent.glob(".*.writing"):
        left.unlink()
    for left in checkpoints.glob(".*.writing"):
        left.unlink()


# ----------------------------------------------------------------------------------------------------
# Reading


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Returns the checkpoint folders, newest first."""
    folders = [p for p in checkpoints.glob("step_*") if p.is_dir() and NAME.fullmatch(p.name)]
    return sorted(folders, key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """Returns the number of finished steps that a checkpoint's name states."""
    return int(folder.name.removeprefix("step_"))


def last_good(checkpoints: Path) -> str:
    """Says in a sentence which checkpoint is left."""
    folders = list_checkpoints(checkpoints)
    return f"The last good checkpoint is {folders[0]}." if folders else "There is no earlier checkpoint."


def verify(folder: Path) -> None:
    """Compares every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: with the file that is missing, cut or changed.
    """
    path = folder / MANIFEST
    try:
        files = read_json(path, damaged=lambda reason: _damaged(path, reason)).get("files")
    except FileNotFoundError:
        raise CheckpointError(f"{folder} must hold {MANIFEST}; it does not. {_remedy(folder)}") from None
    if not isinstance(files, dict) or not {MODEL, METHOD} <= files.keys():
        raise _damaged(path, f"it must list {MODEL} and {METHOD}")
    for name, wanted in files.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing. {_remedy(folder)}")
        if not isinstance(wanted, dict) or not {"bytes", "sha256"} <= wanted.keys():
            raise _damaged(path, f"it says nothing about {name}")
        size = file.stat().st_size
        if size != wanted["bytes"]:
            raise CheckpointError(
                f"{file} must have {wanted['bytes']} bytes; it has {size}: it is damaged. {_remedy(folder)}"
            )
        if sha256(file) != wanted["sha256"]:
            raise CheckpointError(f"{file} is damaged: its SHA-256 differs from {MANIFEST}. {_remedy(folder)}")


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged ({reason}). {_remedy(path.parent)}")


def load_training(folder: Path) -> dict[str, Any]:
    """Reads what a run needs to go on, as tensors and plain values.

    Raises:
        CheckpointError: when the checkpoint holds weights only.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise CheckpointError(f"{folder} must hold {TRAINING} to resume from; it holds weights only.")
    return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist. {_remedy(path.parent)}") from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def find_checkpoint(path: Path | str) -> Path:
    """Returns the checkpoint folder meant by a run directory, a checkpoint folder or a file inside one.

    Raises:
        CheckpointError: when there is none.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. Give a run directory or a checkpoint inside one.")
    if path.is_file():
        path = path.parent
    if (path / METHOD).is_file() or path.name.startswith("step_"):
        return path
    checkpoints = path if path.name == "checkpoints" else path / "checkpoints"
    check_latest(checkpoints)
    folders = list_checkpoints(checkpoints)
    if not folders:
        raise CheckpointError(f"{path} must hold a checkpoint; it has none. Train first, or give another path.")
    return folders[0]  # a process that died between its last two steps has not pointed to it yet


def check_latest(checkpoints: Path) -> None:
    """Checks that `latest`, where there is one, names a checkpoint that is there.

    Raises:
        CheckpointError: for foreign bytes, or the name of something that is not there.
    """
    latest = checkpoints / LATEST
    if not latest.is_file():
        return
    name = latest.read_bytes().decode("ascii", "replace").strip()
    if not NAME.fullmatch(name):
        raise CheckpointError(f"{latest} must name a checkpoint beside it; it is damaged. {_without(latest)}")
    if not (checkpoints / name).is_dir():
        raise CheckpointError(f"{latest} names {name}, which is not there. Restore it, or: {_without(latest)}")


def _without(latest: Path) -> str:
    return f"Remove {latest.name} and the newest checkpoint beside it is meant."


def load_method(
    path: Path | str, *, device: torch.device | str = "cpu", methods: Mapping[str, MethodEntry] | None = None
) -> Any:
    """Reopens a trained method in evaluation mode, without its recipe.

    Args:
        path: a run directory (its latest checkpoint), a checkpoint folder, or a file inside one.
        device: where it goes.
        methods: name to (class, configuration class), for methods that are neither in `METHODS` nor in `RIVALS`.

    Raises:
        CheckpointError: for anything missing, damaged, or of another shape.
    """
    folder = find_checkpoint(path)
    verify(folder)
    described = read_json(folder / METHOD, damaged=lambda reason: _damaged(folder / METHOD, reason))
    method = build_method(described, source=str(folder / METHOD), methods=methods)
    load_method_state(method, load_weights(folder / MODEL), source=str(folder / MODEL))
    return method.to(device).eval()


def build_method(
    described: Mapping[str, Any], *, source: str, methods: Mapping[str, MethodEntry] | None = None
) -> nn.Module:
    """Builds the method that `describe_method` described; its weights are still to be filled in.

    Args:
        described: its name, configuration and version.
        source: what messages call the description.
        methods: as in `load_method`.

    Raises:
        CheckpointError: for a method or an option that is not known.
    """
    table = {**METHODS, **RIVALS, **(methods or {})}
    name, config = described.get("method"), described.get("config")
    if name not in table:
        raise CheckpointError(f"{source}: {unknown('method', str(name), table)} Pass your own as `methods`.")
    kind, config_kind = table[name]()
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{source} must hold the `config` of the method; it does not.")
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
        try:
            return kind(from_dict(config_kind, config))
        except ConfigError as error:
            raise CheckpointError(
                f"{source}: {error} It was written by openjepa {described.get('openjepa', '?')}, this is {__version__}."
            ) from error


def _remedy(folder: Path) -> str:
    others = [p for p in list_checkpoints(folder.parent) if p.name != folder.name]
    older = [p for p in others if p.name < folder.name]
    if not others:
        return "There is no other checkpoint beside it: train again, or restore the file."
    return f"Use {(older or others)[0]} instead; training resumes from there by itself."
