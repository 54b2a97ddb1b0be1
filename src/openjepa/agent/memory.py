"""Short-term memory: an episode, the states and actions that a model with context is given, the plans that failed.

A planner finds every wall that the model does not believe in, and an agent that forgets pushes against it for ever:
nothing that it sees changes, so nothing in its plan does. `FailedPlans` remembers, until the episode ends, where an
executed plan was to end and did not; a path that passes such a place again is worth no more than staying:

    cost'(path) = cost + near * max(0, cost(staying) - cost),   near = max over steps and places exp(-d^2 / 2 r^2)

Without units of its own: a plan has failed where the state that was seen is farther from the imagined one than a share
of the imagined way, and its radius r is a share of that gap. After the heuristic updates of real-time search
(Korf 1990, LRTA*), which raise the value of a dead end where it was met; here the model is doubted instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.agent.agent_config import AgentConfig, FailedPlanConfig
from openjepa.agent.experience import Experience
from openjepa.agent.landmarks import Landmarks
from openjepa.agent.pursuit import Pursuit
from openjepa.agent.routes import Routes
from openjepa.agent.stuck_steps import StuckSteps
from openjepa.errors import ConfigError, check_shape
from openjepa.nn.host import to_host
from openjepa.planning.costs import GoalCost, SelfAimed
from openjepa.planning.hierarchical import Hierarchy


class ShortTermMemory:
    """The latest states and the model actions between them, as a model with context is given them.

    Args:
        context_len: states that are kept, >= 1.
    """

    def __init__(self, context_len: int) -> None:
        self.context_len = context_len
        self._states: list[Tensor] = []  # each [B, N, D]
        self._actions: list[Tensor] = []  # each [B, A], between them

    def see(self, z: Tensor) -> None:
        """Keeps the states [B, N, D] of this moment."""
        self._states = [*self._states, z][-self.context_len :]
        self._actions = self._actions[len(self._actions) - len(self._states) + 1 :]

    def act(self, actions: Tensor) -> None:
        """Keeps the model actions [B, A] that were taken since the last states."""
        if self.context_len > 1:
            self._actions = [*self._actions, actions.clone()]

    @property
    def now(self) -> Tensor:
        """The latest states [B, N, D]."""
        return self._states[-1]

    def context(self, rows: Tensor) -> Tensor:
        """States [R, T, N, D] of some environments, oldest first."""
        return torch.stack(self._states, 1)[rows]

    def actions(self, rows: Tensor) -> Tensor | None:
        """The actions [R, T - 1, A] between these states, None where T is 1."""
        return torch.stack(self._actions, 1)[rows] if self._actions else None


class Moves:
    """Whether environments still move, without a map: how far their states went from one decision to the next.

    Who is beside a goal, no farther than one decision goes, and plans to stay there rests, which is not to be stuck.

    Args:
        batch: number B of environments.
        still_share: of the usual move, the mean of those so far, below which an environment stands still.

    Attributes:
        idle: of each environment, decisions in a row at which it stood still and did not rest.
        rests: whether each environment was to stay where it is, near its goal.
    """

    def __init__(self, batch: int, still_share: float = 0.25) -> None:
        self.idle, self.still_share = [0] * batch, still_share
        self.rests = [False] * batch
        self._last: list[Tensor | None] = [None] * batch
        self._meant = [math.inf] * batch
        self._moves: list[list[float]] = [[] for _ in range(batch)]

    def look(self, rows: Sequence[int], z: Tensor, near: Sequence[bool] | None = None) -> None:
        """Notes the states [R, N, D] of environments `rows` at a decision, and which of them are known to be near."""
        beside = [False] * len(rows) if near is None else near
        for row, state, close in zip(rows, to_host(z), beside, strict=True):
            last, self._last[row] = self._last[row], state
            if last is None:
                continue
            move = float((state - last).norm())
            little = self.still_share * sum(self._moves[row]) / max(1, len(self._moves[row]))
            self.rests[row] = close and self._meant[row] <= little
            self.idle[row] = self.idle[row] + 1 if move <= little and not self.rests[row] else 0
            self._moves[row].append(move)

    def expect(self, rows: Sequence[int], ways: Tensor) -> None:
        """Notes how far [R] environments are to go until the next decision."""
        for row, way in zip(rows, to_host(ways).tolist(), strict=True):
            self._meant[row] = way


class FailedPlans:
    """Where the plans of a batch of episodes failed.

    Args:
        config: the options.
    """

    def __init__(self, config: FailedPlanConfig) -> None:
        self.config = config
        self._places: list[Tensor] = []  # each [B, N * D]
        self._radii: list[Tensor] = []  # each [B], 0 where the plan came true

    def compare(self, start: Tensor, imagined: Tensor, seen: Tensor) -> None:
        """Remembers where a plan failed.

        Args:
            start: [B, N, D], where the plan began.
            imagined: [B, N, D], where its executed part was to end.
            seen: [B, N, D], where it ended.
        """
        gap = (imagined - seen).flatten(1).norm(dim=1)
        way = (imagined - start).flatten(1).norm(dim=1)
        failed = gap > self.config.missing_share * way
        if to_host(failed.any()):
            keep = self.config.capacity - 1
            radius = torch.where(failed, self.config.radius_share * gap, torch.zeros_like(gap))
            self._places = [*self._places[max(0, len(self._places) - keep) :], imagined.flatten(1)]
            self._radii = [*self._radii[max(0, len(self._radii) - keep) :], radius]

    def doubt(self, cost: GoalCost, z: Tensor, horizon: int, rows: Tensor) -> GoalCost:
        """The same cost with what is remembered, for some environments.

        Args:
            cost: bound to the goals of these environments.
            z: [R, N, D], where they are.
            horizon: number of steps of a path.
            rows: [R], which ones they are.
        """
        if not self._places:
            return cost
        staying = cost(z[:, None, None].expand(-1, 1, horizon, -1, -1))[:, 0]
        return DoubtfulCost(cost, staying, torch.stack(self._places, 1)[rows], torch.stack(self._radii, 1)[rows])


@dataclass(frozen=True)
class DoubtfulCost:
    """A cost that trusts no path through places where plans failed.

    Attributes:
        cost: of paths.
        staying: [B], the cost of a path that does not move.
        places: [B, K, N * D], imagined states that did not come true.
        radii: [B, K], how far around them; 0 for none.
    """

    cost: GoalCost
    staying: Tensor
    places: Tensor
    radii: Tensor

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        cost = self.cost(z_path)
        states = z_path.flatten(3).flatten(1, 2)  # [B, S * T, N * D]
        gap = torch.cdist(states, self.places, compute_mode="donot_use_mm_for_euclid_dist")  # [B, S * T, K]
        scaled = gap / self.radii.clamp_min(1e-12).unsqueeze(1)
        near = torch.where(self.radii.unsqueeze(1) > 0, (-0.5 * scaled.square()).exp(), 0.0).amax(-1)  # [B, S * T]
        near = near.unflatten(1, z_path.shape[1:3]).amax(-1)  # [B, S]
        return cost + near * (self.staying.unsqueeze(1) - cost).clamp_min(0)

    @property
    def z_goal(self) -> Tensor:
        """The goals [B, N, D]."""
        return self.cost.z_goal

    def select(self, environments: Tensor) -> "DoubtfulCost":
        """The same cost for some environments: their indices, or a mask [B]."""
        parts = (part[environments] for part in (self.staying, self.places, self.radii))
        return DoubtfulCost(self.cost.select(environments), *parts)


class Episode:
    """Goals, plans and memories of every environment, until the next `start`.

    Args:
        config: of the agent.
        z_goal: [B, N, D].
        env_ids: a number for each environment.
        intent: a cost that finds its goals by itself, or None.
        landmarks: the agent's map, or None.
        hierarchy: its upper levels, or None.
        stuck_map: its critic, where steps that led nowhere are remembered; or None.
        keeps: whether what is lived through will be asked for.
    """

    def __init__(
        self,
        config: AgentConfig,
        z_goal: Tensor,
        env_ids: list[int],
        intent: SelfAimed | None,
        landmarks: Landmarks | None,
        hierarchy: Hierarchy | None,
        stuck_map: Landmarks | None,
        *,
        keeps: bool,
    ) -> None:
        self.z_goal, self.env_ids = z_goal, env_ids
        self.intent = intent
        self.routes = None if landmarks is None else Routes(landmarks, z_goal, config.edge_patience)
        self.pursuit = None if hierarchy is None else Pursuit(hierarchy, z_goal)
        self.moves = None if config.configurator is None else Moves(len(z_goal))
        self._stride, self._looks = config.replan_every, config.looks
        self._keeps = keeps
        self._lived: list[tuple[int, list[int], Tensor]] = []  # model step, environments, their states
        self.memory = ShortTermMemory(config.context_len)
        self.failed_plans: FailedPlans | StuckSteps | None = None
        if config.failed_plans is not None:
            self.failed_plans = FailedPlans(config.failed_plans)
        elif stuck_map is not None:
            self.failed_plans = StuckSteps(stuck_map)
        self.planned_at: Tensor | None = None  # [B, N, D], states at the last plan
        self.lately: list[tuple[Tensor, Tensor]] = []  # of a model step with several looks: states, and actions since
        self.plan: Tensor | None = None  # [B, H, A]
        self.executed = 0  # model steps of the plan
        self.part = 0  # primitive actions of the present model action
        self.active = torch.ones(len(z_goal), dtype=torch.bool)

    def look(self, rows: Tensor, there: Tensor, decision: int) -> list[float | None]:
        """Steps to the goals of some environments as far as a map knows them; notes what moves and comes nearer."""
        z = self.memory.now[there]
        if self._keeps and decision % self._looks == 0:
            self._lived.append((decision // self._looks * self._stride, rows.tolist(), to_host(z)))
        members = rows.tolist()
        if self.moves is not None:
            left = [] if self.routes is None else self.routes.left(members, z)
            self.moves.look(members, z, [steps <= self._stride for steps in left] or None)
        if self.routes is None:
            return [None] * len(rows)
        rests = [] if self.moves is None else [row for row in members if self.moves.rests[row]]
        return list(self.routes.look(members, z, rests))

    def expect(self, rows: Tensor, there: Tensor, ends: Tensor) -> None:
        """Notes where some environments are to be at the next decision: states [R, N, D]."""
        if self.moves is not None:
            self.moves.expect(rows.tolist(), (ends - self.memory.now[there]).flatten(1).norm(dim=1) / self._looks)

    def experiences(self) -> list[Experience]:
        """What every environment lived through, those that never acted left out."""
        found = []
        for row in range(len(self.env_ids)):
            moments = [(step, z[rows.index(row)]) for step, rows, z in self._lived if row in rows]
            if not moments or self.routes is None:
                continue
            places = self.routes.landmarks.places.cpu()
            moments = [(step, z[..., : places.shape[-1]]) for step, z in moments]  # of a velocity the map knows nothing
            failed = torch.tensor(self.routes.failed[row], dtype=torch.long).view(-1, 2)
            steps = torch.tensor([step for step, _ in moments])
            found.append(Experience(torch.stack([z for _, z in moments]), steps, places[failed]))
        return found

    def retire(self, active: Tensor) -> None:
        """Lets only these environments [B] go on."""
        check_shape(active, f"B={len(self.active)}", name="active")
        if bool((active & ~self.active).any()):
            raise ConfigError("`active` must not revive a finished environment. Call `start` for a new episode.")
        self.active = active
