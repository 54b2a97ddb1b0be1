"""What reaching with an arm is worth: a ceiling that knows the truth, and a controller that never plans."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.arm import BLOCK_HALF, STEP, ArmConfig, beside_wall, wall_of
from openjepa.envs.arm_play import BEHIND, CARRY_HEIGHT, PUSH_HEIGHT
from openjepa.errors import ConfigError
from openjepa.losses.displacement import UNIT
from openjepa.methods.lewm import LeWM
from openjepa.nn.host import Array
from openjepa.protocols import ActionBounds

ABOVE = 0.04  # m over the top of a wall


class DirectController:
    """Goes straight where the difference of two latents points, as the model's read-out of displacements tells.

    Where it does as well as planning, no planning was needed.

    Args:
        model: trained with a displacement read-out.
        bounds: of actions, which are displacements.
    """

    def __init__(self, model: LeWM, bounds: ActionBounds) -> None:
        if not model.config.displacement_dim or model.config.displacement_dim != bounds.dim:
            raise ConfigError("`model` must have learned to read displacements. Train it with `displacement_weight`.")
        self.model, self.bounds = model.eval(), bounds

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Looks at the goals."""
        self._goal = self._poses(goal_frames)

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        with torch.no_grad():
            way = self.model.displacement(self._goal - self._poses(frames))
            metres = way * UNIT * self.model.action_std[: self.bounds.dim]
            return self.bounds.clip(metres).numpy().astype(np.float32)

    @torch.no_grad()
    def _poses(self, frames: Array) -> Tensor:
        c = self.model.config
        return self.model.encode(torch.as_tensor(frames).unsqueeze(1))[:, 0, 0, c.scene_dim : c.embed_dim]


class ArmOracle:
    """Knows where everything is: straight to the goal, over a wall, or behind the block and through it.

    Needs a `StateView`.

    Args:
        config: of the world.
    """

    def __init__(self, config: ArmConfig) -> None:
        self.config = config

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Remembers the goals' true states."""
        if goal_proprio is None:
            raise ConfigError("`proprio` must be the true states; got None. Wrap the world in `StateView`.")
        self._goals = np.asarray(goal_proprio, np.float64)

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, 3]."""
        if proprio is None:
            raise ConfigError("`proprio` must be the true states; got None. Wrap the world in `StateView`.")
        choose = {"reach": self._reach, "around": self._around, "push": self._push}[self.config.task]
        states = np.asarray(proprio, np.float64)
        ways = [choose(state, goal) - state[:3] for state, goal in zip(states, self._goals, strict=True)]
        return np.stack([way * min(1.0, STEP / max(np.abs(way).max(), 1e-9)) for way in ways]).astype(np.float32)

    def _reach(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return goal[:3]

    def _around(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        wall = wall_of(self.config, int(state[-1]))
        here, there = beside_wall(np.stack([state[:3], goal[:3]]), wall)
        if here * there > 0 and abs(here) > ABOVE:
            return goal[:3]
        over = wall[1] + ABOVE
        if state[2] < over - 0.015 and abs(here) > 0.02:
            return np.array([*state[:2], over])
        return np.array([*goal[:2], over])

    def _push(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        way = goal[4:6] - state[4:6]
        left = float(np.linalg.norm(way))
        if left < 0.01:
            return state[:3]
        ahead = way / left
        behind = state[4:6] - BEHIND * ahead
        hand = state[:2] - state[4:6]
        beside = abs(float(hand[0] * ahead[1] - hand[1] * ahead[0]))
        if state[2] < CARRY_HEIGHT / 2 and float(hand @ ahead) < -BLOCK_HALF and beside < BLOCK_HALF / 2:
            return np.array([*(state[:2] + ahead * min(left, STEP)), PUSH_HEIGHT])
        if np.linalg.norm(state[:2] - behind) < 0.012:
            return np.array([*behind, PUSH_HEIGHT])
        if state[2] < CARRY_HEIGHT - 0.02:
            return np.array([*state[:2], CARRY_HEIGHT])
        return np.array([*behind, CARRY_HEIGHT])
