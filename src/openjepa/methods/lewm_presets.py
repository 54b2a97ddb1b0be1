"""Published settings of the world model `methods/lewm.py`."""

from dataclasses import replace
from typing import Any

from openjepa.methods.lewm import LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig


def lewm(**options: Any) -> LeWMConfig:
    """The paper's preset (2603.19312): ViT-Tiny/14 at 224 px, SIGReg, context 3, one-step loss, windows of 4."""
    config = LeWMConfig(
        action_dim=10,
        embed_dim=192,
        encoder=FrameEncoderConfig("vit", image_size=224, patch_size=14),
        predictor=LatentPredictorConfig("transformer", predictor_dim=2048, depth=6, context_len=3),
        rollout="one_step",
        sigreg_weight=0.09,
        variance_weight=0.0,
        covariance_weight=0.0,
        inverse_dynamics_weight=0.0,
    )
    return replace(config, **options)


def pldm(**options: Any) -> LeWMConfig:
    """PLDM's wall preset (2502.14819): VICReg over batch and time, inverse dynamics, GRU, windows of 17.

    Weights are the published ones; its covariance is a mean over D (D - 1), ours divides by D, hence the factor.
    The encoder is our convolutional one, not Impala.
    """
    dim = 512
    config = LeWMConfig(
        embed_dim=dim,
        predictor=LatentPredictorConfig("gru"),
        variance_weight=3.9843,
        covariance_weight=6.9238 / (dim - 1),
        variance_t_weight=0.24535,
        similarity_weight=0.74242,
        inverse_dynamics_weight=1.072,
    )
    return replace(config, **options)
