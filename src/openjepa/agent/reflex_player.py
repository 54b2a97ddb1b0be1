"""Mode-1 alone: an agent that acts by reflex where there is no time, or no machine, for a world model to verify it.

Between a picture and its action lie some matrix products in NumPy, as far as the encoder is one that
`models/quick_frames.py` reads; other encoders see as they do in the agent.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.perception import Perception
from openjepa.agent.reflex import Reflex
from openjepa.errors import ConfigError
from openjepa.methods.lewm import LeWM
from openjepa.models.quick_frames import QuickFrames
from openjepa.nn.host import Array
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
        self.frameskip, self.seed = frameskip, seed
        self.replan_every = min(replan_every, reflex.shape.horizon)
        self.decisions = 0
        self._eyes = _quick_eyes(perception)
        self._answer: Callable[[np.ndarray], np.ndarray] | None = None  # to states [B, N * D]: [B, K, A]

    @torch.no_grad()
    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """See `Agent.start`."""
        goal = _flat(self.perception.goal(goal_frames, goal_proprio))
        self._answer = self.reflex.towards(goal)
        self.perception.start()
        self._ids = list(range(len(goal))) if env_ids is None else [int(i) for i in env_ids]
        self._rows = torch.arange(len(goal))
        self._last: np.ndarray | None = None  # states [B, N * D] at the last decision
        self._moved = np.zeros(len(goal), np.float32)  # how far each went in all
        self._plan = np.zeros((len(goal), 0, self.bounds.dim * self.frameskip), np.float32)  # free actions
        self._step = self.decisions = 0  # primitive actions of the plan that were taken

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """See `Agent.act`; environments that are not active act too, for a reflex costs next to nothing."""
        if self._answer is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        step, part = divmod(self._step, self.frameskip)
        if part == 0 and self._eyes is None:
            self.perception.remember(frames)
        if part == 0 and step in (0, self.replan_every):
            self._decide(self._state(frames, proprio), self._answer)
            step = 0
        self._step += 1
        width, free = self.bounds.dim, self._plan[:, step // self.reflex.shape.knot_steps]
        return free[:, part * width : (part + 1) * width].astype(np.float32)

    def _state(self, frames: Array, proprio: Array | None) -> np.ndarray:
        if self._eyes is not None:
            pictures = np.asarray(frames)
            if pictures.dtype == np.uint8 and pictures.shape[1:] == (3, self._eyes.size, self._eyes.size):
                return self._eyes(pictures)
        with torch.no_grad():  # and what is wrong with a frame is said here
            return _flat(self.perception.state(frames, proprio, self._rows))

    def _decide(self, here: np.ndarray, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        plan = answer(here)
        if self._last is not None:
            way = here - self._last
            move = np.sqrt(np.einsum("bd,bd->b", way, way))
            stuck = move * (STILL * (self.decisions - 1)) <= self._moved
            self._moved += move
            if self.decisions > 1 and stuck.any():
                rows = stuck.nonzero()[0].tolist()
                luck = [keyed_generator(self.seed, self._ids[row], self.decisions) for row in rows]
                plan[rows] = self._anywhere(luck, torch.from_numpy(plan)).numpy()
        self._plan, self._step, self._last = plan, 0, here
        self.decisions += 1

    def _anywhere(self, luck: Sequence[torch.Generator], like: Tensor) -> Tensor:
        """Random free actions [R, K, frameskip * A], each held for a whole plan."""
        noise = white_noise(luck, (1, self.bounds.dim), like)
        free = torch.addcmul(centre(self.bounds, like), half_range(self.bounds, like), noise)
        return self.bounds.clip(noise if self.bounds.categories else free).repeat(1, like.shape[1], self.frameskip)


def _flat(z: Tensor) -> np.ndarray:
    return z.flatten(1).cpu().numpy()


def _quick_eyes(perception: Perception) -> QuickFrames | None:
    """What sees in place of a perception whose states are latents of single frames; None where it is another one."""
    model = perception.model
    if not isinstance(model, LeWM) or model.config.state != "frame" or model.config.proprio_dim:
        return None
    return QuickFrames(model.context_encoder) if QuickFrames.reads(model.context_encoder) else None
