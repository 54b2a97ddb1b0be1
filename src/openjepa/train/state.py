"""Tensors of a run by name: gathered from shards to the host, and loaded back strictly."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.errors import CheckpointError, did_you_mean
from openjepa.nn.distributed import is_sharded


def method_state(method: nn.Module) -> dict[str, Tensor]:
    """Copies every parameter and buffer to the host; under sharding all processes must call it."""
    return {name: _to_host(tensor) for name, tensor in method.state_dict().items()}


@torch.no_grad()
def load_method_state(method: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copies a full state into a method, sharded or not.

    Until version 0.1.0 every method kept the number of its steps in a buffer `step`. The loop counts now, so exactly
    this tensor may be left over; a method with a buffer of that name of its own gets it as any other.

    Args:
        method: the module to fill.
        state: tensors by name, on the host.
        source: where they come from, for messages.

    Raises:
        CheckpointError: for the first key that is missing, unknown, or of another shape or dtype.
    """
    own = method.state_dict()
    missing = [name for name in own if name not in state]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(
            f"`{missing[0]}`{more} must be in {source}; it is missing. The file belongs to another method or version."
        )
    extra = [name for name, tensor in state.items() if name not in own and not _is_old_counter(name, tensor)]
    if extra:
        more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
        raise CheckpointError(
            f"`{extra[0]}`{more} in {source} is not part of {type(method).__name__}{did_you_mean(extra[0], own)}"
        )
    for name, target in own.items():
        value = state[name]
        if target.shape != value.shape:
            raise CheckpointError(
                f"`{name}` must be {list(target.shape)}; the file has {list(value.shape)}. "
                f"Build the method with the configuration of {source}."
            )
        if target.dtype != value.dtype:
            raise CheckpointError(f"`{name}` must be {target.dtype}; the file has {value.dtype}, in {source}.")
        _fill(target, value)


def _is_old_counter(name: str, tensor: Tensor) -> bool:
    return name == "step" and tensor.shape == () and tensor.dtype == torch.long


def optimizer_state(optimizer: torch.optim.Optimizer, method: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Returns the optimiser's tensors by parameter name, whole and on the host, in the order of the names."""
    state: dict[str, dict[str, Tensor]] = {}
    for name, param in method.named_parameters():
        values = optimizer.state.get(param)
        if values:
            state[name] = {key: _to_host(value) for key, value in sorted(values.items())}
    return state


@torch.no_grad()
def load_optimizer_state(
    optimizer: torch.optim.Optimizer,
    method: nn.Module,
    state: Mapping[str, Mapping[str, Tensor]],
    *,
    source: str,
) -> None:
    """Puts back what `optimizer_state` returned, on any number of processes.

    Raises:
        CheckpointError: for a parameter that the method does not train, or a tensor of another shape.
    """
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    params = {name: p for name, p in method.named_parameters() if id(p) in trained}
    for name, values in state.items():
        if name not in params:
            raise CheckpointError(f"`{name}` in {source} is not trained here{did_you_mean(name, params)}")
        optimizer.state[params[name]] = {key: _like(params[name], value, key) for key, value in values.items()}


def _like(param: Tensor, value: Tensor, key: str) -> Tensor:
    """Places one tensor of optimiser state where its parameter lives."""
    if key == "step":  # a scalar; the fused kernel wants it on the parameter's device
        return value.to(param.device)
    if value.shape != param.shape:
        raise CheckpointError(f"`{key}` must be {list(param.shape)}; the file has {list(value.shape)}.")
    if is_sharded(param):
        return _shard_like(param, value)
    return value.to(param.device).clone()


def _to_host(tensor: Any) -> Tensor:
    if is_sharded(tensor):
        tensor = tensor.full_tensor()
    return tensor.detach().to("cpu", copy=True).contiguous()


def _fill(target: Any, value: Tensor) -> None:
    if is_sharded(target):
        target.to_local().copy_(_shard_like(target, value).to_local())
    else:
        target.copy_(value)


def _shard_like(target: Any, value: Tensor) -> Any:
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
