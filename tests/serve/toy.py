"""An agent whose world can be solved on paper: the state is where the bright pixel is, and an action moves it."""

import numpy as np
import torch

from openjepa.agent.agent import Agent
from openjepa.agent.agent_config import AgentConfig
from openjepa.agent.saved import AgentCard
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import PathCost
from openjepa.protocols import ActionBounds

SIZE = 8
BOUNDS = ActionBounds([-1.0, -1.0], [1.0, 1.0])


class Moving:
    """z' = z + a; z is the centre of brightness, in pixels."""

    def encode(self, frames, proprio=None):
        light = frames[:, :, 0].float() + 1e-6  # [B, T, H, W]
        light = light / light.sum((2, 3), keepdim=True)
        at = torch.arange(SIZE, dtype=torch.float32)
        x, y = (light.sum(2) * at).sum(2), (light.sum(3) * at).sum(2)
        return torch.stack([x, y], -1).unsqueeze(2)  # [B, T, 1, 2]

    def rollout(self, z, actions):
        parts = actions.unflatten(2, (-1, 2)).sum(2)[:, z.shape[1] - 1 :]
        return z[:, -1:] + parts.cumsum(1).unsqueeze(2)


def picture(x, y):
    """[H, W, 3]."""
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    frame[y, x] = 255
    return frame


def make_agent(frameskip=1, iterations=3):
    planner = CEM(
        BOUNDS.with_frameskip(frameskip),
        CEMConfig(horizon=4, num_samples=32, num_elites=4, num_iterations=iterations),
    )
    return Agent(Moving(), planner, PathCost(), BOUNDS, AgentConfig(frameskip=frameskip), (3, SIZE, SIZE))


def make_card():
    return AgentCard(BOUNDS, (3, SIZE, SIZE), world="a bright pixel", action_meaning="pixels to the right and down")


def drawn(x, y):
    """[3, H, W] with brightness spread over four pixels, so that its centre is (x, y)."""
    frame = np.zeros((SIZE + 1, SIZE + 1))
    column, row = int(x), int(y)
    for i, v in ((0, 1 - (y - row)), (1, y - row)):
        for j, h in ((0, 1 - (x - column)), (1, x - column)):
            frame[row + i, column + j] += v * h
    return np.rint(255 * frame[:SIZE, :SIZE]).astype(np.uint8)[None].repeat(3, 0)


class PixelWorld:
    """Where the bright pixel lives; an action moves it, and walls stop it."""

    name, bounds, max_steps, frame_shape = "a bright pixel", BOUNDS, 50, (3, SIZE, SIZE)
    has_states, state_names, can_reset_to, can_snapshot = True, ("x", "y"), False, False

    def __init__(self, num_envs=1):
        self.num_envs, self.closed = num_envs, False

    def reset(self, seeds):
        self.at = np.array([[1 + seed % 5, 1 + seed // 5 % 5] for seed in seeds], float)
        return self._frames()

    def step(self, actions):
        self.at = np.clip(self.at + actions, 0, SIZE - 1)
        return self._frames()

    def _frames(self):
        return np.stack([drawn(*at) for at in self.at])

    def ended(self):
        return (self.at == 0).all(1)  # the corner is the end

    def states(self):
        return self.at.astype(np.float32)

    def proprio(self):
        return None

    def close(self):
        self.closed = True
