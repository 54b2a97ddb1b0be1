"""Refines the predictor of a trained world model on cached latents: long rollouts for little, the encoder frozen.

A step costs no pixels, so rollouts of 20 steps in batches of 256 take seconds (recipes in `docs/world-models.md`).
Half of each batch may be drawn where the predictor is still wrong: contacts are rare in random play, and a planner
finds every wall that the model does not believe in.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import check_episodes, fit, seeded, valid_states
from openjepa.methods.lewm import LeWM
from openjepa.models.latent_predictor import DataScale, LatentPredictorConfig, ResidualMLP


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
            stay), in units of the latent, of its standard deviations for a `scaled` predictor, >= 0. The target is the
            path of the true state, so that imagined states which have strayed into a wall are led back out of it.
        sees_scene: whether the predictor looks at the scene dimensions; False where actions do the same in every scene.
            A scene that is seen names the episode, and what is remembered of each hides that a wall bars all.
        predictor: a new predictor to train from scratch, or None to go on with the old one.
        memory_dim: numbers of a state that are to be carried on from what was seen and done before, learned with a new
            predictor (`methods.memory`); 0 for none.
    """

    steps: int = 600
    rollout: int = 16
    batch_size: int = 256
    lr: float = 1.5e-3
    weight_decay: float = 1e-5
    hard_share: float = 0.0
    noise: float = 0.0
    sees_scene: bool = True
    predictor: LatentPredictorConfig | None = None
    memory_dim: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or min(self.rollout, self.batch_size) < 1 or self.lr <= 0:
            raise ConfigError("`steps` must be >= 0, `rollout` and `batch_size` >= 1 and `lr` > 0.")
        if self.memory_dim < 0 or (self.memory_dim and (self.predictor is None or self.hard_share)):
            raise ConfigError("`memory_dim` must be 0, or above it with a new `predictor` and without `hard_share`.")
        if not 0 <= self.hard_share < 1 or self.noise < 0:
            raise ConfigError(
                f"`hard_share` must be in [0, 1) and `noise` 0 or more; got {self.hard_share} and {self.noise}."
            )


def refine_predictor(
    model: LeWM,
    latents: Tensor,
    actions: Tensor,
    config: RefineConfig,
    *,
    generator: torch.Generator,
    lengths: Tensor | None = None,
) -> LeWM:
    """Trains the predictor of a copy of a model on rollouts of frozen latents; returns the copy, in evaluation mode.

    The copy's config names the new predictor, if there is one, so it can be rebuilt from what it says.

    Args:
        model: a Markov world model; it is left as it was.
        latents: [E, T, 1, D] of whole training episodes. For pairs of frames, the first state of an episode, whose
            velocity nobody saw, is left out.
        actions: [E, T - 1, A] in the environment's units.
        config: the options.
        generator: for initial weights and batches.
        lengths: [E] number of states of each episode, T by default. A rollout that outlives its episode is scored up to
            the episode's end.
    """
    sizes = check_shape(latents, "E T N=1 D", name="latents")
    check_shape(actions, f"E={sizes['E']} T={sizes['T'] - 1} A", name="actions")
    model = copy.deepcopy(model)
    if not config.steps:
        return model.eval()
    unknown = model.states.memory
    known = check_episodes(latents, lengths) - unknown
    kept = known >= 2  # shorter ones hold no step
    known = known[kept]
    z = latents.detach()[kept, unknown:]
    moves = ((actions - model.action_mean) / model.action_std)[kept, unknown:]
    windows = Windows(known, config.rollout)
    if config.predictor is not None:
        model.config = replace(model.config, predictor=config.predictor)
        with seeded(generator):
            model.predictor = model.states.predictor(config.predictor, moves.shape[-1])
        if config.predictor.scaled:
            measure_scale(model, z, known)
    unit = unit_of(model, z)
    z = z.squeeze(2)
    model.predictor.requires_grad_(True)
    if not config.sees_scene:
        _blind(model)
    hard = _HardStarts(model, z, moves, windows)
    count, still, pose_dim = int(config.hard_share * config.batch_size), model.scene_dim, model.config.embed_dim

    def strayed(first: Tensor) -> Tensor:
        if not config.noise:
            return first
        moved = torch.randn(first.shape, generator=generator) * torch.rand(len(first), 1, 1, generator=generator)
        return torch.cat([first[..., :still], (first + config.noise * unit * moved)[..., still:]], -1)

    def loss() -> Tensor:
        episode, start = windows.draw(config.batch_size, generator)
        if count:
            episode[:count], start[:count] = hard.draw(count, generator)
        steps = start[:, None] + torch.arange(windows.length + 1)
        known = steps[:, 1:] < windows.lengths[episode, None]  # [B, length]
        steps = steps.clamp(max=z.shape[1] - 1)
        action = moves[episode[:, None], steps[:, :-1].clamp(max=moves.shape[1] - 1)]
        target = z[episode[:, None], steps]
        path, state = [], strayed(target[:, :1])
        for t in range(windows.length):
            state = model.predict(state, action[:, t : t + 1])
            path.append(state)
        off = (torch.cat(path, 1) - target[:, 1:]) / unit
        off = off[..., still:pose_dim]
        error = functional.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="none").mean(-1)
        return (error * known).sum() / known.sum()

    fit(model.predictor, loss, steps=config.steps, lr=config.lr, weight_decay=config.weight_decay)
    return model.eval()


