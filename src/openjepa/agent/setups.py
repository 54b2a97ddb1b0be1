"""A setup put into practice: a planner of another size, a random heading, and the plans of several setups in one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from openjepa.agent.configurator import Means, Setup
from openjepa.nn.host import to_device
from openjepa.planning.candidates import Imagination, centre, half_range, white_noise
from openjepa.planning.sizes import SearchSize
from openjepa.protocols import ActionBounds, PathCost, Plan, Planner, WorldModel


@runtime_checkable
class Sized(Protocol):
    """A planner that says how much it searches, and can be had with more or less of it."""

    @property
    def size(self) -> SearchSize:
        """How much it searches."""
        ...

    def resized(self, size: SearchSize) -> Planner:
        """The same planner, with another size."""
        ...


def means_of(planner: Planner) -> Means:
    """What an agent with this planner can think with."""
    size = planner.size if isinstance(planner, Sized) else SearchSize(1, 1, 1)
    return Means(size.horizon, size.num_samples, size.num_iterations)


def resized(planner: Planner, setup: Setup) -> Planner:
    """The planner as a setup wants it; one that has no size stays as it is."""
    if not isinstance(planner, Sized):
        return planner
    wanted = SearchSize(setup.horizon, setup.num_samples, setup.num_iterations)
    return planner if wanted == planner.size else planner.resized(wanted)


def wander(
    model: WorldModel,
    z: Tensor,
    cost: PathCost,
    bounds: ActionBounds,
    horizon: int,
    *,
    generators: Sequence[torch.Generator],
    context_actions: Tensor | None = None,
) -> Plan:
    """One random action per environment, held for a whole plan; see `openjepa.protocols.Planner.plan`."""
    noise = white_noise(generators, (1, 1, bounds.dim), z)
    free = bounds.clip(noise if bounds.categories else torch.addcmul(centre(bounds, z), half_range(bounds, z), noise))
    return Imagination(model, z, cost, context_actions).best_plan(free.expand(-1, -1, horizon, -1), 0, {})


def joined(plans: Sequence[tuple[Tensor, Plan]]) -> Plan:
    """The plans of a batch from those of its parts, each with the rows that it is of."""
    rows = torch.cat([rows for rows, _ in plans])
    order = rows.argsort()

    def together(parts: Sequence[Tensor]) -> Tensor:
        both = torch.cat(list(parts))
        return both[to_device(order, both.device)]

    mean = round(sum(plan.model_steps * len(part) for part, plan in plans) / len(rows))
    shared = set.intersection(*(set(plan.terms) for _, plan in plans))
    alike = {n for n in shared if len({plan.terms[n].shape[1:] for _, plan in plans}) == 1}
    return replace(
        plans[0][1],
        actions=together([plan.actions for _, plan in plans]),
        cost=together([plan.cost for _, plan in plans]),
        z_path=together([plan.z_path for _, plan in plans]),
        model_steps=mean,
        terms={name: together([plan.terms[name] for _, plan in plans]) for name in sorted(alike)},
    )


def selected(plan: Plan, rows: Tensor) -> Plan:
    """The plan of some environments of a batch."""
    there = to_device(rows, plan.actions.device)
    terms = {name: value[there] for name, value in plan.terms.items()}
    return replace(plan, actions=plan.actions[there], cost=plan.cost[there], z_path=plan.z_path[there], terms=terms)
