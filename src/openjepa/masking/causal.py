"""Causal masks: the first frames of a clip are the context, later ones the target."""

from dataclasses import dataclass

import torch

from openjepa.errors import ConfigError
from openjepa.masking.subset import Grid, Masks, check_sizes


@dataclass(frozen=True)
class CausalMaskConfig:
    """How a clip is cut into past and future; counts are latent frames.

    Attributes:
        min_context: fewest context frames, >= 1.
        max_context: most context frames, or None for all but `horizon`.
        horizon: target frames that follow the context, >= 1.
        sliding: whether the past begins at a random frame; else at frame 0. With it, every frame is as likely
            a target as its mirror image is a context.
    """

    min_context: int = 1
    max_context: int | None = None
    horizon: int = 1
    sliding: bool = False

    def __post_init__(self) -> None:
        if self.min_context < 1 or self.horizon < 1:
            raise ConfigError(
                f"`min_context` and `horizon` must be >= 1 frames; got {self.min_context} and {self.horizon}."
            )
        if self.max_context is not None and self.max_context < self.min_context:
            raise ConfigError(f"`max_context` must be >= `min_context`; got {self.max_context} < {self.min_context}.")


def sample_causal(config: CausalMaskConfig, batch_size: int, grid: Grid, *, generator: torch.Generator) -> Masks:
    """Draws, per batch, how many frames are known; the next `horizon` frames are the targets, one block each.

    Args:
        config: lengths in latent frames.
        batch_size: samples B.
        grid: (t, h, w).
        generator: on the CPU.

    Returns:
        Masks with context [B, K], K = frames * h * w, and targets [B, M, Q], M = `horizon` frames of Q = h *
        w.

    Raises:
        ConfigError: where the clip is too short.
    """
    check_sizes(batch_size, grid, generator)
    most = grid[0] - config.horizon
    if most < config.min_context:
        raise ConfigError(
            f"{config.min_context} context and {config.horizon} target frames do not fit the {grid[0]} "
            "latent frames of the clip. Lower `min_context` or `horizon`."
        )
    if config.max_context is not None:
        most = min(most, config.max_context)
    known = int(torch.randint(config.min_context, most + 1, (), generator=generator))
    starts = torch.zeros(batch_size, dtype=torch.int64)
    if config.sliding:
        starts = torch.randint(grid[0] - known - config.horizon + 1, (batch_size,), generator=generator)
    plane = grid[1] * grid[2]
    first = starts[:, None] * plane  # [B, 1]
    context_idx = first + torch.arange(known * plane)
    target_idx = first + torch.arange(known * plane, (known + config.horizon) * plane)
    return Masks(context_idx, target_idx.unflatten(1, (config.horizon, plane)))
