"""I-JEPA: predicts the latents of hidden blocks of a picture from the visible ones (arXiv 2301.08243).

    z_target = LN0(target_encoder(x))                                  all tokens, no gradient
    z_pred   = predictor(context_encoder(x, context_idx), target_idx)  each block on its own
    loss     = mean smooth_l1(z_pred, z_target[target_idx])
    target_encoder <- ema_decay * target_encoder + (1 - ema_decay) * context_encoder

LN0 is layer normalisation without weights. Positions are sine-cosine, column first, as in the published
weights.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.masking import BlockMaskConfig, Masks, sample_blocks
from openjepa.methods.target_encoder import WithTargetEncoder
from openjepa.models.masked_predictor import MaskedPredictorConfig
from openjepa.models.vit import ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import gather_tokens, normalize_features
from openjepa.nn.views import ViewConfig, prepare_pixels
from openjepa.protocols import ImageBatch, JEPALoss


def default_encoder() -> ViTConfig:
    """A ViT-tiny for pictures of 64 pixels."""
    return vit_tiny(
        img_size=(64, 64),
        patch_size=8,
        positions="sincos",
        sincos_order="column_first",
        rescale_residual_init=False,
    )


@dataclass(frozen=True)
class IJEPAConfig:
    """Sizes and hyperparameters of `IJEPA`; the published recipe uses ViT-H/14 at 224 pixels."""

    encoder: ViTConfig = field(default_factory=default_encoder)
    predictor_dim: int = 96  # 384 in the paper
    predictor_depth: int = 4  # 6 (B), 12 (L, H), 16 (g) in the paper
    predictor_heads: int = 3  # the published code takes the encoder's
    masks: BlockMaskConfig = field(default_factory=BlockMaskConfig)
    ema_decay: tuple[float, float] = (0.996, 1.0)  # share of old weights kept per step, first and last
    ema_steps: int = 10_000  # steps over which it moves; the length of training
    view: ViewConfig | None = None  # random crops on the device; None when batches come cropped
    seed: int = 0

    def __post_init__(self) -> None:
        if self.encoder.is_video:
            raise ConfigError("`encoder.num_frames` must be 1 for I-JEPA. Use vjepa2 for clips.")
        if self.encoder.num_prefix_tokens:
            raise ConfigError("`encoder.class_token` and `encoder.reg_tokens` must be off for I-JEPA.")

    @property
    def predictor(self) -> MaskedPredictorConfig:
        """The predictor that belongs to the encoder."""
        return MaskedPredictorConfig.beside(
            self.encoder,
            predictor_dim=self.predictor_dim,
            depth=self.predictor_depth,
            num_heads=self.predictor_heads,
            init_mask_tokens="normal",
        )


class IJEPA(WithTargetEncoder[IJEPAConfig]):
    """The method; batches are `ImageBatch`."""

    def predict(self, pixels: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """Predicts the hidden blocks of normalised pictures [B, C, H, W].

        Returns:
            z_pred and z_target, both [B, M, Q, D]; gradients flow into z_pred only.
        """
        with torch.no_grad():
            z_target = normalize_features(self.target_encoder(pixels).float())  # [B, N, D]
            z_target = gather_tokens(z_target, masks.target_idx)  # [B, M, Q, D]
        z = self.context_encoder(pixels, masks.context_idx)  # [B, K, D]
        grid = (1, *(side // self.config.encoder.patch_size for side in pixels.shape[-2:]))
        return self.predictor(z, masks.context_idx, masks.target_idx, grid=grid), z_target

    @torch.compiler.disable
    def prepare(self, batch: ImageBatch, step: int) -> tuple[Tensor, Masks]:
        """Draws views and masks of one batch: all that is random; normalised pictures [B, C, H, W]."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        pixels = prepare_pixels(batch.images, config.view, generator=generator)
        grid = self.context_encoder.patch_embed.grid(pixels)
        counter = step if config.masks.sampler == "reference" else None
        masks = sample_blocks(config.masks, len(pixels), grid, generator=generator, counter=counter)
        return pixels, masks.to(pixels.device)

    def loss(self, batch: ImageBatch, step: int) -> JEPALoss:
        """Smooth L1 between predicted and encoded blocks of one batch."""
        z_pred, z_target = self.predict(*self.prepare(batch, step))
        prediction = latent_prediction_loss(z_pred.float(), z_target, "smooth_l1")
        return JEPALoss(prediction, {"prediction": prediction.detach()})
