"""CausalJEPA: foretells the latents of coming frames from those of all frames before, and how well it can.

    x_t'         = what differs in frame t from the first frame         a silhouette, once light and drift are taken out
    z_t          = [encoder(x_t'), traits(x_t')]                        each frame on its own: where, and what
    z_pred, s    = predictor(z_1 ... z_t)                               the latent k frames later, and its scales s > 0
    loss         = mean |z_pred - z_{t+k}|^2 + anti-collapse + mean (log s + e / s)
    anti-collapse = vicreg(encoder, centred over time) + vicreg(traits) + mean |traits_{t+1} - traits_t|^2

with e = |z_pred - z_{t+k}| of each dimension, held fixed in the likelihood. It is LeWM (2603.19312) without actions and
with several horizons. Four things make it a judge of what may happen rather than of what is new. The encoder sees what
has changed, not the scene or its colours. The variance of where things are is that *within* a clip, so that a still
scene cannot satisfy it. What a body is, its shape and size, stays the same while it is seen, so no such term asks for
it: the traits vary between clips and change slowly (slow features, 2105.04906 with the invariance over time). And the
scales say how large an error is to be expected there and then, in each dimension: the energy of a frame is the mean of
e / s, about 1 where nothing strange happens, and a small thing that is foretold exactly counts as much as a large one.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.losses.pooling import pool_samples
from openjepa.losses.vicreg import vicreg
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.silhouettes import in_view, silhouettes
from openjepa.nn.distributed import rank
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.nn.transformer import Block, init_weights
from openjepa.protocols import JEPALoss, VideoBatch

TRAIT_PATCH = 4  # px; smaller than what moves, so that its outline is seen
FLOOR = 0.05  # smallest scale, in units of the latent's standard deviation within clips


@dataclass(frozen=True)
class CausalJEPAConfig:
    """Sizes and weights; the defaults learn simple physics in minutes on one core.

    Attributes:
        encoder: of one frame, for where things are; its pictures are square.
        embed_dim: width D of the latent, one token per frame.
        trait_dim: the last of these dimensions, which hold what things are, from 1 to below D.
        trait_width: channels of the encoder of the traits, which reads features at points.
        trait_keypoints: its points.
        predictor_dim: width of the predictor.
        depth: its blocks.
        num_heads: of its attention.
        context_len: most frames that it sees.
        horizons: how many frames ahead it predicts, ascending.
        variance_weight: of the hinge on the standard deviation, within clips, and of the traits over all of them.
        covariance_weight: of the mean squared covariance of two dimensions.
        slowness_weight: of the mean squared change of the traits from frame to frame.
        scale_weight: of learning the scale of the error.
        contrast: range of factors on the strength of the silhouettes of a training clip, > 0.
        drift: px by which the border of every other training clip goes out of view at most, each way, as it does
            where a camera that drifts is steadied; >= 0.
        seed: of the initial weights.
    """

    encoder: FrameEncoderConfig = field(
        default_factory=lambda: FrameEncoderConfig("keypoints", width=16, hidden_dim=64, num_keypoints=16)
    )
    embed_dim: int = 32
    trait_dim: int = 8
    trait_width: int = 16
    trait_keypoints: int = 8
    predictor_dim: int = 128
    depth: int = 4
    num_heads: int = 4
    context_len: int = 16
    horizons: tuple[int, ...] = (1, 2, 4, 6)
    variance_weight: float = 2.0
    covariance_weight: float = 20.0
    slowness_weight: float = 1.0
    scale_weight: float = 0.1
    contrast: tuple[float, float] = (0.4, 2.0)
    drift: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.predictor_dim, self.depth, self.num_heads) < 1:
            raise ConfigError("`embed_dim`, `predictor_dim`, `depth` and `num_heads` must be at least 1.")
        if not 0 < self.trait_dim < self.embed_dim:
            raise ConfigError(f"`trait_dim` must be from 1 to below {self.embed_dim}; got {self.trait_dim}.")
        ascending = list(self.horizons) == sorted(set(self.horizons))
        if not self.horizons or self.horizons[0] < 1 or not ascending:
            raise ConfigError(f"`horizons` must be ascending numbers >= 1; got {self.horizons}.")
        if not 0 < self.contrast[0] <= self.contrast[1]:
            raise ConfigError(f"`contrast` must be two ascending numbers above 0; got {self.contrast}.")
        if self.drift < 0:
            raise ConfigError(f"`drift` must be 0 or more; got {self.drift}.")
        if self.context_len <= self.horizons[-1]:
            raise ConfigError(f"`context_len` must be above the longest horizon {self.horizons[-1]}.")

    @property
    def trait_encoder(self) -> FrameEncoderConfig:
        """Of one frame, for what things are: the features of small patches at a few points."""
        size, points = self.encoder.image_size, self.trait_keypoints
        return FrameEncoderConfig("attn", size, self.trait_width, num_keypoints=points, patch_size=TRAIT_PATCH)


class FramePredictor(nn.Module):
    """Causal attention over frames: z [B, T, D] to predictions and scales [B, T, K, D] each."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        width, horizons = config.predictor_dim, len(config.horizons)
        self.embed = nn.Linear(2 * config.embed_dim, width)
        self.pos_embed = nn.Parameter(torch.zeros(config.context_len, width))
        self.blocks = nn.ModuleList(Block(width, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Linear(width, horizons * config.embed_dim)
        self.scale = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, horizons * config.embed_dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        c = self.config
        steps = check_shape(z, "B T D", name="z", sizes={"D": c.embed_dim})["T"]
        if steps > c.context_len:
            raise ConfigError(f"`z` must hold at most `context_len` = {c.context_len} frames; got {steps}.")
        moved = functional.pad(z[:, 1:] - z[:, :-1], (0, 0, 1, 0))  # spares the net learning to subtract
        x = self.embed(torch.cat([z, moved], -1)) + self.pos_embed[:steps]
        mask = torch.ones(steps, steps, dtype=torch.bool, device=z.device).tril()
        for block in self.blocks:
            x = block(x, None, mask)
        x = self.norm(x)
        with torch.autocast(z.device.type, enabled=False):
            change = self.change(x.float()).unflatten(-1, (len(c.horizons), c.embed_dim))
            scale = functional.softplus(self.scale(x.float()) - 1.0) + FLOOR
            scale = scale.unflatten(-1, (len(c.horizons), c.embed_dim))
        return z[:, :, None] + change, scale


class CausalJEPA(nn.Module):
    """The method; batches are `VideoBatch` of at most `context_len` frames, the first one the reference."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        with global_stream(config.seed):
            self.encoder = FrameEncoder(config.encoder, config.embed_dim - config.trait_dim)
            self.traits = FrameEncoder(config.trait_encoder, config.trait_dim)
            self.predictor = FramePredictor(config)
        init_weights(self.predictor, torch.Generator().manual_seed(config.seed))

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes each frame of clips [B, T, C, H, W] uint8 beside the first one; z [B, T, D].

        The light may change and the camera drift slowly.
        """
        size = self.config.encoder.image_size
        check_shape(clips, f"B T C=3 H={size} W={size}", name="clips")
        return self._latents(silhouettes(clips))

    def _latents(self, seen: Tensor) -> Tensor:
        frames = seen.flatten(0, 1)
        return torch.cat([self.encoder(frames), self.traits(frames)], -1).unflatten(0, seen.shape[:2])

    def surprise(self, z: Tensor) -> Tensor:
        """Energy of each frame given those before, by horizon: the error over the expected error.

        Args:
            z: [B, T, D], T at most `context_len`.

        Returns:
            [B, T, K]: entry (t, k) is about frame t, foretold horizons[k] frames earlier; NaN where nothing is.
        """
        z_pred, scale = self.predictor(z)
        energies = torch.full_like(scale[..., 0], torch.nan)
        for i, ahead in enumerate(self.config.horizons):
            if ahead < z.shape[1]:
                error = (z_pred[:, :-ahead, i] - z[:, ahead:]).abs()
                energies[:, ahead:, i] = (error / scale[:, :-ahead, i]).mean(-1)
        return energies

    def loss(self, batch: VideoBatch, step: int) -> JEPALoss:
        """Prediction, anti-collapse and the scale of the error, of one batch."""
        c = self.config
        z = self._latents(self._altered(batch.clips, keyed_generator(c.seed, step, rank())))
        z_pred, scale = self._predict(z)
        squared, likelihood = [], []
        for i, ahead in enumerate(c.horizons):
            if ahead < z.shape[1]:
                difference = z_pred[:, :-ahead, i] - z[:, ahead:]
                squared.append(difference.square().mean())
                error, s = difference.detach().abs(), scale[:, :-ahead, i]
                likelihood.append((s.log() + error / s).mean())
        prediction, likely = torch.stack(squared).mean(), torch.stack(likelihood).mean()
        where, what = z[:, :, None].split([c.embed_dim - c.trait_dim, c.trait_dim], -1)
        within = vicreg(pool_samples(where, "pooled", centre_time=True), scale="mean")
        between = vicreg(pool_samples(what, "pooled"), scale="mean")
        variance, covariance = within.variance + between.variance, within.covariance + between.covariance
        slowness = (what[:, 1:] - what[:, :-1]).square().mean()
        loss = prediction + c.variance_weight * variance + c.covariance_weight * covariance
        loss = loss + c.slowness_weight * slowness + c.scale_weight * likely
        found = {"prediction": prediction, "variance": variance, "covariance": covariance, "slowness": slowness}
        found["scale"] = likely
        return JEPALoss(loss, {name: term.detach() for name, term in found.items()})

    def _altered(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """Silhouettes of training clips [B, T, C, H, W], stronger or weaker, with borders that go out of view."""
        low, high = self.config.contrast
        contrast = low * (high / low) ** torch.rand(len(clips), generator=generator)
        drift = self.config.drift * (2 * torch.rand(len(clips), 1, 2, generator=generator) - 1)
        drift[::2] = 0
        drift = to_device(drift * torch.linspace(0, 1, clips.shape[1])[:, None], clips.device)  # [B, T, 2]
        seen = silhouettes(clips, to_device(contrast, clips.device), camera_moves=False)
        return seen * in_view(drift, *clips.shape[-2:]).unsqueeze(2)

    def _predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts in float32, which is faster than bfloat16 for so small a net."""
        with torch.autocast(z.device.type, enabled=False):
            return self.predictor(z.float())

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""
