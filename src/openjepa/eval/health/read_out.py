"""What a frozen encoder says about a picture or clip, read out by linear maps: classes and numbers.

A class is read from one vector: the class token where the network has one, else the mean of the tokens. A number
that depends on the place, such as a position or a velocity, is read from the tokens averaged over the cells of a
coarse grid, cell by cell, of the first and the last latent frame: the mean over all tokens of a network with
relative positions cannot hold it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.eval.probing.frozen_encoder import FrozenEncoder
from openjepa.eval.probing.probes import RidgeProbe, r2

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # penalties per row that are tried


@dataclass(frozen=True)
class ProbedSet:
    """Pictures or clips and what is known about them.

    Attributes:
        pixels: [N, C, H, W] or [N, T, C, H, W] uint8.
        labels: classes [N], or None.
        targets: numbers [N, P] by name, such as positions.
    """

    pixels: Tensor
    labels: Tensor | None = None
    targets: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """What is read from: `summary` [N, D] for classes, `cells` [N, frames * D * cells * cells] for numbers."""

    summary: Tensor
    cells: Tensor


def features_of(encoder: FrozenEncoder, pixels: Tensor, *, cells: int = 3, batch_size: int = 64) -> Features:
    """Encodes pictures or clips.

    Args:
        encoder: the network.
        pixels: [N, C, H, W] or [N, T, C, H, W] uint8.
        cells: rows and columns of the coarse grid; at most those of the token grid are used.
        batch_size: samples encoded together.
    """
    if cells < 1:
        raise ConfigError(f"`cells` must be at least 1; got {cells}.")
    summaries, grids = [], []
    for part in pixels.split(batch_size):
        summary, tokens = encoder.summary_and_tokens(part)  # [B, D], [B, t, h, w, D]
        ends = tokens[:, :1] if tokens.shape[1] == 1 else tokens[:, [0, -1]]
        planes = ends.movedim(-1, 2).flatten(1, 2)  # [B, frames * D, h, w]
        side = min(cells, planes.shape[-2]), min(cells, planes.shape[-1])
        grids.append(torch.nn.functional.adaptive_avg_pool2d(planes, side).flatten(1).cpu())
        summaries.append(summary.cpu())
    return Features(torch.cat(summaries), torch.cat(grids))


def read_numbers(x: Tensor, y: Tensor, test_x: Tensor, *, held_out: float = 0.2, seed: int = 0) -> Tensor:
    """Reads numbers by ridge regression whose penalty is chosen on held-out training rows.

    Args:
        x: [N, D] training features.
        y: [N, P] what they should say.
        test_x: [M, D].
        held_out: share of the training rows that chooses the penalty, in (0, 1).
        seed: of the choice of these rows.

    Returns:
        Read-out [M, P] of the test rows.
    """
    sizes = check_shape(x, "N D", name="x")
    check_shape(y, "N P", name="y", sizes=sizes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = min(max(1, round(held_out * len(x))), len(x) - 1)
    checked, kept = order[:cut], order[cut:]

    def error(ridge: float) -> float:
        found = RidgeProbe(x[kept], y[kept], ridge=ridge)(x[checked])
        return float(((found - y[checked]) / y[kept].std(0).clamp_min(1e-6)).square().mean())

    return RidgeProbe(x, y, ridge=min(RIDGES, key=error))(test_x)


def mean_r2(found: Tensor, truth: Tensor) -> float:
    """Mean R2 over the columns of [M, P] that vary; 0 where none does."""
    known = [value for value in r2(found, truth) if value is not None]
    return sum(known) / len(known) if known else 0.0
