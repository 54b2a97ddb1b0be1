"""Variance and covariance terms of VICReg (2105.04906), and the time similarity of PLDM (2502.14819).

Samples come from `openjepa.losses.pooling.pool_samples`. Statistics are those of the global batch: with
several processes, means and covariances are averaged over them before the hinge and the square.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.losses.pooling import Pool, pool_samples
from openjepa.nn.distributed import all_mean, world_size

CovarianceScale = Literal["vicreg", "mean"]


class VICRegTerms(NamedTuple):
    """Unweighted scalars: the hinge on the standard deviation and the squared off-diagonal covariance."""

    variance: Tensor
    covariance: Tensor


def vicreg_states(
    z: Tensor,
    *,
    pool: Pool = "per_step",
    centre_time: bool = False,
    target_std: float = 1.0,
    eps: float = 1e-4,
    scale: CovarianceScale = "vicreg",
) -> VICRegTerms:
    """Both terms of states [B, T, N, D]; `pool="per_sample"` gives PLDM's `std_t` and `cov_t`."""
    samples = pool_samples(z, pool, centre_time=centre_time)
    return vicreg(samples, target_std=target_std, eps=eps, scale=scale, across_ranks=pool != "per_sample")


def vicreg(
    z: Tensor,
    *,
    target_std: float = 1.0,
    eps: float = 1e-4,
    scale: CovarianceScale = "vicreg",
    across_ranks: bool = True,
) -> VICRegTerms:
    """Variance hinge and covariance penalty of samples [..., S, D], averaged over groups.

    Args:
        z: [..., S, D] with S >= 2 samples in each group.
        target_std: standard deviation below which a dimension is pushed apart.
        eps: added to the variance under the root.
        scale: the covariance convention. `vicreg` divides the sum of squared off-diagonal entries by D, as
            the original does; `mean` by D (D - 1), as PLDM and EB-JEPA do: D - 1 times smaller.
        across_ranks: whether the samples of a group are spread over the processes of the run.
    """
    check_shape(z, "... S D", name="z")
    samples, dim = z.shape[-2], z.shape[-1]
    total = samples * (world_size() if across_ranks else 1)
    if total < 2:
        raise ShapeError(f"`z` must hold at least 2 samples for a variance; got {total}. Raise the batch size.")
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        mean = z.mean(-2, keepdim=True)
        centred = z - (all_mean(mean) if across_ranks else mean)
        cov = centred.transpose(-1, -2) @ centred / samples  # [..., D, D]
        cov = (all_mean(cov) if across_ranks else cov) * (total / (total - 1))
        variance = cov.diagonal(dim1=-2, dim2=-1)  # [..., D]
        hinge = (target_std - (variance + eps).sqrt()).relu().mean()
        off_diagonal = cov.square().sum((-2, -1)) - variance.square().sum(-1)
        return VICRegTerms(hinge, (off_diagonal / _divisor(dim, scale)).mean())


def _divisor(dim: int, scale: CovarianceScale) -> int:
    if scale == "vicreg":
        return dim
    if scale == "mean":
        return max(1, dim * (dim - 1))
    raise ConfigError(f"`scale` must be vicreg or mean; got {scale}.")


def time_similarity(z: Tensor) -> Tensor:
    """Mean squared change between successive states [B, T, N, D]; a scalar.

    Where data is scarce this feeds slow-feature collapse: a latent that is constant within an episode is its
    optimum.
    """
    check_shape(z, "B T N D", name="z")
    if z.shape[1] < 2:
        raise ShapeError(f"`z` must have at least 2 time steps; got {z.shape[1]}.")
    return (z[:, 1:] - z[:, :-1]).square().mean()
