"""Keeps the principal components of a trained latent: points of one thing move together, and each errs by itself.

A latent of many points says little that is not said by several of them. In its principal components what they agree on
stays, and what each of them errs by is left out; a predictor no longer has to foretell that, nor starts from it.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.heads.fitting import check_episodes, valid_states
from openjepa.methods.lewm import LeWM


@torch.no_grad()
def keep_principal(model: LeWM, latents: Tensor, count: int, *, lengths: Tensor | None = None) -> tuple[LeWM, Tensor]:
    """Returns a world model whose latent has `count` numbers and a fresh predictor, and its latents of the episodes.

    Distances between latents stay what they were, up to what is left out.

    Args:
        model: trained, without scene dimensions.
        latents: [E, T, 1, D] of whole episodes in its states; 2 D wide for pairs.
        count: components that are kept, fewer than D.
        lengths: [E] number of states of each episode, T by default.

    Raises:
        ConfigError: for as many components as the latent has numbers, or more, and for scene dimensions.
    """
    dim, encoder = model.config.embed_dim, model.context_encoder
    if not 0 < count < dim or model.scene_dim:
        raise ConfigError(f"`principal` must be below `embed_dim` {dim}, without scene dimensions; got {count}.")
    poses = valid_states(latents[..., :dim], check_episodes(latents, lengths)).flatten(0, 1).double()
    mean = poses.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov(poses.T))
    directions = vectors[:, -count:].flip(1)  # [D, count], largest variance first
    found = LeWM(replace(model.config, embed_dim=count, agent_dim=0, dense_weight=0.0, target="encoder"))
    found.context_encoder.trunk.load_state_dict(encoder.trunk.state_dict())
    found.context_encoder.pixels.load_state_dict(encoder.pixels.state_dict())
    head = found.context_encoder.head
    assert isinstance(head, nn.Linear)
    weight, bias = directions.T, -mean @ directions
    if isinstance(encoder.head, nn.Linear):
        weight, bias = weight @ encoder.head.weight.double(), bias + weight @ encoder.head.bias.double()
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    found.set_action_statistics(model.action_mean, model.action_std)
    parts = latents.unflatten(-1, (-1, dim)).double()  # poses, and their ways where a state is a pair
    parts[..., :1, :] -= mean
    return found.eval(), (parts @ directions).flatten(-2).float()
