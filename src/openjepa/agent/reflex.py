"""Mode-1 of an agent: a policy that was taught by the agent's own deliberation, and answers without any (LeCun 2022).

It is given the goal itself, however far, where Mode-2 is given what the map or the upper levels put before it; so one
call stands for the map, the subgoal and the search. Mode-2 stays as its verifier: the world model imagines the plan;
where its executed part comes no nearer to the goal, or the last one did not in the world, the agent deliberates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.config import from_dict, to_dict
from openjepa.errors import ConfigError
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.models.quick_frames import folded
from openjepa.planning.candidates import hold
from openjepa.protocols import ActionBounds


@dataclass(frozen=True)
class PlanShape:
    """How the free actions of a policy become a plan.

    Attributes:
        horizon: model steps, >= 1.
        knot_steps: model steps for which each free action is held, >= 1.
    """

    horizon: int
    knot_steps: int = 1

    def __post_init__(self) -> None:
        if min(self.horizon, self.knot_steps) < 1:
            raise ConfigError(
                f"`horizon` and `knot_steps` must be at least 1; got {self.horizon} and {self.knot_steps}."
            )


class Reflex(nn.Module):
    """Called with states and goals [B, N, D], returns plans [B, H, A] of allowed actions.

    Args:
        policy: of free actions [B, K, A], for goals at any distance.
        shape: of a plan.
    """

    def __init__(self, policy: GoalPolicy, shape: PlanShape) -> None:
        super().__init__()
        knots = -(-shape.horizon // shape.knot_steps)
        if policy.num_knots != knots:
            raise ConfigError(f"`policy` must propose {knots} free actions for this shape; got {policy.num_knots}.")
        self.policy, self.shape = policy, shape
        self._quick: _Quick | None = None

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        if self.policy.bounds.categories or z.device.type != "cpu":
            return hold(self.policy(z, z_goal), self.shape.knot_steps, self.shape.horizon)
        return torch.from_numpy(self.answer(z.flatten(1).numpy(), z_goal.flatten(1).numpy()))

    def answer(self, z: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The same in NumPy, on the CPU: states and goals [B, N * D] float32 to plans [B, H, A]."""
        return self.towards(goal)(z).repeat(self.shape.knot_steps, 1)[:, : self.shape.horizon]

    def towards(self, goal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """What answers to states [B, N * D] on the way to goals [B, N * D] with free actions [B, K, A], in NumPy."""
        if self.policy.bounds.categories:
            ends = torch.from_numpy(goal).unsqueeze(1)
            return torch.no_grad()(lambda z: self.policy(torch.from_numpy(z).unsqueeze(1), ends).numpy())
        self._quick = self._quick or _Quick(self.policy)
        return self._quick.towards(goal)


class _Quick:
    """A policy of numbers as few operations of NumPy: at a batch of 1, operations cost more than the sums in them.

    All that is linear before and after the network is folded into its first and last layer; what the first one makes of
    the goal is computed once.
    """

    def __init__(self, policy: GoalPolicy) -> None:
        linear = [layer for layer in policy.net if isinstance(layer, nn.Linear)]
        weights = [layer.weight.detach().cpu().double() for layer in linear]
        biases = [layer.bias.detach().cpu().double() for layer in linear]
        now, way = weights[0].chunk(2, 1)  # of the standardised state, and of what is left to the goal
        mean, std = (moment.cpu().double() for moment in (policy.standardize.mean, policy.standardize.std))
        self.first, self.goal = _columns((now - way) / std), _columns(way / std)
        self.there = (biases[0] - now @ (mean / std)).float().numpy()
        rest = zip(weights[1:], biases[1:], strict=True)
        self.layers, self.bias = folded([(weight.T.numpy(), bias.numpy()) for weight, bias in rest])
        self.floors = [np.zeros_like(self.there), *(floor for _, floor in self.layers)]
        low, high = (np.tile(end.cpu().numpy(), policy.num_knots) for end in (policy.low, policy.high))
        self.half, self.middle = (high - low) / 2, (high + low) / 2
        self.longest, self.knots = policy.bounds.max_norm, policy.num_knots
        self.width = len(policy.low) // policy.bounds.frameskip  # of a primitive action

    def towards(self, goal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """See `Reflex.towards`."""
        there = goal @ self.goal + self.there

        def answer(z: np.ndarray) -> np.ndarray:
            x = z @ self.first
            x += there
            for (weight, _), floor in zip(self.layers, self.floors, strict=False):
                x = np.maximum(x, floor, out=x) @ weight
            x += self.bias
            np.tanh(x, out=x)
            x *= self.half
            x += self.middle
            if self.longest is not None:
                actions = x.reshape(len(x), -1, self.width)
                norm = np.sqrt(np.einsum("bka,bka->bk", actions, actions))
                x = actions * (self.longest / np.maximum(norm, self.longest))[:, :, None]
            return x.reshape(len(x), self.knots, -1)

        return answer


def _columns(weight: Tensor) -> np.ndarray:
    return np.ascontiguousarray(weight.T.float().numpy())


def describe_reflex(reflex: Reflex) -> dict[str, Any]:
    """Its options, as plain values."""
    width, config = len(reflex.policy.standardize.mean), to_dict(reflex.policy.config)
    return {"width": width, "config": config, "shape": to_dict(reflex.shape)}


def blank_reflex(described: dict[str, Any], bounds: ActionBounds) -> Reflex:
    """One of these options, before its weights are loaded."""
    shape = from_dict(PlanShape, described["shape"])
    knots = -(-shape.horizon // shape.knot_steps)
    return Reflex(
        GoalPolicy(1, described["width"], bounds, knots, from_dict(GoalPolicyConfig, described["config"])), shape
    )
