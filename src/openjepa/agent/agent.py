"""The acting loop: perceive, remember, decide, act (model-predictive control; LeCun 2022, section 3.1).

`perception.py` turns pictures into states, `memory.py` keeps states and plans that failed, `landmarks.py` what was seen
in training as a map of subgoals, the planner is the actor's deliberate mode (Mode-2, searching in the world model) with
a policy's proposals in it (Mode-1, see `actor.py`), and the cost holds the critic: the learned distance to the goal.

World-agnostic: frames come in, actions go out. Environments of a batch step together but are planned for
independently: the random numbers of a plan are keyed by (seed, environment, decision), so an environment acts the
same alone, in any batch, and when its neighbours have finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.agent.configurator import ConfiguratorConfig, Setup, Situation, configure
from openjepa.agent.experience import Experience, grown, keep
from openjepa.agent.landmarks import Landmarks, StuckSteps
from openjepa.agent.memory import FailedPlanConfig, FailedPlans, Moves, ShortTermMemory
from openjepa.agent.perception import Perception
from openjepa.agent.pursuit import Pursuit
from openjepa.agent.routes import Routes
from openjepa.agent.setups import joined, means_of, resized, wander
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.host import to_device, to_host
from openjepa.nn.random import keyed_generator
from openjepa.planning.candidates import centre, shift
from openjepa.planning.costs import PathCost as DistanceCost
from openjepa.planning.costs import SelfAimed, bind
from openjepa.planning.hierarchical import Hierarchy
from openjepa.planning.risk import RiskCost
from openjepa.protocols import ActionBounds, Cost, PathCost, Plan, Planner, WorldModel


@dataclass(frozen=True)
class AgentConfig:
    """Options of the acting loop.

    Attributes:
        replan_every: model steps that are executed before the next plan, from 1 to the planner's horizon.
        context_len: latest states that the model is given, >= 1; 1 for a Markov model.
        history: latest frames that a state is computed from, >= 1; more than 1 for a state with a velocity.
        frameskip: primitive actions per model step, >= 1; a model action is executed in that many parts.
        warm_start: whether a search starts from the last plan, shifted by what was executed.
        reach: model steps to a subgoal at most, > 0; for an agent with a map.
        edge_patience: decisions without progress after which the agent no longer believes, until the episode ends, the
            edge of its map that it should have taken, >= 1; None believes the map for ever.
        configurator: chooses for every decision how it is thought about, or None for always the same.
        failed_plans: when the agent remembers, until the episode ends, a plan that the world did not follow, or None
            to forget at once.
        stuck_steps: whether the agent remembers, until the episode ends, steps between landmarks that led nowhere; the
            critic must be a map of landmarks.
        seed: of all plans, >= 0.
        device: where frames are encoded and plans are made.
    """

    replan_every: int = 1
    context_len: int = 1
    history: int = 1
    frameskip: int = 1
    warm_start: bool = True
    failed_plans: FailedPlanConfig | None = None
    reach: float = 8.0
    edge_patience: int | None = None
    configurator: ConfiguratorConfig | None = None
    stuck_steps: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.replan_every, self.context_len, self.history, self.frameskip) < 1 or self.seed < 0:
            raise ConfigError(
                "`replan_every`, `context_len`, `history`, `frameskip` must be at least 1, `seed` 0 or more."
            )
        if self.reach <= 0 or (self.edge_patience is not None and self.edge_patience < 1):
            raise ConfigError(
                f"`reach` must be above 0 and `edge_patience` at least 1 or None; got {self.reach} and "
                f"{self.edge_patience}."
            )


class Agent:
    """Reaches goals that are given as pictures.

    Args:
        model: in evaluation mode.
        planner: made for `bounds.with_frameskip(config.frameskip)`.
        cost: between imagined paths and the goal.
        bounds: of one primitive action.
        config: the options.
        frame_shape: (C, H, W) of the pictures that it takes, or None for whatever the model takes.
        landmarks: a map of remembered states, which gives subgoals on the way to goals beyond `config.reach`; or None.
        hierarchy: upper levels, which give subgoals where no map does; or None.
        diary: folder where an agent with a map keeps its episodes, by which the map grows; or None.

    Attributes:
        stuck_map: the critic, where it is a map that also remembers steps which led nowhere; else None.
        last_plan: the plan behind the present actions, or None; rows are the environments that were active then.
        planned_for: which environments these are.
        decisions: plans made since `start`.
        thoughts: of the environments in `planned_for`, how the last decision was thought about and why, in a line each;
            empty without a configurator.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        cost: Cost,
        bounds: ActionBounds,
        config: AgentConfig | None = None,
        frame_shape: tuple[int, int, int] | None = None,
        landmarks: Landmarks | None = None,
        hierarchy: Hierarchy | None = None,
        diary: Path | None = None,
    ) -> None:
        if isinstance(model, nn.Module) and model.training:
            raise ConfigError("`model` must be in evaluation mode to act. Call `model.eval()` first.")
        self.model, self.planner, self.cost, self.bounds = model, planner, cost, bounds
        self.config = config or AgentConfig()
        if self.config.failed_plans is not None and isinstance(cost, RiskCost):
            raise ConfigError("`failed_plans` must be None under a `RiskCost`, whose futures are many.")
        self.stuck_map: Landmarks | None = None
        if self.config.stuck_steps:
            distance = cost.distance if isinstance(cost, DistanceCost) else None
            if not isinstance(distance, Landmarks) or self.config.failed_plans is not None:
                raise ConfigError("`stuck_steps` must go with a critic of `Landmarks`, and without `failed_plans`.")
            self.stuck_map = distance
        self.perception = Perception(model, self.config.history, self.config.device, frame_shape)
        self.landmarks, self.hierarchy, self.diary = landmarks, hierarchy, diary
        self.last_plan: Plan | None = None
        self.planned_for = torch.zeros(0, dtype=torch.long)
        self.decisions = 0
        self.thoughts: list[tuple[Setup, str]] = []
        self._idle = centre(bounds, torch.zeros(1))  # [A]
        self._episode: _Episode | None = None

    @torch.no_grad()
    def start(
        self,
        goal_frames: np.ndarray | Tensor,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | Tensor | None = None,
    ) -> None:
        """Begins an episode in every environment and forgets the last one.

        Args:
            goal_frames: [B, C, H, W] uint8.
            env_ids: a number >= 0 for each environment, which names its random numbers; 0 ... B - 1 by default.
            goal_proprio: [B, P] or None.
        """
        self._begin(self.perception.goal(goal_frames, goal_proprio), env_ids)

    @torch.no_grad()
    def pursue(
        self,
        cost: SelfAimed,
        frames: np.ndarray | Tensor,
        env_ids: Sequence[int] | None = None,
        proprio: np.ndarray | Tensor | None = None,
    ) -> None:
        """Begins an episode whose goals a cost finds by itself, at every plan anew: a goal in words, for instance.

        Args:
            cost: of one goal for all environments, or one for each.
            frames: [B, C, H, W] uint8, what is seen now.
            env_ids: see `start`.
            proprio: [B, P] or None.
        """
        here = self.perception.goal(frames, proprio)
        goals = cost.aim(here).z_goal
        check_shape(goals, f"B={len(here)} N={here.shape[1]} D={here.shape[2]}", name="the goals that `cost` found")
        self._begin(goals, env_ids, cost)

    def _begin(self, z_goal: Tensor, env_ids: Sequence[int] | None, cost: SelfAimed | None = None) -> None:
        self.finish()
        ids = list(range(len(z_goal))) if env_ids is None else [int(i) for i in env_ids]
        if len(ids) != len(z_goal) or min(ids) < 0:
            raise ConfigError(f"`env_ids` must be one number >= 0 per environment ({len(z_goal)}); got {ids}.")
        self.perception.start()
        self._episode = _Episode(self, z_goal, ids, cost)
        self.last_plan, self.decisions, self.thoughts = None, 0, []

    def finish(self) -> None:
        """Ends the episode: with a diary, it is kept on disk and the map grows by it; else nothing happens."""
        if self.diary is not None and self._episode is not None and self.landmarks is not None:
            lived = self._episode.experiences()
            for experience in lived:
                keep(self.diary, experience)
            self.landmarks = grown(self.landmarks, lived)
            self._episode = None

    @torch.no_grad()
    def act(
        self,
        frames: np.ndarray | Tensor,
        proprio: np.ndarray | Tensor | None = None,
        active: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
        """Returns the next primitive action of every environment [B, A] float32, inside the bounds.

        Args:
            frames: [B, C, H, W] uint8, what is seen now.
            proprio: [B, P] or None.
            active: [B] bool, environments that still act; a finished one cannot become active again. It costs
                nothing and gets the middle of the bounds as its action.
        """
        now = self._episode
        if now is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if active is not None:
            now.retire(torch.as_tensor(active, dtype=torch.bool))
        actions = self._idle.repeat(len(now.active), 1)
        if not bool(now.active.any()):
            return actions.numpy()
        if now.part == 0:
            self._begin_step(now, frames, proprio)
        assert now.plan is not None
        block = now.plan[:, now.executed]  # [B, frameskip * A]
        primitive = block.unflatten(1, (self.config.frameskip, -1))[:, now.part]  # [B, A]
        actions[now.active] = to_host(primitive.float())[now.active]
        now.part += 1
        if now.part == self.config.frameskip:
            now.part = 0
            now.executed += 1
            now.memory.act(block)
        return actions.numpy()

    def _begin_step(self, now: "_Episode", frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None) -> None:
        """Begins a model step: looks where that is needed, and plans when a plan is due."""
        if len(frames) != len(now.z_goal):
            raise ShapeError(f"`frames` must hold {len(now.z_goal)} environments; got {len(frames)}.")
        self.perception.remember(frames)
        due = now.plan is None or now.executed == self.config.replan_every
        if not due and self.config.context_len == 1:
            return
        rows = now.active.nonzero().squeeze(1)
        z = torch.zeros_like(now.z_goal)  # rows of finished environments are zeros that nothing reads
        z[to_device(rows, z.device)] = self.perception.state(frames, proprio, rows)
        now.memory.see(z)
        if due:
            self._replan(now, rows)

    def _replan(self, now: "_Episode", rows: Tensor) -> None:
        there = to_device(rows, now.z_goal.device)
        left = now.look(rows, there, self.decisions * self.config.replan_every)
        self._compare(now, rows)
        setups: list[tuple[Setup | None, str]] = [(None, "")] * len(rows)
        if self.config.configurator is not None:
            setups = [self._configured(now, row, steps) for row, steps in zip(rows.tolist(), left, strict=True)]
        self.thoughts = [(setup, why) for setup, why in setups if setup is not None]
        plans: list[tuple[Tensor, Plan]] = []
        for setup in dict.fromkeys(setup for setup, _ in setups):
            members = torch.tensor([i for i, (other, _) in enumerate(setups) if other == setup])
            plans.append((members, self._plan(now, rows[members], setup)))
        plan = plans[0][1] if len(plans) == 1 else joined(plans)
        self._check_plan(plan, len(rows))
        if now.plan is None:
            now.plan = plan.actions.new_zeros(len(now.active), *plan.actions.shape[1:])
        now.plan[there] = plan.actions
        self.last_plan, self.planned_for, now.executed = plan, rows, 0
        self.decisions += 1

    def _configured(self, now: "_Episode", row: int, steps: float | None) -> tuple[Setup, str]:
        """How the next decision of one environment is thought about, and why."""
        assert self.config.configurator is not None
        assert now.moves is not None
        failed = len(now.routes.failed[row]) if now.routes is not None else 0
        situation = Situation(steps, now.moves.idle[row], failed)
        levels = 1 if self.hierarchy is None else 1 + len(self.hierarchy)
        means = replace(means_of(self.planner), levels=levels, remembers_failures=now.failed_plans is not None)
        return configure(situation, means, self.config.configurator, self.config.reach)

    def _plan(self, now: "_Episode", rows: Tensor, setup: Setup | None) -> Plan:
        """Plans for some environments, as the setup says."""
        there = to_device(rows, now.z_goal.device)
        generators = [keyed_generator(self.config.seed, now.env_ids[i], self.decisions) for i in rows.tolist()]
        options: dict[str, Tensor] = {}
        if now.plan is not None and self.config.warm_start:
            options["guess"] = shift(now.plan, now.executed)[there]
        past = now.memory.actions(there)
        if past is not None:
            options["context_actions"] = past
        cost, z = self._bound_cost(now, rows, there, setup), now.memory.context(there)  # [R, T, N, D]
        if setup is not None and setup.mode == "wander":
            bounds, steps = self.bounds.with_frameskip(self.config.frameskip), setup.horizon
            steps = steps if now.plan is None else now.plan.shape[1]  # of a planner that does not say its size
            return wander(self.model, z, cost, bounds, steps, generators=generators, context_actions=past)
        planner = self.planner if setup is None else resized(self.planner, setup)
        return planner.plan(self.model, z, cost, generators=generators, **options)

    def _bound_cost(self, now: "_Episode", rows: Tensor, there: Tensor, setup: Setup | None) -> PathCost:
        """The cost of the goals of some environments, with what failed plans taught; `there` is on the device."""
        goals, here = now.z_goal[there], now.memory.now[there]
        aimed = None if now.intent is None else now.intent.select(there).aim(here)
        if aimed is not None:
            goals = now.z_goal[there] = aimed.z_goal
        mode = "search" if setup is None and now.routes is None else "retrieval" if setup is None else setup.mode
        if mode == "retrieval" and now.routes is not None:
            goals = now.routes.subgoals(rows.tolist(), here, goals, self.config.reach)
        elif mode == "search" and now.pursuit is not None:
            luck = [keyed_generator(self.config.seed, now.env_ids[i], self.decisions, 1) for i in rows.tolist()]
            used = None if setup is None else setup.levels
            goals = now.pursuit.subgoals(rows.tolist(), now.memory.context(there), goals, luck, used)
        elif now.pursuit is not None:
            now.pursuit.drop(rows.tolist())
        if aimed is not None and not torch.equal(goals, now.z_goal[there]):
            aimed = None  # a subgoal comes first
        cost = aimed or bind(self.cost, goals, here)
        if now.failed_plans is None or not self.decisions:
            return cost
        horizon = self.last_plan.actions.shape[1] if self.last_plan is not None else 1
        return now.failed_plans.doubt(cost, now.memory.now[there], horizon, there)

    def _compare(self, now: "_Episode", rows: Tensor) -> None:
        """Tells the memory of failures where the last plans were to end and where they did."""
        if now.failed_plans is None:
            return
        z = now.memory.now
        if self.last_plan is not None and now.planned_at is not None:
            known = torch.isin(self.planned_for, rows).nonzero().squeeze(1)
            still = to_device(self.planned_for[known], z.device)
            imagined, start = z.clone(), z.clone()  # no plan of the others can have failed
            imagined[still] = self.last_plan.z_path[to_device(known, z.device), now.executed - 1].to(z)
            start[still] = now.planned_at[still]
            now.failed_plans.compare(start, imagined, z)
        now.planned_at = z

    def _check_plan(self, plan: Plan, batch: int) -> None:
        width = self.bounds.dim * self.config.frameskip
        horizon = plan.actions.shape[1]
        check_shape(plan.actions, f"B={batch} H A={width}", name="plan.actions")
        if self.config.replan_every > horizon:
            raise ConfigError(
                f"`replan_every` must be at most the planner's horizon ({horizon}); got {self.config.replan_every}."
            )


class _Episode:
    """What an agent knows of the episode that it is in: goals, plans and memories of every environment."""

    def __init__(self, agent: Agent, z_goal: Tensor, env_ids: list[int], intent: SelfAimed | None) -> None:
        config, landmarks, hierarchy = agent.config, agent.landmarks, agent.hierarchy
        self.z_goal, self.env_ids = z_goal, env_ids
        self.intent = intent  # a cost that finds its goals by itself
        self.routes = None if landmarks is None else Routes(landmarks, z_goal, config.edge_patience)
        self.pursuit = None if hierarchy is None else Pursuit(hierarchy, z_goal)
        self.moves = None if config.configurator is None else Moves(len(z_goal))
        self._keeps = agent.diary is not None
        self._lived: list[tuple[int, list[int], Tensor]] = []  # model step, environments, their states
        self.memory = ShortTermMemory(config.context_len)
        self.failed_plans: FailedPlans | StuckSteps | None = None
        if config.failed_plans is not None:
            self.failed_plans = FailedPlans(config.failed_plans)
        elif agent.stuck_map is not None:
            self.failed_plans = StuckSteps(agent.stuck_map)
        self.planned_at: Tensor | None = None  # [B, N, D], states at the last plan
        self.plan: Tensor | None = None  # [B, H, A]
        self.executed = 0  # model steps of the plan
        self.part = 0  # primitive actions of the present model action
        self.active = torch.ones(len(z_goal), dtype=torch.bool)

    def look(self, rows: Tensor, there: Tensor, step: int) -> list[float | None]:
        """Steps to the goals of some environments as far as a map knows them; notes what moves and comes nearer."""
        z = self.memory.now[there]
        if self._keeps:
            self._lived.append((step, rows.tolist(), to_host(z)))
        if self.moves is not None:
            self.moves.look(rows.tolist(), z)
        return [None] * len(rows) if self.routes is None else list(self.routes.look(rows.tolist(), z))

    def experiences(self) -> list[Experience]:
        """What every environment lived through, those that never acted left out."""
        found = []
        for row in range(len(self.env_ids)):
            moments = [(step, z[rows.index(row)]) for step, rows, z in self._lived if row in rows]
            if not moments or self.routes is None:
                continue
            places = self.routes.landmarks.places.cpu()
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
