"""AdamW in one fused pass, with weight decay on matrices only, and values set from closed-form schedules."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.nn.distributed import is_sharded


def build_optimizer(
    method: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
) -> torch.optim.AdamW:
    """Builds AdamW over everything that requires a gradient.

    Biases and one-dimensional tensors (norms, scales) get no weight decay, as in I-JEPA and V-JEPA. A method
    may define `param_groups() -> list[dict]`, each with `params`, optionally `lr_scale` (a multiple of the
    scheduled learning rate) and `weight_decay_scale`; together they must name every trainable parameter once.

    Raises:
        ConfigError: when nothing is trainable, or a parameter is in no group or in two.
    """
    names = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    if not names:
        raise ConfigError(f"`{type(method).__name__}` has no parameter that requires a gradient: nothing to train.")
    custom = getattr(method, "param_groups", None)
    wanted = custom() if callable(custom) else [{"params": [p for p in method.parameters() if p.requires_grad]}]
    groups = list(_split(wanted, names))
    _check_cover(groups, names)
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def _split(wanted: list[dict[str, Any]], names: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Splits each group in two: tensors with weight decay and tensors without."""
    for group in wanted:
        scales = {"lr_scale": group.get("lr_scale", 1.0)}
        params = [p for p in group["params"] if p.requires_grad]
        decayed = [p for p in params if p.ndim > 1 and "bias" not in names.get(id(p), "")]
        kept = {id(p) for p in decayed}
        plain = [p for p in params if id(p) not in kept]
        if decayed:
            yield {"params": decayed, "weight_decay_scale": group.get("weight_decay_scale", 1.0), **scales}
        if plain:
            yield {"params": plain, "weight_decay_scale": 0.0, **scales}


def _check_cover(groups: list[dict[str, Any]], names: dict[int, str]) -> None:
    seen: set[int] = set()
    for param in (p for group in groups for p in group["params"]):
        if id(param) in seen:
            raise ConfigError(f"`{names.get(id(param))}` must be in one group of `param_groups()`; it is in two.")
        seen.add(id(param))
    missing = [name for key, name in names.items() if key not in seen]
    if missing:
        raise ConfigError(
            f"`{missing[0]}` must be in a group of `param_groups()`. Add it, or freeze it with requires_grad_(False)."
        )


def set_schedule(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Sets the values of the coming update in every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
        group["weight_decay"] = weight_decay * group["weight_decay_scale"]


@torch.no_grad()
def clip_gradient(optimizer: torch.optim.Optimizer, largest: float | None) -> Tensor:
    """Scales the gradient down to the norm `largest`; returns the norm it had, a scalar on the device."""
    params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None], foreach=True)
    if is_sharded(norm):
        norm = norm.full_tensor()
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(params, largest, norm, foreach=True)
    return norm
