"""What was touched: what moved between two moments of an episode without being the agent.

Actions move the agent, and the agent moves what it touches. A latent that must foretell actions keeps the first and
loses the second, but pictures show it: what differs between two moments has moved. A map of each frame alone must
explain the difference of any two moments of an episode; so whatever always stays (a background, things that nobody
moves) is not on the map, however it looks. And where the agent's state, which actions tell, foretells that something is
there, it is probably the agent; what moves elsewhere was touched. That is known place by place and often wrong; a
network that sees what things look like finds out which is which.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NOISE, SURE = 4.0, 16.0  # grey levels below which a pixel did not change, and from which it surely did
FORETOLD = 0.1  # probability from which on something at a place is rather the agent than what it touches


@torch.no_grad()
def change_map(one: Tensor, other: Tensor, cells: int) -> Tensor:
    """The share of each place of a picture that differs between frames [B, 3, H, W] uint8; [B, cells^2] in [0, 1]."""
    apart = (torch.maximum(one, other) - torch.minimum(one, other)).amax(1, keepdim=True).float()
    share = ((apart - NOISE) / (SURE - NOISE)).clamp(0, 1)
    return functional.adaptive_avg_pool2d(share, cells).flatten(1)


@dataclass(frozen=True)
class Changes:
    """What changed between moments of episodes.

    Attributes:
        share: [B, pairs, P], see `change_map`.
        one: numbers [pairs] of the first moments of the pairs, among M moments.
        other: of the second ones.
    """

    share: Tensor
    one: Tensor
    other: Tensor

    @staticmethod
    def between(frames: Tensor, cells: int) -> "Changes":
        """Of all pairs of moments [B, M, 3, H, W] uint8."""
        one, other = torch.triu_indices(frames.shape[1], frames.shape[1], 1).unbind()
        share = change_map(frames[:, one].flatten(0, 1), frames[:, other].flatten(0, 1), cells)
        return Changes(share.unflatten(0, (len(frames), -1)), one, other)


def agent_loss(agent: Tensor, changes: Changes) -> Tensor:
    """How badly the places where an agent may be explain what changed; nats per place, a scalar.

    Args:
        agent: [B, M, P] log-odds that the agent is at a place of the picture, in each of M moments.
        changes: between them.
    """
    away = functional.logsigmoid(-agent.float())
    still = away[:, changes.one] + away[:, changes.other]  # log-probability that it was at neither of them
    changed = changes.share
    return -(changed * torch.log1p(-still.exp().clamp(max=1 - 1e-6)) + (1 - changed) * still).mean()


def touched_loss(found: Tensor, agent: Tensor, changes: Changes) -> Tensor:
    """How badly maps of single moments explain what changed, and part it between agent and touched; a scalar.

    Args:
        found: [B, M, 2, P] log-odds, against nothing that moves, of the agent and of what is touched.
        agent: [B, M, P] log-odds that anything is there as the agent's state foretells; no gradient reaches them.
        changes: between the moments.
    """
    logs = functional.pad(found.float(), (0, 0, 1, 0)).log_softmax(2)  # nothing, agent, touched
    none = logs[:, :, 0].exp()
    before, after = none[:, changes.one], none[:, changes.other]
    differs = (before * (1 - after) + after * (1 - before)).clamp(1e-4, 1 - 1e-4)
    missed = -(changes.share * differs.log() + (1 - changes.share) * (1 - differs).log())
    moves, expected = (1 - none).detach(), agent.detach().float().sigmoid()
    is_agent = expected / (expected + FORETOLD)
    parted = -(is_agent * logs[:, :, 1] + (1 - is_agent) * logs[:, :, 2] - logs[:, :, 1:].logsumexp(2))
    known = (2 * is_agent - 1).square()  # beside the hand either may be meant, and nothing is learned
    return missed.mean() + (moves * known * parted).mean()
