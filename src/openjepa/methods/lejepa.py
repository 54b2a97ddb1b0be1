"""LeJEPA: views of a picture agree, and their embeddings are Gaussian; no teacher (arXiv 2511.08544).

    e_v  = projector(encoder(view_v(x)))                 V views, the first of them global
    mu   = mean of e_v over the global views
    loss = (1 - w) * mean_v |mu - e_v|^2 + w * mean_v SIGReg(e_v)

There is no predictor, no averaged encoder and no stopped gradient: SIGReg alone prevents collapse. A
healthy run has SIGReg near 1.05 whatever the batch size, because it is multiplied by the number of samples,
as published. Blur and solarisation of the published recipe are left out.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.losses.sigreg import SIGRegConfig, sigreg
from openjepa.models.vit import VisionTransformer, ViTConfig, vit_tiny
from openjepa.nn.distributed import rank
from openjepa.nn.patch_embed import normalize_pixels
from openjepa.nn.random import keyed_generator
from openjepa.nn.transformer import init_weights
from openjepa.nn.views import ViewConfig, random_view
from openjepa.protocols import ImageBatch, JEPALoss

JITTER = (0.4, 0.4, 0.2, 0.1)


@dataclass(frozen=True)
class LeJEPAConfig:
    """Sizes and hyperparameters of `LeJEPA`; the published recipe crops 224 and 98 pixels."""

    encoder: ViTConfig = field(default_factory=lambda: vit_tiny(img_size=(64, 64), patch_size=8, class_token=True))
    projector_dim: int = 512  # width of the two hidden layers, 2048 in the paper
    embedding_dim: int = 64  # width of e, at least 1
    num_global: int = 2  # at least 1
    num_local: int = 6
    global_view: ViewConfig = field(
        default_factory=lambda: ViewConfig(64, (0.3, 1.0), flip=0.5, jitter=JITTER, grey=0.2)
    )
    local_view: ViewConfig = field(
        default_factory=lambda: ViewConfig(32, (0.05, 0.3), flip=0.5, jitter=JITTER, grey=0.2)
    )
    sigreg_weight: float = 0.05  # w, in [0, 1]
    sigreg: SIGRegConfig = field(default_factory=lambda: SIGRegConfig(num_directions=256, num_samples_ref=None))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_global < 1 or self.num_global + self.num_local < 2:
            raise ConfigError(
                f"`num_global` must be at least 1, and two views in all; got {self.num_global} global and "
                f"{self.num_local} local ones."
            )
        if not 0 <= self.sigreg_weight <= 1:
            raise ConfigError(f"`sigreg_weight` must be in [0, 1]; got {self.sigreg_weight}.")
        if self.encoder.is_video:
            raise ConfigError("`encoder.num_frames` must be 1 for LeJEPA. Use levjepa for clips.")


class LeJEPA(nn.Module):
    """The method; batches are `ImageBatch`."""

    def __init__(self, config: LeJEPAConfig):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        with torch.random.fork_rng(devices=[]):  # layers draw weights that are thrown away
            self.encoder = VisionTransformer(config.encoder, generator=generator)
            width, hidden = config.encoder.embed_dim, config.projector_dim
            self.projector = nn.Sequential(
                nn.Linear(width, hidden),
                nn.BatchNorm1d(hidden),
                nn.GELU(),
                nn.Linear(hidden, hidden),
                nn.BatchNorm1d(hidden),
                nn.GELU(),
                nn.Linear(hidden, config.embedding_dim),
            )
            init_weights(self.projector, generator)

    @torch.compiler.disable
    def prepare(self, batch: ImageBatch, step: int) -> tuple[Tensor, Tensor | None]:
        """Draws the views: normalised global [Vg * B, C, H, W] and local ones, view by view."""
        config = self.config
        generator = keyed_generator(config.seed, step, rank())
        kinds = ((config.global_view, config.num_global), (config.local_view, config.num_local))
        views = [
            normalize_pixels(torch.cat([random_view(batch.images, view, generator=generator) for _ in range(n)]))
            for view, n in kinds
            if n
        ]
        return views[0], views[1] if len(views) > 1 else None

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token, or mean of the tokens where there is none; [B, D]."""
        z = self.encoder(pixels)
        return z[:, 0] if self.config.encoder.class_token else z.mean(1)

    def loss(self, batch: ImageBatch, step: int) -> JEPALoss:
        """Invariance of the views, and SIGReg of each view slot over the batch."""
        views = [view for view in self.prepare(batch, step) if view is not None]
        e = self.projector(torch.cat([self.embed(view) for view in views])).float()
        e = e.unflatten(0, (-1, len(batch.images)))  # [V, B, d]
        invariance = (e[: self.config.num_global].mean(0) - e).square().mean()
        gaussian = sigreg(e, self.config.sigreg, seed=self.config.seed, step=step)
        weight = self.config.sigreg_weight
        loss = (1 - weight) * invariance + weight * gaussian
        return JEPALoss(loss, {"invariance": invariance.detach(), "sigreg": gaussian.detach()})

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""
