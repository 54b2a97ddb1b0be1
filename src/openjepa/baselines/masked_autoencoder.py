"""Masked autoencoder: paints the hidden patches of a picture or clip from the visible ones (arXiv 2111.06377).

    patches = what every token covers, each patch brought to mean 0 and deviation 1
    painted = decoder(context_encoder(x, context_idx), target_idx)
    loss    = mean (painted - patches[target_idx])^2                   hidden tokens only

The rival of latent prediction at the same cost: same encoder, same kind of predictor, but the targets are
pixels. The encoder sees visible tokens only. Of a picture 75 % of the tokens are hidden at random; of a clip
90 %, at the same places in all frames, so that no frame shows what another one hides (VideoMAE, 2203.12602).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.masking import Masks, hide_random_tokens
from openjepa.models.masked_predictor import MaskedPredictor, MaskedPredictorConfig
from openjepa.models.vit import VisionTransformer, ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.patch_embed import cut_patches
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import gather_tokens, normalize_features
from openjepa.nn.views import ViewConfig, prepare_pixels
from openjepa.protocols import ImageBatch, JEPALoss, VideoBatch


@dataclass(frozen=True)
class MaskedAutoencoderConfig:
    """Sizes and hyperparameters of `MaskedAutoencoder`; published ones are ViT-B to H with a decoder 512 x 8."""

    encoder: ViTConfig = field(default_factory=lambda: vit_tiny(img_size=(64, 64), patch_size=8))
    decoder_dim: int = 96  # 512 in the paper, 384 for clips of ViT-B
    decoder_depth: int = 4  # 8 in the paper, 4 for clips
    decoder_heads: int = 3
    hidden_share: float | None = None  # of the tokens, in (0, 1); None = 0.75 of a picture, 0.9 of a clip
    normalize_targets: bool = True  # each patch by its own mean and deviation
    view: ViewConfig | None = None  # random crops on the device; None when batches come cropped
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hidden_share is not None and not 0 < self.hidden_share < 1:
            raise ConfigError(f"`hidden_share` must lie in (0, 1), or be None; got {self.hidden_share}.")
        if self.encoder.num_prefix_tokens or self.encoder.level_layers or self.encoder.image_tokenizer:
            raise ConfigError(
                "`encoder` must have no class token, registers, level norms or picture tokenizer for a masked "
                "autoencoder."
            )

    @property
    def hidden(self) -> float:
        """Share of the tokens that is hidden."""
        default = 0.9 if self.encoder.is_video else 0.75
        return default if self.hidden_share is None else self.hidden_share

    @property
    def decoder(self) -> MaskedPredictorConfig:
        """The decoder that belongs to the encoder: a masked predictor whose features are pixels."""
        encoder = self.encoder
        return MaskedPredictorConfig.beside(
            encoder,
            out_dim=encoder.tubelet_size * encoder.in_chans * encoder.patch_size**2,
            predictor_dim=self.decoder_dim,
            depth=self.decoder_depth,
            num_heads=self.decoder_heads,
            init_mask_tokens="normal",
        )


class MaskedAutoencoder(nn.Module):
    """The rival; batches are `ImageBatch`, or `VideoBatch` where the encoder takes clips."""

    def __init__(self, config: MaskedAutoencoderConfig):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):  # layers draw weights that are thrown away
            self.context_encoder = VisionTransformer(config.encoder, generator=generator)
            self.decoder = MaskedPredictor(config.decoder, generator=generator)

    def targets(self, pixels: Tensor) -> Tensor:
        """What the decoder should paint, of normalised pixels: [B, N, tubelet * C * patch * patch]."""
        encoder = self.config.encoder
        patches = cut_patches(pixels, encoder.patch_size, encoder.tubelet_size)
        return normalize_features(patches, eps=1e-6) if self.config.normalize_targets else patches

    def paint(self, pixels: Tensor, masks: Masks) -> Tensor:
        """Paints the hidden tokens of pictures [B, C, H, W] or clips [B, T, C, H, W], normalised.

        Returns:
            [B, M, Q, tubelet * C * patch * patch], on the scale of `targets`.
        """
        tokens = self.context_encoder.tokenize(pixels)
        z = self.context_encoder.encode(tokens, masks.context_idx)  # [B, K, D]
        return self.decoder(z, masks.context_idx, masks.target_idx, grid=tokens.grid)

    def masked_loss(self, pixels: Tensor, masks: Masks) -> Tensor:
        """Mean squared error at the hidden tokens."""
        wanted = gather_tokens(self.targets(pixels), masks.target_idx)  # [B, M, Q, P]
        return latent_prediction_loss(self.paint(pixels, masks).float(), wanted, "l2")

    @torch.compiler.disable
    def prepare(self, batch: ImageBatch | VideoBatch, step: int) -> tuple[Tensor, Masks]:
        """Draws views and masks: all that is random; normalised pictures or clips."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        frames = batch.images if isinstance(batch, ImageBatch) else batch.clips
        pixels = prepare_pixels(frames, config.view, generator=generator)
        grid = self.context_encoder.patch_embed.grid(pixels)
        masks = hide_random_tokens(len(pixels), grid, config.hidden, tubes=config.encoder.is_video, generator=generator)
        return pixels, masks.to(pixels.device)

    def loss(self, batch: ImageBatch | VideoBatch, step: int) -> JEPALoss:
        """Mean squared error between painted and true patches of one batch."""
        reconstruction = self.masked_loss(*self.prepare(batch, step))
        return JEPALoss(reconstruction, {"reconstruction": reconstruction.detach()})

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""
