"""Reading weight files and loading them strictly: nothing is executed, missing, or ignored in silence."""

import pickle
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from openjepa import files
from openjepa.errors import CheckpointError, brief, did_you_mean, listing

State = dict[str, Tensor]
# What DistributedDataParallel, torch.compile, FSDP and activation checkpointing put into names.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
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
            raise CheckpointError(f"{path} is damaged ({brief(error)}). Fetch it again.") from error
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
        raise CheckpointError(f"{path} is damaged or no checkpoint ({brief(reason)}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a dictionary; it holds a {type(content).__name__}.")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object that stands beside weights.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    try:
        return files.read_json(path, damaged=lambda reason: CheckpointError(f"{path} is damaged ({brief(reason)})."))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist. It must stand beside the weights.") from None
    except OSError as error:
        raise CheckpointError(f"{path} is damaged ({brief(error)}).") from error


def section(content: Mapping[str, Any], key: str, source: str) -> State:
    """Takes one network out of a container, under the names that it has without wrappers; see `unwrap`.

    Raises:
        CheckpointError: when the container has no such network.
    """
    if isinstance(content.get(key), Mapping):
        return unwrap(content[key], source=f"{source} [{key}]")
    if content and all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{source} must hold `{key}`; it holds {len(content)} tensors without saying of what, as a bare state "
            f"dictionary does. Save it again as {{'{key}': state}}."
        )
    raise CheckpointError(f"{source} must hold `{key}`; it has {listing(content)}.")


def unwrap(state: Mapping[str, Any], *, source: str) -> State:
    """Takes the names of wrappers out of a state: those of `WRAPPERS` at any depth, and `backbone` in front.

    Types that nothing computes with (8 bits) become float32.

    Raises:
        CheckpointError: for what is no tensor with data, and where two names become one.
    """
    return {name: _usable(name, value, source) for name, value in rename(state, _unwrapped, source=source).items()}


def rename(state: Mapping[str, Any], new_name: Callable[[str], str], *, source: str) -> dict[str, Any]:
    """Gives every entry another name.

    Raises:
        CheckpointError: where two entries get the same name, for one of them would win in silence.
    """
    renamed: dict[str, Any] = {}
    old_names: dict[str, str] = {}
    for old, value in state.items():
        new = new_name(str(old))
        if new in renamed:
            raise CheckpointError(
                f"{source}: `{old_names[new]}` and `{old}` are both `{new}`; which one counts is not known. Remove one."
            )
        renamed[new], old_names[new] = value, str(old)
    return renamed


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, source: str, hint: str = "") -> None:
    """Puts every tensor of `state` into `module`, which must want exactly these.

    Args:
        module: may be on the meta device; it takes the tensors as they are.
        state: our names.
        source: what the messages call the file.
        hint: a sentence about what the file looks like, for the messages.

    Raises:
        CheckpointError: naming the first key that is missing, unexpected, of another shape or kind of number, or
            not finite.
    """
    wanted = module.state_dict()
    tail = f" {hint or 'This is a checkpoint of another model.'}"
    if missing := [name for name in wanted if name not in state]:
        raise CheckpointError(
            f"{source}: `{missing[0]}` is missing ({len(missing)} of {len(wanted)} tensors are).{tail}"
        )
    if unexpected := [name for name in state if name not in wanted]:
        raise CheckpointError(
            f"{source}: `{brief(unexpected[0])}` is unexpected ({len(unexpected)} tensors are)"
            f"{did_you_mean(unexpected[0], wanted)}{tail}"
        )
    for name, tensor in state.items():
        own = wanted[name]
        if tensor.shape != own.shape:
            raise CheckpointError(
                f"{source}: `{name}` must be {list(own.shape)}; the file has {list(tensor.shape)}.{tail}"
            )
        if own.is_floating_point() != tensor.is_floating_point() or tensor.is_complex() != own.is_complex():
            raise CheckpointError(f"{source}: `{name}` must be {own.dtype}; the file has {tensor.dtype}.{tail}")
        check_finite(name, tensor, source=source)
    module.load_state_dict(dict(state), strict=True, assign=True)


def check_finite(name: str, tensor: Tensor, *, source: str) -> None:
    """Refuses weights that are not there, or not numbers: no output would be one.

    Raises:
        CheckpointError: naming the tensor.
    """
    if tensor.is_meta:
        raise CheckpointError(f"{source}: `{name}` must have values; the file holds its shape only.")
    if not tensor.is_floating_point():
        return
    total = tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32))  # cheaper than a mask of all elements
    if not total.isfinite() and not tensor.isfinite().all():
        raise CheckpointError(
            f"{source}: `{name}` must be finite; it holds NaN or infinity. Training diverged, or the file is damaged."
        )


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


def _unwrapped(name: str) -> str:
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    return ".".join(parts[1:] if parts[:1] == ["backbone"] else parts)


def _usable(name: str, value: Any, source: str) -> Tensor:
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        found = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{source}: `{brief(name)}` must be a dense tensor; it is a {found}.")
    if not value.is_floating_point() or value.dtype.itemsize > 1:
        return value
    try:
        return value.float()
    except (RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f"{source}: `{brief(name)}` is {value.dtype}, which cannot be read.") from error
