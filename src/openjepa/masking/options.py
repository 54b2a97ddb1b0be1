"""How masks are drawn: what the samplers of blocks and tubes, and the published ones of both, are told."""

from dataclasses import dataclass
from typing import Literal

from openjepa.errors import ConfigError

Sampler = Literal["uniform", "reference"]
SIZE_DRAWS, POSITION_DRAWS = 20, 100  # tries of the uniform samplers: sizes, and positions for each of them


@dataclass(frozen=True)
class BlockMaskConfig:
    """How the blocks of an image are drawn; the defaults are the paper's.

    Attributes:
        num_targets: target blocks M of a sample, >= 1.
        target_scale: range of a target block's share of the grid, in (0, 1].
        target_aspect: range of its height / width, in (0, 10].
        context_scale: range of the context block's share, in (0, 1].
        context_aspect: range of its height / width, in (0, 10].
        min_context: smallest share of the grid that a sample's context may have, in [0, 1); at least one
            token.
        context_size: context tokens K of every batch (constant shapes for a compiled step), or None for as
            many as the sample with the fewest has.
        sampler: `uniform`, or `reference` for the published one with its bias.
    """

    num_targets: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    context_aspect: tuple[float, float] = (1.0, 1.0)
    min_context: float = 0.04
    context_size: int | None = None
    sampler: Sampler = "uniform"

    def __post_init__(self) -> None:
        if self.num_targets < 1:
            raise ConfigError(f"`num_targets` must be >= 1; got {self.num_targets}.")
        _check_range("target_scale", self.target_scale, 0, 1)
        _check_range("target_aspect", self.target_aspect, 0, 10)
        _check_range("context_scale", self.context_scale, 0, 1)
        _check_range("context_aspect", self.context_aspect, 0, 10)
        if not 0 <= self.min_context < 1:
            raise ConfigError(f"`min_context` must lie in [0, 1); got {self.min_context}.")
        if self.context_size is not None and self.context_size < 1:
            raise ConfigError(f"`context_size` must be >= 1 or None; got {self.context_size}.")
        _check_sampler(self.sampler)


@dataclass(frozen=True)
class TubeMaskConfig:
    """How the tubes of a clip are drawn.

    Attributes:
        num_blocks: tubes whose union is the target, >= 1.
        spatial_scale: range of a tube's share of a frame, in (0, 1].
        temporal_scale: range of its share of the frames, in (0, 1].
        aspect: range of its height / width, in (0, 10].
        context_size: context tokens K of every batch (constant shapes for a compiled step), or None for as
            many as the sample with the fewest has.
        target_size: target tokens Q of every batch, or None likewise.
        sampler: `uniform`, or `reference` for the published one, which loses late frames.
    """

    num_blocks: int = 8
    spatial_scale: tuple[float, float] = (0.15, 0.15)
    temporal_scale: tuple[float, float] = (1.0, 1.0)
    aspect: tuple[float, float] = (0.75, 1.5)
    context_size: int | None = None
    target_size: int | None = None
    sampler: Sampler = "uniform"

    def __post_init__(self) -> None:
        if self.num_blocks < 1:
            raise ConfigError(f"`num_blocks` must be >= 1; got {self.num_blocks}.")
        _check_range("spatial_scale", self.spatial_scale, 0, 1)
        _check_range("temporal_scale", self.temporal_scale, 0, 1)
        _check_range("aspect", self.aspect, 0, 10)
        for name, size in (("context_size", self.context_size), ("target_size", self.target_size)):
            if size is not None and size < 1:
                raise ConfigError(f"`{name}` must be >= 1 or None; got {size}.")
        _check_sampler(self.sampler)


def check_counter(sampler: Sampler, counter: int | None) -> None:
    """Refuses a number of the batch without the reference sampler, and that sampler without one."""
    if (sampler == "reference") != (counter is not None):
        raise ConfigError(
            f"`counter` must be given for the reference sampler, and only for it; got {counter} with sampler {sampler}."
        )


def _check_sampler(sampler: str) -> None:
    if sampler not in ("uniform", "reference"):
        raise ConfigError(f"`sampler` must be uniform or reference; got {sampler}.")


def _check_range(name: str, bounds: tuple[float, float], low: float, high: float) -> None:
    """Refuses a range that is not low < first <= second <= high."""
    if len(bounds) != 2 or not low < bounds[0] <= bounds[1] <= high:
        raise ConfigError(f"`{name}` must be two ascending numbers in ({low:g}, {high:g}]; got {bounds}.")


SHORT_TUBES = TubeMaskConfig(num_blocks=8, spatial_scale=(0.15, 0.15))
LONG_TUBES = TubeMaskConfig(num_blocks=2, spatial_scale=(0.7, 0.7))
