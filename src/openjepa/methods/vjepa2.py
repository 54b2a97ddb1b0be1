"""V-JEPA 2: predicts the latents of hidden tubes of a clip from the rest (arXiv 2506.09985).

    z_target = LN0(target_encoder(x))                                  all tokens, no gradient
    z_pred_k = predictor(context_encoder(x, context_idx_k), target_idx_k)   for the short and the long tubes
    loss     = mean over k of mean |z_pred_k - z_target[target_idx_k]|
    target_encoder <- ema_decay * target_encoder + (1 - ema_decay) * context_encoder

LN0 is layer normalisation without weights. Positions are rotary, interleaved in new models; published
weights need the tiled layout. Every network embeds its patches once, whatever the number of masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.masking import LONG_TUBES, SHORT_TUBES, Masks, TubeMaskConfig, sample_all_tubes
from openjepa.methods.target_encoder import WithTargetEncoder
from openjepa.models.masked_predictor import MaskedPredictorConfig
from openjepa.models.vit import ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import gather_tokens, normalize_features
from openjepa.nn.views import ViewConfig, prepare_pixels
from openjepa.protocols import JEPALoss, VideoBatch


def default_encoder() -> ViTConfig:
    """A ViT-tiny for 8 frames of 64 pixels."""
    return vit_tiny(img_size=(64, 64), patch_size=8, num_frames=8, tubelet_size=2)


@dataclass(frozen=True)
class VJEPA2Config:
    """Sizes and hyperparameters of `VJEPA2`; published ones are ViT-L to g, 16 frames of 256 pixels."""

    encoder: ViTConfig = field(default_factory=default_encoder)
    predictor_dim: int = 96  # 384 in the paper
    predictor_depth: int = 4  # 12 in the paper
    predictor_heads: int = 3  # 12 in the paper
    num_mask_tokens: int = 1  # published files hold 10 and train the first
    masks: tuple[TubeMaskConfig, ...] = (SHORT_TUBES, LONG_TUBES)
    ema_decay: tuple[float, float] = (0.99925, 0.99925)  # share of old weights kept per step, first and last
    ema_steps: int = 10_000  # steps over which it moves
    view: ViewConfig | None = None  # random crops on the device; None when batches come cropped
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.encoder.is_video:
            raise ConfigError("`encoder.num_frames` must be above 1 for V-JEPA 2. Use ijepa for pictures.")
        if self.encoder.num_prefix_tokens or self.encoder.level_layers:
            raise ConfigError("`encoder` must have no class token, registers or level norms for V-JEPA 2.")
        if not self.masks:
            raise ConfigError("`masks` must name at least one kind of tubes; got none.")

    @property
    def predictor(self) -> MaskedPredictorConfig:
        """The predictor that belongs to the encoder."""
        return MaskedPredictorConfig.beside(
            self.encoder,
            predictor_dim=self.predictor_dim,
            depth=self.predictor_depth,
            num_heads=self.predictor_heads,
            num_mask_tokens=self.num_mask_tokens,
        )


class VJEPA2(WithTargetEncoder[VJEPA2Config]):
    """The method; batches are `VideoBatch`."""

    def predict(self, pixels: Tensor, masks: Sequence[Masks]) -> list[tuple[Tensor, Tensor]]:
        """Predicts the hidden tokens of normalised clips [B, T, C, H, W], once for each mask.

        Returns:
            pairs of z_pred and z_target, both [B, M, Q, D]; gradients flow into z_pred only.
        """
        with torch.no_grad():
            z_target = normalize_features(self.target_encoder(pixels).float())  # [B, N, D]
        tokens = self.context_encoder.tokenize(pixels)
        pairs = []
        for mask in masks:
            z = self.context_encoder.encode(tokens, mask.context_idx)  # [B, K, D]
            z_pred = self.predictor(z, mask.context_idx, mask.target_idx, grid=tokens.grid)
            pairs.append((z_pred, gather_tokens(z_target, mask.target_idx)))
        return pairs

    def masked_loss(self, pixels: Tensor, masks: Sequence[Masks]) -> Tensor:
        """The loss for given masks; pixels [B, T, C, H, W] normalised."""
        losses = [latent_prediction_loss(a.float(), b, "l1") for a, b in self.predict(pixels, masks)]
        return torch.stack(losses).mean()

    @torch.compiler.disable
    def prepare(self, batch: VideoBatch, step: int) -> tuple[Tensor, list[Masks]]:
        """Draws views and one mask of each kind: all that is random; normalised clips [B, T, C, H, W]."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        pixels = prepare_pixels(batch.clips, config.view, generator=generator)
        grid = self.context_encoder.patch_embed.grid(pixels)
        masks = sample_all_tubes(config.masks, len(pixels), grid, generator=generator, step=step)
        return pixels, [mask.to(pixels.device) for mask in masks]

    def loss(self, batch: VideoBatch, step: int) -> JEPALoss:
        """Mean absolute error between predicted and encoded tubes of one batch."""
        prediction = self.masked_loss(*self.prepare(batch, step))
        return JEPALoss(prediction, {"prediction": prediction.detach()})
