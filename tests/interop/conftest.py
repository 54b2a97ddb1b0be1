import pytest
import torch

from openjepa.methods.ijepa import IJEPA, IJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config
from openjepa.models.vit import ViTConfig


def randomise(network, seed=0):
    """Weights that let errors show: no bias, mask token or norm is trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=generator))
            else:
                std = 0.05 if p.ndim > 1 else 0.1
                p.copy_(std * torch.randn(p.shape, generator=generator))
    return network


VIDEO = {"patch_size": 8, "num_frames": 4, "tubelet_size": 2, "embed_dim": 48, "depth": 3, "num_heads": 2}
PREDICTOR = {"predictor_dim": 24, "predictor_depth": 2, "predictor_heads": 2}


@pytest.fixture
def ijepa():
    encoder = ViTConfig(
        img_size=(32, 32),
        patch_size=8,
        embed_dim=48,
        depth=3,
        num_heads=2,
        positions="sincos",
        sincos_order="column_first",
        rescale_residual_init=False,
    )
    return randomise(IJEPA(IJEPAConfig(encoder=encoder, **PREDICTOR))).eval()


@pytest.fixture
def vjepa2():
    encoder = ViTConfig(img_size=(32, 32), **VIDEO, rope_layout="tiled")
    return randomise(VJEPA2(VJEPA2Config(encoder=encoder, num_mask_tokens=3, **PREDICTOR))).eval()


@pytest.fixture
def vjepa21():
    encoder = ViTConfig(
        img_size=(32, 32), **VIDEO, image_tokenizer=True, level_layers=(0, 1, 2), rope_pretrained_grid=16
    )
    return randomise(VJEPA21(VJEPA21Config(encoder=encoder, **PREDICTOR))).eval()
