"""A policy that answers a state and a goal with a whole plan at once: the actor's reactive mode (Mode-1).

It is fitted through the world model on frozen latents, in seconds: the plans that it proposes between recorded states
are imagined, and the cost of what is imagined is what it descends (policy gradient through a model, 1510.09142):

    L = mean over (z, z_goal)  of  cost(rollout(z, policy(z, z_goal)), z_goal)

So the policy amortises what a search in the same model would find (LeCun 2022, section 3.1.3) instead of imitating the
play that it was recorded in, whose aimless ways it would learn. Where play shows what a search hardly finds, it may be
imitated all the same (`imitate_play`): a planner only takes its proposals where the model likes what comes of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import Standardize, check_episodes, fit, sample_pairs, seeded, valid_states
from openjepa.nn.action_bounds import ActionBounds
from openjepa.protocols import Cost, WorldModel


@dataclass(frozen=True)
class GoalPolicyConfig:
    """Options of a goal-conditioned policy and of its training.

    Attributes:
        hidden_dim: width.
        depth: hidden layers.
        max_gap: goals lie 1 to this many steps before or after the state, in the same episode.
        batch_size: pairs of state and goal per step.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        goal_dim: leading numbers of a goal's tokens that are looked at, those that its picture tells; None for all.
    """

    hidden_dim: int = 128
    depth: int = 2
    max_gap: int = 60
    batch_size: int = 128
    steps: int = 400
    lr: float = 2e-3
    goal_dim: int | None = None

    def __post_init__(self) -> None:
        if min(self.hidden_dim, self.depth, self.max_gap, self.batch_size, self.steps) < 1 or self.lr <= 0:
            raise ConfigError(
                "`hidden_dim`, `depth`, `max_gap`, `batch_size` and `steps` must be at least 1 and `lr` above 0."
            )


class GoalPolicy(nn.Module):
    """MLP of [z, z_goal - z], both standardised, to the free actions of a plan.

    Called with z and z_goal [..., N, D], returns allowed actions [..., K, A].

    Args:
        num_tokens: N of a state.
        dim: D of a state.
        bounds: allowed model actions.
        num_knots: free actions K of a plan.
        config: the options.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, num_tokens: int, dim: int, bounds: ActionBounds, num_knots: int, config: GoalPolicyConfig | None = None
    ) -> None:
        super().__init__()
        self.config = c = config or GoalPolicyConfig()
        self.bounds, self.num_knots = bounds, num_knots
        self.standardize = Standardize(num_tokens * dim)
        self.register_buffer("low", torch.as_tensor(bounds.low, dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.as_tensor(bounds.high, dtype=torch.float32), persistent=False)
        width, layers = 2 * num_tokens * dim, list[nn.Module]()
        for _ in range(c.depth):
            layers += [nn.Linear(width, c.hidden_dim), nn.ReLU()]
            width = c.hidden_dim
        self.net = nn.Sequential(*layers, nn.Linear(width, num_knots * bounds.dim))

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        return self.bounds.clip(self.free(z, z_goal))

    def free(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """Actions [..., K, A] before they are allowed: in the box, or the probabilities of categories."""
        now, goal = torch.broadcast_tensors(self.standardize(z.flatten(-2)), self.standardize(z_goal.flatten(-2)))
        way = goal - now
        if self.config.goal_dim is not None:
            told = torch.arange(z.shape[-1], device=z.device) < self.config.goal_dim
            way = way * told.repeat(z.shape[-2])
        found = self.net(torch.cat([now, way], -1)).unflatten(-1, (self.num_knots, -1))
        if self.bounds.categories:
            return torch.cat([group.softmax(-1) for group in found.split(list(self.bounds.categories), -1)], -1)
        return torch.lerp(self.low, self.high, (torch.tanh(found) + 1) / 2)

    def relaxed(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """Allowed actions [..., K, A] with a slope: that of the probabilities where actions are categories."""
        free = self.free(z, z_goal)
        return (
            self.bounds.clip(free.detach()) + free - free.detach() if self.bounds.categories else self.bounds.clip(free)
        )


def fit_goal_policy(
    model: WorldModel,
    cost: Cost,
    latents: Tensor,
    bounds: ActionBounds,
    config: GoalPolicyConfig | None = None,
    *,
    horizon: int,
    knot_steps: int = 1,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> GoalPolicy:
    """Trains a goal-conditioned policy through a world model, neither of which it changes.

    Args:
        model: frozen; plans are imagined in it.
        cost: of an imagined path and a goal. Best an average over the steps: the closest approach has a slope at one
            step only.
        latents: [E, T, N, D] of whole episodes in the model's states.
        bounds: allowed model actions.
        config: the options.
        horizon: length H of a plan in model steps.
        knot_steps: model steps for which each free action is held.
        generator: for initial weights and batches.
        lengths: [E] number of states of each episode, T by default.
    """
    config = config or GoalPolicyConfig()
    known = check_episodes(latents, lengths)
    latents = latents.detach()
    policy = _blank(latents, known, bounds, -(-horizon // knot_steps), config, generator)

    def loss() -> Tensor:
        episode, one, other = sample_pairs(known, config.max_gap, config.batch_size, generator=generator)
        swapped = torch.rand(len(one), generator=generator) < 0.5
        now, goal = torch.where(swapped, other, one), torch.where(swapped, one, other)
        z, z_goal = latents[episode, now], latents[episode, goal]
        plan = policy.relaxed(z, z_goal).repeat_interleave(knot_steps, 1)[:, :horizon]
        return cost(model.rollout(z.unsqueeze(1), plan), z_goal).mean()

    return fit(policy, loss, steps=config.steps, lr=config.lr)


def imitate_play(
    latents: Tensor,
    actions: Tensor,
    bounds: ActionBounds,
    config: GoalPolicyConfig | None = None,
    *,
    horizon: int,
    knot_steps: int = 1,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> GoalPolicy:
    """Teaches a policy how play came from a state to a later one: in hindsight, every moment was somebody's goal.

    Where a goal takes skill that a search hardly finds, such as to go round a thing and push it, play that shows the
    skill, with whatever aim, proposes it. The model then verifies what it does here.

    Args:
        latents: [E, T, N, D] of whole episodes.
        actions: [E, T - 1, A], model actions.
        bounds: of them.
        config: the options.
        horizon: length of a plan in model steps; goals lie at most that far ahead, or `max_gap`.
        knot_steps: model steps for which each free action is held: the mean of what was done in them.
        generator: for initial weights and batches.
        lengths: [E] number of states of each episode, T by default.
    """
    config = config or GoalPolicyConfig()
    known = check_episodes(latents, lengths)
    sizes = {"E": len(latents), "T": latents.shape[1] - 1, "A": bounds.dim}
    check_shape(actions, "E T A", name="actions", sizes=sizes)
    knots = -(-horizon // knot_steps)
    latents, moves = latents.detach(), functional.pad(actions.detach().float(), (0, 0, 0, knots * knot_steps))
    policy = _blank(latents, known, bounds, knots, config, generator)
    scale = valid_states(actions.float().unsqueeze(2), known - 1).std(0).clamp_min(1e-6)  # [1, A]
    ahead = torch.arange(knots * knot_steps)

    def loss() -> Tensor:
        gap = min(config.max_gap, horizon)
        episode, now, later = sample_pairs(known, gap, config.batch_size, generator=generator)
        before = (ahead < (later - now)[:, None]).float()  # [B, H]: what came after the goal is not the way to it
        done = moves[episode[:, None], now[:, None] + ahead] * before.unsqueeze(-1)
        steps = before.unflatten(1, (knots, knot_steps)).sum(2)  # [B, K]
        wanted = done.unflatten(1, (knots, knot_steps)).sum(2) / steps.clamp_min(1).unsqueeze(-1)
        off = (policy.free(latents[episode, now], latents[episode, later]) - wanted) / scale
        return (off.square().mean(-1) * steps).sum() / steps.sum()

    return fit(policy, loss, steps=config.steps, lr=config.lr, weight_decay=1e-4)


def _blank(
    latents: Tensor,
    lengths: Tensor,
    bounds: ActionBounds,
    knots: int,
    config: GoalPolicyConfig,
    generator: torch.Generator,
) -> GoalPolicy:
    """An untrained policy in the units of latents [E, T, N, D]."""
    with seeded(generator):
        policy = GoalPolicy(latents.shape[2], latents.shape[3], bounds, knots, config).to(latents.device)
    policy.standardize.measure(valid_states(latents, lengths).flatten(1))
    return policy


def clone_goal_policy(
    policy: GoalPolicy, states: Tensor, goals: Tensor, free: Tensor, *, generator: torch.Generator
) -> GoalPolicy:
    """Teaches a policy plans that a search found, by the squared error of their free actions; goes on where it is.

    Plans of a search are noisy around what is good; what a policy learns is their mean.

    Args:
        policy: learns in place, with the `batch_size`, `steps` and `lr` of its options.
        states: [S, N, D].
        goals: [S, N, D].
        free: [S, K, A], what the search chose.
        generator: for batches.
    """
    config = policy.config
    check_shape(free, f"S={len(states)} K={policy.num_knots} A={policy.bounds.dim}", name="free")

    def loss() -> Tensor:
        rows = torch.randint(len(states), (config.batch_size,), generator=generator)
        return (policy.free(states[rows], goals[rows]) - free[rows]).square().mean()

    return fit(policy.requires_grad_(True), loss, steps=config.steps, lr=config.lr)
