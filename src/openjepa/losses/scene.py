"""Scene: what stays the same in an episode and differs between episodes, by contrast (InfoNCE, 1807.03748)."""

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.losses.redundancy import redundancy_loss


def scene_loss(z: Tensor, z_other: Tensor, *, scale: float = 8.0, redundancy: float | None = None) -> Tensor:
    """InfoNCE between two states [B, N, D] of each episode: which scene is this? A scalar.

    With `redundancy`, the weight of correlations between dimensions, it is `redundancy_loss` instead.

    Its optimum is a code that stays the same in an episode and differs between scenes, which is what a picture of
    an empty room holds. Without it the wall and the door of a drawn layout are learned only from collisions.
    Negatives are those of this process.
    """
    if redundancy is not None:
        return redundancy_loss(z, z_other, weight=redundancy)
    first, other = z.flatten(1), z_other.flatten(1)  # [B, N * D]
    logits = -torch.cdist(first, other).square() * (scale / first.shape[1])  # [B, B]
    own = torch.arange(len(z), device=z.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
