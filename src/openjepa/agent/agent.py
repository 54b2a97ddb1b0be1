"""The acting loop of model-predictive control: encode the goal once; then observe, plan, act, remember.

World-agnostic: frames come in, actions go out. Environments of a batch step together but are planned for
independently: the random numbers of a plan are keyed by (seed, environment, decision), so an environment acts
    the
same alone, in any batch, and when its neighbours have finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.agent.memory import BrokenPromises, PromiseConfig
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.random import keyed_generator
from openjepa.planning.costs import bind
from openjepa.planning.risk import RiskCost
from openjepa.planning.sampling import centre, shift
from openjepa.protocols import ActionBounds, Cost, PathCost, Plan, Planner, WorldModel


@dataclass(frozen=True)
class AgentConfig:
    """Options of the acting loop.

    Attributes:
        replan_every: model steps that are executed before the next plan, from 1 to the planner's horizon.
        context_len: latest states that the model is given, >= 1; 1 for a Markov model.
        frameskip: primitive actions per model step, >= 1; a model action is executed in that many parts.
        warm_start: whether a search starts from the last plan, shifted by what was executed.
        promises: when the agent remembers, until the episode ends, a plan that the world did not follow, or None
            to forget at once.
        seed: of all plans, >= 0.
        device: where frames are encoded and plans are made.
    """

    replan_every: int = 1
    context_len: int = 1
    frameskip: int = 1
    warm_start: bool = True
    promises: PromiseConfig | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.replan_every, self.context_len, self.frameskip) < 1 or self.seed < 0:
            raise ConfigError("`replan_every`, `context_len` and `frameskip` must be at least 1 and `seed` at least 0.")


class Agent:
    """Reaches goals that are given as pictures.

    Args:
        model: in evaluation mode.
        planner: made for `bounds.with_frameskip(config.frameskip)`.
        cost: between imagined paths and the goal.
        bounds: of one primitive action.
        config: the options.

    Attributes:
        last_plan: the plan behind the present actions, or None; rows are the environments that were active
            then.
        decisions: plans made since `start`.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        cost: Cost,
        bounds: ActionBounds,
        config: AgentConfig | None = None,
    ) -> None:
        if isinstance(model, nn.Module) and model.training:
            raise ConfigError("`model` must be in evaluation mode to act. Call `model.eval()` first.")
        self.model, self.planner, self.cost, self.bounds = model, planner, cost, bounds
        self.config = config or AgentConfig()
        self.last_plan: Plan | None = None
        self.planned_for = torch.zeros(0, dtype=torch.long)
        self.decisions = 0
        if self.config.promises is not None and isinstance(cost, RiskCost):
            raise ConfigError("`promises` must be None under a `RiskCost`, whose futures are many.")
        self._idle = centre(bounds, torch.zeros(1))  # [A]
        self._z_goal: Tensor | None = None

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
            env_ids: a number >= 0 for each environment, which names its random numbers; 0 ... B - 1 by
                default.
            goal_proprio: [B, P] or None.
        """
        self._z_goal = self._encode(goal_frames, goal_proprio, name="goal_frames")  # [B, N, D]
        batch = len(self._z_goal)
        self._env_ids = list(range(batch)) if env_ids is None else [int(i) for i in env_ids]
        if len(self._env_ids) != batch or min(self._env_ids) < 0:
            raise ConfigError(f"`env_ids` must be one number >= 0 per environment ({batch}); got {self._env_ids}.")
        self._promises = None if self.config.promises is None else BrokenPromises(self.config.promises)
        self._planned_at: Tensor | None = None  # [B, N, D], states at the last plan
        self._memory_z: list[Tensor] = []  # each [B, N, D], at most context_len
        self._memory_actions: list[Tensor] = []  # each [B, A], between them
        self._plan: Tensor | None = None  # [B, H, A]
        self._executed = 0  # model steps of the plan
        self._part = 0  # primitive actions of the present model action
        self._active = torch.ones(batch, dtype=torch.bool)
        self.last_plan, self.decisions = None, 0

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
        if self._z_goal is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if active is not None:
            self._retire(torch.as_tensor(active, dtype=torch.bool))
        actions = self._idle.repeat(len(self._active), 1)
        if not bool(self._active.any()):
            return actions.numpy()
        if self._part == 0:
            self._observe(frames, proprio)
        assert self._plan is not None
        block = self._plan[:, self._executed]  # [B, frameskip * A]
        primitive = block.unflatten(1, (self.config.frameskip, -1))[:, self._part]  # [B, A]
        actions[self._active] = primitive.float().cpu()[self._active]
        self._part += 1
        if self._part == self.config.frameskip:
            self._finish_step(block)
        return actions.numpy()

    def _retire(self, active: Tensor) -> None:
        check_shape(active, f"B={len(self._active)}", name="active")
        if bool((active & ~self._active).any()):
            raise ConfigError("`active` must not revive a finished environment. Call `start` for a new episode.")
        self._active = active

    def _observe(self, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None) -> None:
        """Begins a model step: encodes what is seen where it is needed, and plans when a plan is due."""
        due = self._plan is None or self._executed == self.config.replan_every
        if not due and self.config.context_len == 1:
            return
        rows = self._active.nonzero().squeeze(1)
        z = self._encode_rows(frames, proprio, rows)
        self._memory_z = [*self._memory_z, z][-self.config.context_len :]
        self._memory_actions = self._memory_actions[len(self._memory_actions) - len(self._memory_z) + 1 :]
        if due:
            self._replan(rows)

    def _replan(self, rows: Tensor) -> None:
        z = torch.stack(self._memory_z, 1)[rows]  # [R, T, N, D]
        assert self._z_goal is not None
        keys = [(self.config.seed, self._env_ids[int(i)], self.decisions) for i in rows]
        options: dict[str, Tensor] = {}
        if self._plan is not None and self.config.warm_start:
            options["guess"] = shift(self._plan, self._executed)[rows]
        if self._memory_actions:
            options["context_actions"] = torch.stack(self._memory_actions, 1)[rows]
        plan = self.planner.plan(
            self.model,
            z,
            self._bound_cost(rows),
            generators=[keyed_generator(*key) for key in keys],
            **options,
        )
        self._check_plan(plan, len(rows))
        if self._plan is None:
            self._plan = plan.actions.new_zeros(len(self._active), *plan.actions.shape[1:])
        self._plan[rows] = plan.actions
        self.last_plan, self.planned_for, self._executed = plan, rows, 0
        self.decisions += 1

    def _bound_cost(self, rows: Tensor) -> PathCost:
        """The cost of the goals of some environments, with what the last plans taught."""
        assert self._z_goal is not None
        cost: PathCost = bind(self.cost, self._z_goal[rows])
        if self._promises is None:
            return cost
        z = self._memory_z[-1]
        if self.last_plan is not None and self._planned_at is not None:
            known = torch.isin(self.planned_for, rows)
            still = self.planned_for[known]
            promised, start = z.clone(), z.clone()  # nothing was promised to the others
            promised[still] = self.last_plan.z_path[known, self._executed - 1].to(z)
            start[still] = self._planned_at[still]
            self._promises.compare(start, promised, z)
        self._planned_at = z
        horizon = self.last_plan.actions.shape[1] if self.last_plan is not None else 1
        return self._promises.wary(cost, z[rows], horizon, rows)

    def _check_plan(self, plan: Plan, batch: int) -> None:
        width = self.bounds.dim * self.config.frameskip
        horizon = plan.actions.shape[1]
        check_shape(plan.actions, f"B={batch} H A={width}", name="plan.actions")
        if self.config.replan_every > horizon:
            raise ConfigError(
                f"`replan_every` must be at most the planner's horizon ({horizon}); got {self.config.replan_every}."
            )

    def _finish_step(self, block: Tensor) -> None:
        """Ends a model step, whose action the memory keeps."""
        self._part = 0
        self._executed += 1
        if self.config.context_len > 1:
            self._memory_actions = [*self._memory_actions, block.clone()]

    def _encode_rows(self, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None, rows: Tensor) -> Tensor:
        """Encodes the frames of some environments; the rows of the others are zeros that nothing reads."""
        assert self._z_goal is not None
        if len(frames) != len(self._z_goal):
            raise ShapeError(f"`frames` must hold {len(self._z_goal)} environments; got {len(frames)}.")
        picked = rows.numpy() if isinstance(frames, np.ndarray) else rows.to(frames.device)
        own = None if proprio is None else torch.as_tensor(proprio)[rows]
        z = torch.zeros_like(self._z_goal)
        z[rows] = self._encode(frames[picked], own, name="frames")
        return z

    def _encode(self, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None, *, name: str) -> Tensor:
        images = torch.as_tensor(frames)
        check_shape(images, "B C H W", name=name)
        if images.dtype != torch.uint8:
            raise ShapeError(f"`{name}` must be uint8 pixels; got {images.dtype}.")
        device = self.config.device
        own = None if proprio is None else torch.as_tensor(proprio, dtype=torch.float32, device=device)[:, None]
        return self.model.encode(images[:, None].to(device), own)[:, 0]
