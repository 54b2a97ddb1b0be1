"""Mode-1 alone: an agent that acts by reflex where there is no time, or no machine, for a world model to verify it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.perception import Perception
from openjepa.agent.reflex import Reflex
from openjepa.errors import ConfigError
from openjepa.nn.random import keyed_generator
from openjepa.planning.candidates import centre, half_range, white_noise
from openjepa.protocols import ActionBounds

STILL = 4  # times the usual move: one that is shorter by more is none


class ReflexPlayer:
    """Follows the plans of a reflex, with the verbs of `Agent`; no search, no imagination, no map.

    Where hardly anything moved since the last decision, it goes anywhere for one plan: a policy that stands before a
    wall says the same again.

    Args:
        perception: of the agent.
        reflex: distilled from it.
        bounds: of one primitive action.
        frameskip: primitive actions of a model step.
        replan_every: model steps that are executed of each plan.
        seed: of random headings.

    Attributes:
        decisions: plans made since `start`.
    """

    def __init__(
        self,
        perception: Perception,
        reflex: Reflex,
        bounds: ActionBounds,
        *,
        frameskip: int = 1,
        replan_every: int = 1,
        seed: int = 0,
    ) -> None:
        self.perception, self.reflex, self.bounds = perception, reflex, bounds
        self.frameskip, self.replan_every, self.seed = frameskip, replan_every, seed
        self.decisions = 0
        self._goal: Tensor | None = None

    @torch.no_grad()
    def start(
        self,
        goal_frames: np.ndarray | Tensor,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | Tensor | None = None,
    ) -> None:
        """See `Agent.start`."""
        self._goal = self.perception.goal(goal_frames, goal_proprio)
        self.perception.start()
        self._ids = list(range(len(self._goal))) if env_ids is None else [int(i) for i in env_ids]
        self._rows = torch.arange(len(self._goal))
        self._last: np.ndarray | None = None  # states [B, N * D] at the last decision
        self._moved = np.zeros(len(self._goal), np.float32)  # how far each went in all
        self._plan = np.zeros((len(self._goal), 0, self.bounds.dim * self.frameskip), np.float32)
        self._step = self.decisions = 0  # primitive actions of the plan that were taken

    @torch.no_grad()
    def act(
        self,
        frames: np.ndarray | Tensor,
        proprio: np.ndarray | Tensor | None = None,
        active: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
        """See `Agent.act`; environments that are not active act too, for a reflex costs next to nothing."""
        if self._goal is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        step, part = divmod(self._step, self.frameskip)
        if part == 0:
            self.perception.remember(frames)
        if step == self._plan.shape[1]:
            self._decide(self.perception.state(frames, proprio, self._rows), self._goal)
            step = 0
        self._step += 1
        width = self.bounds.dim
        return self._plan[:, step, part * width : (part + 1) * width].astype(np.float32)

    def _decide(self, z: Tensor, goal: Tensor) -> None:
        plan = self.reflex(z, goal).cpu().numpy()[:, : self.replan_every]  # [B, T, frameskip * A]
        here = z.flatten(1).cpu().numpy()  # NumPy, whose operations cost less than their sums at a batch of 1
        if self._last is not None:
            move = np.sqrt(np.square(here - self._last).sum(1))
            stuck = move * (STILL * (self.decisions - 1)) <= self._moved
            self._moved += move
            if self.decisions > 1 and stuck.any():
                rows = stuck.nonzero()[0].tolist()
                luck = [keyed_generator(self.seed, self._ids[row], self.decisions) for row in rows]
                plan[rows] = self._anywhere(luck, torch.from_numpy(plan)).numpy()
        self._plan, self._step, self._last = plan, 0, here
        self.decisions += 1

    def _anywhere(self, luck: Sequence[torch.Generator], like: Tensor) -> Tensor:
        """Random actions [R, T, frameskip * A], each held for a whole plan."""
        noise = white_noise(luck, (1, self.bounds.dim), like)
        free = torch.addcmul(centre(self.bounds, like), half_range(self.bounds, like), noise)
        return self.bounds.clip(noise if self.bounds.categories else free).repeat(1, like.shape[1], self.frameskip)