def measure_scale(model: LeWM, z: Tensor, lengths: Tensor) -> None:
    """Tells a scaled predictor the units of the data, from states [E, T, 1, D] of episodes."""
    poses = z[..., : model.config.embed_dim]
    scale = model.predictor.scale
    assert isinstance(scale, DataScale)
    steps = valid_states(poses.diff(dim=1), lengths - 1)
    scale.measure(valid_states(poses, lengths).flatten(0, 1), steps.flatten(0, 1))


def _blind(model: LeWM) -> None:
    """Takes the scene from what a predictor looks at, for as long as it is trained."""
    if not model.scene_dim or not isinstance(model.predictor, ResidualMLP):
        raise ConfigError("`sees_scene` must be True but for an MLP and a latent with scene dimensions.")
    first = model.predictor.change[0]
    assert isinstance(first, nn.Linear)
    shown = torch.ones_like(first.weight)
    shown[:, : model.scene_dim] = 0
    with torch.no_grad():
        first.weight.mul_(shown)
    first.weight.register_hook(lambda gradient: gradient * shown)


def unit_of(model: LeWM, z: Tensor) -> Tensor:
    """What counts as one in each dimension of a state [D]: a standard deviation for a scaled predictor, else 1."""
    if not model.config.predictor.scaled:
        return z.new_ones(z.shape[-1])
    scale = model.predictor.scale
    assert isinstance(scale, DataScale)
    return scale.std.repeat(z.shape[-1] // len(scale.std)).to(z)  # a velocity errs by as much as its poses


class Windows:
    """Where a rollout may begin: every place at which it fits, or the first state of an episode that is too short.

    Args:
        lengths: [E] states of each episode, >= 2.
        longest: steps of a rollout, cut to the longest episode.
    """

    def __init__(self, lengths: Tensor, longest: int) -> None:
        self.lengths = lengths
        self.length = min(longest, int(lengths.max()) - 1)
        self.places = (lengths - self.length).clamp(min=1)  # [E]
        self._ends = self.places.cumsum(0)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Episode and first state [count] of windows, each equally probable."""
        number = torch.randint(int(self._ends[-1]), (count,), generator=generator)
        episode = torch.searchsorted(self._ends, number, right=True)
        return episode, number - (self._ends[episode] - self.places[episode])


class _HardStarts:
    """Draws windows that contain a transition which the predictor gets wrong; looks anew every 100 draws."""

    def __init__(self, model: LeWM, z: Tensor, actions: Tensor, windows: Windows) -> None:
        self.model, self.z, self.actions, self.windows = model, z, actions, windows
        self.real = torch.arange(actions.shape[1]) < windows.lengths[:, None] - 1  # [E, T - 1]
        self.draws, self.weights = 0, self.real.float().flatten()

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.draws and self.draws % 100 == 0:
            self._measure()
        self.draws += 1
        row = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        steps = self.actions.shape[1]
        before = torch.randint(self.windows.length, (count,), generator=generator)
        episode = row // steps
        return episode, (row % steps - before).clamp(min=0).minimum(self.windows.places[episode] - 1)

    @torch.no_grad()
    def _measure(self) -> None:
        errors = [
            (self.model.predict(z[:, :-1], a) - z[:, 1:]).square().mean(-1)
            for z, a in zip(self.z.split(100), self.actions.split(100), strict=True)
        ]
        self.weights = ((torch.cat(errors) + 1e-12) * self.real).flatten()
