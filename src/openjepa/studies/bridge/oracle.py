"""The true bridge as a world model with several futures: what a planner could do if it knew everything.

A latent is the true state, z [B, T, 1, 6]; give it to an agent as proprioception. For judging only.
"""

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.bridge import AROUND, PIT, BridgeConfig, move, on_track
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import Futures


class BridgeSimulator:
    """The bridge as a `BranchingModel` without an error; future i falls at its i-th crossing, the last one never.

    Args:
        config: of the world that is simulated.
    """

    def __init__(self, config: BridgeConfig | None = None) -> None:
        self.config = config or BridgeConfig()

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Returns the true states z [B, T, 1, 6], given as `proprio` [B, T, 6]; frames are not looked at."""
        if proprio is None:
            raise ConfigError("`proprio` must be the true states [B, T, 6]; got None.")
        check_shape(proprio, "B T P=6", name="proprio")
        return proprio.unsqueeze(2)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """The most probable future: whether a crossing is survived, by which of the two is more probable."""
        found = self.rollout_futures(z, actions, num_futures=2, generator=torch.Generator())
        return found.z[:, 0] if self.config.risk > 0.5 else found.z[:, 1]

    def rollout_futures(self, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator) -> Futures:
        """See `BranchingModel.rollout_futures`; exact for plans with fewer than `num_futures` crossings."""
        sizes = check_shape(z, "B T N=1 P=6", name="z")
        check_shape(actions, f"B={sizes['B']} H A=1", name="actions")
        start = z[:, -1, 0].cpu().double().numpy()  # [B, 6]
        speed = actions[:, sizes["T"] - 1 :, 0].cpu().double().numpy()  # [B, H]
        s, crossings = start[:, 2], np.zeros(len(start), int)
        ways, counts = np.empty(speed.shape), np.empty(speed.shape, int)
        for t in range(speed.shape[1]):
            s, crosses = move(s, speed[:, t])
            crossings = crossings + crosses
            ways[:, t], counts[:, t] = s, crossings
        falls = np.append(np.arange(1, num_futures), 1 << 30)  # [F], the crossing at which each future falls
        was_down = start[:, 3] > 0.5
        down = (counts[:, None] >= falls[:, None]) | was_down[:, None, None]  # [B, F, H]
        position = np.where(down[..., None], np.array(PIT), on_track(ways)[:, None])
        path = np.zeros((*down.shape, 6))
        path[..., :2], path[..., 3] = position, down
        path[..., 2] = np.where(was_down[:, None], start[:, 2:3], ways)[:, None]
        path[..., 4:] = start[:, None, None, 4:]
        total, q = crossings[:, None], self.config.risk
        chance = np.where(total >= falls, q * (1 - q) ** (falls - 1.0).clip(max=1e3), 0.0)  # [B, F]
        chance[:, -1] = (1 - q) ** np.minimum(crossings, num_futures - 1)
        chance[was_down] = np.eye(num_futures)[-1]
        with np.errstate(divide="ignore"):
            weights = torch.from_numpy(np.log(chance)).float()
        return Futures(torch.from_numpy(path).to(z).unsqueeze(3), weights.to(z.device))


def track_distance(z: Tensor, z_goal: Tensor) -> Tensor:
    """Way along the track in px between true states, half the track for the fallen; [..., 1, 6] to [...]."""
    gap = (z[..., 0, 2] - z_goal[..., 0, 2]).abs() % AROUND
    return torch.where(z[..., 0, 3] > 0.5, gap.new_tensor(AROUND / 2), torch.minimum(gap, AROUND - gap))
