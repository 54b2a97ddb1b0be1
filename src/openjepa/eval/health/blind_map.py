"""Where in the frame a model is blind: what moves in held-out pictures, and the share that its latent does not hold."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.eval.health.moving_things import find_again, looked_at
from openjepa.eval.health.sight import Sight
from openjepa.protocols import TrajectoryBatch


@dataclass(frozen=True)
class BlindMap:
    """Maps over the frame, at every n-th pixel of large pictures.

    Attributes:
        motion: [h, w] how often a moving thing is there, 0 to 1 and more where several pass.
        blind: [h, w] the part of it that cannot be read from the latent, at most `motion`.
        frame: [C, H, W] uint8, the held-out frame with the most that moves on unseen.
        unseen: [h, w] the same frame: what in it cannot be read, 0 to 1.
    """

    motion: Tensor
    blind: Tensor
    frame: Tensor
    unseen: Tensor


@torch.no_grad()
def blind_map(held_out: TrajectoryBatch, sight: Sight) -> BlindMap:
    """Draws up where the things of `sight` were, and weighs each by how badly its place reads from the latent.

    Args:
        held_out: the episodes that `sight` was measured on.
        sight: from `look`.
    """
    frames, colours = held_out.frames, torch.tensor([thing.colour for thing in sight.things]).float()
    unread = torch.tensor([1 - min(max(thing.read, 0.0), 1.0) for thing in sight.things])
    valid = recorded(held_out.lengths, *frames.shape[:2])
    stride = looked_at(*frames.shape[-2:])
    labels = find_again(frames[..., ::stride, ::stride], colours)  # [E, T, h, w]
    motion = torch.zeros(labels.shape[-2:])
    blind = torch.zeros_like(motion)
    moves_on = torch.zeros(labels.shape[0], labels.shape[1] - 1)
    for k, weight in enumerate(unread):
        there = labels == k
        passing = there & ~(there | ~valid[:, :, None, None]).all(1, keepdim=True)  # not where it always is
        often = passing[valid].sum(0) / int(valid.sum())
        motion += often
        blind += weight * often
        moves_on += weight * (there[:, 1:] != there[:, :-1]).sum((2, 3))
    moves_on = moves_on.masked_fill(~valid[:, 1:], -1.0)
    e, t = divmod(int(moves_on.argmax()), moves_on.shape[1])
    shown = labels[e, t]
    unseen = torch.where(shown >= 0, unread[shown.clamp_min(0).int()], 0.0)
    return BlindMap(motion, blind, frames[e, t], unseen)
