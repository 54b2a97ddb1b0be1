"""Learned distances between latents: how many steps apart are two states? Trained in seconds.

Raw latent distance folds where the latent is isotropic; a distance learned from the time between states of an
episode does not, and lets a planner see around walls. Latents must come from whole episodes, since the
distance saturates at the largest gap that it was trained on. The head is called like any distance,
`head(z, z_goal)`, with broadcasting.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError
from openjepa.heads.fitting import Standardize, check_episodes, fit, mlp, sample_pairs, seeded, valid_states


@dataclass(frozen=True)
class TemporalDistanceConfig:
    """Options of a learned distance and of its training.

    Attributes:
        hidden_dim: width of the two hidden layers.
        embed_dim: width of the embedding (contrastive head), even.
        form: of the contrastive head's distance: `squared` or `euclidean` between embeddings, or
            `quasimetric`, half of whose embedding is one-way, so that there and back may differ (MRN,
            2208.08133).
        max_gap: largest number of steps between the states of a pair, >= 1; beyond it the distance saturates.
        pairs_per_episode: pairs of a batch that come from one episode, a divisor of `batch_size`. With 1, a
            scene that differs between episodes tells almost all pairs apart, and the head need not know the
            agent.
        batch_size: pairs per step.
        steps: optimiser steps.
        lr: learning rate of Adam, decayed to 0 along a cosine.
        noise: standard deviation, in those of the latents, of what is added to both states of a pair, >= 0. What hardly
            varies, such as the trace of a place in sixteen numbers that tell only one, is else told apart as finely as
            one likes: near states are then far from each other, and far ones not in their order.
        scene_dim: leading dimensions of the latent that hold the scene. Both states are then judged in the scene of
            the first one, and the negatives are what moves in other episodes, put into this scene: else the scene
            tells almost all pairs apart, and small errors of its code look like large distances. 0 makes no
            difference.
        negatives: of each pair where there is a scene, >= 1 and below `batch_size`.
        sees_scene: whether the distance looks at the scene; False where the ways are the same in every scene. A scene
            that is seen names the episode, and a head that remembers where each went hardly learns of a wall.
        latent_weight: of the distance of the standardised latents, which is added to the learned one, >= 0. Where a
            step moves things far, states between two steps are all one step away, and nothing would hold a goal.
    """

    hidden_dim: int = 128
    embed_dim: int = 16
    form: Literal["squared", "euclidean", "quasimetric"] = "squared"
    max_gap: int = 30
    pairs_per_episode: int = 1
    batch_size: int = 256
    steps: int = 400
    lr: float = 2e-3
    noise: float = 0.0
    scene_dim: int = 0
    negatives: int = 64
    sees_scene: bool = True
    latent_weight: float = 0.0

    def __post_init__(self) -> None:
        if min(self.noise, self.latent_weight) < 0:
            raise ConfigError(
                f"`noise` must be 0 or more, and `latent_weight` too; got {self.noise} and {self.latent_weight}."
            )
        if self.scene_dim < 0 or (self.scene_dim and not 1 <= self.negatives < self.batch_size):
            raise ConfigError("`scene_dim` must be >= 0 and `negatives` from 1 to below `batch_size`.")
        if self.latent_weight and self.scene_dim:
            raise ConfigError("`latent_weight` must be 0 where `scene_dim` is not: scenes are no distance.")
        if not self.sees_scene and not self.scene_dim:
            raise ConfigError("`sees_scene` must be True where `scene_dim` is 0: there is no scene to leave out.")
        if min(self.hidden_dim, self.max_gap, self.pairs_per_episode, self.steps) < 1 or self.lr <= 0:
            raise ConfigError(
                "`hidden_dim`, `max_gap`, `pairs_per_episode` and `steps` must be at least 1 and `lr` > 0."
            )
        if self.embed_dim < 2 or self.embed_dim % 2:
            raise ConfigError(f"`embed_dim` must be even and at least 2; got {self.embed_dim}.")
        if self.batch_size < 2 or self.batch_size % self.pairs_per_episode:
            raise ConfigError(
                "`batch_size` must be a multiple of `pairs_per_episode` "
                f"({self.pairs_per_episode}) and at least 2; got {self.batch_size}."
            )
        if self.form not in ("squared", "euclidean", "quasimetric"):
            raise ConfigError(f"`form` must be squared, euclidean or quasimetric; got {self.form}.")


class TemporalDistanceHead(nn.Module):
    """Contrastive temporal distance: an embedding in which states that are near in time are near.

    Called with z and z_goal [..., N, D], returns their distance [...] in no particular unit.

    Args:
        num_tokens: tokens N of a state.
        dim: width of a token, or of what is read of it.
        config: the options.
        read_from: width D of a token of which a linear map `read`, which is given and not learned, reads `dim` numbers;
            None where the tokens themselves are judged.
    """

    read: Tensor | None

    def __init__(
        self, num_tokens: int, dim: int, config: TemporalDistanceConfig | None = None, read_from: int | None = None
    ) -> None:
        super().__init__()
        self.config = config or TemporalDistanceConfig()
        if read_from is not None and self.config.scene_dim:
            raise ConfigError("`scene_dim` must be 0 for a distance of what is read of a state.")
        self.register_buffer("read", None if read_from is None else torch.zeros(dim, read_from))
        self.standardize = Standardize(num_tokens * dim)
        self._unseen = 0 if self.config.sees_scene else self.config.scene_dim  # leading dimensions of a token
        self.embed = mlp(num_tokens * (dim - self._unseen), self.config.hidden_dim, self.config.embed_dim)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        return self.between(self.embedding(z), self.embedding(self._in_scene_of(z, z_goal)))

    def _in_scene_of(self, z: Tensor, other: Tensor) -> Tensor:
        """The other states with the scene dimensions of z; both broadcast."""
        scene = self.config.scene_dim
        if not scene or self._unseen:
            return other
        z, other = torch.broadcast_tensors(z, other)
        return torch.cat([z[..., :scene], other[..., scene:]], -1)

    def embed_goal(self, z_goal: Tensor, z: Tensor) -> Tensor:
        """Embeds goals [..., N, D] once for all states in the scene of z [..., N, D]; [..., E]."""
        return self.embedding(self._in_scene_of(z, z_goal))

    def to_embedded(self, z: Tensor, goal: Tensor) -> Tensor:
        """Distance [...] from states [..., N, D] to embedded goals [..., E]."""
        return self.between(self.embedding(z), goal)

    def embedding(self, z: Tensor) -> Tensor:
        """Embeds states [..., N, D] as [..., E]; with a `latent_weight` their latents follow, as they weigh."""
        seen = self._seen(z)
        weight = self.config.latent_weight
        return torch.cat([self.embed(seen), weight * seen], -1) if weight else self.embed(seen)

    def _seen(self, z: Tensor) -> Tensor:
        """What the network sees of states [..., N, D], standardised."""
        z = self.read_of(z)
        return self.standardize(z.flatten(-2)).unflatten(-1, z.shape[-2:])[..., self._unseen :].flatten(-2)

    def read_of(self, z: Tensor) -> Tensor:
        """What is judged of states [..., N, D]: itself, or what is read of it, [..., N, P]."""
        return z if self.read is None else z @ self.read.T

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Distance [...] from embeddings a to embeddings b, both [..., E]."""
        way, latent_way = (b - a).tensor_split([self.config.embed_dim], -1)
        if latent_way.shape[-1]:
            return self._learned(way) + _norm(latent_way)
        return self._learned(way)

    def _learned(self, way: Tensor) -> Tensor:
        """The learned distance of differences of embeddings [..., E]."""
        if self.config.form == "quasimetric":
            two_way, one_way = way.chunk(2, -1)
            return _norm(two_way) + one_way.relu().amax(-1)
        return way.square().sum(-1) if self.config.form == "squared" else _norm(way)

    def loss(self, z: Tensor, z_later: Tensor) -> Tensor:
        """Symmetric InfoNCE over pairs [B, N, D]: each state must find its own later one, and back.

        With a scene, each state must find its own later one among those of other episodes, put into its scene.
        """
        if self.config.scene_dim and not self._unseen:
            return self._loss_in_scene(z, z_later)
        distance = self._pairwise(self.embed(self._seen(z)), self.embed(self._seen(z_later)))  # [B, B]
        logits = -self.log_scale.exp() * distance / self.config.embed_dim
        own = torch.arange(len(z), device=z.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2

    def _loss_in_scene(self, z: Tensor, z_later: Tensor) -> Tensor:
        """Candidates of pair i: its own later state, then those of the next `negatives` pairs of the batch."""
        count = min(self.config.negatives, len(z) - 1)
        candidates = (torch.arange(len(z))[:, None] + torch.arange(count + 1)) % len(z)  # [B, 1 + negatives]
        distance = self(z.unsqueeze(1), z_later[candidates.to(z.device)])
        logits = -self.log_scale.exp() * distance / self.config.embed_dim
        return functional.cross_entropy(logits, torch.zeros(len(z), dtype=torch.long, device=z.device))

    def _pairwise(self, a: Tensor, b: Tensor) -> Tensor:
        """`between` of every row of a [B, E] with every row of b, without the [B, B, E] of differences."""
        if self.config.form == "quasimetric":
            return self._learned(b[None] - a[:, None])
        squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
        return squared if self.config.form == "squared" else (squared + 1e-12).sqrt()


def fit_temporal_distance(
    latents: Tensor,
    config: TemporalDistanceConfig | None = None,
    *,
    generator: torch.Generator,
    lengths: Tensor | None = None,
    read: Tensor | None = None,
) -> TemporalDistanceHead:
    """Trains a contrastive temporal distance on cached latents and returns it in evaluation mode.

    Args:
        latents: [E, T, N, D] of whole episodes.
        config: the options.
        generator: for initial weights and batches.
        lengths: [E] number of states of each episode, T by default; what lies beyond is not used.
        read: [P, D], where the distance is one between linear read-outs of the tokens, such as places: what else
            differs between scenes then plays no part in it.
    """
    config = config or TemporalDistanceConfig()
    known = check_episodes(latents, lengths)
    latents = latents.detach()
    with seeded(generator):
        width, read_from = (latents.shape[3], None) if read is None else read.shape
        head = TemporalDistanceHead(latents.shape[2], width, config, read_from)
    if read is not None:
        head.read = read.detach().clone()
    head = head.to(latents.device)
    head.standardize.measure(valid_states(head.read_of(latents), known).flatten(1))

    spread = config.noise * valid_states(latents, known).flatten(0, -2).std(0)  # [D]

    def blurred(z: Tensor) -> Tensor:
        return z + spread * torch.randn(z.shape, generator=generator).to(z) if config.noise else z

    def loss() -> Tensor:
        episode, now, later = _draw(known, config, generator)
        return head.loss(blurred(latents[episode, now]), blurred(latents[episode, later]))

    return fit(head, loss, steps=config.steps, lr=config.lr)


def _draw(lengths: Tensor, config: TemporalDistanceConfig, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    pairs = config.pairs_per_episode
    return sample_pairs(lengths, config.max_gap, config.batch_size, pairs_per_episode=pairs, generator=generator)


def _norm(x: Tensor) -> Tensor:
    return (x.square().sum(-1) + 1e-12).sqrt()
