"""Compacts a trained latent to the few directions that matter: what tells scenes apart, and what actions change.

    scene:  argmax_v  (v' S_between v) / (v' S_within v)     between and within episodes (Fisher's discriminant)
    moving: argmax_v  v' S_change v,  |v| = 1                of the change between successive states

Both are closed forms on cached latents. A latent is redundant by design (VICReg wants unit variance everywhere),
and a predictor learns the sharp edge of a wall more easily from four numbers than from thirty. The projection is folded
into the encoder's last, linear layer, so the result is an ordinary world model with a smaller latent.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.methods.lewm import LeWM
from openjepa.models.frame_encoder import SplitLinear


@dataclass(frozen=True)
class CompactConfig:
    """Size of the compacted latent.

    Attributes:
        scene_dim: directions that tell scenes apart, >= 1.
        moving_dim: directions that change from step to step, >= 1.
    """

    scene_dim: int = 4
    moving_dim: int = 2

    def __post_init__(self) -> None:
        if min(self.scene_dim, self.moving_dim) < 1:
            raise ConfigError("`scene_dim` and `moving_dim` must be at least 1.")


def compact(model: LeWM, latents: Tensor, config: CompactConfig) -> tuple[LeWM, Tensor]:
    """Returns a world model with a compacted latent and fresh predictor, and the latents that it would have encoded.

    Args:
        model: trained, with a `split` encoder.
        latents: [E, T, 1, D] of training episodes.
        config: size of the new latent.

    Returns:
        the new model in evaluation mode, its predictor untrained, and latents [E, T, 1, S + M] of unit variance.

    Raises:
        ConfigError: where the model has no `split` encoder or too few dimensions.
    """
    head, scene_dim = model.context_encoder.head, model.config.scene_dim
    if not isinstance(head, SplitLinear):
        raise ConfigError(
            f"`model` must have an encoder of kind split to be compacted; got {model.config.encoder.kind}."
        )
    moving_dim = model.config.embed_dim - scene_dim
    if config.scene_dim > scene_dim or config.moving_dim > moving_dim:
        raise ConfigError(
            f"the compacted latent must not be larger than {scene_dim} + {moving_dim} dimensions; got "
            f"{config.scene_dim} + {config.moving_dim}."
        )
    z = check_latents(latents)
    scene = _whitened(z[..., :scene_dim], scene_directions(z[..., :scene_dim], config.scene_dim))
    moving = _whitened(z[..., scene_dim:], moving_directions(z[..., scene_dim:], config.moving_dim))
    smaller = replace(
        model.config,
        embed_dim=config.scene_dim + config.moving_dim,
        scene_dim=config.scene_dim,
        target="encoder",
    )
    found = LeWM(smaller)
    found.context_encoder.trunk.load_state_dict(model.context_encoder.trunk.state_dict())
    new_head = found.context_encoder.head
    assert isinstance(new_head, SplitLinear)
    _fold(new_head.scene, head.scene, *scene)
    _fold(new_head.moving, head.moving, *moving)
    found.set_action_statistics(model.action_mean, model.action_std)
    found.step.copy_(model.step)
    parts = [(z[..., :scene_dim] - scene[0]) @ scene[1], (z[..., scene_dim:] - moving[0]) @ moving[1]]
    return found.eval(), torch.cat(parts, -1).to(latents.dtype).unsqueeze(2)


def scene_directions(z: Tensor, count: int) -> Tensor:
    """Fisher's directions [D, count] of states [E, T, D] of episodes, most telling first; unit variance within."""
    mean = z.mean(1, keepdim=True)  # [E, 1, D]
    within, between = _scatter(z - mean), _scatter(mean - mean.mean(0))
    ridge = 1e-6 * within.diagonal().mean() * torch.eye(z.shape[-1], dtype=z.dtype)
    inverse = torch.linalg.inv(torch.linalg.cholesky(within + ridge))
    _, vectors = torch.linalg.eigh(inverse @ between @ inverse.T)
    return inverse.T @ vectors[:, -count:].flip(1)


def moving_directions(z: Tensor, count: int) -> Tensor:
    """Principal directions [D, count] of the change between successive states [E, T, D], largest first."""
    _, vectors = torch.linalg.eigh(_scatter(z[:, 1:] - z[:, :-1]))
    return vectors[:, -count:].flip(1)


def check_latents(latents: Tensor) -> Tensor:
    """Returns latents [E, T, 1, D] as [E, T, D] in float64."""
    sizes = check_shape(latents, "E T N=1 D", name="latents")
    if sizes["E"] < 2 or sizes["T"] < 2:
        raise ConfigError(f"`latents` must hold at least 2 episodes of 2 states; got {sizes['E']} of {sizes['T']}.")
    return latents.detach().squeeze(2).double()


def _scatter(x: Tensor) -> Tensor:
    flat = x.flatten(0, -2)
    return flat.T @ flat / len(flat)


def _whitened(z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and directions [D, K], scaled so that the projected states have unit variance."""
    mean = z.flatten(0, -2).mean(0)
    spread = ((z - mean) @ directions).flatten(0, -2).std(0).clamp_min(1e-8)
    return mean, directions / spread


@torch.no_grad()
def _fold(new: nn.Linear, old: nn.Linear, mean: Tensor, directions: Tensor) -> None:
    """Makes `new` the old layer followed by (z - mean) @ directions."""
    new.weight.copy_(directions.T @ old.weight.double())
    new.bias.copy_((old.bias.double() - mean) @ directions)
