"""A wave through imagination: from every state that was reached, every macro-action, until nothing new is reached.

A search that improves a few sequences misses ways that first lead away from the goal. This one finds them: imagined
states fall into the cells of observed ones, a cell is entered once, by the shortest sequence that leads there, and what
was reached nearest to the goal is gone to. After breadth-first search; what is stitched here was never walked, but
imagined.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import check_shape
from openjepa.planning.costs import Distance

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Wave:
    """What a wave found.

    Attributes:
        path: [B, H, 1, D], the way to the state nearest to the goal, which repeats its last state where it is shorter.
        first: [B] int64, number of its first macro-action; -1 where nothing beats staying.
        steps: imagined in all.
    """

    path: Tensor
    first: Tensor
    steps: int


def wavefront(
    step: Step,
    distance: Distance,
    z: Tensor,
    z_goal: Tensor,
    macros: Tensor,
    cells: Tensor,
    *,
    horizon: int,
    limit: float,
) -> Wave:
    """Goes from latents z [B, 1, D] towards goals [B, 1, D].

    Args:
        step: latents [R, 1, D] and macro-actions [R, M] to the latents [R, 1, D] one macro-step later.
        distance: between latents.
        z: where to begin.
        z_goal: where to go.
        macros: [K, M] that are tried everywhere.
        cells: [C, 1, D] observed latents; an imagined one belongs to the nearest.
        horizon: macro-steps at most, >= 1.
        limit: of the distance of one macro-step; longer ones are not believed.
    """
    check_shape(z_goal, f"B={len(z)} N=1 D={z.shape[2]}", name="z_goal")
    batch, count = len(z), len(cells)
    known = cells.flatten(1)
    states, owner = z, torch.arange(batch, device=z.device)
    entered = torch.zeros(batch * count, dtype=torch.bool, device=z.device)
    entered[owner * count + _cell(z, known)] = True
    # All states of all waves in one list, with where each came from; the first ones are the beginnings.
    seen, parents, owners = [states], [torch.full_like(owner, -1)], [owner]
    choices, left = [torch.full_like(owner, -1)], [distance(states, z_goal)]
    base = imagined = 0
    for _ in range(horizon):
        here = torch.arange(len(states), device=z.device).repeat_interleave(len(macros))
        choice = torch.arange(len(macros), device=z.device).repeat(len(states))
        there = step(states[here], macros[choice])
        imagined += len(there)
        place = owner[here] * count + _cell(there, known)
        fresh = ((distance(states[here], there) <= limit) & ~entered[place]).nonzero().squeeze(1)
        if not len(fresh):
            break
        # One state for each new cell: the first that enters it.
        entry, which = place[fresh].unique(return_inverse=True)
        first = torch.full_like(entry, len(fresh)).scatter_reduce(
            0, which, torch.arange(len(fresh), device=z.device), "amin"
        )
        kept = fresh[first]
        entered[entry] = True
        parents.append(here[kept] + base)
        base += len(states)
        states, owner = there[kept], owner[here[kept]]
        seen.append(states)
        owners.append(owner)
        choices.append(choice[kept])
        left.append(distance(states, z_goal[owner]))
    return _best_way(seen, parents, owners, choices, left, horizon, imagined)


def _cell(z: Tensor, known: Tensor) -> Tensor:
    """Number [R] of the cell [C, D] of latents [R, 1, D]."""
    return torch.addmm(known.square().sum(1), z.flatten(1), known.T, alpha=-2).argmin(1)


def _best_way(
    seen: list[Tensor],
    parents: list[Tensor],
    owners: list[Tensor],
    choices: list[Tensor],
    left: list[Tensor],
    horizon: int,
    imagined: int,
) -> Wave:
    """The way to the state of each environment that is nearest to its goal; of equal ones the one found first."""
    states, parent, owner, choice = (torch.cat(parts) for parts in (seen, parents, owners, choices))
    cost, batch = torch.cat(left), len(seen[0])
    order = cost.argsort(stable=True)
    number = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    nearest = torch.full((batch,), len(order), device=order.device).scatter_reduce(0, owner, number, "amin")
    at = order[nearest]
    ways, first = [], torch.full_like(at, -1)
    for _ in range(horizon):  # backwards, to the beginning
        ways.append(at)
        moved = parent[at] >= 0
        first = torch.where(moved, choice[at], first)
        at = torch.where(moved, parent[at], at)
    way = torch.stack(ways[::-1], 1)  # [B, H]: the beginning comes first, where a way is shorter
    length = (parent[way] >= 0).sum(1, keepdim=True)
    index = (torch.arange(horizon, device=at.device) + horizon - length).clamp_max(horizon - 1)
    return Wave(states[way.gather(1, index)], first, imagined)
