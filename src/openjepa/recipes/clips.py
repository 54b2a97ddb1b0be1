"""Pre-training on clips: V-JEPA 2, V-JEPA 2.1, LeVJEPA, and a masked autoencoder of the same cost.

    openjepa train vjepa2
    openjepa train levjepa --data videos/            # a folder, or a list of `path label` lines
    openjepa train vjepa2-vit-large --data videos/   # the published sizes, configured for one 24 GB card

The default draws moving shapes and takes about two minutes on two CPU cores. Results beside random weights:
`docs/pretraining.md`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from openjepa.baselines.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from openjepa.masking import TubeMaskConfig
from openjepa.methods.lejepa import JITTER
from openjepa.methods.levjepa import LeVJEPA, LeVJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config
from openjepa.models.vit import ViTConfig, vit_large
from openjepa.nn.views import ViewConfig
from openjepa.recipes import Recipe
from openjepa.recipes.pictures import LARGE_SHAPES, PREDICTOR, SMALL_SCALE, TOY, small_encoder, small_training
from openjepa.recipes.pretraining import PretrainingConfig, recipe_builder
from openjepa.train import TrainConfig

# The published tubes hide nearly all of 6 x 6 cells: the long ones leave a few, which say nothing about the rest.
SMALL_TUBES = (TubeMaskConfig(num_blocks=4),)
DRAW = replace(LARGE_SHAPES, items=4000, speed=(0.0, 0.05))


@dataclass(frozen=True)
class VJEPA2Recipe(PretrainingConfig):
    """V-JEPA 2 and what it learns from."""

    method: VJEPA2Config = field(default_factory=VJEPA2Config)


@dataclass(frozen=True)
class VJEPA21Recipe(PretrainingConfig):
    """V-JEPA 2.1 and what it learns from."""

    method: VJEPA21Config = field(default_factory=VJEPA21Config)


@dataclass(frozen=True)
class LeVJEPARecipe(PretrainingConfig):
    """LeVJEPA and what it learns from."""

    method: LeVJEPAConfig = field(default_factory=LeVJEPAConfig)


@dataclass(frozen=True)
class MAEVideoRecipe(PretrainingConfig):
    """A masked autoencoder of clips and what it learns from."""

    method: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)


def small_video_encoder(**options: Any) -> ViTConfig:
    """The encoder of `pictures.py` for 8 frames, four to a token: 72 tokens."""
    return replace(small_encoder(num_frames=8, tubelet_size=4), **options)


def vjepa2() -> VJEPA2Recipe:
    """Short tubes, a faster target encoder, a narrow predictor."""
    method = VJEPA2Config(encoder=small_video_encoder(), **PREDICTOR, masks=SMALL_TUBES, ema_decay=(0.97, 0.999))
    return VJEPA2Recipe(method=method, draw=DRAW, batch_size=16, train=small_training(2000))


def vjepa2_1() -> VJEPA21Recipe:
    """The same with a loss on every token and at two depths."""
    method = VJEPA21Config(
        encoder=small_video_encoder(level_layers=(1, 3)),
        **PREDICTOR,
        masks=SMALL_TUBES,
        ema_decay=(0.97, 0.999),
        context_ramp=(300, 600),
    )
    return VJEPA21Recipe(method=method, draw=DRAW, batch_size=16, train=small_training(1500))


def levjepa() -> LeVJEPARecipe:
    """One global view and two local ones that show most of the object, three quarters of the tokens kept."""
    method = LeVJEPAConfig(
        encoder=small_video_encoder(class_token=True, attention="frame_causal"),
        projector_dim=256,
        embedding_dim=32,
        num_local=2,
        global_view=ViewConfig(48, (0.8, 1.0)),
        local_view=ViewConfig(24, (0.3, 0.8), jitter=JITTER, grey=0.2),
        keep_share=0.75,
        sigreg_weight=0.05,
    )
    return LeVJEPARecipe(method=method, draw=DRAW, batch_size=32, train=small_training(1200))


def mae_video() -> MAEVideoRecipe:
    """The same encoder and a decoder of the size of V-JEPA 2's predictor."""
    method = MaskedAutoencoderConfig(encoder=small_video_encoder(), decoder_dim=48, decoder_depth=2, decoder_heads=2)
    return MAEVideoRecipe(method=method, draw=DRAW, batch_size=16, train=small_training(3000))


def vjepa2_vit_large_24gb() -> VJEPA2Recipe:
    """The published ViT-L, 16 frames of 256 pixels: global batch 3072 in parts of 16 with recomputed activations."""
    encoder = vit_large(
        img_size=(256, 256), num_frames=16, tubelet_size=2, rope_layout="tiled", checkpoint_activations=True
    )
    method = VJEPA2Config(
        encoder=encoder,
        predictor_dim=384,
        predictor_depth=12,
        predictor_heads=12,
        view=ViewConfig(256, (0.3, 1.0), (3 / 4, 1.35)),
    )
    train = TrainConfig(
        steps=240_000,
        lr=5.25e-4,
        start_lr=1e-4,
        warmup_steps=12_000,
        schedule="constant",
        weight_decay=0.04,
        grad_clip=None,
        accumulate=192,
        precision="bf16",
        compile=True,
        checkpoint_every=500,
        diagnose_every=5000,
    )
    return VJEPA2Recipe(method=method, train=train, batch_size=3072, num_threads=8)


VJEPA2_SHAPES = Recipe(
    "V-JEPA 2 on clips: moving shapes, or your own videos by --data", vjepa2(), recipe_builder(VJEPA2), TOY
)
VJEPA2_1_SHAPES = Recipe(
    "V-JEPA 2.1 on clips: moving shapes, or your own videos by --data",
    vjepa2_1(),
    recipe_builder(VJEPA21),
    TOY,
)
LEVJEPA_SHAPES = Recipe(
    "LeVJEPA on clips: moving shapes, or your own videos by --data", levjepa(), recipe_builder(LeVJEPA), TOY
)
MAE_VIDEO_SHAPES = Recipe(
    "masked autoencoder on clips, the rival of the same cost", mae_video(), recipe_builder(MaskedAutoencoder), TOY
)
VJEPA2_VIT_LARGE = Recipe(
    "V-JEPA 2 ViT-L/16 as published, set up for one 24 GB card (give --data)",
    vjepa2_vit_large_24gb(),
    recipe_builder(VJEPA2),
    {**TOY, **SMALL_SCALE, "method.predictor_heads": 2, "method.encoder.num_frames": 4},
)
