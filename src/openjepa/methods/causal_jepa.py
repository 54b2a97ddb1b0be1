"""CausalJEPA: predicts the latents of the frames to come from those of all frames before, and how well it can.

    z_t            = encoder(x_t)                                      N tokens per frame, each frame on its own
    z_pred_t,k, s  = predictor(z_1 ... z_t)                            the latent k frames later, and its scale s > 0
    e_t,k          = mean |z_pred_t,k - z_{t+k}|                       per token
    loss           = mean e^2 + vicreg(z, centred over time) + mean (log s + e / s)   the last with e, z held fixed

LeWM (2603.19312) without actions, with several horizons. Two things make it a judge of what may happen. The
variance term looks at what varies *within* a clip, so that a still scene cannot satisfy it. And the colours of a
clip are redrawn in the middle, so that what cannot be foreseen about colour does not enter the latent. The scale
says how large an error is to be expected there and then: energy is e / s, about 1 where nothing strange happens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.losses.pooling import pool_samples
from openjepa.losses.vicreg import vicreg
from openjepa.nn.distributed import rank
from openjepa.nn.random import keyed_generator
from openjepa.nn.transformer import Block, init_weights
from openjepa.protocols import JEPALoss, VideoBatch

FLOOR = 0.05  # smallest scale, in units of the latent's standard deviation within clips


@dataclass(frozen=True)
class CausalJEPAConfig:
    """Sizes and weights; the defaults learn simple physics in minutes on one core.

    Attributes:
        image_size: px, a multiple of 16; a token sees 28 px around its cell of 16 px.
        width: channels of the first convolution.
        embed_dim: width D of a token.
        predictor_dim: width of the predictor, which sees one vector per frame.
        depth: blocks of the predictor.
        num_heads: of its attention.
        context_len: most frames that it sees.
        horizons: how many frames ahead it predicts, ascending.
        variance_weight: of the hinge on the standard deviation within clips.
        covariance_weight: of the squared covariances.
        scale_weight: of learning the scale of the error.
        colour_share: share of clips whose colours change in the middle, in [0, 1].
        colour_strength: 0 keeps colours, 1 mixes the channels at random.
        seed: of the initial weights and the colours.
    """

    image_size: int = 64
    width: int = 32
    embed_dim: int = 24
    predictor_dim: int = 192
    depth: int = 3
    num_heads: int = 6
    context_len: int = 16
    horizons: tuple[int, ...] = (1, 2, 4)
    variance_weight: float = 1.0
    covariance_weight: float = 0.1
    scale_weight: float = 0.1
    colour_share: float = 0.5
    colour_strength: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.image_size % 16 or self.image_size < 16:
            raise ConfigError(f"`image_size` must be a multiple of 16; got {self.image_size}.")
        if min(self.width, self.embed_dim, self.predictor_dim, self.depth, self.num_heads) < 1:
            raise ConfigError("`width`, `embed_dim`, `predictor_dim`, `depth` and `num_heads` must be at least 1.")
        ascending = list(self.horizons) == sorted(set(self.horizons))
        if not self.horizons or self.horizons[0] < 1 or not ascending:
            raise ConfigError(f"`horizons` must be ascending numbers >= 1; got {self.horizons}.")
        if self.context_len <= self.horizons[-1]:
            raise ConfigError(f"`context_len` must be above the longest horizon {self.horizons[-1]}.")
        if not 0 <= self.colour_share <= 1 or not 0 <= self.colour_strength <= 1:
            raise ConfigError("`colour_share` and `colour_strength` must be in [0, 1].")

    @property
    def num_tokens(self) -> int:
        """Tokens N of a frame."""
        return (self.image_size // 16) ** 2


class CellEncoder(nn.Module):
    """Three convolutions: frames [B, 3, H, W] on a scale of -1 to 1 to one token per cell of 16 px [B, N, D]."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        width = config.width
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, 4),
            nn.ReLU(),
            nn.Conv2d(width, width + width // 2, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width + width // 2, 2 * width, 3, 2, 1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(2 * width, config.embed_dim, 1)

    def forward(self, frames: Tensor) -> Tensor:  # noqa: D102
        features = self.body(frames.contiguous(memory_format=torch.channels_last))
        with torch.autocast(frames.device.type, enabled=False):
            return self.head(features.float()).flatten(2).transpose(1, 2)


class FramePredictor(nn.Module):
    """Causal attention over frames: z [B, T, N, D] to predictions [B, T, K, N, D] and scales [B, T, K, N]."""

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        width, state = config.predictor_dim, config.num_tokens * config.embed_dim
        self.embed = nn.Linear(state, width)
        self.pos_embed = nn.Parameter(torch.zeros(config.context_len, width))
        self.blocks = nn.ModuleList(Block(width, config.num_heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.change = nn.Linear(width, len(config.horizons) * state)
        self.scale = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(config.horizons) * config.num_tokens)
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        c = self.config
        steps = check_shape(z, "B T N D", name="z", sizes={"N": c.num_tokens, "D": c.embed_dim})["T"]
        if steps > c.context_len:
            raise ConfigError(f"`z` must hold at most `context_len` = {c.context_len} frames; got {steps}.")
        x = self.embed(z.flatten(2)) + self.pos_embed[:steps]
        mask = torch.ones(steps, steps, dtype=torch.bool, device=z.device).tril()
        for block in self.blocks:
            x = block(x, None, mask)
        x = self.norm(x)
        with torch.autocast(z.device.type, enabled=False):
            change = self.change(x.float()).unflatten(-1, (len(c.horizons), c.num_tokens, c.embed_dim))
            scale = functional.softplus(self.scale(x.float()) - 1.0) + FLOOR
        return z[:, :, None] + change, scale.unflatten(-1, (len(c.horizons), c.num_tokens))


class CausalJEPA(nn.Module):
    """The method; batches are `VideoBatch` of at most `context_len` frames."""

    step: Tensor

    def __init__(self, config: CausalJEPAConfig) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        self.encoder = CellEncoder(config)
        self.predictor = FramePredictor(config)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1.0, generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        init_weights(self.predictor, generator)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def encode(self, clips: Tensor) -> Tensor:
        """Encodes each frame of clips [B, T, C, H, W] uint8 on its own; z [B, T, N, D]."""
        size = self.config.image_size
        check_shape(clips, f"B T C=3 H={size} W={size}", name="clips")
        return self._tokens(clips.float().div(127.5).sub_(1))

    def errors(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """How wrong each prediction is, and how wrong it says that it may be.

        Returns:
            errors and scales, both [B, T, K, N]: entry (t, k) is about frame t, predicted horizons[k] frames
            earlier; NaN errors where there is no such prediction.
        """
        z_pred, scale = self.predictor(z)
        errors = torch.full_like(scale, torch.nan)
        scales = torch.ones_like(scale)
        for i, ahead in enumerate(self.config.horizons):
            if ahead < z.shape[1]:
                errors[:, ahead:, i] = (z_pred[:, :-ahead, i] - z[:, ahead:]).abs().mean(-1)
                scales[:, ahead:, i] = scale[:, :-ahead, i]
        return errors, scales

    def surprise(self, z: Tensor) -> Tensor:
        """Energy of each frame given those before, by horizon: errors over expected ones, mean over tokens.

        Args:
            z: [B, T, N, D], T at most `context_len`.

        Returns:
            [B, T, K], NaN where there is no prediction.
        """
        errors, scales = self.errors(z)
        return (errors / scales).mean(-1)

    def loss(self, batch: VideoBatch) -> JEPALoss:
        """Prediction, anti-collapse and the scale of the error, of one batch."""
        c = self.config
        pixels, kept = self._recolour(batch.clips)
        z = self._tokens(pixels)
        z_pred, scale = self.predictor(z)
        squared, likelihood = [], []
        for i, ahead in enumerate(c.horizons):
            if ahead >= z.shape[1]:
                continue
            difference = z_pred[:, :-ahead, i] - z[:, ahead:]
            squared.append(difference.square().mean())
            error, s = difference.detach().abs().mean(-1), scale[:, :-ahead, i]
            likelihood.append((s.log() + error / s).mean())
        prediction, surprise = torch.stack(squared).mean(), torch.stack(likelihood).mean()
        terms = vicreg(pool_samples(z[:kept], "pooled", centre_time=True), scale="mean")
        loss = prediction + c.variance_weight * terms.variance + c.covariance_weight * terms.covariance
        loss = loss + c.scale_weight * surprise
        return JEPALoss(
            loss,
            {
                "prediction": prediction.detach(),
                "variance": terms.variance.detach(),
                "covariance": terms.covariance.detach(),
                "scale": surprise.detach(),
            },
        )

    def after_step(self, step: int) -> None:
        """Counts the step."""
        self.step.fill_(step + 1)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return self.encoder(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])

    @torch.compiler.disable
    def _recolour(self, clips: Tensor) -> tuple[Tensor, int]:
        """Draws the colours of each clip anew, and once more in the middle of the last ones.

        Returns:
            pixels [B, T, C, H, W] on a scale of -1 to 1, and how many clips keep their colours throughout: a jump
            in colour is not what the variance within a clip should be made of.
        """
        c, (count, steps) = self.config, clips.shape[:2]
        generator = keyed_generator(c.seed, int(self.step), rank())
        order = torch.rand(2, count, 3, generator=generator).argsort(-1)
        mix = torch.eye(3)[order] * (0.6 + 0.6 * torch.rand(2, count, 3, 1, generator=generator))
        mix = torch.lerp(torch.eye(3).expand_as(mix), mix, c.colour_strength)
        shift = 0.2 * c.colour_strength * torch.randn(2, count, 3, generator=generator)
        moment = torch.randint(1, max(steps, 2), (count,), generator=generator)
        kept = max(1, round(count * (1 - c.colour_share)))
        late = (torch.arange(steps) >= moment[:, None]) & (torch.arange(count)[:, None] >= kept)  # [B, T]
        clip = torch.arange(count)[:, None]
        mix, shift = mix[late.long(), clip].to(clips.device), shift[late.long(), clip].to(clips.device)
        pixels = clips.float().div_(127.5).sub_(1)
        return torch.einsum("btij,btjhw->btihw", mix, pixels) + shift[..., None, None], kept
