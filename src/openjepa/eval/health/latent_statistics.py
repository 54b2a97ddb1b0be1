"""What can be said about latents alone: in how many directions they vary, and how they change in time."""

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.errors import check_shape
from openjepa.eval.probing.probes import centred

LARGEST_WIDTH = 1024  # wider latents are averaged over their tokens before they are measured


def covariance_spectrum(rows: Tensor) -> Tensor:
    """Eigenvalues [D] of the covariance of rows [N, D], largest first, in float64."""
    deviations = rows.double() - rows.double().mean(0)
    return torch.linalg.eigvalsh(deviations.T @ deviations / max(len(rows), 1)).clamp_min(0).flip(0)


def effective_rank(spectrum: Tensor) -> float:
    """RankMe of a covariance spectrum [D]: exp of the entropy of its normalised singular values, 1 to D.

    >>> round(effective_rank(torch.tensor([1.0, 1.0, 0.0, 0.0])), 3)
    2.0
    """
    values = spectrum.double().sqrt()
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def participation_ratio(spectrum: Tensor) -> float:
    """(Sum of eigenvalues)^2 / sum of their squares, of a spectrum [D]; 1 for a constant latent."""
    values = spectrum.double() / spectrum.double().max().clamp_min(1e-300)
    total = float(values.square().sum())
    return float(values.sum().square()) / total if total > 0 else 1.0


def temporal_variance_ratio(z: Tensor, valid: Tensor | None = None) -> float:
    """Variance within episodes over total variance of z [E, T, D]: 0 for per-episode constants, at most 1.

    Args:
        z: [E, T, D].
        valid: [E, T] bool, the states that count; all if None.
    """
    valid = recorded(None, *z.shape[:2]) if valid is None else valid
    total = z.double()[valid].var(0, correction=0).sum()
    within = centred(z, valid)[valid].square().mean(0).sum()
    return float(within / total.clamp_min(1e-300))


def moving_state_ratio(states: Tensor, valid: Tensor | None = None) -> float | None:
    """Mean temporal variance ratio of the columns of states [E, T, P] that change inside episodes, or None."""
    valid = recorded(None, *states.shape[:2]) if valid is None else valid
    within = centred(states, valid)[valid].square().mean(0)
    total = states.double()[valid].var(0, correction=0)
    moves = within > 1e-6 * total.clamp_min(1e-12)
    return float((within[moves] / total[moves]).mean()) if moves.any() else None


def slowness(z: Tensor, valid: Tensor | None = None) -> float:
    """Mean squared step of z [E, T, D] over twice its variance: 0 constant in time, 1 white noise."""
    valid = recorded(None, *z.shape[:2]) if valid is None else valid
    z = z.double()
    variance = z[valid].var(0, correction=0).sum()
    step = (z[:, 1:] - z[:, :-1])[valid[:, 1:]].square().mean(0).sum()
    return float(step / (2 * variance).clamp_min(1e-300))


def transitions(z: Tensor) -> Tensor:
    """Pairs of neighbouring states: z [E, T, D] to [E, T - 1, 2 D], the state and its change."""
    return torch.cat([z[:, :-1], z[:, 1:] - z[:, :-1]], -1)


def flatten_tokens(z: Tensor) -> Tensor:
    """Brings z [E, T, N, D] to [E, T, N * D], or to the mean over tokens where that is wider than 1,024."""
    check_shape(z, "E T N D", name="z")
    return z.flatten(2) if z.shape[2] * z.shape[3] <= LARGEST_WIDTH else z.mean(2)
