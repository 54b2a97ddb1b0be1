"""Displacement: how far apart two moments of an episode are must be readable from the difference of their latents.

Where actions are displacements, the sum of those between two moments is known whatever lies between them, and a linear
read-out of the difference of two latents must equal it: for all pairs of an episode, not only for neighbours. Latents
so become a map that is to scale, and what differs between scenes cancels.
"""

import torch
from torch import Tensor

from openjepa.errors import check_shape

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


def ways_of(actions: Tensor, width: int) -> Tensor:
    """Sums [B, T, A] from the first moment to each, for actions [B, T - 1, f * A] of f primitive ones of width A."""
    steps = actions.unflatten(-1, (-1, width)).sum(-2).cumsum(1)
    return torch.cat([torch.zeros_like(steps[:, :1]), steps], 1)
