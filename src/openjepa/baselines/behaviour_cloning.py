"""Goal-conditioned behaviour cloning: imitate the first action of every recorded way to a later frame.

The baseline that a planner must beat on the same episodes (stable-worldmodel, 2602.08968, reports 100 % on Two-Rooms):
goals are random future states of the same episode (hindsight), the policy is an MLP on [z, z_goal], the loss is
the squared error of standardised actions. z is either a frozen latent of the world model that it is compared
with, or comes from a small convolutional encoder of its own, trained together with the policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.models.fitting import check_episodes, fit, sample_pairs, seeded, valid_states
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.goal_conditioned import GoalPolicy, GoalPolicyConfig
from openjepa.protocols import ActionBounds, WorldModel


NO_GAP = torch.zeros(1)  # cloning is not told how many steps remain


@dataclass(frozen=True)
class CloningConfig:
    """Options of behaviour cloning.

    Attributes:
        hidden_dim: width of the policy, even.
        depth: hidden layers of the policy.
        dropout: share of hidden units dropped in training, in [0, 1).
        max_gap: goals lie 1 to this many steps ahead; None is up to the episode's end.
        batch_size: pairs per step.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        weight_decay: of AdamW.
        encoder: of `clone_pixels`.
        embed_dim: width of its latent.
        episodes_per_step: episodes of a batch of `clone_pixels`.
        frames_per_episode: frames of each, >= 2; pairs are drawn among them, so each encoded frame serves often.
    """

    hidden_dim: int = 256
    depth: int = 3
    dropout: float = 0.0
    max_gap: int | None = None
    batch_size: int = 512
    steps: int = 1500
    lr: float = 1e-3
    weight_decay: float = 1e-4
    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    embed_dim: int = 64
    episodes_per_step: int = 16
    frames_per_episode: int = 12

    def __post_init__(self) -> None:
        self.policy(2)  # checks the fields that they share
        if self.max_gap is not None and self.max_gap < 1:
            raise ConfigError(f"`max_gap` must be >= 1, or None for whole episodes; got {self.max_gap}.")
        if min(self.embed_dim, self.episodes_per_step) < 1 or self.frames_per_episode < 2:
            raise ConfigError(
                "`embed_dim` and `episodes_per_step` must be >= 1 and `frames_per_episode` >= 2; got "
                f"{self.embed_dim}, {self.episodes_per_step}, {self.frames_per_episode}."
            )

    def policy(self, states: int) -> GoalPolicyConfig:
        """The policy's options for episodes of that many states."""
        return GoalPolicyConfig(
            hidden_dim=self.hidden_dim,
            depth=self.depth,
            dropout=self.dropout,
            max_gap=min(self.max_gap or states - 1, states - 1),
            sees_gap=False,
            batch_size=self.batch_size,
            steps=self.steps,
            lr=self.lr,
            weight_decay=self.weight_decay,
        )


