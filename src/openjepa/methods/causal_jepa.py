"""CausalJEPA: foretells the latents of coming frames from those of all frames before, and how well it can.

    x_t'         = what differs in frame t from the first frame         a silhouette, for a camera that stands still
    z_t          = encoder(x_t')                                        each frame on its own
    z_pred, s    = predictor(z_1 ... z_t)                               the latent k frames later, and its scale s > 0
    loss         = mean |z_pred - z_{t+k}|^2 + vicreg(z, centred over time) + mean (log s + e / s)

with e = mean |z_pred - z_{t+k}|, held fixed in the last term. It is LeWM (2603.19312) without actions and with several
horizons. Three things make it a judge of what may happen rather than of what is new. The encoder sees what has
changed, not the scene or its colours. The variance term looks at what varies *within* a clip, so that a still scene
cannot satisfy it. And the scale says how large an error is to be expected there and then: the energy of a frame is
e / s, about 1 where nothing strange happens.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.losses.pooling import pool_samples
from openjepa.losses.vicreg import vicreg
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.nn.distributed import rank
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.nn.transformer import Block, init_weights
from openjepa.protocols import JEPALoss, VideoBatch

FLOOR = 0.05  # smallest scale, in units of the latent's standard deviation within clips
CONTRAST = 12.0  # grey levels of difference at which a silhouette has 63 % of its strength


@dataclass(frozen=True)
class CausalJEPAConfig:
    """Sizes and weights; the defaults learn simple physics in minutes on one core.

    Attributes:
        encoder: of one frame; its pictures are square.
        embed_dim: width D of the latent, one token per frame.
        predictor_dim: width of the predictor.
        depth: its blocks.
        num_heads: of its attention.
        context_len: most frames that it sees.
        horizons: how many frames ahead it predicts, ascending.
        variance_weight: of the hinge on the standard deviation within clips.
        covariance_weight: of the mean squared covariance of two dimensions.
        scale_weight: of learning the scale of the error.
        contrast: range of factors on the strength of the silhouettes of a training clip, > 0.
        seed: of the initial weights.
    """

    encoder: FrameEncoderConfig = field(
        default_factory=lambda: FrameEncoderConfig("keypoints", width=16, hidden_dim=64, num_keypoints=16)
    )
    embed_dim: int = 32
    predictor_dim: int = 128
    depth: int = 4
    num_heads: int = 4
    context_len: int = 16
    horizons: tuple[int, ...] = (1, 2, 4, 6)
    variance_weight: float = 2.0
    covariance_weight: float = 20.0
    scale_weight: float = 0.1
    contrast: tuple[float, float] = (0.4, 2.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.embed_dim, self.predictor_dim, self.depth, self.num_heads) < 1:
            raise ConfigError("`embed_dim`, `predictor_dim`, `depth` and `num_heads` must be at least 1.")
        ascending = list(self.horizons) == sorted(set(self.horizons))
        if not self.horizons or self.horizons[0] < 1 or not ascending:
            raise ConfigError(f"`horizons` must be ascending numbers >= 1; got {self.horizons}.")
        if not 0 < self.contrast[0] <= self.contrast[1]:
            raise ConfigError(f"`contrast` must be two ascending numbers above 0; got {self.contrast}.")
        if self.context_len <= self.horizons[-1]:
            raise ConfigError(f"`context_len` must be above the longest horizon {self.horizons[-1]}.")


class FramePredictor(nn.Module):
    """Causal attention over frames: z [B, T, D] to predictions [B, T, K, D] and scales [B, T, K]."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        width, horizons = config.predictor_dim, len(config.horizons)
        self.embed = nn.Linear(2 * config.embed_dim, width)
        self.pos_embed = nn.Parameter(torch.zeros(config.context_len, width))
        self.blocks = nn.ModuleList(Block(width, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Linear(width, horizons * config.embed_dim)
        self.scale = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, horizons))

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
        return z[:, :, None] + change, scale


