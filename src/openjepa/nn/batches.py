"""Batches: what data hands to a method. `to(device)` is the only thing that a training loop does with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # stores and worlds are NumPy; who only looks at recorded play does not wait for PyTorch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ImageBatch:
    """Images [B, C, H, W] uint8, with labels [B] where a probe needs them."""

    images: Tensor
    labels: Tensor | None = None

    def to(self, device: torch.device | str) -> ImageBatch:
        """Returns the same batch on `device`."""
        return ImageBatch(_move(self.images, device), _move_optional(self.labels, device))


@dataclass(frozen=True)
class VideoBatch:
    """Clips [B, T, C, H, W] uint8, with labels [B] where a probe needs them."""

    clips: Tensor
    labels: Tensor | None = None

    def to(self, device: torch.device | str) -> VideoBatch:
        """Returns the same batch on `device`."""
        return VideoBatch(_move(self.clips, device), _move_optional(self.labels, device))


@dataclass(frozen=True)
class TrajectoryBatch:
    """Windows of episodes.

    Attributes:
        frames: [B, T, C, H, W] uint8.
        actions: [B, T - 1, A] float32 in the environment's units; with a frameskip of f, the f primitive actions
            between two frames are concatenated in time order, so A is f times as wide.
        proprio: [B, T, P] float32, what the agent itself can measure, or None.
        states: [B, T, P] float32, the simulator's truth: for probes and judging only, never for a loss.
        others: [B, K, C, H, W] uint8, frames of each window's episode from any other moments, or None.
        ways: [B, K, A] float32, sums of the primitive actions from the window's first frame to `others`, or None.
        lengths: [B] int64, frames of each row that belong to its episode, where rows are whole episodes of several
            lengths: what lies beyond repeats the last frame and counts for nothing. None where all T frames count.
    """

    frames: Tensor
    actions: Tensor
    proprio: Tensor | None = None
    states: Tensor | None = None
    others: Tensor | None = None
    ways: Tensor | None = None
    lengths: Tensor | None = None

    def to(self, device: torch.device | str) -> TrajectoryBatch:
        """Returns the same batch on `device`."""
        frames, actions = _move(self.frames, device), _move(self.actions, device)
        proprio, states, others, ways = (
            _move_optional(x, device) for x in (self.proprio, self.states, self.others, self.ways)
        )
        # The lengths are host numbers: they choose rows, and no network reads them.
        return TrajectoryBatch(frames, actions, proprio, states, others, ways, self.lengths)


@dataclass(frozen=True)
class LatentBatch:
    """Windows of the latents of a frozen world model, which need no pictures.

    Attributes:
        z: [B, T, 1, D].
        actions: [B, T - 1, A] in the environment's units.
    """

    z: Tensor
    actions: Tensor

    def to(self, device: torch.device | str) -> LatentBatch:
        """Returns the same batch on `device`."""
        return LatentBatch(_move(self.z, device), _move(self.actions, device))


Batch = ImageBatch | VideoBatch | TrajectoryBatch | LatentBatch


def _move(x: Tensor, device: torch.device | str) -> Tensor:
    return x.to(device, non_blocking=True)


def _move_optional(x: Tensor | None, device: torch.device | str) -> Tensor | None:
    return None if x is None else _move(x, device)