def clone_latents(
    model: WorldModel,
    latents: Tensor,
    actions: Tensor,
    bounds: ActionBounds,
    config: CloningConfig | None = None,
    *,
    seed: int = 0,
    lengths: Tensor | None = None,
    frameskip: int = 1,
) -> "BehaviourCloning":
    """Clones behaviour on the frozen latents of a world model.

    Args:
        model: made the latents, and encodes what is seen later.
        latents: [E, T, N, D] of whole training episodes.
        actions: [E, T - 1, A], as wide as `frameskip` primitive actions.
        bounds: of one primitive action.
        config: the options.
        seed: of weights, dropout and batches.
        lengths: [E] number of states of each episode, T by default.
        frameskip: primitive actions between two latents.
    """
    config = config or CloningConfig()
    known = check_episodes(latents, lengths)
    check_shape(actions, f"E={latents.shape[0]} T={latents.shape[1] - 1} A", name="actions")
    latents, actions = latents.detach(), actions.detach().to(latents)
    generator = torch.Generator().manual_seed(seed)
    options = config.policy(int(known.max()))
    with seeded(generator):
        policy = GoalPolicy(latents.shape[2], latents.shape[3], actions.shape[-1], options).to(latents.device)
        policy.standardize.measure(valid_states(latents, known).flatten(1))
        policy.action_scale.measure(valid_states(actions, known - 1))

        def loss() -> Tensor:
            episode, now, later = sample_pairs(known, options.max_gap, config.batch_size, generator=generator)
            return _cloning_loss(policy, latents[episode, now], latents[episode, later], actions[episode, now])

        fit(policy, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return BehaviourCloning(model, policy, bounds, frameskip)


def clone_pixels(
    frames: Tensor,
    actions: Tensor,
    bounds: ActionBounds,
    config: CloningConfig | None = None,
    *,
    seed: int = 0,
    lengths: Tensor | None = None,
    frameskip: int = 1,
) -> "BehaviourCloning":
    """Clones behaviour from pixels, with an encoder of its own.

    Args:
        frames: [E, T, C, H, W] uint8 of whole training episodes.
        actions: [E, T - 1, A], as wide as `frameskip` primitive actions.
        bounds: of one primitive action.
        config: the options.
        seed: of weights, dropout and batches.
        lengths: [E] number of frames of each episode, T by default.
        frameskip: primitive actions between two frames.
    """
    config = config or CloningConfig()
    check_shape(frames, "E T C H W", name="frames")
    check_shape(actions, f"E={frames.shape[0]} T={frames.shape[1] - 1} A", name="actions")
    known = check_episodes(frames.flatten(3), lengths)
    generator = torch.Generator().manual_seed(seed)
    options = config.policy(int(known.max()))
    with seeded(generator):
        cloner = _PixelCloner(config, GoalPolicy(1, config.embed_dim, actions.shape[-1], options))
        cloner.policy.action_scale.measure(valid_states(actions, known - 1))
        # An untrained encoder says little but what all frames share; without this the policy would not learn.
        with torch.no_grad():
            episode, step = _draw_frames(known, options.max_gap, config, generator)
            cloner.policy.standardize.measure(cloner.encode(frames[episode[:, None], step]).flatten(2))

        def loss() -> Tensor:
            episode, step = _draw_frames(known, options.max_gap, config, generator)  # [E'], [E', K]
            seen = frames[episode[:, None], step]  # [E', K, C, H, W]
            z = cloner.encode(seen)  # [E', K, 1, D]
            row, now, later = _draw_pairs(step, config.batch_size, generator)
            first_actions = actions[episode[row], step[row, now]]
            return _cloning_loss(cloner.policy, z[row, now], z[row, later], first_actions)

        fit(cloner, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return BehaviourCloning(cloner, cloner.policy, bounds, frameskip)


class BehaviourCloning:
    """A cloned policy as a player, with the interface of `planning.Agent`; deterministic.

    Args:
        model: encodes frames.
        policy: on its latents, in evaluation mode.
        bounds: of one primitive action.
        frameskip: primitive actions in one action of the policy, executed one after the other.

    Attributes:
        decisions: calls of the policy since `start`.
    """

    def __init__(self, model: WorldModel, policy: GoalPolicy, bounds: ActionBounds, frameskip: int = 1) -> None:
        if frameskip < 1 or policy.head.out_features != bounds.dim * frameskip:
            raise ConfigError(
                f"the policy's actions must hold `frameskip` ({frameskip}) actions of width {bounds.dim}; they "
                f"are {policy.head.out_features} wide. Clone with the frameskip of the data."
            )
        self.model, self.policy, self.bounds, self.frameskip = model, policy, bounds, frameskip
        self.decisions = 0
        self._z_goal: Tensor | None = None

    def start(
        self,
        goal_frames: np.ndarray | Tensor,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | Tensor | None = None,
    ) -> None:
        """Begins an episode: goals [B, C, H, W] uint8; `env_ids` are not needed, for nothing is random."""
        self._z_goal = self._encode(goal_frames, goal_proprio)
        self._block: Tensor | None = None  # [B, frameskip, A]
        self._part = self.decisions = 0

    @torch.no_grad()
    def act(
        self,
        frames: np.ndarray | Tensor,
        proprio: np.ndarray | Tensor | None = None,
        active: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
        """Returns the next primitive actions [B, A] float32 for frames [B, C, H, W], inside the bounds."""
        if self._z_goal is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if self._block is None:
            z = self._encode(frames, proprio)
            action = self.policy(z, self._z_goal, NO_GAP.to(z))
            clipped = self.bounds.with_frameskip(self.frameskip).clip(action)
            self._block, self._part = clipped.unflatten(1, (self.frameskip, -1)), 0
            self.decisions += 1
        actions = self._block[:, self._part]
        self._part += 1
        if self._part == self.frameskip:
            self._block = None
        return actions.float().cpu().numpy()

    @torch.no_grad()
    def _encode(self, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None) -> Tensor:
        device = self.policy.head.weight.device
        images = torch.as_tensor(frames, device=device)
        check_shape(images, "B C H W", name="frames")
        own = None if proprio is None else torch.as_tensor(proprio, dtype=torch.float32, device=device)
        return self.model.encode(images[:, None], None if own is None else own[:, None])[:, 0]


class _PixelCloner(nn.Module):
    """A convolutional encoder and a policy on top of it; `encode` is that of a world model."""

    def __init__(self, config: CloningConfig, policy: GoalPolicy) -> None:
        super().__init__()
        self.encoder = FrameEncoder(config.encoder, config.embed_dim)
        self.policy = policy

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] uint8 to z [B, T, 1, D]."""
        return self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).unsqueeze(2)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Raises: this predicts nothing."""
        raise ConfigError("behaviour cloning must not be planned with: it predicts no states.")


def _cloning_loss(policy: GoalPolicy, z: Tensor, z_goal: Tensor, actions: Tensor) -> Tensor:
    """Squared error of standardised actions, for z and z_goal [B, N, D] and actions [B, A]."""
    predicted = policy.standardized(z, z_goal, NO_GAP.to(z))
    return (predicted - policy.action_scale(actions)).square().mean()


def _draw_frames(
    lengths: Tensor, max_gap: int, config: CloningConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws episodes [E'] and in each of them ascending steps [E', K] at most `max_gap` apart, some equal."""
    episode = torch.randint(len(lengths), (config.episodes_per_step,), generator=generator)
    length = lengths[episode, None]
    window = length.clamp(max=max_gap + 1)
    first = (torch.rand(len(episode), 1, generator=generator) * (length - window + 1)).long()
    share = torch.rand(len(episode), config.frames_per_episode, generator=generator)
    # Sorted, so that later places are later steps; equal steps make no pair below. The ends are always in.
    share = share.sort(1).values
    share[:, 0] = 0
    step = first + (share * window).long().clamp(max=window - 1)
    step[:, -1:] = first + window - 1
    return episode, step


def _draw_pairs(step: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draws pairs among steps [E', K]: row, place of the earlier and of the later one, each [count]."""
    row, now, later = (step[:, None, :] > step[:, :, None]).nonzero(as_tuple=True)
    pick = torch.randint(len(row), (count,), generator=generator)
    return row[pick], now[pick], later[pick]
