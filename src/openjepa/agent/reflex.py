"""Mode-1 of an agent: a policy that was taught by the agent's own deliberation, and answers without any (LeCun 2022).

It is given the goal itself, however far, where Mode-2 is given what the map or the upper levels put before it; so one
call stands for the map, the subgoal and the search. Mode-2 stays as its verifier: the world model imagines the plan;
where its executed part comes no nearer to the goal, or the last one did not in the world, the agent deliberates.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from openjepa.config import from_dict, to_dict
from openjepa.errors import ConfigError
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
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

        self._quick: tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor] | None = None

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        bounds = self.policy.bounds
        free = self.policy(z, z_goal) if bounds.categories else self._free(z, z_goal)
        return hold(free, self.shape.knot_steps, self.shape.horizon)

    def _free(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """What the policy says, in a third of its operations: at a batch of 1 they cost more than the sums in them."""
        if self._quick is None:
            self._quick = _folded(self.policy)
        layers, half, middle = self._quick
        x = torch.cat([z.flatten(1), z_goal.flatten(1)], 1)
        for weight, bias in layers[:-1]:
            x = torch.addmm(bias, x, weight).relu_()
        free = torch.addcmul(
            middle, torch.addmm(layers[-1][1], x, layers[-1][0]).tanh_().view(len(z), *half.shape), half
        )
        longest = self.policy.bounds.max_norm
        if longest is None:
            return free.flatten(2)
        return free.mul_((longest / torch.linalg.vector_norm(free, dim=-1, keepdim=True)).clamp_max_(1.0)).flatten(2)


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


@torch.no_grad()
def _folded(policy: GoalPolicy) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    """The layers of a policy as matrices [in, out] and biases, with all that is linear before and after folded in.

    The last two are half the range of the actions and its middle, [K, F, A] for F primitive actions in one.
    """
    linear = [layer for layer in policy.net if isinstance(layer, nn.Linear)]
    layers = [(layer.weight.T.contiguous(), layer.bias) for layer in linear]
    now, way = linear[0].weight.chunk(2, 1)  # of the standardised state, and of what is left to the goal
    mean, std = policy.standardize.mean, policy.standardize.std
    layers[0] = torch.cat([(now - way) / std, way / std], 1).T.contiguous(), linear[0].bias - now @ (mean / std)
    shape = policy.num_knots, policy.bounds.frameskip, -1
    ends = [end.expand(policy.num_knots, -1).reshape(shape) for end in (policy.low, policy.high)]
    return layers, (ends[1] - ends[0]) / 2, (ends[1] + ends[0]) / 2
