"""The true Two-Rooms simulator as a world model: what a planner could do if it knew everything (the ceiling).

A latent is the true state, z [B, T, 1, P]; give it to an agent as proprioception (`eval.floors.StateView`).
For judging only.
"""

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.two_rooms import TwoRoomsConfig, move, path_length
from openjepa.errors import ConfigError, check_shape


class TwoRoomsSimulator:
    """Two-Rooms as a `WorldModel` without an error: states in, states out.

    Only the agent moves in imagination; distractors, which it cannot touch, stand still.

    Args:
        config: of the world that is simulated.
    """

    def __init__(self, config: TwoRoomsConfig | None = None) -> None:
        self.config = config or TwoRoomsConfig()
        self._layout_width = 6 if self.config.layout == "four-rooms" else 2

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Returns the true states z [B, T, 1, P], given as `proprio` [B, T, P]; frames are not looked at."""
        if proprio is None:
            raise ConfigError("`proprio` must be the true states [B, T, P]; got None. Wrap the world in `StateView`.")
        check_shape(proprio, "B T P", name="proprio")
        return proprio.unsqueeze(2)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Returns the true states [B, H, 1, P] after each of the last H actions [B, T - 1 + H, A=2]."""
        sizes = check_shape(z, "B T N=1 P", name="z")
        check_shape(actions, f"B={sizes['B']} H A=2", name="actions")
        state = z[:, -1, 0].cpu().double().numpy()  # [B, P]
        layouts = state[:, 2 : 2 + self._layout_width]
        positions = state[:, :2]
        later = actions[:, sizes["T"] - 1 :].cpu().double().numpy()  # [B, H, 2]
        path = np.broadcast_to(state[:, None], (*later.shape[:2], state.shape[1])).copy()
        for t in range(later.shape[1]):
            positions = move(positions, later[:, t], layouts)
            path[:, t, :2] = positions
        return torch.from_numpy(path).to(z).unsqueeze(2)


def path_distance(z: Tensor, z_goal: Tensor) -> Tensor:
    """Shortest way in px between true states of two rooms, [..., 1, P] to [...], for `planning.PathCost`."""
    state, goal = torch.broadcast_tensors(z[..., 0, :], z_goal[..., 0, :])
    a, b = state.cpu().double().numpy(), goal.cpu().double().numpy()
    length = path_length(a[..., :2], b[..., :2], a[..., 2:4])
    return torch.from_numpy(np.asarray(length)).to(z)
