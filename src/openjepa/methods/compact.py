"""Compacts a trained latent to the few numbers that matter: what tells scenes apart, and what actions move.

    scene:  argmax_v  (v' S_between v) / (v' S_within v)             between and within episodes (Fisher's discriminant)
    moving: argmin_W  sum robust(W' (x[t + k] - x[t]) - sum_k a)     displacement over k steps = the sum of the actions

Both are closed forms on cached features, the expected positions of keypoints. The second is odometry: where nothing is
in the way, the place that an agent is at has changed by what it did. Features that follow the agent only in part, or
bend, explain less of the sum; transitions that the sum cannot explain, such as contacts, are weighted down. Neither
sees a true state. What stays in an episode may leak into its places: `origin_steps` (`methods/origins.py`).

The head of the trained model is not the place to look: variance and covariance terms make it spread two numbers of a
layout over as many dimensions as it has, and bend them on the way. The new head is linear in the keypoints again, so
the result is an ordinary world model with a smaller latent.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.methods.lewm import LeWM
from openjepa.methods.origins import common_origin
from openjepa.models.frame_encoder import SplitLinear, SplitTrunk

ROUNDS = 12  # of reweighting
EXPLAINED = 0.3  # share of the displacements that are taken to be free of contacts


@dataclass(frozen=True)
class CompactConfig:
    """Size of the compacted latent, whose moving part has as many numbers as an action.

    Attributes:
        scene_dim: directions that tell scenes apart, >= 1.
        displacement_steps: steps k of a displacement, >= 1: more drown the noise of a position, fewer contain fewer
            contacts.
        scene_every: one frame in so many is looked at for the scene of an episode, >= 1.
        stillness: share of the variance of all states that the displacement's own is regularised with, >= 0. What
            stands still has no displacement, so things in the picture leak into a place unseen; among directions that
            explain displacements alike this prefers those that vary least, which have the least of it.
        origin_steps: training steps after which all episodes have one origin, >= 0; 0 leaves the leak where it is. For
            scenes that bar the way: a leak moves their walls (`methods/origins.py`).
        origin_dim: numbers that tell what stays in an episode, of which the leak is made, >= 1.
    """

    scene_dim: int = 3
    displacement_steps: int = 6
    scene_every: int = 12
    stillness: float = 0.0
    origin_steps: int = 0
    origin_dim: int = 6

    def __post_init__(self) -> None:
        if self.stillness < 0 or self.origin_steps < 0:
            raise ConfigError(
                f"`stillness` and `origin_steps` must be 0 or more; got {self.stillness} and {self.origin_steps}."
            )
        if min(self.scene_dim, self.displacement_steps, self.scene_every, self.origin_dim) < 1:
            raise ConfigError("`scene_dim`, `displacement_steps`, `scene_every` and `origin_dim` must be at least 1.")


@torch.no_grad()
def keypoints(model: LeWM, frames: Tensor, config: CompactConfig) -> tuple[Tensor, Tensor]:
    """Reads the keypoints of whole episodes: of the scene from some frames, of what moves from all.

    Args:
        model: trained, with a `split` encoder.
        frames: [E, T, 3, H, W] uint8.
        config: how many frames show the scene.

    Returns:
        of the scene [E, ceil(T / scene_every), F], and of what moves [E, T, F].

    Raises:
        ConfigError: where the model has no `split` encoder.
    """
    encoder = model.context_encoder
    trunk = encoder.trunk
    if not isinstance(trunk, SplitTrunk):
        raise ConfigError(
            f"`model` must have an encoder of kind split to be compacted; got {model.config.encoder.kind}."
        )
    some = frames[:, :: config.scene_every]
    scene, moving = trunk.scene(encoder.pixels(some.flatten(0, 1))), trunk.moving(encoder.pixels(frames.flatten(0, 1)))
    return scene.unflatten(0, some.shape[:2]), moving.unflatten(0, frames.shape[:2])


def compact(
    model: LeWM,
    scene: Tensor,
    moving: Tensor,
    actions: Tensor,
    config: CompactConfig,
    *,
    generator: torch.Generator | None = None,
) -> tuple[LeWM, Tensor]:
    """Returns a world model with a compacted latent and fresh predictor, and its latents of the episodes.

    The scene of an episode is the mean over its frames, so that what is learned on these latents is free of its noise.

    Args:
        model: trained, with a `split` encoder.
        scene: keypoints [E, S, F] as `keypoints` reads them.
        moving: keypoints [E, T, F].
        actions: [E, T - 1, A] in the environment's units.
        config: size of the new latent.
        generator: for the common origin; seed 0 by default.

    Returns:
        the new model in evaluation mode, its predictor untrained, and latents [E, T, 1, scene_dim + A], their moving
        part of unit variance.

    Raises:
        ConfigError: where episodes are too few or short.
    """
    sizes = check_shape(moving, "E T F", name="moving")
    check_shape(scene, "E S F", name="scene", sizes={"E": sizes["E"]})
    check_shape(actions, f"E={sizes['E']} T={sizes['T'] - 1} A", name="actions")
    if sizes["E"] < 2 or sizes["T"] <= config.displacement_steps:
        raise ConfigError(
            f"`moving` must hold at least 2 episodes of more than {config.displacement_steps} states; got "
            f"{sizes['E']} of {sizes['T']}. Lower `displacement_steps` or play longer episodes."
        )
    scene, moving = scene.double(), moving.double()
    scene_map = _whitened(scene, scene_directions(scene, config.scene_dim))
    directions = displacement_directions(moving, actions.double(), config.displacement_steps, config.stillness)
    still = _apply(scene, *scene_map).mean(1, keepdim=True)
    if config.origin_steps:
        directions = _with_one_origin(directions, moving, still.squeeze(1), actions, config, generator)
    moving_map = _whitened(moving, directions)
    found = LeWM(
        replace(
            model.config,
            embed_dim=config.scene_dim + actions.shape[-1],
            scene_dim=config.scene_dim,
            target="encoder",
        )
    )
    found.context_encoder.trunk.load_state_dict(model.context_encoder.trunk.state_dict())
    found.context_encoder.pixels.load_state_dict(model.context_encoder.pixels.state_dict())
    head = found.context_encoder.head
    assert isinstance(head, SplitLinear)
    _set(head.scene, *scene_map)
    _set(head.moving, *moving_map)
    found.set_action_statistics(model.action_mean, model.action_std)
    latents = torch.cat([still.expand(-1, sizes["T"], -1), _apply(moving, *moving_map)], -1).float()
    return found.eval(), latents.unsqueeze(2)


def _with_one_origin(
    directions: Tensor,
    moving: Tensor,
    scene: Tensor,
    actions: Tensor,
    config: CompactConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """The directions [D, A] less what leaks into them from features [E, T, D] that stay in an episode."""
    mean, directions = _whitened(moving, directions)
    fixed = scene_directions(moving, config.origin_dim)
    fixed = fixed / ((moving.mean(1) - mean) @ fixed).std(0).clamp_min(1e-8)
    still = (moving - mean) @ fixed
    places = _apply(moving, mean, directions)
    generator = generator or torch.Generator().manual_seed(0)
    shift = common_origin(places, still, scene, actions, steps=config.origin_steps, generator=generator)
    return directions + fixed @ shift.to(fixed)


def scene_directions(x: Tensor, count: int) -> Tensor:
    """Fisher's directions [D, count] of states [E, T, D] of episodes, most telling first; unit variance within."""
    mean = x.mean(1, keepdim=True)  # [E, 1, D]
    within, between = _scatter(x - mean), _scatter(mean - mean.mean(0))
    ridge = 1e-6 * within.diagonal().mean() * torch.eye(x.shape[-1], dtype=x.dtype)
    inverse = torch.linalg.inv(torch.linalg.cholesky(within + ridge))
    _, vectors = torch.linalg.eigh(inverse @ between @ inverse.T)
    return inverse.T @ vectors[:, -count:].flip(1)


