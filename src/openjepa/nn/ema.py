"""The target encoder ("teacher" in some papers): an exponential moving average of the context encoder."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, ShapeError
from openjepa.nn.distributed import is_sharded


def ema_decay_at(step: int, *, start: float, end: float, total_steps: float) -> float:
    """Share of the old weights that optimiser step `step` (0 first) keeps: a straight line from start to end.

    I-JEPA (arXiv 2301.08243) goes from 0.996 to 1 over all its steps; V-JEPA 1 spreads the line over 1.25
    times the steps that it runs; V-JEPA 2 keeps 0.99925. Beyond `total_steps` the value stays at `end`.

    >>> ema_decay_at(50, start=0.996, end=1.0, total_steps=100)
    0.998
    """
    return end if step >= total_steps else start + step * (end - start) / total_steps


@torch.no_grad()
def update_ema(
    target: nn.Module,
    source: nn.Module,
    decay: float,
    *,
    buffers: Literal["keep", "copy", "average"] = "keep",
) -> None:
    """Moves every parameter of `target` towards `source`: target = decay * target + (1 - decay) * source.

    One fused pass over all tensors. Under FSDP both are sharded alike and only the local shards are touched.

    Args:
        target: the averaged module, a deep copy of `source` at the start.
        source: the trained module.
        decay: share of the old weights that is kept, in [0, 1].
        buffers: what happens to buffers. The published methods leave them alone ("keep"); "copy" takes those
            of `source` (right for BatchNorm statistics of a target in evaluation mode); "average" treats
            floating-point buffers like parameters and copies the others.

    Raises:
        ShapeError: when the two modules do not have the same tensors.
    """
    if not 0.0 <= decay <= 1.0:
        raise ConfigError(f"`ema_decay` must be in [0, 1]; got {decay}.")
    olds, news = _pairs(dict(target.named_parameters()), dict(source.named_parameters()))
    if buffers != "keep":
        old_buffers, new_buffers = _pairs(dict(target.named_buffers()), dict(source.named_buffers()))
        for old, new in zip(old_buffers, new_buffers, strict=True):
            if buffers == "average" and old.is_floating_point():
                olds.append(old)
                news.append(new)
            else:
                old.copy_(new)
    if olds:
        torch._foreach_lerp_(olds, news, 1.0 - decay)


def _pairs(target: dict[str, Tensor], source: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the tensors of both sides in one order, after checking that they correspond."""
    if target.keys() != source.keys():
        name = sorted(target.keys() ^ source.keys())[0]
        raise ShapeError(f"`{name}` must be in both the target and its source. Make the target a deep copy.")
    olds, news = [_local(x) for x in target.values()], [_local(source[name]) for name in target]
    for name, old, new in zip(target, olds, news, strict=True):
        if old.shape != new.shape:
            raise ShapeError(f"`{name}` must be {list(new.shape)} as in the source; got {list(old.shape)}.")
    return olds, news


def _local(x: Any) -> Tensor:
    return x.to_local() if is_sharded(x) else x
