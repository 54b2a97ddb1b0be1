"""The acting loop: perceive, remember, decide, act (model-predictive control; LeCun 2022, section 3.1).

`perception.py` turns pictures into states, `memory.py` keeps states and plans that failed, `landmarks.py` what was seen
in training as a map of subgoals, the planner is the actor's deliberate mode (Mode-2, searching in the world model) with
a policy's proposals in it (Mode-1, see `actor.py`), and the cost holds the critic: the learned distance to the goal.

World-agnostic: frames come in, actions go out. Environments of a batch step together but are planned for
independently: the random numbers of a plan are keyed by (seed, environment, decision), so an environment acts the
same alone, in any batch, and when its neighbours have finished.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.agent.actor import ProposeVerifyRepair, cost_of_standing_still
from openjepa.agent.agent_config import AgentConfig
from openjepa.agent.configurator import Setup, Situation, configure
from openjepa.agent.experience import grown, keep
from openjepa.agent.landmarks import Landmarks
from openjepa.agent.memory import Episode
from openjepa.agent.perception import Perception
from openjepa.agent.reflex import Reflex
from openjepa.agent.setups import joined, means_of, resized, selected, wander
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.models.layout import lay_out_for_acting
from openjepa.nn.host import to_device, to_host
from openjepa.nn.random import keyed_generator
from openjepa.planning.candidates import Imagination, centre, shift
from openjepa.planning.costs import PathCost as DistanceCost
from openjepa.planning.costs import SelfAimed, bind
from openjepa.planning.hierarchical import Hierarchy
from openjepa.planning.risk import RiskCost
from openjepa.protocols import ActionBounds, Cost, PathCost, Plan, Planner, WorldModel


class Agent:
    """Reaches goals that are given as pictures.

    Args:
        model: in evaluation mode; its weights, like those of policy and distance, are laid out in memory for acting.
        planner: made for `bounds.with_frameskip(config.frameskip)`.
        cost: between imagined paths and the goal.
        bounds: of one primitive action.
        config: the options.
        frame_shape: (C, H, W) of the pictures that it takes, or None for whatever the model takes.
        landmarks: a map of remembered states, which gives subgoals on the way to goals beyond `config.reach`; or None.
        hierarchy: upper levels, which give subgoals where no map does; or None.
        diary: folder where an agent with a map keeps its episodes, by which the map grows; or None.
        reflex: Mode-1, distilled from this agent's own plans (`openjepa distill`); the configurator says when it acts.

    Attributes:
        span: primitive actions from one look to the next.
        stuck_map: the critic, where it is a map that also remembers steps which led nowhere; else None.
        last_plan: the plan behind the present actions, or None; rows are the environments that were active then.
        planned_for: which environments these are.
        headed_for: [B, N, D] what every environment's last plan headed for: its goal, or a subgoal on the way; None
            before the first plan.
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
        reflex: Reflex | None = None,
    ) -> None:
        if isinstance(model, nn.Module) and model.training:
            raise ConfigError("`model` must be in evaluation mode to act. Call `model.eval()` first.")
        self.model, self.planner, self.cost, self.bounds = model, planner, cost, bounds
        distance = cost.distance if isinstance(cost, DistanceCost) else None
        lay_out_for_acting(model, planner.policy if isinstance(planner, ProposeVerifyRepair) else None, distance)
        self.config = config or AgentConfig()
        self.span = self.config.frameskip // self.config.looks
        if self.config.failed_plans is not None and isinstance(cost, RiskCost):
            raise ConfigError("`failed_plans` must be None under a `RiskCost`, whose futures are many.")
        self.stuck_map: Landmarks | None = None
        if self.config.stuck_steps:
            if not isinstance(distance, Landmarks) or self.config.failed_plans is not None:
                raise ConfigError("`stuck_steps` must go with a critic of `Landmarks`, and without `failed_plans`.")
            self.stuck_map = distance
        options = self.config
        self.perception = Perception(
            model, options.history, options.device, frame_shape, options.looks, options.frameskip
        )
        self.landmarks, self.hierarchy, self.diary, self.reflex = landmarks, hierarchy, diary, reflex
        self.last_plan: Plan | None = None
        self.planned_for = torch.zeros(0, dtype=torch.long)
        self.headed_for: Tensor | None = None
        self.decisions = 0
        self.thoughts: list[tuple[Setup, str]] = []
        self._idle = centre(bounds, torch.zeros(1))  # [A]
        self._episode: Episode | None = None

    def with_planner(self, planner: Planner) -> "Agent":
        """The same agent with another planner, before its first episode; it keeps no diary."""
        parts = self.model, planner, self.cost, self.bounds, self.config, self.perception.frame_shape
        return Agent(*parts, self.landmarks, self.hierarchy, reflex=self.reflex)

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
        self._episode = Episode(
            self.config, z_goal, ids, cost, self.landmarks, self.hierarchy, self.stuck_map, keeps=self.diary is not None
        )
        self.last_plan, self.decisions, self.thoughts, self.headed_for = None, 0, [], None

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
        self.perception.did(actions)
        now.part += 1
        if now.part == self.span:
            now.part = 0
            now.executed += 1
            now.memory.act(block)
            if self.config.looks > 1 and now.failed_plans is not None:
                done = block[:, : self.span * self.bounds.dim].clone()
                now.lately = [*now.lately, (now.memory.now, done)][-self.config.looks :]
        return actions.numpy()

    def _begin_step(self, now: Episode, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None) -> None:
        """Begins a model step, or a part of one: looks where that is needed, and plans when a plan is due."""
        if len(frames) != len(now.z_goal):
            raise ShapeError(f"`frames` must hold {len(now.z_goal)} environments; got {len(frames)}.")
        self.perception.remember(frames)
        due = now.plan is None or now.executed == self.config.replan_every
        if not due and self.config.context_len == 1 and not self.perception.remembers:
            return
        rows = now.active.nonzero().squeeze(1)
        z = torch.zeros_like(now.z_goal)  # rows of finished environments are zeros that nothing reads
        z[to_device(rows, z.device)] = self.perception.state(frames, proprio, rows)
        now.memory.see(z)
        if due:
            self._replan(now, rows)

    def _replan(self, now: Episode, rows: Tensor) -> None:
        there = to_device(rows, now.z_goal.device)
        left = now.look(rows, there, self.decisions)
        self._compare(now, rows)
        self.headed_for = now.z_goal.clone() if self.headed_for is None else self.headed_for
        setups: list[tuple[Setup | None, str]] = [(None, "")] * len(rows)
        if self.config.configurator is not None:
            known = zip(rows.tolist(), left, strict=True)
            setups = [self._configured(now, row, steps, reflex=True) for row, steps in known]
        plans = self._react(now, rows, left, setups)
        done = {i for members, _ in plans for i in members.tolist()}
        self.thoughts = [(setup, why) for setup, why in setups if setup is not None]
        for setup in dict.fromkeys(setup for i, (setup, _) in enumerate(setups) if i not in done):
            members = torch.tensor([i for i, (other, _) in enumerate(setups) if other == setup])
            plans.append((members, self._plan(now, rows[members], setup)))
        plan = plans[0][1] if len(plans) == 1 else joined(plans)
        self._check_plan(plan, len(rows))
        if now.plan is None:
            now.plan = plan.actions.new_zeros(len(now.active), *plan.actions.shape[1:])
        now.plan[there] = plan.actions
        now.expect(rows, there, plan.z_path[:, self.config.replan_every - 1])
        self.last_plan, self.planned_for, now.executed = plan, rows, 0
        self.decisions += 1

    def _configured(self, now: Episode, row: int, steps: float | None, *, reflex: bool) -> tuple[Setup, str]:
        """How the next decision of one environment is thought about, and why; `reflex` says if Mode-1 may act."""
        assert self.config.configurator is not None
        assert now.moves is not None
        failed = len(now.routes.failed[row]) if now.routes is not None else 0
        stalled = now.routes.idle[row] if now.routes is not None else now.moves.idle[row]
        situation = Situation(steps, now.moves.idle[row], failed, stalled=stalled)
        levels = 1 if self.hierarchy is None else 1 + len(self.hierarchy)
        remembers, reflex = now.failed_plans is not None, reflex and self.reflex is not None and now.intent is None
        means = replace(means_of(self.planner), levels=levels, remembers_failures=remembers, reflex=reflex)
        return configure(situation, means, self.config.configurator, self.config.reach)

    def _react(
        self, now: Episode, rows: Tensor, left: list[float | None], setups: list[tuple[Setup | None, str]]
    ) -> list[tuple[Tensor, Plan]]:
        """Plans of Mode-1, with the numbers of the rows that they are for; where one is not believed, Mode-2 is set up.

        Args:
            now: the episode.
            rows: environments that need a plan.
            left: steps to their goals by the map.
            setups: of these environments; changed where Mode-2 is needed.
        """
        asked = [i for i, (setup, _) in enumerate(setups) if setup is not None and setup.mode == "reflex"]
        if not asked:
            return []
        assert self.reflex is not None
        some = rows[asked]
        there = to_device(some, now.z_goal.device)
        z, goals, past = now.memory.context(there), now.z_goal[there], now.memory.actions(there)
        assert self.headed_for is not None
        self.headed_for[there] = goals
        cost = bind(self.cost, goals, z[:, -1])
        plan = Imagination(self.model, z, cost, past).best_plan(self.reflex(z[:, -1], goals).unsqueeze(1), 0, {})
        if now.routes is not None:
            ends = now.routes.left(some.tolist(), plan.z_path[:, self.config.replan_every - 1])
            nearer = torch.tensor([end < left[i] for i, end in zip(asked, ends, strict=True)])  # type: ignore[operator]
        else:
            nearer = to_host(plan.cost < cost_of_standing_still(z, cost, plan.z_path.shape[1]))
        for i in (i for i, good in zip(asked, nearer.tolist(), strict=True) if not good):
            setup, why = self._configured(now, int(rows[i]), left[i], reflex=False)
            setups[i] = setup, f"the reflex would come no nearer; {why}"
        kept = nearer.nonzero().squeeze(1)
        return [(torch.tensor(asked)[kept], selected(plan, kept))] if len(kept) else []

    def _plan(self, now: Episode, rows: Tensor, setup: Setup | None) -> Plan:
        """Plans for some environments, as the setup says."""
        there = to_device(rows, now.z_goal.device)
        generators = [keyed_generator(self.config.seed, now.env_ids[i], self.decisions) for i in rows.tolist()]
        options: dict[str, Tensor] = {}
        if now.plan is not None and self.config.warm_start:
            options["guess"] = self._rest(now.plan, now.executed)[there]
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

    def _rest(self, plan: Tensor, executed: int) -> Tensor:
        """What is left of plans [B, H, frameskip * A] after `executed` spans, as long as before."""
        if self.config.looks == 1:
            return shift(plan, executed)
        primitive = plan.unflatten(2, (self.config.frameskip, -1)).flatten(1, 2)
        return shift(primitive, executed * self.span).unflatten(1, (-1, self.config.frameskip)).flatten(2)

    def _bound_cost(self, now: Episode, rows: Tensor, there: Tensor, setup: Setup | None) -> PathCost:
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
        assert self.headed_for is not None
        self.headed_for[there] = goals
        if aimed is not None and not torch.equal(goals, now.z_goal[there]):
            aimed = None  # a subgoal comes first
        cost = aimed or bind(self.cost, goals, here)
        if now.failed_plans is None or not self.decisions:
            return cost
        horizon = self.last_plan.actions.shape[1] if self.last_plan is not None else 1
        return now.failed_plans.doubt(cost, now.memory.now[there], horizon, there)

    def _compare(self, now: Episode, rows: Tensor) -> None:
        """Tells the memory of failures where the last plans, or actions, were to lead and where they did."""
        if now.failed_plans is None:
            return
        z = now.memory.now
        if self.config.looks > 1:
            if len(now.lately) == self.config.looks:
                there = to_device(rows, z.device)
                start, imagined = z.clone(), z.clone()
                start[there] = now.lately[0][0][there]
                block = torch.cat([actions for _, actions in now.lately], 1)[there]  # [R, frameskip * A]
                imagined[there] = self.model.rollout(start[there].unsqueeze(1), block.unsqueeze(1))[:, 0].to(z)
                now.failed_plans.compare(start, imagined, z)
            return
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
