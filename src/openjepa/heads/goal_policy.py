"""Which action starts the way to a goal? Goal-conditioned inverse dynamics (2605.08732) on frozen latents.

Without the number of remaining steps it is goal-conditioned behaviour cloning, the baseline that a planner
must beat on the same data. Differences from the paper: actions are standardised, and the input is the latent
of any world model.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import Standardize, check_episodes, fit, sample_pairs, seeded, valid_states


@dataclass(frozen=True)
class GoalPolicyConfig:
    """Options of a goal-conditioned policy and of its training.

    Attributes:
        hidden_dim: width, even.
        depth: hidden layers.
        dropout: share of hidden units dropped in training, in [0, 1).
        max_gap: goals lie 1 to this many steps ahead in the same episode.
        sees_gap: whether the policy is told the number of remaining steps (inverse dynamics) or not
            (cloning).
        batch_size: pairs per step.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        weight_decay: of AdamW.
    """

    hidden_dim: int = 256
    depth: int = 3
    dropout: float = 0.0
    max_gap: int = 30
    sees_gap: bool = True
    batch_size: int = 512
    steps: int = 1000
    lr: float = 1e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if min(self.depth, self.max_gap, self.batch_size, self.steps) < 1 or self.lr <= 0:
            raise ConfigError("`depth`, `max_gap`, `batch_size` and `steps` must be at least 1 and `lr` > 0.")
        if self.hidden_dim < 4 or self.hidden_dim % 2 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "`hidden_dim` must be even and at least 4 and `dropout` in [0, 1); got "
                f"{self.hidden_dim} and {self.dropout}."
            )


class GoalPolicy(nn.Module):
    """Residual-free MLP on [z, z_goal] whose layers are scaled and shifted by the number of remaining steps.

    Called with z and z_goal [..., N, D] and gap [...] in steps, returns actions [..., A] in the units of its
    data.
    """

    def __init__(self, num_tokens: int, dim: int, action_dim: int, config: GoalPolicyConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or GoalPolicyConfig()
        self.standardize = Standardize(num_tokens * dim)
        self.action_scale = Standardize(action_dim)
        widths = [2 * num_tokens * dim] + [c.hidden_dim] * c.depth
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(c.hidden_dim) for _ in range(c.depth))
        self.gap_embed = nn.Sequential(nn.Linear(GAP_FEATURES, c.hidden_dim), nn.GELU())
        self.modulations = nn.ModuleList(nn.Linear(c.hidden_dim, 2 * c.hidden_dim) for _ in range(c.depth))
        self.dropout = nn.Dropout(c.dropout)
        self.head = nn.Linear(c.hidden_dim, action_dim)
        for layer in self.modulations:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, z: Tensor, z_goal: Tensor, gap: Tensor) -> Tensor:  # noqa: D102
        return self.action_scale.inverse(self.standardized(z, z_goal, gap))

    def standardized(self, z: Tensor, z_goal: Tensor, gap: Tensor) -> Tensor:
        """The action [..., A] in standard deviations of the data."""
        z, z_goal = torch.broadcast_tensors(self.standardize(z.flatten(-2)), self.standardize(z_goal.flatten(-2)))
        steps = gap if self.config.sees_gap else torch.zeros_like(gap)
        condition = self.gap_embed(gap_features(steps / self.config.max_gap))
        x = torch.cat([z, z_goal], -1)
        for layer, norm, modulation in zip(self.layers, self.norms, self.modulations, strict=True):
            scale, shift = modulation(condition).chunk(2, -1)
            x = self.dropout(nn.functional.gelu(norm(layer(x)) * (1 + scale) + shift))
        return self.head(x)


GAP_FEATURES = 32


def gap_features(share: Tensor) -> Tensor:
    """Sines and cosines [..., 32] of a share [...] of the largest gap."""
    frequencies = math.pi * 2.0 ** torch.linspace(-1, 5, GAP_FEATURES // 2, device=share.device)
    angles = share.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1)


def fit_goal_policy(
    latents: Tensor,
    actions: Tensor,
    config: GoalPolicyConfig | None = None,
    *,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> GoalPolicy:
    """Trains a goal-conditioned policy on cached latents; it imitates the first action of every recorded way.

    Args:
        latents: [E, T, N, D] of whole episodes, none of which may be used to judge it.
        actions: [E, T - 1, A].
        config: the options.
        generator: for initial weights, dropout and batches.
        lengths: [E] number of states of each episode, T by default.
    """
    config = config or GoalPolicyConfig()
    known = check_episodes(latents, lengths)
    check_shape(actions, f"E={latents.shape[0]} T={latents.shape[1] - 1} A", name="actions")
    latents, actions = latents.detach(), actions.detach().to(latents)
    with seeded(generator):
        policy = GoalPolicy(latents.shape[2], latents.shape[3], actions.shape[-1], config).to(latents.device)
        policy.standardize.measure(valid_states(latents, known).flatten(1))
        policy.action_scale.measure(valid_states(actions, known - 1))

        def loss() -> Tensor:
            episode, now, later = sample_pairs(known, config.max_gap, config.batch_size, generator=generator)
            gap = (later - now).to(latents.device)
            predicted = policy.standardized(latents[episode, now], latents[episode, later], gap)
            return (predicted - policy.action_scale(actions[episode, now])).square().mean()

        return fit(policy, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
