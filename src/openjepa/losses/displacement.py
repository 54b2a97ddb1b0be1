"""Displacement: how far apart two moments of an episode are must be readable from the difference of their latents.

Where actions are displacements, the sum of those between two moments is known whatever lies between them, and a linear
read-out of the difference of two latents must equal it: for all pairs of an episode, not only for neighbours. Latents
so become a map that is to scale, and what differs between scenes cancels.
"""

from typing import Literal

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import TrajectoryBatch

UNIT = 5.0  # standard deviations of an action: what the read-out calls 1


def displacement_loss(places: Tensor, ways: Tensor) -> Tensor:
    """Mean squared error of the ways between all pairs of moments, as the read-outs of them tell; a scalar.

    With d = place - way, the mean of |d_i - d_j|^2 over pairs is twice the variance of d.

    Args:
        places: [B, T, A] linear read-outs of T moments of each episode, T >= 2.
        ways: [B, T, A] sums of actions from any common moment to each of them, in the same unit.
    """
    sizes = check_shape(places, "B T A", name="places")
    check_shape(ways, "B T A", name="ways", sizes=sizes)
    with torch.autocast(places.device.type, enabled=False):
        return 2 * (places.float() - ways.float()).var(1).mean()


def displacement_term(
    places: Tensor, batch: TrajectoryBatch, unit: Tensor, known: int, told_by: Literal["actions", "proprio"]
) -> Tensor:
    """The loss of the moments of windows and of the further frames of their episodes; a scalar.

    Measured places are true where something held what was to move, and lie in one frame of reference: they are compared
    between all moments of a batch, so that the latent says where in the scene it is, next to a wall or not.

    Args:
        places: [B, T - known + K, A] linear read-outs of the windows' moments, then of `batch.others`.
        batch: windows of T frames with K others and the ways to them.
        unit: [A] what the read-out calls 1.
        known: first moments of a window that have no read-out.
        told_by: whether ways are sums of `actions`, or `proprio` begins with places.
    """
    width = places.shape[-1]
    if batch.ways is None:
        raise ConfigError("read-outs of displacements need batches with `ways`; got none.")
    ways = batch.ways[..., :width]
    if told_by == "actions":
        return displacement_loss(places, torch.cat([ways_of(batch.actions, width)[:, known:], ways], 1) / unit)
    if batch.proprio is None or batch.proprio.shape[-1] < width:
        raise ConfigError(f"`proprio` must begin with the {width} numbers of a place, since it tells displacements.")
    seen = batch.proprio[..., :width]
    seen = torch.cat([seen[:, known:], seen[:, :1] + ways], 1) / unit
    return displacement_loss(places.flatten(0, 1).unsqueeze(0), seen.flatten(0, 1).unsqueeze(0))


def ways_of(actions: Tensor, width: int) -> Tensor:
    """Sums [B, T, A] from the first moment to each, for actions [B, T - 1, f * A] of f primitive ones of width A."""
    steps = actions.unflatten(-1, (-1, width)).sum(-2).cumsum(1)
    return torch.cat([torch.zeros_like(steps[:, :1]), steps], 1)