def displacement_directions(x: Tensor, actions: Tensor, steps: int, stillness: float = 0.0) -> Tensor:
    """Directions [D, A] of states [E, T, D] whose displacement over some steps is the sum of actions [E, T - 1, A].

    Least squares, reweighted by Geman and McClure's estimator at the scale of the best-explained displacements, so that
    contacts do not count.
    """
    travelled = torch.cat([torch.zeros_like(actions[:, :1]), actions.cumsum(1)], 1)  # [E, T, A]
    moved = (x[:, steps:] - x[:, :-steps]).flatten(0, 1)
    wanted = (travelled[:, steps:] - travelled[:, :-steps]).flatten(0, 1)
    weight = torch.ones(len(moved), 1, dtype=x.dtype)
    spread = stillness * len(moved) * _scatter(x - x.flatten(0, 1).mean(0))
    found = torch.zeros(x.shape[-1], actions.shape[-1], dtype=x.dtype)
    for _ in range(ROUNDS):
        gram = moved.T @ (weight * moved)
        gram = gram + 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
        gram = gram + spread * weight.mean()
        found = torch.linalg.solve(gram, moved.T @ (weight * wanted))
        square = (moved @ found - wanted).square().sum(1, keepdim=True)
        scale = square.flatten().kthvalue(max(1, int(EXPLAINED * len(square)))).values
        weight = (1 + square / scale.clamp_min(1e-12)) ** -2
    return found


def _scatter(x: Tensor) -> Tensor:
    flat = x.flatten(0, -2)
    return flat.T @ flat / len(flat)


def _whitened(x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and directions [D, K], scaled so that the projected states have unit variance."""
    mean = x.flatten(0, -2).mean(0)
    spread = ((x - mean) @ directions).flatten(0, -2).std(0).clamp_min(1e-8)
    return mean, directions / spread


def _apply(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    return (x - mean) @ directions


@torch.no_grad()
def _set(layer: nn.Linear, mean: Tensor, directions: Tensor) -> None:
    """Makes a layer (x - mean) @ directions."""
    layer.weight.copy_(directions.T)
    layer.bias.copy_(-mean @ directions)
