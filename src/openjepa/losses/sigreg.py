"""SIGReg: pulls the distribution of latents towards N(0, I) (2511.08544; per time step in 2603.19312).

Random one-dimensional projections of the samples are compared with a standard normal by the Epps-Pulley
statistic

    T_m = n * sum_k w_k [ (C_mk - exp(-t_k^2 / 2))^2 + S_mk^2 ]
    C_mk, S_mk = mean over samples of cos, sin(t_k <z, a_m>)

with knots t_k = k * t_max / (K - 1), a trapezoid on the half line (doubled by symmetry) under a Gaussian
window, and fresh unit directions a_m at every step. SIGReg is the mean of T_m.

Two things differ from the published code, both on purpose. (1) The factor n: published code multiplies by the
size of the local batch, so a weight is valid for one batch size only; here n is `num_samples_ref` = 128, that
of LeWM, and None restores the number of samples, over all processes. On exactly normal samples the
expectation is 1.0525 * n / (number of samples). (2) cos and sin of all knots follow from one pair by a
rotation, and backward recomputes them, so memory is that of the projections alone instead of K times as much.

In high dimension projections of a half-rank Gaussian look Gaussian: watch the covariance spectrum separately.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.losses.pooling import Pool, pool_samples
from openjepa.nn.distributed import all_mean, world_size
from openjepa.nn.host import to_device
from openjepa.nn.random import keyed_generator


@dataclass(frozen=True)
class SIGRegConfig:
    """Options of SIGReg.

    Attributes:
        num_directions: random projections per step, > 0; 64 to 1024 make no difference in the paper's
            ablation.
        num_knots: points at which characteristic functions are compared, >= 2.
        t_max: largest knot, > 0.
        num_samples_ref: the factor n above; None takes the number of samples of a group over all processes.
        pool: which samples form a group, see `openjepa.losses.pooling.pool_samples`.
        centre_time: subtract each sequence's mean over time first.
    """

    num_directions: int = 1024
    num_knots: int = 17
    t_max: float = 3.0
    num_samples_ref: int | None = 128
    pool: Pool = "per_step"
    centre_time: bool = False

    def __post_init__(self) -> None:
        if self.num_directions < 1 or self.num_knots < 2 or self.t_max <= 0:
            raise ConfigError(
                "`num_directions` must be >= 1, `num_knots` >= 2 and `t_max` > 0; got "
                f"{self.num_directions}, {self.num_knots} and {self.t_max}."
            )
        if self.num_samples_ref is not None and self.num_samples_ref < 1:
            raise ConfigError(f"`num_samples_ref` must be positive, or None for the batch; got {self.num_samples_ref}.")


def sigreg_states(z: Tensor, config: SIGRegConfig | None = None, *, seed: int, step: int) -> Tensor:
    """SIGReg of world-model states [B, T, N, D], with samples grouped as the config says; a scalar."""
    config = config or SIGRegConfig()
    across_ranks = config.pool != "per_sample"  # a sequence lies on one process
    groups = pool_samples(z, config.pool, centre_time=config.centre_time)
    return sigreg(groups, config, seed=seed, step=step, across_ranks=across_ranks)


def sigreg(z: Tensor, config: SIGRegConfig | None = None, *, seed: int, step: int, across_ranks: bool = True) -> Tensor:
    """SIGReg of samples, averaged over groups; a scalar in float32 (float64 for float64 input).

    Args:
        z: [..., S, D], S samples in each group (time step, view).
        config: the options; `pool` and `centre_time` are those of `sigreg_states`.
        seed: of the run.
        step: of training; directions are a function of (seed, step), the same on every process.
        across_ranks: whether the samples of a group are spread over the processes of the run; the
            characteristic functions are then averaged over them before they are squared, which gives value
            and gradient of one process with the whole batch.
    """
    config = config or SIGRegConfig()
    check_shape(z, "... S D", name="z")
    if z.shape[-2] == 0:
        raise ShapeError("`z` must hold at least one sample; got 0.")
    with torch.autocast(z.device.type, enabled=False):
        z = z if z.dtype == torch.float64 else z.float()
        spacing = config.t_max / (config.num_knots - 1)
        columns = spacing * to_device(directions(z.shape[-1], config.num_directions, seed, step), z)  # [D, M]
        angles = z.reshape(-1, *z.shape[-2:]) @ columns  # [G, S, M]
        cos, sin = _CharacteristicFunction.apply(angles, config.num_knots)  # [K - 1, G, M]
        if across_ranks:
            cos, sin = all_mean(torch.stack([cos, sin]))
        normal, weight = _knots(config.num_knots, spacing, cos)
        distance = (weight * ((cos - normal) ** 2 + sin**2)).sum(0)  # [G, M]
        samples = z.shape[-2] * (world_size() if across_ranks else 1)
        return (config.num_samples_ref or samples) * distance.mean()


def directions(dim: int, count: int, seed: int, step: int) -> Tensor:
    """Random unit columns [D, M], a function of (seed, step) on every process and device."""
    columns = torch.randn(dim, count, generator=keyed_generator(seed, step))
    return columns / columns.norm(dim=0)


def _knots(num_knots: int, spacing: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns exp(-t^2 / 2) and the quadrature weights, [K - 1, 1, 1]; knot 0 never contributes."""
    t = spacing * torch.arange(1, num_knots, dtype=like.dtype, device=like.device)
    normal = torch.exp(-0.5 * t**2)
    weight = 2 * spacing * normal
    weight[-1] /= 2
    return normal.view(-1, 1, 1), weight.view(-1, 1, 1)


class _CharacteristicFunction(torch.autograd.Function):
    """Mean over samples of cos(k x) and sin(k x), k = 1 ... K - 1: x [G, S, M] -> two [K - 1, G, M].

    (cos, sin)((k + 1) x) is (cos, sin)(k x) rotated by x; backward repeats the rotations and stores none.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_knots: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        ctx.num_knots = num_knots
        mean_cos = x.new_empty(num_knots - 1, x.shape[0], x.shape[2])
        mean_sin = torch.empty_like(mean_cos)
        for k, c, s in _rotations(x, num_knots):
            mean_cos[k - 1] = c.mean(1)
            mean_sin[k - 1] = s.mean(1)
        return mean_cos, mean_sin

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        k = torch.arange(1, ctx.num_knots, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
        into_sin = -k / x.shape[1] * grads[0].unsqueeze(2)  # [K - 1, G, 1, M]
        into_cos = k / x.shape[1] * grads[1].unsqueeze(2)
        total = torch.zeros_like(x)
        for j, c, s in _rotations(x, ctx.num_knots):
            total.addcmul_(s, into_sin[j - 1]).addcmul_(c, into_cos[j - 1])
        return total, None


def _rotations(x: Tensor, num_knots: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields k, cos(k x), sin(k x) for k = 1 ... K - 1; the tensors are overwritten."""
    cos, sin = torch.cos(x), torch.sin(x)
    c, s, spare = cos.clone(), sin.clone(), torch.empty_like(cos)
    yield 1, c, s
    for k in range(2, num_knots):
        torch.mul(c, cos, out=spare).addcmul_(s, sin, value=-1)
        s.mul_(cos).addcmul_(c, sin)
        c, spare = spare, c
        yield k, c, s
