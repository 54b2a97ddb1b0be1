"""Temporal straightening (2603.12231): successive displacements of the latent should point the same way."""

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ShapeError, check_shape


def straightening_loss(z: Tensor, *, min_norm: float = 1e-6, pool_tokens: bool = False) -> Tensor:
    """Mean of 1 - cos(v_t, v_{t+1}) over states [B, T, N, D], v_t = z_{t+1} - z_t; a scalar in [0, 2].

    Args:
        z: [B, T, N, D] with T >= 3.
        min_norm: pairs in which a displacement is not longer than this are left out; 0 when all are.
        pool_tokens: whether the displacement is that of the mean over tokens ("aggregated") or of each token.
    """
    sizes = check_shape(z, "B T N D", name="z")
    if sizes["T"] < 3:
        raise ShapeError(f"`z` must have at least 3 time steps to be straightened; got {sizes['T']}.")
    if pool_tokens:
        z = z.mean(2, keepdim=True)
    v = z[:, 1:] - z[:, :-1]  # [B, T - 1, N, D]
    norm = v.detach().norm(dim=-1)
    moves = (norm[:, :-1] > min_norm) & (norm[:, 1:] > min_norm)  # [B, T - 2, N]
    bend = 1 - functional.cosine_similarity(v[:, :-1], v[:, 1:], dim=-1)
    return torch.where(moves, bend, 0.0).sum() / moves.sum().clamp_min(1)
