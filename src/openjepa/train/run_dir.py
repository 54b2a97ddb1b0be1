"""The directory of one run: who may write in it, and the record of what is running there."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from openjepa.config import to_dict
from openjepa.errors import ConfigError, TrainingError
from openjepa.files import lock, read_json, refused, replace_text, sealed_json
from openjepa.train.checkpoint import describe_method
from openjepa.train.config import TrainConfig
from openjepa.version import __version__

CONFIG = "config.json"

# What may change between two starts of one run, because the weights do not depend on it.
FREE = frozenset(
    {
        "checkpoint_every",
        "compile",
        "device",
        "diagnose_every",
        "keep_checkpoints",
        "keep_every",
        "log_every",
        "sharding",
        "spike_factor",
        "tensorboard",
        "threads",
    }
)


@contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Holds a run directory for this process; the system lets go of it when the process dies.

    Raises:
        TrainingError: when another process is training there.
    """
    busy = TrainingError(f"{run_dir} is in use by another process. Wait for it, stop it, or use another run directory.")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        held = lock(run_dir / ".lock", busy=busy)
    except OSError as error:
        raise refused(run_dir, error) from error
    with held:
        yield


def write_record(run_dir: Path, method: nn.Module, config: TrainConfig, recipe_config: Any) -> None:
    """Writes `config.json`, or checks that the run which is there already is the same.

    Raises:
        ConfigError: naming the first option that differs from the run in this directory.
    """
    recipe = to_dict(recipe_config) if hasattr(recipe_config, "__dataclass_fields__") else recipe_config
    described = describe_method(method)
    record = {
        "openjepa": __version__,
        "git": git_revision(),
        "torch": torch.__version__,
        "method": {"name": described["method"], "config": described["config"]},
        "train": to_dict(config),
        "recipe": recipe,
    }
    record = json.loads(json.dumps(record))  # tuples become lists, as in the file
    path = run_dir / CONFIG
    if path.is_file():
        _compare(read_record(run_dir), record, run_dir, free=FREE | _free_steps(config))
    replace_text(path, sealed_json(record))


def read_record(run_dir: Path) -> dict[str, Any]:
    """Reads the `config.json` of a run.

    Raises:
        ConfigError: for a damaged one.
        OSError: where there is none.
    """
    path = run_dir / CONFIG

    def damaged(reason: str) -> ConfigError:
        return ConfigError(f"{path} is damaged ({reason}). Restore it, or remove it to go on with the options given.")

    return read_json(path, damaged=damaged)


def _free_steps(config: TrainConfig) -> frozenset[str]:
    """A run may be made longer where its schedules do not depend on its length."""
    constant = config.schedule == "constant" and config.final_weight_decay is None
    return frozenset({"steps"}) if constant or config.horizon is not None else frozenset()


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], run_dir: Path, *, free: frozenset[str]) -> None:
    for part in ("method", "train", "recipe"):
        before, now = _leaves(old.get(part)), _leaves(new.get(part))
        for name in sorted(before.keys() | now.keys()):
            inside_train = part == "train" or name.startswith("train.")
            if inside_train and name.rpartition(".")[2] in free:
                continue
            if before.get(name) != now.get(name):
                option = f"{part}.{name}" if part != "recipe" else name
                raise ConfigError(
                    f"`{option}` must be {before.get(name)!r} as in the run that {run_dir} holds; got "
                    f"{now.get(name)!r}. Use another run directory, or remove this one to start anew."
                )


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested mappings to dotted names."""
    if not isinstance(value, Mapping):
        return {prefix or "value": value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(_leaves(inner, f"{prefix}.{key}" if prefix else str(key)))
    return found


def git_revision() -> str | None:
    """Returns the commit of the checkout that this package runs from, with "+" for local changes, or None."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
