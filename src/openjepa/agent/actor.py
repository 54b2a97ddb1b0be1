"""Amortised planning: a goal-conditioned policy proposes, the world model verifies, a small search repairs.

Published parts, composed: proposals by goal-conditioned inverse dynamics (2605.08732), rolled forward inside
the world model; a search of narrow width around the proposal (the guarded mode of 2607.26056), whose result
is never worse than the proposal; a full search where that is not enough. An acceptance rule, calibrated on
held-out problems, says which environments need no search at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_device, to_host
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import BoundCost
from openjepa.planning.imagination import Imagination
from openjepa.planning.sampling import centre, check_problem
from openjepa.protocols import ActionBounds, PathCost, Plan, Planner, WorldModel

# (z [B, N, D], z_goal [B, N, D], remaining steps [B]) -> actions [B, A], like `GoalPolicy` of `models`.
Policy = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ProposalConfig:
    """Options of the proposals.

    Attributes:
        horizon: length H of a plan in model steps, >= 1.
        gaps: guesses of the number of steps to the goal; each gives one proposal, and the model picks the
            best.
    """

    horizon: int = 12
    gaps: tuple[int, ...] = (4, 8, 16, 30)

    def __post_init__(self) -> None:
        if self.horizon < 1 or not self.gaps or min(self.gaps) < 1:
            raise ConfigError(f"`horizon` and all `gaps` must be at least 1; got {self.horizon} and {self.gaps}.")


def propose(
    policy: Policy,
    model: WorldModel,
    z: Tensor,
    z_goal: Tensor,
    bounds: ActionBounds,
    config: ProposalConfig,
    context_actions: Tensor | None = None,
) -> Tensor:
    """Lets a policy act inside the world model; plans [B, S, H, A], one for each of S gaps.

    Args:
        policy: proposes the next action.
        model: imagines where it leads.
        z: [B, T, N, D] context states.
        z_goal: [B, N, D].
        bounds: proposals are clipped to them.
        config: horizon and gaps.
        context_actions: [B, T - 1, A], needed when T > 1.
    """
    batch, context, samples = z.shape[0], z.shape[1], len(config.gaps)
    window = z.unsqueeze(1).expand(-1, samples, -1, -1, -1).flatten(0, 1)  # [B * S, T, N, D]
    goal = z_goal.unsqueeze(1).expand(-1, samples, -1, -1).flatten(0, 1)
    gap = to_device(torch.tensor(config.gaps), z.device).repeat(batch)
    past = z.new_zeros(batch, 0, bounds.dim) if context_actions is None else context_actions
    taken = past.unsqueeze(1).expand(-1, samples, -1, -1).flatten(0, 1)  # [B * S, T - 1 + steps, A]
    for _ in range(config.horizon):
        action = bounds.clip(policy(window[:, -1], goal, gap))
        taken = torch.cat([taken, action.unsqueeze(1)], 1)
        z_next = model.rollout(window, taken[:, -context:])
        window = torch.cat([window[:, 1:], z_next], 1)
        gap = (gap - 1).clamp_min(1)
    return taken[:, context - 1 :].unflatten(0, (batch, samples))


@dataclass(frozen=True)
class AcceptanceRule:
    """Costs that a verified plan may have, by how far the goal is: the cost of standing still.

    Attributes:
        edges: [K - 1] ascending costs of standing still that separate K classes of difficulty.
        limits: [K] largest accepted cost of a plan in each class.
    """

    edges: Tensor
    limits: Tensor

    def accepts(self, still: Tensor, cost: Tensor) -> Tensor:
        """Whether plans of cost [B] are good enough where standing still costs `still` [B]; [B] bool."""
        limits, edges = to_device(self.limits, cost), to_device(self.edges, still)
        return cost <= limits[torch.bucketize(still.contiguous(), edges)]

    @classmethod
    def calibrate(cls, still: Tensor, cost: Tensor, *, quantile: float = 0.9, num_classes: int = 4) -> "AcceptanceRule":
        """Takes a quantile of the costs that good plans had on held-out problems.

        Args:
            still: [n] cost of standing still, `cost_of_standing_still`.
            cost: [n] cost of plans that a full search found, or of plans that reached their goal.
            quantile: of the costs in a class, in (0, 1].
            num_classes: classes of equal size, at most n.
        """
        if not 1 <= num_classes <= len(still) or not 0 < quantile <= 1:
            raise ConfigError(
                f"`num_classes` must be in [1, {len(still)}] and `quantile` in (0, 1]; got {num_classes} and "
                f"{quantile}."
            )
        shares = torch.linspace(0, 1, num_classes + 1)[1:-1].to(still)
        edges = torch.quantile(still, shares)
        classes = torch.bucketize(still, edges)
        limits = [torch.quantile(cost[classes == k], quantile) for k in range(num_classes)]
        return cls(edges, torch.stack(limits))


def cost_of_standing_still(z: Tensor, cost: PathCost, horizon: int) -> Tensor:
    """Cost [B] of staying in the last of the states [B, T, N, D] for a whole horizon."""
    path = z[:, -1:].expand(-1, horizon, -1, -1)
    return cost(path.unsqueeze(1)).squeeze(1)


class ProposeVerifyRepair:
    """Plans by proposal where that is good enough, and searches where it is not; see `protocols.Planner`.

    The middle of the bounds and a guess take part as further proposals. `Plan.terms["stage"]` says what each
    environment needed: 0 the proposal, 1 the repair, 2 the full search; `terms["steps"]` what it cost in
    predictor steps.

    Args:
        policy: proposes actions, in the units of the bounds.
        bounds: allowed model actions.
        config: of the proposals.
        repair: the small search around the best proposal; None for 64 samples, 3 rounds and a std of 0.25.
        accept: which plans need no further search; None repairs every one and searches no further.
        fallback: the full search for plans that are not accepted after the repair, or None.
    """

    def __init__(
        self,
        policy: Policy,
        bounds: ActionBounds,
        config: ProposalConfig | None = None,
        *,
        repair: CEMConfig | None = None,
        accept: AcceptanceRule | None = None,
        fallback: Planner | None = None,
    ) -> None:
        self.policy, self.bounds, self.accept, self.fallback = policy, bounds, accept, fallback
        self.config = config or ProposalConfig()
        if repair is None:
            repair = CEMConfig(
                horizon=self.config.horizon,
                num_samples=64,
                num_elites=8,
                num_iterations=3,
                init_std=0.25,
                min_std=0.01,
            )
        if repair.horizon != self.config.horizon:
            raise ConfigError(
                f"`repair.horizon` must be that of the proposals ({self.config.horizon}); got {repair.horizon}."
            )
        self.repair = CEM(bounds, repair)

    @torch.no_grad()
    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        cost: PathCost,
        *,
        generators: Sequence[torch.Generator],
        guess: Tensor | None = None,
        context_actions: Tensor | None = None,
    ) -> Plan:
        """See `openjepa.protocols.Planner.plan`; `cost` must come from `openjepa.planning.costs.bind`."""
        horizon = self.config.horizon
        check_problem(z, generators, guess, context_actions, horizon=horizon, bounds=self.bounds)
        if not isinstance(cost, BoundCost):
            raise ConfigError("`cost` must hold the goals. Make it with `bind(cost, z_goal)`.")
        plans = propose(self.policy, model, z, cost.z_goal, self.bounds, self.config, context_actions)
        spent = plans.shape[1] * horizon
        rest = centre(self.bounds, z).expand(len(z), 1, horizon, self.bounds.dim)
        plans = torch.cat([plans, rest] if guess is None else [plans, rest, guess.unsqueeze(1)], 1)
        found = Imagination(model, z, cost, context_actions).best_plan(self.bounds.clip(plans), spent, {})
        stage = torch.zeros(len(z), dtype=torch.long, device=z.device)
        steps = torch.full_like(stage, found.model_steps)
        still = cost_of_standing_still(z, cost, horizon)
        for number, planner in enumerate((self.repair, self.fallback), start=1):
            rows = self._unsolved(still, found.cost, number)
            if planner is None or len(rows) == 0:
                break
            picked, rows = [generators[i] for i in rows.tolist()], to_device(rows, z.device)
            better = planner.plan(
                model,
                z[rows],
                cost.select(rows),
                generators=picked,
                guess=found.actions[rows],
                context_actions=None if context_actions is None else context_actions[rows],
            )
            stage.index_fill_(0, rows, number)
            steps[rows] += better.model_steps
            spent = found.model_steps + better.model_steps  # of those that needed every search so far
            found = replace(_put(found, rows, better), model_steps=spent)
        return replace(found, terms={"stage": stage, "steps": steps})

    def _unsolved(self, still: Tensor, cost: Tensor, number: int) -> Tensor:
        """Indices, on the host, of the environments that go on to search `number`."""
        if self.accept is None:
            return torch.arange(len(cost) if number == 1 else 0)
        return to_host(~self.accept.accepts(still, cost)).nonzero().squeeze(1)


def _put(plan: Plan, rows: Tensor, better: Plan) -> Plan:
    """Replaces the plans of some environments."""
    return replace(
        plan,
        actions=plan.actions.index_copy(0, rows, better.actions),
        cost=plan.cost.index_copy(0, rows, better.cost),
        z_path=plan.z_path.index_copy(0, rows, better.z_path),
    )
