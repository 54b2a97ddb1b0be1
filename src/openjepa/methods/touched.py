"""Adds what is touched to the latent of a trained world model: where the thing is that the agent moves by contact.

Inverse dynamics and displacements keep what actions move, and the latent loses what the agent pushes. Here a second
small network looks at every frame, and its maps must explain what changed between two moments: the agent, where its own
place foretells that something is, and what is touched elsewhere (`losses/touched.py`). The centre of the map is appended to the latent: two numbers,
linear in the picture. The predictor begins anew, for `refine_predictor` to train.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.errors import ConfigError
from openjepa.heads.fitting import Standardize, fit, mlp, seeded
from openjepa.losses.touched import Changes, agent_loss, touched_loss
from openjepa.methods.lewm import LeWM
from openjepa.models.touched_point import DIM, TouchedPoint


@dataclass(frozen=True)
class TouchedConfig:
    """Options of finding what is touched.

    Attributes:
        width: channels of the network's first convolutions.
        steps: optimiser steps.
        episodes: of a step, >= 1.
        moments: of each episode, >= 2; all pairs of them are compared.
        lr: first learning rate, decayed along a cosine.
        weight: variance of the point in the latent, as a share of that of all that was there before, > 0: how much a
            distance of latents is about what is touched.
    """

    width: int = 24
    steps: int = 600
    episodes: int = 16
    moments: int = 6
    lr: float = 2e-3
    weight: float = 1.5

    def __post_init__(self) -> None:
        if min(self.width, self.steps, self.episodes) < 1 or self.moments < 2 or min(self.lr, self.weight) <= 0:
            raise ConfigError(
                "`width`, `steps` and `episodes` must be at least 1, `moments` at least 2, `lr` and `weight` above 0."
            )


def add_touched(
    model: LeWM,
    store: EpisodeStore,
    episodes: np.ndarray,
    config: TouchedConfig,
    *,
    generator: torch.Generator,
    half: bool = False,
) -> LeWM:
    """Returns a world model whose latent ends with the point of what is touched, its predictor untrained.

    Args:
        model: trained with a read-out of displacements, which tells where the agent is; it is left as it was.
        store: the recorded episodes.
        episodes: numbers of those that may be seen.
        config: the options.
        generator: for initial weights.
        half: whether the new network is trained in bfloat16.

    Raises:
        ConfigError: for a model without a read-out of displacements, or whose latent has such a point already.
    """
    c = model.config
    if not c.displacement_dim or c.encoder.touched:
        raise ConfigError("`model` must have a read-out of displacements and no touched point yet.")
    windows = WindowConfig(2, config.episodes, seed=c.seed, num_others=config.moments - 1)
    source = WindowSource(store, episodes, windows)
    model = model.eval()
    with seeded(generator):
        point = TouchedPoint(c.encoder.image_size, config.width).to(memory_format=torch.channels_last)
        agent_map = mlp(c.embed_dim, 128, point.side**2)
    nn.init.constant_(agent_map[-1].bias, -3.0)  # at first the agent is nowhere
    frames = torch.cat([_moments(source, step) for step in range(4)])
    seen = Standardize(c.embed_dim)
    seen.measure(_states(model, frames))
    learned = nn.ModuleList([point, agent_map])
    step = 0

    def loss() -> Tensor:
        nonlocal step
        frames = _moments(source, step)
        step += 1
        changes = Changes.between(frames, point.side)
        agent = agent_map(seen(_states(model, frames)))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = point.maps(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return agent_loss(agent, changes) + touched_loss(found, agent, changes)

    fit(learned, loss, steps=config.steps, lr=config.lr, weight_decay=1e-4)
    return _joined(model, point, frames, config)


def _moments(source: WindowSource, step: int) -> Tensor:
    """Frames [B, M, 3, H, W] of random moments of episodes."""
    batch = source.batch(step)
    assert batch.others is not None
    return torch.cat([batch.frames[:, :1], batch.others], 1)


@torch.no_grad()
def _states(model: LeWM, frames: Tensor) -> Tensor:
    """The latent [B, M, D] of frames, which says where the agent is."""
    return model.encode(frames)[:, :, 0, : model.config.embed_dim]


@torch.no_grad()
def _joined(model: LeWM, point: TouchedPoint, frames: Tensor, config: TouchedConfig) -> LeWM:
    """The model with the point at the end of its latent."""
    c = model.config
    before, found = model.encode(frames).flatten(0, 2), point(frames.flatten(0, 1))
    point.scale.copy_((config.weight * before.var(0).sum() / found.var(0).sum().clamp_min(1e-12)).sqrt())
    joined = LeWM(
        replace(
            c,
            embed_dim=c.embed_dim + DIM,
            encoder=replace(c.encoder, touched=config.width),
            inverse_dynamics_weight=0.0,
            target="encoder",
        )
    )
    encoder = joined.context_encoder
    assert encoder.touched is not None
    encoder.load_state_dict(
        model.context_encoder.state_dict() | {f"touched.{name}": value for name, value in point.state_dict().items()}
    )
    joined.displacement.weight.copy_(functional.pad(model.displacement.weight, (0, DIM)))
    joined.set_action_statistics(model.action_mean, model.action_std)
    return joined.eval()
