"""Barlow Twins (2103.03230): two views of a sample agree in every dimension, and no two dimensions say the same.

    L = sum_i (1 - C_ii)^2 + w sum_{i != j} C_ij^2,    C the correlation between the two views over the batch

A contrastive loss is content with whatever tells the samples of a batch apart: of four things in a picture, the places
of two suffice, and the others are never learned. Here every dimension must say something of its own, so that the code
holds as much of the picture as it has room for.
"""

from torch import Tensor

from openjepa.errors import ConfigError, check_shape


def redundancy_loss(z: Tensor, z_other: Tensor, *, weight: float = 0.3) -> Tensor:
    """Redundancy of two views [B, N, D] of each sample, per dimension; a scalar.

    Args:
        z: codes of one view.
        z_other: codes of the other.
        weight: of the correlations between different dimensions, >= 0.
    """
    check_shape(z, "B N D", name="z")
    first, other = z.flatten(1), z_other.flatten(1)
    if first.shape != other.shape or len(first) < 2:
        raise ConfigError(f"both views must be alike and of at least 2 samples; got {z.shape} and {z_other.shape}.")
    correlation = _standardised(first).T @ _standardised(other) / len(first)  # [N * D, N * D]
    own = correlation.diagonal()
    between = correlation.square().sum() - own.square().sum()
    return ((1 - own).square().sum() + weight * between) / len(own)


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
