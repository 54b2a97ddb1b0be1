"""Finite scalar quantisation (2309.15505): a code is a point of a fixed grid, so no codebook can collapse.

Dimension i of the bounded input is rounded to one of L_i levels; the gradient passes the rounding unchanged. There
is nothing to learn and no commitment loss, and a vocabulary of prod(L_i) codes is used almost fully.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape

SLACK = 1e-3  # the outermost levels must be reachable by a bounded input


class ScalarQuantizer(nn.Module):
    """Vectors [..., D] to codes [..., D] on a grid inside [-1, 1], and codes to numbers.

    Args:
        levels: number of levels of each dimension, >= 2.

    >>> quantizer = ScalarQuantizer([3, 5])
    >>> quantizer.num_codes, quantizer(torch.tensor([9.0, -9.0])).tolist()
    (15, [1.0, -1.0])
    """

    counts: Tensor
    reach: Tensor
    offset: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ConfigError(f"`levels` must hold numbers of at least 2; got {list(levels)}.")
        self.levels, self.num_codes = tuple(levels), math.prod(levels)
        counts = torch.tensor(self.levels)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("reach", (counts - 1) * (1 + SLACK) / 2, persistent=False)
        self.register_buffer("offset", torch.where(counts % 2 == 0, 0.5, 0.0), persistent=False)
        self.register_buffer("scale", (counts // 2).float(), persistent=False)
        basis = torch.cat([torch.ones(1, dtype=torch.long), counts[:-1].cumprod(0)])
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        bounded = torch.tanh(x.float() + torch.atanh(self.offset / self.reach)) * self.reach - self.offset
        rounded = bounded + (bounded.round() - bounded).detach()  # straight through
        return rounded / self.scale

    def index(self, codes: Tensor) -> Tensor:
        """The number [...] in 0 ... `num_codes` - 1 of codes [..., D]."""
        check_shape(codes, f"... D={len(self.levels)}", name="codes")
        digits = (codes * self.scale).round().long() + self.scale.long()
        return (digits * self.basis).sum(-1)

    def codes(self, index: Tensor) -> Tensor:
        """The codes [..., D] of numbers [...]."""
        digits = (index.unsqueeze(-1) // self.basis) % self.counts
        return (digits - self.scale.long()) / self.scale
