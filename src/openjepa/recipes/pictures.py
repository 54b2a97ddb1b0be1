"""Pre-training on pictures: I-JEPA, LeJEPA, and a masked autoencoder of the same cost.

    openjepa train ijepa
    openjepa train lejepa --data photos/            # a folder, or a list of `path label` lines
    openjepa train ijepa-vit-large --data photos/   # the published sizes, configured for one 24 GB card

The default draws shapes and takes about two minutes on two CPU cores. Results beside random weights:
`docs/pretraining.md`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from openjepa.baselines.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from openjepa.methods.ijepa import IJEPA, IJEPAConfig
from openjepa.methods.lejepa import JITTER, LeJEPA, LeJEPAConfig
from openjepa.models.vit import ViTConfig, vit_large
from openjepa.nn.views import ViewConfig
from openjepa.recipes import Recipe
from openjepa.recipes.pretraining import DrawConfig, PretrainingConfig, recipe_builder
from openjepa.train import TrainConfig

TOY = {
    "batch_size": 4,
    "draw.items": 8,
    "probing.items": (12, 8),
    "probing.online.controls": 1,
    "method.encoder.num_heads": 2,
    "method.encoder.embed_dim": 24,
}
PREDICTOR: dict[str, Any] = {"predictor_dim": 48, "predictor_depth": 2, "predictor_heads": 2}
# Real sizes shrunk so that a test can take two steps.
SMALL_SCALE = {
    "method.encoder.depth": 1,
    "method.encoder.img_size": (48, 48),
    "method.encoder.patch_size": 8,
    "method.view.size": 48,
    "method.predictor_dim": 32,
    "method.predictor_depth": 1,
    "train.accumulate": 2,
    "train.compile": False,
}


@dataclass(frozen=True)
class IJEPARecipe(PretrainingConfig):
    """I-JEPA and what it learns from."""

    method: IJEPAConfig = field(default_factory=IJEPAConfig)


@dataclass(frozen=True)
class LeJEPARecipe(PretrainingConfig):
    """LeJEPA and what it learns from."""

    method: LeJEPAConfig = field(default_factory=LeJEPAConfig)


@dataclass(frozen=True)
class MAERecipe(PretrainingConfig):
    """A masked autoencoder of pictures and what it learns from."""

    method: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)


def small_encoder(**options: Any) -> ViTConfig:
    """Four blocks of width 64 for pictures of 48 pixels, 36 tokens; first weights that suit so narrow a network."""
    small = ViTConfig(img_size=(48, 48), patch_size=8, embed_dim=64, depth=4, num_heads=2, init_std=None)
    return replace(small, **options)


def small_training(steps: int, lr: float = 3e-3) -> TrainConfig:
    """Steps that fit two minutes of two CPU cores, probed five times."""
    return TrainConfig(
        steps=steps,
        lr=lr,
        final_lr=lr / 100,
        warmup_steps=steps // 10,
        betas=(0.9, 0.95),
        precision="fp32",  # small matrices gain nothing from bf16
        diagnose_every=max(1, steps // 5),
        checkpoint_every=max(1, steps // 2),
    )


# Objects that cover several patches and turn by up to an eighth: what they are is read from more than their place.
LARGE_SHAPES = DrawConfig(radius=(0.22, 0.36), rotation=0.125)


def ijepa() -> IJEPARecipe:
    """A target encoder that follows within 30 steps at first, a narrow predictor, a learning rate for a small net.

    Positions are rotary: the published sine-cosine ones are added to the tokens, and a network this small then
    predicts little else (position 0.72 R2, but class no better than with random weights).
    """
    method = IJEPAConfig(encoder=small_encoder(), **PREDICTOR, ema_decay=(0.97, 0.999))
    return IJEPARecipe(method=method, draw=LARGE_SHAPES, train=small_training(3000))


def lejepa() -> LeJEPARecipe:
    """Two global and two local views that show most of the object; the mean of the tokens is what is embedded."""
    method = LeJEPAConfig(
        encoder=small_encoder(),
        projector_dim=256,
        embedding_dim=32,
        num_local=2,
        global_view=ViewConfig(48, (0.5, 1.0), jitter=JITTER, grey=0.2),
        local_view=ViewConfig(24, (0.3, 0.8), jitter=JITTER, grey=0.2),
    )
    return LeJEPARecipe(method=method, draw=LARGE_SHAPES, train=small_training(1500))


def mae() -> MAERecipe:
    """The same encoder and a decoder of the size of I-JEPA's predictor."""
    method = MaskedAutoencoderConfig(encoder=small_encoder(), decoder_dim=48, decoder_depth=2, decoder_heads=2)
    return MAERecipe(method=method, draw=LARGE_SHAPES, train=small_training(4000))


def ijepa_vit_large_24gb() -> IJEPARecipe:
    """The published ViT-L/16 at 224 pixels: global batch 2048 in parts of 64 with recomputed activations."""
    encoder = vit_large(
        img_size=(224, 224),
        positions="sincos",
        sincos_order="column_first",
        rescale_residual_init=False,
        checkpoint_activations=True,
    )
    method = IJEPAConfig(
        encoder=encoder,
        predictor_dim=384,
        predictor_depth=12,
        predictor_heads=16,
        view=ViewConfig(224, (0.3, 1.0)),
    )
    train = TrainConfig(
        steps=375_000,
        lr=1e-3,
        start_lr=2e-4,
        final_lr=1e-6,
        warmup_steps=25_000,
        weight_decay=0.04,
        final_weight_decay=0.4,
        grad_clip=None,
        accumulate=32,
        precision="bf16",
        compile=True,
        checkpoint_every=1000,
        diagnose_every=5000,
    )
    return IJEPARecipe(method=method, train=train, batch_size=2048, num_threads=8)


IJEPA_SHAPES = Recipe(
    "I-JEPA on pictures: drawn shapes, or your own folder by --data", ijepa(), recipe_builder(IJEPA), TOY
)
LEJEPA_SHAPES = Recipe(
    "LeJEPA on pictures: drawn shapes, or your own folder by --data", lejepa(), recipe_builder(LeJEPA), TOY
)
MAE_SHAPES = Recipe(
    "masked autoencoder on pictures, the rival of the same cost", mae(), recipe_builder(MaskedAutoencoder), TOY
)
IJEPA_VIT_LARGE = Recipe(
    "I-JEPA ViT-L/16 as published, set up for one 24 GB card (give --data)",
    ijepa_vit_large_24gb(),
    recipe_builder(IJEPA),
    {**TOY, **SMALL_SCALE},
)
