"""Scene: what stays the same in an episode and differs between episodes, by contrast (InfoNCE, 1807.03748)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError
from openjepa.losses.vicreg import vicreg

INVARIANCE = 5.0  # weight of what changes beside the hinge on what differs
PART = 2  # dimensions of a part: a place in a picture has two numbers


def scene_loss(z: Tensor, z_other: Tensor, *, scale: float = 8.0, redundancy: float | None = None) -> Tensor:
    """InfoNCE between two states [B, N, D] of each episode: which scene is this? A scalar.

    Its optimum is a code that stays the same in an episode and differs between scenes, which is what a picture of
    an empty room holds. Without it the wall and the door of a drawn layout are learned only from collisions.
    Negatives are those of this process.

    It is content with whatever tells the samples of a batch apart: of four things in a picture the places of two
    suffice, and the others are never learned. With `redundancy` every two successive dimensions must tell the scenes
    apart by themselves, each dimension at unit variance, and dimensions that say the same cost the square of their
    correlation (as in 2103.03230) times that weight: the code holds as much of the picture as it has room for.

    Args:
        z: states of the scenes.
        z_other: other states of the same ones.
        scale: inverse temperature of squared distances per dimension, > 0.
        redundancy: weight of the correlations between dimensions, >= 0; None for one part without it.

    Raises:
        ConfigError: for parts of an odd number of dimensions.
    """
    first, other = z.flatten(1), z_other.flatten(1)  # [B, N * D]
    if redundancy is None:
        return _told_apart(first.unsqueeze(1), other.unsqueeze(1), scale)
    if first.shape[1] % PART:
        raise ConfigError(f"the scene must have a multiple of {PART} dimensions to have parts; got {first.shape[1]}.")
    first, other = _standardised(first), _standardised(other)
    correlation = first.T @ other / len(first)
    between = correlation.square().sum() - correlation.diagonal().square().sum()
    apart = _told_apart(first.unflatten(1, (-1, PART)), other.unflatten(1, (-1, PART)), scale)
    return apart + redundancy * between / len(correlation)


def slow_loss(z: Tensor, z_other: Tensor, **_: float | None) -> Tensor:
    """VICReg (2105.04906) between two states [B, N, D] of each episode: what never changes in one; a scalar.

    Unlike `scene_loss` it gains nothing by naming the episode: where a few scenes recur it tells which of them it is,
    and not, beside that, where the agent usually was. Takes no options.
    """
    first, other = z.flatten(1), z_other.flatten(1)
    parts = vicreg(torch.cat([first, other]))
    return parts.variance + INVARIANCE * functional.mse_loss(first, other) + parts.covariance / INVARIANCE


def _told_apart(first: Tensor, other: Tensor, scale: float) -> Tensor:
    """InfoNCE of parts [B, P, D], each by itself; their mean."""
    logits = -torch.cdist(first.transpose(0, 1), other.transpose(0, 1)).square() * (scale / first.shape[-1])
    own = torch.arange(len(first), device=first.device).expand(len(logits), -1)  # [P, B]
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.transpose(1, 2), own)) / 2


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()


SCENE_LOSSES: dict[str, Callable[..., Tensor]] = {"contrast": scene_loss, "slow": slow_loss}