class CausalJEPA(nn.Module):
    """The method; batches are `VideoBatch` of at most `context_len` frames, the first one the reference."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        with global_stream(config.seed):
            self.encoder = FrameEncoder(config.encoder, config.embed_dim)
            self.predictor = FramePredictor(config)
        init_weights(self.predictor, torch.Generator().manual_seed(config.seed))

    def encode(self, clips: Tensor, contrast: Tensor | None = None) -> Tensor:
        """Encodes each frame of clips [B, T, C, H, W] uint8 beside the first one; z [B, T, D].

        Args:
            clips: [B, T, C, H, W] uint8.
            contrast: factor on the strength of each clip's silhouettes [B]; 1 where None.
        """
        size = self.config.encoder.image_size
        check_shape(clips, f"B T C=3 H={size} W={size}", name="clips")
        return self.encoder(silhouettes(clips, contrast).flatten(0, 1)).unflatten(0, clips.shape[:2])

    def surprise(self, z: Tensor) -> Tensor:
        """Energy of each frame given those before, by horizon: the error over the expected error.

        Args:
            z: [B, T, D], T at most `context_len`.

        Returns:
            [B, T, K]: entry (t, k) is about frame t, foretold horizons[k] frames earlier; NaN where nothing is.
        """
        z_pred, scale = self.predictor(z)
        energies = torch.full_like(scale, torch.nan)
        for i, ahead in enumerate(self.config.horizons):
            if ahead < z.shape[1]:
                error = (z_pred[:, :-ahead, i] - z[:, ahead:]).abs().mean(-1)
                energies[:, ahead:, i] = error / scale[:, :-ahead, i]
        return energies

    def loss(self, batch: VideoBatch, step: int) -> JEPALoss:
        """Prediction, anti-collapse and the scale of the error, of one batch."""
        c = self.config
        low, high = c.contrast
        draw = torch.rand(len(batch.clips), generator=keyed_generator(c.seed, step, rank()))
        z = self.encode(batch.clips, to_device(low * (high / low) ** draw, batch.clips.device))
        z_pred, scale = self._predict(z)
        squared, likelihood = [], []
        for i, ahead in enumerate(c.horizons):
            if ahead < z.shape[1]:
                difference = z_pred[:, :-ahead, i] - z[:, ahead:]
                squared.append(difference.square().mean())
                error, s = difference.detach().abs().mean(-1), scale[:, :-ahead, i]
                likelihood.append((s.log() + error / s).mean())
        prediction, likely = torch.stack(squared).mean(), torch.stack(likelihood).mean()
        terms = vicreg(pool_samples(z[:, :, None], "pooled", centre_time=True), scale="mean")
        loss = prediction + c.variance_weight * terms.variance + c.covariance_weight * terms.covariance
        found = {"prediction": prediction, "variance": terms.variance, "covariance": terms.covariance, "scale": likely}
        return JEPALoss(loss + c.scale_weight * likely, {name: term.detach() for name, term in found.items()})

    def _predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts in float32, which is faster than bfloat16 for so small a net."""
        with torch.autocast(z.device.type, enabled=False):
            return self.predictor(z.float())

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""


def silhouettes(clips: Tensor, contrast: Tensor | None = None) -> Tensor:
    """What differs from the first frame, whatever its colour; a change of the light everywhere is taken out first.

    Args:
        clips: [B, T, C, H, W] uint8.
        contrast: factor on the difference [B]; 1 where None.

    Returns:
        [B, T, C, H, W] on a scale of 0 to 255, 0 where nothing has changed; all channels are equal.
    """
    frames, first = clips.float(), clips[:, :1]
    ratio = (frames[..., ::4, ::4] + 1) / (first[..., ::4, ::4] + 1)
    light = ratio.flatten(-2).median(-1).values[..., None, None]  # [B, T, C, 1, 1]: most of a picture stands still
    apart = frames.sub_(first * light).abs_().amax(2, keepdim=True)
    if contrast is not None:
        apart.mul_(contrast[:, None, None, None, None])
    return apart.div_(-CONTRAST).exp_().mul_(-255).add_(255).expand_as(clips)
