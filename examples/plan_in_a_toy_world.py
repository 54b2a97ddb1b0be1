"""Plans in a world model that is known on paper: z' = z + a / 4, in the plane.

    python examples/plan_in_a_toy_world.py

A planner calls two verbs of a world model, `encode` and `rollout`, and a cost whose goals are bound. Anything that
has the two verbs can be planned in: this class has no weights at all.
"""

import numpy as np
import torch
from torch import Tensor

from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig, PathCost, bind
from openjepa.planning.costs import final
from openjepa.protocols import ActionBounds


class PointWorld:
    """A state is a position [B, T, N=1, D=2]; an action moves it by a quarter of itself."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """A frame [B, T, C, H, W] holds the position in its first pixel."""
        return frames[..., 0, 0].float().unsqueeze(2)  # [B, T, 1, C]

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Positions [B, H, 1, D] after each new action."""
        new = actions[:, z.shape[1] - 1 :]  # the first T - 1 lie between the context states
        return z[:, -1:] + new.cumsum(1).unsqueeze(2) / 4  # [B, H, 1, 2]


def main() -> None:
    bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))
    planner = CEM(bounds, CEMConfig(horizon=4, num_samples=256, num_elites=16, num_iterations=12, min_std=1e-3))
    z = torch.zeros(2, 1, 1, 2)  # two environments, both at the origin
    z_goal = torch.tensor([[[0.5, -0.5]], [[-0.75, 0.25]]])  # [B, N, D]
    plan = planner.plan(
        PointWorld(),
        z,
        bind(PathCost(aggregate=final), z_goal),
        generators=[keyed_generator(0, i) for i in range(2)],  # one per environment: neighbours do not matter
    )
    arrival = plan.z_path[:, -1, 0]
    print("goals   ", z_goal[:, 0].tolist())
    print("arrivals", [[round(x, 2) for x in row] for row in arrival.tolist()])
    print("model steps per environment:", plan.model_steps)
    torch.testing.assert_close(plan.actions.sum(1) / 4, arrival)  # z' = z + a / 4, twice the same answer
    assert float((arrival - z_goal[:, 0]).abs().max()) < 0.02


if __name__ == "__main__":
    main()
