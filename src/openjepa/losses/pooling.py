"""What counts as a sample of an anti-collapse term: the choice that decides which collapse it can see.

A latent that is constant within an episode satisfies every term whose samples come from different episodes
("slow features"); only `per_sample` looks at the change over time.
"""

from typing import Literal

from torch import Tensor

from openjepa.errors import ConfigError, check_shape

Pool = Literal["per_step", "pooled", "per_sample"]


def pool_samples(z: Tensor, pool: Pool = "per_step", *, centre_time: bool = False) -> Tensor:
    """Arranges states [B, T, N, D] as groups of samples [G, S, D]; a term is computed per group and averaged.

    Args:
        z: states [B, T, N, D].
        pool: `per_step`: a group per time step, the batch (and its tokens) as samples (LeWM, 2603.19312);
            `pooled`: one group of everything (EB-JEPA, 2602.03604); `per_sample`: a group per sequence and
            token, its time steps as samples (the `std_t`, `cov_t` of PLDM, 2502.14819).
        centre_time: subtract each sequence's mean over time first, so that a constant scene counts for
            nothing (temporally centred SIGReg, 2607.26924).
    """
    check_shape(z, "B T N D", name="z")
    if centre_time:
        z = z - z.mean(1, keepdim=True)
    if pool == "per_step":
        return z.transpose(0, 1).flatten(1, 2)  # [T, B * N, D]
    if pool == "pooled":
        return z.flatten(0, 2)[None]  # [1, B * T * N, D]
    if pool == "per_sample":
        return z.transpose(1, 2).flatten(0, 1)  # [B * N, T, D]
    raise ConfigError(f"`pool` must be per_step, pooled or per_sample; got {pool}.")
