"""The actor's two modes in one planner: a policy proposes (Mode-1), the model verifies, a search repairs (Mode-2).

One batch of candidate plans is imagined: what the policy proposes, what is left of the last plan, and plans around
both and anywhere; the cheapest is executed. Only where it gains too little over standing still does a search go on
from it, which never ends with a worse plan (propose and repair after 2605.08732 and 2607.26056). Easy decisions so
cost one batch of imagination, and hard ones what they need.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.agent.memory import DoubtfulCost
from openjepa.errors import ConfigError, check_shape
from openjepa.nn.host import to_device, to_host
from openjepa.planning.candidates import (
    Imagination,
    Search,
    around,
    centre,
    held_noise,
    hold,
    num_knots,
    to_knots,
)
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import GoalCost
from openjepa.planning.sizes import SearchSize
from openjepa.protocols import ActionBounds, PathCost, Plan

# (z [B, N, D], z_goal [B, N, D]) -> free actions [B, K, A] of a plan, like `heads.goal_policy.GoalPolicy`.
Policy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ProposalConfig:
    """What is imagined before anything is searched for, and what is good enough.

    Attributes:
        num_policy: candidates at the policy's plan, the plan itself among them, >= 1.
        num_last: candidates at what is left of the last plan, that plan among them, >= 0; at the policy's plan as
            long as there is no last one.
        num_wide: candidates anywhere, the middle of the bounds among them, >= 0.
        near_std: how far the first two kinds spread, in half ranges of the bounds, >= 0.
        wide_std: how far the third kind spreads, >= 0.
        accept_gain: share of the cost of standing still that a plan must save to be accepted without a search, in
            [0, 1]; 0 accepts every plan that is better than standing still.
    """

    num_policy: int = 6
    num_last: int = 6
    num_wide: int = 4
    near_std: float = 0.3
    wide_std: float = 0.7
    accept_gain: float = 0.05

    def __post_init__(self) -> None:
        if self.num_policy < 1 or min(self.num_last, self.num_wide) < 0:
            raise ConfigError("`num_policy` must be at least 1, `num_last` and `num_wide` 0 or more.")
        if min(self.near_std, self.wide_std) < 0 or not 0 <= self.accept_gain <= 1:
            raise ConfigError("`near_std` and `wide_std` must be 0 or more and `accept_gain` in [0, 1].")


def cost_of_standing_still(z: Tensor, cost: PathCost, horizon: int) -> Tensor:
    """Cost [B] of staying in the last of the states [B, T, N, D] for a whole horizon."""
    if isinstance(cost, DoubtfulCost):
        return cost.staying
    path = z[:, -1:].expand(-1, horizon, -1, -1)
    return cost(path.unsqueeze(1)).squeeze(1)


class ProposeVerifyRepair(Search):
    """Plans by proposal where that is good enough, and searches on where it is not; see `protocols.Planner`.

    `Plan.terms["stage"]` says what each environment needed, 0 the proposals or 1 the repair; `terms["steps"]` what it
    cost in predictor steps. The cost that it is given must come from `openjepa.planning.costs.bind`.

    Args:
        policy: proposes plans, in the units of the bounds.
        bounds: allowed model actions.
        config: of the proposals.
        repair: the search; its horizon and `knot_steps` are those of all plans. None for 64 samples in 2 rounds.
    """

    def __init__(
        self,
        policy: Policy,
        bounds: ActionBounds,
        config: ProposalConfig | None = None,
        *,
        repair: CEMConfig | None = None,
    ) -> None:
        self.policy = policy
        self.config = config or ProposalConfig()
        self.repair = CEM(bounds, repair or CEMConfig(num_samples=64, num_elites=8, num_iterations=2))
        self._parts = self.repair.parts
        super().__init__(bounds, self.repair.horizon, self.repair.micro_batch)
        c = self.config
        kinds = ((c.num_policy, c.near_std), (c.num_last, c.near_std), (c.num_wide, c.wide_std))
        self._kind = torch.tensor([kind for kind, (count, _) in enumerate(kinds) for _ in range(count)])
        widths = [std if i else 0.0 for count, std in kinds for i in range(count)]  # the first is the plan itself
        self._width = torch.tensor(widths).view(-1, 1, 1)

    @property
    def size(self) -> SearchSize:
        """How much its search does."""
        return self.repair.size

    def resized(self, size: SearchSize) -> "ProposeVerifyRepair":
        """The same with a search of another size; the horizon is the policy's."""
        repair = self.repair.resized(replace(size, horizon=self.repair.config.horizon)).config
        return ProposeVerifyRepair(self.policy, self.bounds, self.config, repair=repair)

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        model, z, cost, context_actions = problem.model, problem.z, problem.cost, problem.context_actions
        if not isinstance(cost, GoalCost):
            raise ConfigError("`cost` must hold the goals. Make it with `bind(cost, z_goal)`.")
        candidates = self.candidates(z, cost.z_goal, generators, guess)
        found, still = problem.best_plan(candidates, 0, {}), cost_of_standing_still(z, cost, self.horizon)
        unsolved = to_host(found.cost > (1 - self.config.accept_gain) * still).nonzero().squeeze(1)
        stage = torch.zeros(len(z), dtype=torch.long, device=z.device)
        steps = torch.full_like(stage, found.model_steps)
        if len(unsolved):
            rows = to_device(unsolved, z.device)
            better = self.repair.plan(
                model,
                z[rows],
                cost.select(rows),
                generators=[generators[i] for i in unsolved.tolist()],
                guess=found.actions[rows],
                context_actions=None if context_actions is None else context_actions[rows],
            )
            stage.index_fill_(0, rows, 1)
            steps[rows] += better.model_steps
            mean = found.model_steps + round(better.model_steps * len(unsolved) / len(z))
            found = _keep_better(replace(found, model_steps=mean), rows, better)
        return replace(found, terms={"stage": stage, "steps": steps})

    def candidates(
        self, z: Tensor, z_goal: Tensor, generators: Sequence[torch.Generator], guess: Tensor | None
    ) -> Tensor:
        """All plans [B, S, H, A] that are imagined at first."""
        c, search = self.config, self.repair.config
        knots = num_knots(search.horizon, search.knot_steps)
        proposed = self.policy(z[:, -1], z_goal)  # [B, K, A]
        check_shape(proposed, f"B={len(z)} K={knots} A={self.bounds.dim}", name="the policy's plan")
        guess = None if guess is None else self.bounds.clip(guess)
        last = proposed if guess is None else to_knots(guess, search.knot_steps)
        middle = centre(self.bounds, z).expand_as(proposed)
        centres = torch.stack([proposed, last, middle], 1)[:, to_device(self._kind, z.device)]  # [B, S, K, A]
        noise = held_noise(generators, centres.shape[1:], self._parts, z)
        plans = hold(around(centres, to_device(self._width, z), noise, self.bounds), search.knot_steps, search.horizon)
        if guess is not None and c.num_last:
            plans[:, c.num_policy] = guess  # to the step, whatever its knots
        return plans


def _keep_better(plan: Plan, rows: Tensor, other: Plan) -> Plan:
    """Replaces the plans of some environments where the other ones cost less."""
    wins = other.cost < plan.cost[rows]

    def better(ours: Tensor, theirs: Tensor) -> Tensor:
        won = wins.view(-1, *[1] * (ours.ndim - 1))
        return ours.index_copy(0, rows, torch.where(won, theirs, ours[rows]))

    return replace(
        plan,
        actions=better(plan.actions, other.actions),
        cost=better(plan.cost, other.cost),
        z_path=better(plan.z_path, other.z_path),
    )
