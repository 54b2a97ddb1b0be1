import pytest
import torch

from openjepa.masking import Masks
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config, context_weights
from openjepa.models.vit import ViTConfig
from openjepa.nn.views import ViewConfig
from openjepa.protocols import ImageBatch, VideoBatch

BASE = {
    "img_size": (32, 32),
    "patch_size": 4,
    "num_frames": 4,
    "tubelet_size": 2,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
}
SMALL = {"predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 1}


def vjepa2(**options):
    return VJEPA2(VJEPA2Config(encoder=ViTConfig(**BASE), **SMALL, **options))


def vjepa21(**options):
    encoder = ViTConfig(**BASE, image_tokenizer=True, level_layers=(0, 1), rope_pretrained_grid=8)
    return VJEPA21(VJEPA21Config(encoder=encoder, **SMALL, **options))


def clips(seed=0, size=3):
    generator = torch.Generator().manual_seed(seed)
    return VideoBatch(torch.randint(0, 256, (size, 4, 3, 32, 32), dtype=torch.uint8, generator=generator))


def masks():
    return [
        Masks(torch.tensor([[0, 1, 2]] * 2), torch.tensor([[[64, 65]]] * 2)),
        Masks(torch.tensor([[5, 6]] * 2), torch.tensor([[[100, 120, 127]]] * 2)),
    ]


def test_loss_is_the_mean_over_masks_of_absolute_errors():
    method, pixels = vjepa2(), torch.randn(2, 4, 3, 32, 32)
    full = torch.nn.functional.layer_norm(method.target_encoder(pixels), (32,))
    parts = []
    for mask in masks():
        z = method.context_encoder(pixels, mask.context_idx)
        z_pred = method.predictor(z, mask.context_idx, mask.target_idx[:, 0])
        parts.append((z_pred - full[:, mask.target_idx[0, 0]]).abs().mean())
    torch.testing.assert_close(method.masked_loss(pixels, masks()), (parts[0] + parts[1]) / 2)


def test_gradients_reach_context_encoder_and_predictor_only():
    method = vjepa2()
    method.loss(clips(), 0).loss.backward()
    assert all(p.grad is not None for p in method.context_encoder.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())
    assert all(p.grad is None for p in method.target_encoder.parameters())


def test_step_and_seed_decide_views_and_masks():
    method = vjepa2(view=ViewConfig(32, flip=0.5))
    first = method.loss(clips(), 0).loss
    assert torch.equal(first, method.loss(clips(), 0).loss)
    assert not torch.equal(first, method.loss(clips(), 1).loss)
    pixels, found = method.prepare(clips(), 0)
    assert pixels.shape == (3, 4, 3, 32, 32)
    assert len(found) == 2
    for mask in found:
        seen, hidden = set(mask.context_idx[0].tolist()), set(mask.target_idx[0].flatten().tolist())
        assert not seen & hidden


def test_weights_of_the_context_loss():
    weights = context_weights(torch.tensor([[0, 5]]), torch.tensor([[10, 6]]), (2, 2, 4))
    # Token 0 is (0, 0, 0), 5 (0, 1, 1); targets 10 (1, 0, 2) and 6 (0, 1, 2).
    torch.testing.assert_close(weights, torch.tensor([[5.0**-0.25, 1.0]]))


def test_context_weight_rises():
    method = vjepa21(context_ramp=(15_000, 30_000))
    for step, expected in ((0, 0.0), (15_000, 0.0), (22_500, 0.25), (29_999, 0.4999667), (40_000, 0.5)):
        assert method.context_weight(step) == pytest.approx(expected, abs=1e-6)


def test_loss_with_context():
    method = vjepa21(context_ramp=(0, 0), context_weight=0.5)
    found = method.loss(clips(), 0)
    expected = found.terms["prediction"] + 0.5 * found.terms["context"]
    torch.testing.assert_close(found.loss.detach(), expected)
    found.loss.backward()
    assert method.context_encoder.level_norms[0].weight.grad is not None
    assert all(p.grad is None for p in method.target_encoder.parameters())


def test_pictures_have_their_own_tokenizer():
    method = vjepa21()
    images = ImageBatch(torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8))
    method.loss(images, 0).loss.backward()
    assert method.context_encoder.image_embed.proj.weight.grad.abs().max() > 0
    assert method.context_encoder.patch_embed.proj.weight.grad.abs().max() == 0
    assert method.predictor.image_modality.grad.abs().max() > 0


def test_a_step_compiles_without_a_break():
    method = vjepa2()
    pixels, found = method.prepare(clips(), 0)
    compiled = torch.compile(method.masked_loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(pixels, found), method.masked_loss(pixels, found))
