"""Scenes that recur: which of a few kinds of episode is this, told from what never changes in one.

A map of a place whose doors are open leads against a door that is closed. Where the scenes of episodes are few (every
second time one of four doors is closed), each has a map of its own; where every episode has another one, they are void.
"""

import torch
from torch import Tensor

FEW = 16  # scenes; more are taken to be as many as episodes
SPREADS = 3.0  # spreads of a scene's code within episodes by which two scenes must differ
RARE = 0.01  # share of the episodes that a scene must have, else it counts to the nearest


@torch.no_grad()
def recurring_scenes(codes: Tensor, lengths: Tensor) -> Tensor:
    """The centres [K, S] of the scenes of episodes; one, the mean, where there are more than a few.

    Args:
        codes: [E, T, S], the scene dimensions of all states.
        lengths: [E] states of each episode.
    """
    known = (torch.arange(codes.shape[1], device=codes.device) < lengths[:, None]).unsqueeze(-1)
    usual = (codes * known).sum(1) / lengths[:, None]  # [E, S]
    gaps = ((codes - usual.unsqueeze(1)) * known).square().sum((1, 2)) / lengths
    radius = SPREADS * float(gaps.median().sqrt())
    count = torch.zeros(0)
    centres = usual[:1]
    while len(centres) <= FEW:
        away = torch.cdist(usual, centres).amin(1)
        farthest = int(away.argmax())
        if float(away[farthest]) <= radius:
            break
        centres = torch.cat([centres, usual[farthest : farthest + 1]])
    for _ in range(10):  # k-means from there
        number = torch.cdist(usual, centres).argmin(1)
        count = torch.bincount(number, minlength=len(centres))
        common = (count > RARE * len(usual)).nonzero().squeeze(1)
        centres = torch.stack([usual[number == k].mean(0) for k in common.tolist()])
    return centres if len(centres) <= FEW else usual.mean(0, keepdim=True)


def scene_of(codes: Tensor, centres: Tensor) -> Tensor:
    """The number [...] of the scene whose centre [K, S] is nearest to codes [..., S]."""
    return torch.cdist(codes.reshape(-1, codes.shape[-1]), centres).argmin(1).view(codes.shape[:-1])
