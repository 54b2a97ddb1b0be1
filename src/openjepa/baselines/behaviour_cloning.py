"""Goal-conditioned behaviour cloning: imitate the first action of every recorded way to a later frame.

The baseline that a planner must beat on the same episodes. Goals are random future states of the same episode
(hindsight), the policy is an MLP on [z, z_goal], the loss is the squared error of standardised actions. z is
either a frozen latent of the world model that it is compared with, or comes from a small convolutional encoder
of its own, trained together with the policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import Standardize, check_episodes, fit, mlp, sample_pairs, seeded, valid_states
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.nn.host import Array
from openjepa.protocols import ActionBounds


@dataclass(frozen=True)
class CloningConfig:
    """Options of cloning on latents.

    Attributes:
        hidden_dim: width of the policy.
        depth: hidden layers.
        max_gap: goals lie 1 to this many steps ahead; None is up to the episode's end. Random play wanders, so
            far goals teach small steps: on Two-Rooms 10 reaches half as many goals again as None.
        batch_size: pairs per step.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        weight_decay: of AdamW.
    """

    hidden_dim: int = 256
    depth: int = 3
    max_gap: int | None = 10
    batch_size: int = 512
    steps: int = 1500
    lr: float = 1e-3
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        _check_gap(self.max_gap)
        self.policy(2)  # checks the rest

    def policy(self, states: int) -> GoalPolicyConfig:
        """The policy's options for episodes of that many states."""
        return GoalPolicyConfig(
            hidden_dim=self.hidden_dim,
            depth=self.depth,
            max_gap=min(self.max_gap or states - 1, states - 1),
            batch_size=self.batch_size,
            steps=self.steps,
            lr=self.lr,
        )


@dataclass(frozen=True)
class PixelCloningConfig:
    """Options of cloning from pixels.

    Attributes:
        encoder: of frames.
        embed_dim: width of its latent.
        hidden_dim: width of the policy's two hidden layers.
        max_gap: goals lie 1 to this many steps ahead; None is up to the episode's end.
        episodes_per_step: episodes of a batch.
        frames_per_episode: frames of each, >= 2; all pairs among them are used, so an encoded frame serves often.
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        weight_decay: of AdamW.
        bfloat16: whether the convolutions run in bfloat16, twice as fast where the processor can.
    """

    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    embed_dim: int = 16
    hidden_dim: int = 256
    max_gap: int | None = 10
    episodes_per_step: int = 64
    frames_per_episode: int = 6
    steps: int = 600
    lr: float = 2e-3
    weight_decay: float = 1e-4
    bfloat16: bool = False

    def __post_init__(self) -> None:
        _check_gap(self.max_gap)
        if min(self.embed_dim, self.hidden_dim, self.episodes_per_step, self.steps) < 1 or self.lr <= 0:
            raise ConfigError(
                "`embed_dim`, `hidden_dim`, `episodes_per_step` and `steps` must be at least 1 and `lr` > 0."
            )
        if self.frames_per_episode < 2:
            raise ConfigError(f"`frames_per_episode` must be at least 2; got {self.frames_per_episode}.")


class Encoder(Protocol):
    """What cloning needs of a world model; see `openjepa.protocols.WorldModel.encode`."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] to z [B, T, N, D]."""
        ...


