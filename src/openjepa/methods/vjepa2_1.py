"""V-JEPA 2.1: dense features by a loss on every token and at four depths (arXiv 2603.14482).

    h        = LN0 per level of four levels of target_encoder(x)              [B, N, 4 D], no gradient
    z        = four levels of context_encoder(x, context_idx)                 [B, K, 4 D]
    zq, zc   = predictor(z, context_idx, target_idx)                          targets, and the context itself
    loss     = mean |zq - h[target]| + lambda(step) * mean |zc - h[context]| / sqrt(d)
    target_encoder <- ema_decay * target_encoder + (1 - ema_decay) * context_encoder

d is the distance from a context token to the nearest target token, so what lies beside a hole counts most.
lambda is 0 at first and rises; without deep supervision the context loss harms. Pictures and clips have
their own tokenizers and modality embeddings; a batch is one or the other, so a mixture alternates batches,
and each modality weighs what its share of the batches is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.masking import LONG_TUBES, SHORT_TUBES, Masks, TubeMaskConfig, sample_all_tubes
from openjepa.methods.target_encoder import WithTargetEncoder
from openjepa.models.masked_predictor import MaskedPredictorConfig
from openjepa.models.vit import Tokens, VisionTransformer, ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import Grid, gather_tokens, nearest_distance, normalize_levels
from openjepa.nn.views import ViewConfig, prepare_pixels
from openjepa.protocols import ImageBatch, JEPALoss, VideoBatch


def default_encoder() -> ViTConfig:
    """A ViT-tiny for 8 frames, or pictures, of 64 pixels, with norms at four depths."""
    return vit_tiny(
        img_size=(64, 64),
        patch_size=8,
        num_frames=8,
        tubelet_size=2,
        image_tokenizer=True,
        level_layers=(2, 5, 8, 11),
        rope_pretrained_grid=8,
    )


@dataclass(frozen=True)
class VJEPA21Config:
    """Sizes and hyperparameters of `VJEPA21`; the published recipe uses ViT-g and ViT-G at 256 pixels."""

    encoder: ViTConfig = field(default_factory=default_encoder)
    predictor_dim: int = 96  # 384 in the paper
    predictor_depth: int = 4  # 24 in the paper
    predictor_heads: int = 3  # 12 in the paper
    num_mask_tokens: int = 1  # published files hold 8 and train the first
    masks: tuple[TubeMaskConfig, ...] = (SHORT_TUBES, LONG_TUBES)  # of clips
    image_masks: tuple[TubeMaskConfig, ...] = (TubeMaskConfig(num_blocks=10),)  # of pictures
    context_weight: float = 0.5  # lambda at the end of its ramp, >= 0
    context_ramp: tuple[int, int] = (15_000, 30_000)  # steps between which lambda rises from 0
    weigh_by_distance: bool = True  # off in the published cool-down
    ema_decay: tuple[float, float] = (0.99925, 0.99925)
    ema_steps: int = 10_000
    view: ViewConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.encoder.is_video or not self.encoder.level_layers:
            raise ConfigError("`encoder` must take clips and have `level_layers` for V-JEPA 2.1.")
        if self.context_weight < 0 or self.context_ramp[0] > self.context_ramp[1]:
            raise ConfigError(
                f"`context_weight` must be >= 0 and `context_ramp` ascending; got {self.context_weight} "
                f"and {self.context_ramp}."
            )

    @property
    def predictor(self) -> MaskedPredictorConfig:
        """The predictor that belongs to the encoder."""
        return MaskedPredictorConfig.beside(
            self.encoder,
            predictor_dim=self.predictor_dim,
            depth=self.predictor_depth,
            num_heads=self.predictor_heads,
            num_mask_tokens=self.num_mask_tokens,
            num_levels=len(self.encoder.level_layers),
            predict_context=True,
            modality_embedding=self.encoder.image_tokenizer,
        )


@dataclass(frozen=True)
class DensePrediction:
    """What one mask gives: predictions and targets [B, Q, L * D] and [B, K, L * D], and weights [B, K]."""

    z_pred: Tensor
    z_target: Tensor
    z_context_pred: Tensor
    z_context_target: Tensor
    context_weights: Tensor

    def target_loss(self) -> Tensor:
        """Mean absolute error at the target tokens."""
        return latent_prediction_loss(self.z_pred.float(), self.z_target, "l1")

    def context_loss(self, *, weighted: bool = True) -> Tensor:
        """Mean absolute error at the context tokens, times the weights."""
        weights = self.context_weights if weighted else None
        return latent_prediction_loss(self.z_context_pred.float(), self.z_context_target, "l1", weights=weights)


def context_weights(context_idx: Tensor, target_idx: Tensor, grid: Grid) -> Tensor:
    """1 / sqrt(distance to the nearest target token) of every context token; [B, K]."""
    return nearest_distance(context_idx, target_idx, grid).rsqrt()


class VJEPA21(WithTargetEncoder[VJEPA21Config]):
    """The method; batches are `VideoBatch` or `ImageBatch`."""

    def context_weight(self, step: int) -> float:
        """Weight lambda of the context loss at step number `step`."""
        first, last = self.config.context_ramp
        share = 1.0 if step >= last else max(0.0, (step - first) / max(last - first, 1))
        return self.config.context_weight * share

    def predict(self, pixels: Tensor, masks: Sequence[Masks]) -> list[DensePrediction]:
        """Predicts target and context tokens of clips [B, T, C, H, W] or pictures [B, C, H, W]."""
        with torch.no_grad():
            levels = _levels(self.target_encoder, self.target_encoder.tokenize(pixels))
            h = normalize_levels(levels.float(), len(self.config.encoder.level_layers))  # [B, N, L * D]
        tokens = self.context_encoder.tokenize(pixels)
        found = []
        for mask in masks:
            target_idx = mask.target_idx.flatten(1)  # [B, Q]
            z = _levels(self.context_encoder, tokens, mask.context_idx)  # [B, K, L * D]
            z_pred, z_context_pred = self.predictor.predict_all(
                z, mask.context_idx, target_idx, grid=tokens.grid, is_image=tokens.is_image
            )
            found.append(
                DensePrediction(
                    z_pred,
                    gather_tokens(h, target_idx),
                    z_context_pred,
                    gather_tokens(h, mask.context_idx),
                    context_weights(mask.context_idx, target_idx, tokens.grid),
                )
            )
        return found

    @torch.compiler.disable
    def prepare(self, batch: VideoBatch | ImageBatch, step: int) -> tuple[Tensor, list[Masks]]:
        """Draws views and one mask of each kind: all that is random; normalised clips or pictures."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        is_image = isinstance(batch, ImageBatch)
        frames = batch.images if isinstance(batch, ImageBatch) else batch.clips
        pixels = prepare_pixels(frames, config.view, generator=generator)
        height, width = (side // config.encoder.patch_size for side in pixels.shape[-2:])
        grid = (1 if is_image else pixels.shape[1] // config.encoder.tubelet_size, height, width)
        kinds = config.image_masks if is_image else config.masks
        masks = sample_all_tubes(kinds, len(pixels), grid, generator=generator, step=step)
        return pixels, [mask.to(pixels.device) for mask in masks]

    def loss(self, batch: VideoBatch | ImageBatch, step: int) -> JEPALoss:
        """Absolute errors at target and context tokens of one batch."""
        found = self.predict(*self.prepare(batch, step))
        target = torch.stack([p.target_loss() for p in found]).mean()
        weighted = self.config.weigh_by_distance
        context = torch.stack([p.context_loss(weighted=weighted) for p in found]).mean()
        loss = target + self.context_weight(step) * context
        # The tokenizer that had no work gets a gradient of zero, as it would from a process with other batches.
        loss = loss + 0.0 * torch.stack([p.sum() for p in self._tokenizers()]).sum()
        return JEPALoss(loss, {"prediction": target.detach(), "context": context.detach()})

    def _tokenizers(self) -> list[nn.Parameter]:
        networks = (self.context_encoder.named_parameters(), self.predictor.named_parameters())
        return [p for named in networks for n, p in named if "image_" in n or "video_" in n or "patch_embed" in n]


def _levels(encoder: VisionTransformer, tokens: Tokens, token_idx: Tensor | None = None) -> Tensor:
    """All levels, each through its norm, concatenated on channels; [B, K, L * D]."""
    return torch.cat(encoder.levels(tokens, token_idx), dim=-1)
