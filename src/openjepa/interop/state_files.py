"""Reading weight files and loading them strictly: nothing is executed, missing, or ignored in silence."""

import json
import pickle
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from openjepa.errors import CheckpointError, did_you_mean

State = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


def read_file(path: Path | str) -> dict[str, Any]:
    """Reads a `.pt`, `.pth`, `.pth.tar` or `.safetensors` file of tensors and plain values.

    Large files are mapped, not read, so a network can be taken from a file that also holds an optimiser.

    Raises:
        CheckpointError: when it is missing, damaged, or holds anything that would have to be executed.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. Give the path of a checkpoint file.")
    if path.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}). Fetch it again.") from error
    try:
        with warnings.catch_warnings():  # a remark about the pickle protocol says nothing to the user
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} must hold tensors and plain values only; it is no such file, or it holds code."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        # Bytes that are no pickle make the reader fail in any of these ways.
        reason = f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0]  # PyTorch adds an essay
        raise CheckpointError(f"{path} is damaged or no checkpoint ({reason}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a dictionary; it holds a {type(content).__name__}.")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object that stands beside weights.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist. It must stand beside the weights.") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}).") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a JSON object.")
    return content


def section(content: Mapping[str, Any], key: str, source: str) -> State:
    """Takes one network out of a container and strips `module.` and `backbone.` from its names.

    Raises:
        CheckpointError: when the container has no such network.
    """
    if not isinstance(content.get(key), Mapping):
        raise CheckpointError(f"{source} must hold `{key}`; it has {', '.join(map(str, content)) or 'nothing'}.")
    return strip_prefixes(content[key])


def strip_prefixes(state: Mapping[str, Tensor]) -> State:
    """Removes `module.` and then `backbone.` from the start of every name."""
    return {name.removeprefix("module.").removeprefix("backbone."): tensor for name, tensor in state.items()}


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, source: str, hint: str = "") -> None:
    """Puts every tensor of `state` into `module`, which must want exactly these.

    Args:
        module: may be on the meta device; it takes the tensors as they are.
        state: our names.
        source: what the messages call the file.
        hint: a sentence about what the file looks like, for the messages.

    Raises:
        CheckpointError: naming the first key that is missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    tail = f" {hint or 'This is a checkpoint of another model.'}"
    if missing := [name for name in wanted if name not in state]:
        raise CheckpointError(
            f"{source}: `{missing[0]}` is missing ({len(missing)} of {len(wanted)} tensors are).{tail}"
        )
    if unexpected := [name for name in state if name not in wanted]:
        raise CheckpointError(
            f"{source}: `{unexpected[0]}` is unexpected ({len(unexpected)} tensors are)"
            f"{did_you_mean(unexpected[0], wanted)}{tail}"
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{source}: `{name}` must be {list(wanted[name].shape)}; the file has {list(tensor.shape)}.{tail}"
            )
    module.load_state_dict(dict(state), strict=True, assign=True)


def build(kind: type[M], config: Any, state: Mapping[str, Tensor], *, source: str, hint: str = "") -> M:
    """Makes a network without drawing weights and fills it strictly; in evaluation mode.

    Raises:
        CheckpointError: see `load_strict`.
    """
    with torch.device("meta"):
        module = kind(config)
    load_strict(module, {n: t.detach() for n, t in state.items()}, source=source, hint=hint)
    return module.eval()


def drop(state: State, ignored: Collection[str]) -> tuple[State, list[str]]:
    """Takes away tensors that a layout is known to carry without use; returns the rest and their names."""
    return {n: t for n, t in state.items() if n not in ignored}, [n for n in state if n in ignored]
