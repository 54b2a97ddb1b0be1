"""Planning by gradient descent on the actions, through the world model's rollout, from several starts.

Plain SGD is a weak planner on latent models while Adam comes near CEM (ablation of 2603.19312); straightened
latents (2603.12231) help. The model's parameters get no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.planning.candidates import (
    Imagination,
    Search,
    centre,
    half_range,
    hold,
    num_knots,
    to_knots,
    white_noise,
)
from openjepa.planning.categorical import require_box
from openjepa.protocols import ActionBounds, Plan


@dataclass(frozen=True)
class GradientPlannerConfig:
    """Options of the gradient planner.

    Attributes:
        horizon: length H of a plan in model steps, >= 1.
        num_starts: plans S that are improved side by side; start 0 is the guess or the middle of the bounds.
        num_iterations: Adam steps, >= 1.
        lr: learning rate, in half ranges of the bounds, > 0.
        init_std: spread of the other starts, in half ranges, > 0.
        knot_steps: model steps for which each free action is held, >= 1.
    """

    horizon: int = 12
    num_starts: int = 8
    num_iterations: int = 30
    lr: float = 0.1
    init_std: float = 0.5
    knot_steps: int = 1

    def __post_init__(self) -> None:
        if min(self.horizon, self.num_starts, self.num_iterations, self.knot_steps) < 1:
            raise ConfigError("`horizon`, `num_starts`, `num_iterations` and `knot_steps` must be at least 1.")
        if self.lr <= 0 or self.init_std <= 0:
            raise ConfigError(f"`lr` and `init_std` must be > 0; got {self.lr} and {self.init_std}.")


class GradientPlanner(Search):
    """Adam on the actions, projected to the bounds after every step; see `openjepa.protocols.Planner`.

    The best plan ever scored is returned, the guess included.
    """

    def __init__(self, bounds: ActionBounds, config: GradientPlannerConfig | None = None) -> None:
        require_box(bounds, "GradientPlanner")
        self.config = config or GradientPlannerConfig()
        super().__init__(bounds, self.config.horizon)

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        c, bounds, z = self.config, self.bounds, problem.z.detach()
        problem = replace(problem, z=z)
        half, batch = half_range(bounds, z), len(z)
        start = centre(bounds, z).expand(batch, c.horizon, bounds.dim)
        best = start if guess is None else bounds.clip(guess.detach())
        noise = white_noise(generators, (c.num_starts, num_knots(c.horizon, c.knot_steps), bounds.dim), z)
        noise[:, 0] = 0
        starts = bounds.clip(to_knots(best, c.knot_steps).unsqueeze(1) + c.init_std * half * noise)
        scaled = (starts / half).requires_grad_()  # [B, S, K, A], all dimensions in half ranges
        optimizer = torch.optim.Adam([scaled], lr=c.lr)
        best_cost, history = z.new_full((batch,), torch.inf), []
        for _ in range(c.num_iterations):
            with torch.enable_grad():
                candidates = hold(scaled * half, c.knot_steps, c.horizon)  # [B, S, H, A]
                costs = problem.scores(candidates)
                (scaled.grad,) = torch.autograd.grad(costs.sum(), [scaled])
            lowest, index = costs.detach().min(1)
            found = candidates.detach()[torch.arange(batch, device=z.device), index]
            better = lowest < best_cost
            best = torch.where(better[:, None, None], found, best)
            best_cost = torch.where(better, lowest, best_cost)
            history.append(lowest)
            optimizer.step()
            scaled.copy_(bounds.clip(scaled * half) / half)
        finalists = [best.unsqueeze(1), hold(scaled * half, c.knot_steps, c.horizon)]
        if guess is not None:
            finalists.append(guess.unsqueeze(1))
        steps = c.num_iterations * c.num_starts * c.horizon
        terms = {"best_cost": torch.stack(history, 1)}
        return problem.best_plan(bounds.clip(torch.cat(finalists, 1)), steps, terms)