def clone_latents(
    model: Encoder,
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
    _check_actions(actions, latents, bounds, frameskip)
    latents, actions = latents.detach(), actions.detach().to(latents)
    generator = torch.Generator().manual_seed(seed)
    options = config.policy(int(known.max()))
    wide = bounds.with_frameskip(frameskip)
    with seeded(generator):
        policy = GoalPolicy(latents.shape[2], latents.shape[3], wide, 1, options).to(latents.device)
    policy.standardize.measure(valid_states(latents, known).flatten(1))
    scale = Standardize(wide.dim).to(latents.device)
    scale.measure(valid_states(actions, known - 1))

    def loss() -> Tensor:
        episode, now, later = sample_pairs(known, options.max_gap, config.batch_size, generator=generator)
        predicted = policy.free(latents[episode, now], latents[episode, later])[:, 0]
        return ((predicted - actions[episode, now]) / scale.std).square().mean()

    fit(policy, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return BehaviourCloning(model, lambda z, z_goal: policy(z, z_goal)[:, 0], bounds, frameskip, latents.device)


def clone_pixels(
    frames: Tensor,
    actions: Tensor,
    bounds: ActionBounds,
    config: PixelCloningConfig | None = None,
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
        seed: of weights and batches.
        lengths: [E] number of frames of each episode, T by default.
        frameskip: primitive actions between two frames.
    """
    config = config or PixelCloningConfig()
    check_shape(frames, "E T C H W", name="frames")
    known = check_episodes(frames.flatten(3), lengths)
    _check_actions(actions, frames, bounds, frameskip)
    actions = actions.detach().to(frames.device, torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with seeded(generator):
        policy = PixelPolicy(config, actions.shape[-1]).to(frames.device)
        policy.action_scale.measure(valid_states(actions, known - 1))

        def loss() -> Tensor:
            episode, step = _draw_frames(known, config, generator)
            with torch.autocast(frames.device.type, torch.bfloat16, enabled=config.bfloat16):
                z = policy.encode(frames[episode[:, None], step])  # [E', K, 1, D]
            row, now, later = (step[:, None, :] > step[:, :, None]).nonzero(as_tuple=True)
            predicted = policy.standardized(z[row, now], z[row, later])
            return (predicted - policy.action_scale(actions[episode[row], step[row, now]])).square().mean()

        fit(policy, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return BehaviourCloning(policy, policy, bounds, frameskip, frames.device)


class PixelPolicy(nn.Module):
    """A convolutional encoder and an MLP on two of its latents.

    Called with z and z_goal [B, 1, D], returns actions [B, A] in the units of its data.

    Args:
        config: the options.
        action_dim: width A.
    """

    def __init__(self, config: PixelCloningConfig, action_dim: int) -> None:
        super().__init__()
        self.encoder = FrameEncoder(config.encoder, config.embed_dim)
        self.head = mlp(2 * config.embed_dim, config.hidden_dim, action_dim)
        self.action_scale = Standardize(action_dim)

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] uint8 to z [B, T, 1, D]; proprioception is not looked at."""
        return self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).unsqueeze(2)

    def standardized(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """The action [B, A] in standard deviations of the data."""
        return self.head(torch.cat([z, z_goal], -1).flatten(1))

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        return self.action_scale.inverse(self.standardized(z, z_goal))


class BehaviourCloning:
    """A cloned policy as a player, with the interface of `planning.Agent`; nothing in it is random.

    Args:
        model: encodes frames.
        policy: of z and z_goal [B, N, D], to actions [B, frameskip * A].
        bounds: of one primitive action.
        frameskip: primitive actions in one action of the policy, executed one after the other.
        device: of the model.

    Attributes:
        decisions: calls of the policy since `start`.
    """

    def __init__(
        self,
        model: Encoder,
        policy: Callable[[Tensor, Tensor], Tensor],
        bounds: ActionBounds,
        frameskip: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model, self.policy, self.bounds = model, policy, bounds
        self.frameskip, self.device = frameskip, device
        self.decisions = 0
        self._z_goal: Tensor | None = None

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Begins an episode: goals [B, C, H, W] uint8; `env_ids` are not needed, for nothing is random."""
        self._z_goal = self._encode(goal_frames, goal_proprio)
        self._block: Tensor | None = None  # [B, frameskip, A]
        self._part = self.decisions = 0

    @torch.no_grad()
    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns the next primitive actions [B, A] float32 for frames [B, C, H, W], inside the bounds."""
        if self._z_goal is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if self._block is None:
            action = self.policy(self._encode(frames, proprio), self._z_goal)
            clipped = self.bounds.with_frameskip(self.frameskip).clip(action)
            self._block, self._part = clipped.unflatten(1, (self.frameskip, -1)), 0
            self.decisions += 1
        actions = self._block[:, self._part]
        self._part += 1
        if self._part == self.frameskip:
            self._block = None
        return actions.float().cpu().numpy()

    @torch.no_grad()
    def _encode(self, frames: Array, proprio: Array | None) -> Tensor:
        images = torch.as_tensor(frames, device=self.device)
        check_shape(images, "B C H W", name="frames")
        own = None if proprio is None else torch.as_tensor(proprio, dtype=torch.float32, device=self.device)
        return self.model.encode(images[:, None], None if own is None else own[:, None])[:, 0]


def _check_gap(max_gap: int | None) -> None:
    if max_gap is not None and max_gap < 1:
        raise ConfigError(f"`max_gap` must be >= 1, or None for whole episodes; got {max_gap}.")


def _check_actions(actions: Tensor, like: Tensor, bounds: ActionBounds, frameskip: int) -> None:
    if frameskip < 1:
        raise ConfigError(f"`frameskip` must be at least 1; got {frameskip}.")
    wanted = f"E={like.shape[0]} T={like.shape[1] - 1} A={bounds.dim * frameskip}"
    check_shape(actions, wanted, name="actions")


def _draw_frames(lengths: Tensor, config: PixelCloningConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws episodes [E'] and in each of them ascending steps [E', K], within `max_gap` of each other.

    The first and the last step of the window are always among them, so there is a pair; steps may be equal.
    """
    episode = torch.randint(len(lengths), (config.episodes_per_step,), generator=generator)
    length = lengths[episode, None]
    window = length if config.max_gap is None else length.clamp(max=config.max_gap + 1)
    first = (torch.rand(len(episode), 1, generator=generator) * (length - window + 1)).long()
    share = torch.rand(len(episode), config.frames_per_episode, generator=generator).sort(1).values
    step = first + (share * window).long().clamp(max=window - 1)
    step[:, :1] = first
    step[:, -1:] = first + window - 1
    return episode, step
