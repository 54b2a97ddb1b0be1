"""Refines the predictor of a trained world model on cached latents: long rollouts for little, the encoder frozen.

A step costs no pixels, so rollouts of 20 steps in batches of 256 take seconds (recipes in `docs/world-models.md`).
Half of each batch may be drawn where the predictor is still wrong: contacts are rare in random play, and a planner
finds every wall that the model does not believe in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import fit, seeded
from openjepa.methods.lewm import LeWM
from openjepa.models.latent_predictor import LatentPredictorConfig, build_predictor


@dataclass(frozen=True)
class RefineConfig:
    """Options of the refinement.

    Attributes:
        steps: optimiser steps, >= 0; 0 leaves the predictor as it is.
        rollout: steps of a rollout, >= 1; at most the length of an episode.
        batch_size: rollouts per step, even.
        lr: first learning rate of AdamW, decayed along a cosine.
        weight_decay: of AdamW.
        hard_share: share of a batch that is drawn in proportion to the present one-step error, in [0, 1).
        noise: largest standard deviation of what is added to the first state of a rollout (the scene dimensions
            stay), in units of the latent, >= 0. The target is the path of the true state, so that imagined states
            which have strayed into a wall are led back out of it.
        predictor: a new predictor to train from scratch, or None to go on with the old one.
    """

    steps: int = 600
    rollout: int = 16
    batch_size: int = 256
    lr: float = 1.5e-3
    weight_decay: float = 1e-5
    hard_share: float = 0.0
    noise: float = 0.0
    predictor: LatentPredictorConfig | None = None

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.rollout, self.batch_size) < 1 or self.lr <= 0:
            raise ConfigError("`steps` must be >= 0, `rollout` and `batch_size` >= 1 and `lr` > 0.")
        if not 0 <= self.hard_share < 1 or self.noise < 0:
            raise ConfigError(
                f"`hard_share` must be in [0, 1) and `noise` 0 or more; got {self.hard_share} and {self.noise}."
            )


def refine_predictor(
    model: LeWM, latents: Tensor, actions: Tensor, config: RefineConfig, *, generator: torch.Generator
) -> LeWM:
    """Trains `model.predictor` in place on rollouts of frozen latents and returns the model, in evaluation mode.

    Args:
        model: a Markov world model.
        latents: [E, T, 1, D] of whole training episodes.
        actions: [E, T - 1, A] in the environment's units.
        config: the options.
        generator: for initial weights and batches.
    """
    sizes = check_shape(latents, "E T N=1 D", name="latents")
    check_shape(actions, f"E={sizes['E']} T={sizes['T'] - 1} A", name="actions")
    if not config.steps:
        return model.eval()
    length = min(config.rollout, sizes["T"] - 1)
    z = latents.detach().squeeze(2)
    moves = (actions - model.action_mean) / model.action_std
    if config.predictor is not None:
        with seeded(generator):
            model.predictor = build_predictor(config.predictor, z.shape[-1], moves.shape[-1])
    model.predictor.requires_grad_(True)
    hard = _HardStarts(model, z, moves, length)
    count, still = int(config.hard_share * config.batch_size), model.scene_dim

    def strayed(first: Tensor) -> Tensor:
        if not config.noise:
            return first
        moved = torch.randn(first.shape, generator=generator) * torch.rand(len(first), 1, 1, generator=generator)
        return torch.cat([first[..., :still], (first + config.noise * moved)[..., still:]], -1)

    def loss() -> Tensor:
        episode = torch.randint(sizes["E"], (config.batch_size,), generator=generator)
        start = torch.randint(sizes["T"] - length, (config.batch_size,), generator=generator)
        if count:
            episode[:count], start[:count] = hard.draw(count, generator)
        steps = start[:, None] + torch.arange(length + 1)
        target, action = z[episode[:, None], steps], moves[episode[:, None], steps[:, :-1]]
        path, state = [], strayed(target[:, :1])
        for t in range(length):
            state = model.predict(state, action[:, t : t + 1])
            path.append(state)
        return functional.smooth_l1_loss(torch.cat(path, 1)[..., still:], target[:, 1:, still:], beta=0.1)

    fit(model.predictor, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return model.eval()


class _HardStarts:
    """Draws windows that contain a transition which the predictor gets wrong; looks anew every 100 draws."""

    def __init__(self, model: LeWM, z: Tensor, actions: Tensor, length: int) -> None:
        self.model, self.z, self.actions, self.length = model, z, actions, length
        self.draws, self.weights = 0, torch.ones(actions.shape[0] * actions.shape[1])

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.draws and self.draws % 100 == 0:
            self._measure()
        self.draws += 1
        row = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        steps = self.actions.shape[1]
        before = torch.randint(self.length, (count,), generator=generator)
        return row // steps, (row % steps - before).clamp(0, steps - self.length)

    @torch.no_grad()
    def _measure(self) -> None:
        errors = [
            (self.model.predict(z[:, :-1], a) - z[:, 1:]).square().mean(-1)
            for z, a in zip(self.z.split(100), self.actions.split(100), strict=True)
        ]
        self.weights = torch.cat(errors).flatten() + 1e-12
