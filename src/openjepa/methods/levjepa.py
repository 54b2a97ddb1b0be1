"""LeVJEPA: LeJEPA on clips, with 95 % of the tokens dropped (arXiv 2608.27395).

    e_v  = projector(class token of encoder(5 % of the tokens of view_v(x)))   1 global view, several local
    loss = mean_v |e_global - e_v|^2 + w * mean_v SIGReg(e_v)

Attention is causal over frames: a patch sees its own and earlier frames, the class token sees everything,
and no patch sees the class token. There is no predictor, no averaged encoder in the loss and no stopped
gradient. The global view is compared with itself too, as published.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.losses.sigreg import SIGRegConfig, sigreg
from openjepa.masking import keep_random_tokens
from openjepa.models.vit import VisionTransformer, ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.host import to_device
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.random import keyed_generator
from openjepa.nn.tokens import num_tokens
from openjepa.nn.transformer import init_weights
from openjepa.nn.views import ViewConfig, random_view
from openjepa.protocols import JEPALoss, VideoBatch


def default_encoder() -> ViTConfig:
    """A causal ViT-tiny with a class token for 8 frames of 64 pixels."""
    return vit_tiny(
        img_size=(64, 64),
        patch_size=8,
        num_frames=8,
        tubelet_size=1,
        class_token=True,
        attention="frame_causal",
    )


@dataclass(frozen=True)
class LeVJEPAConfig:
    """Sizes and hyperparameters of `LeVJEPA`; the published recipe has 16 frames of 224 and 96 pixels."""

    encoder: ViTConfig = field(default_factory=default_encoder)
    projector_dim: int = 512  # 2048 in the paper
    embedding_dim: int = 64  # 256 in the paper
    num_local: int = 4  # 10 in the paper
    global_view: ViewConfig = field(default_factory=lambda: ViewConfig(64, (0.8, 1.0)))
    local_view: ViewConfig = field(
        default_factory=lambda: ViewConfig(32, (0.02, 0.4), flip=0.5, jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2)
    )
    keep_share: float = 0.05  # share of the patch tokens that stay in training, in (0, 1]
    sigreg_weight: float = 0.02  # w, >= 0
    sigreg: SIGRegConfig = field(default_factory=lambda: SIGRegConfig(num_directions=256, num_samples_ref=None))
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.encoder.is_video or not self.encoder.class_token:
            raise ConfigError("`encoder` must take clips and have a class token for LeVJEPA.")
        if self.num_local < 1:
            raise ConfigError(f"`num_local` must be at least 1; got {self.num_local}.")
        if not 0 < self.keep_share <= 1 or self.sigreg_weight < 0:
            raise ConfigError(
                f"`keep_share` must be in (0, 1] and `sigreg_weight` >= 0; got {self.keep_share} and "
                f"{self.sigreg_weight}."
            )


class LeVJEPA(nn.Module):
    """The method; batches are `VideoBatch`."""

    def __init__(self, config: LeVJEPAConfig):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):  # layers draw weights that are thrown away
            self.encoder = VisionTransformer(config.encoder, generator=generator)
            self.projector = nn.Sequential(
                nn.Linear(config.encoder.embed_dim, config.projector_dim),
                nn.BatchNorm1d(config.projector_dim),
                nn.GELU(),
                nn.Linear(config.projector_dim, config.embedding_dim),
            )
            init_weights(self.projector, generator)

    @torch.compiler.disable
    def prepare(self, batch: VideoBatch, step: int) -> list[tuple[Tensor, Tensor]]:
        """Draws views and tokens: normalised clips [V * B, T, C, H, W] and ids [V * B, K], global first."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        prepared = []
        for view, count in ((config.global_view, 1), (config.local_view, config.num_local)):
            clips = torch.cat([random_view(batch.clips, view, generator=generator) for _ in range(count)])
            tokens = num_tokens(self.encoder.patch_embed.grid(clips))
            kept = keep_random_tokens(len(clips), tokens, config.keep_share, generator=generator)
            prepared.append((normalize_pixels(clips), to_device(kept, clips.device)))
        return prepared

    def loss(self, batch: VideoBatch, step: int) -> JEPALoss:
        """Agreement with the global view, and SIGReg of each view slot over the batch."""
        tokens = [self.encoder(pixels, kept)[:, 0] for pixels, kept in self.prepare(batch, step)]
        e = self.projector(torch.cat(tokens)).float().unflatten(0, (-1, len(batch.clips)))  # [V, B, d]
        invariance = (e[0] - e).square().mean()
        gaussian = sigreg(e, self.config.sigreg, seed=self.config.seed, step=step)
        loss = invariance + self.config.sigreg_weight * gaussian
        return JEPALoss(loss, {"invariance": invariance.detach(), "sigreg": gaussian.detach()})

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""
