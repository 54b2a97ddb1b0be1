"""An agent whose world can be solved on paper: the state is where the bright pixel is, and an action moves it."""

import numpy as np
import torch

from openjepa.agent.agent import Agent, AgentConfig
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
