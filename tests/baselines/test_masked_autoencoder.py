import numpy as np
import pytest
import torch

from openjepa.baselines.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from openjepa.errors import ConfigError
from openjepa.masking import Masks
from openjepa.models.vit import ViTConfig
from openjepa.protocols import ImageBatch, VideoBatch
from openjepa.train import load_method, save_checkpoint

SMALL = {"img_size": (16, 16), "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
PICTURES, CLIPS = ViTConfig(**SMALL), ViTConfig(**SMALL, num_frames=4, tubelet_size=2)


def make(encoder=PICTURES, **options):
    return MaskedAutoencoder(
        MaskedAutoencoderConfig(encoder=encoder, decoder_dim=12, decoder_depth=1, decoder_heads=2, **options)
    )


def images(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def masks_of(pixels, context, target):
    rows = len(pixels)
    return Masks(torch.tensor([context] * rows), torch.tensor([[target]] * rows))


def test_loss_by_hand():
    method, pixels = make(), torch.randn(2, 3, 16, 16)
    masks = masks_of(pixels, [0, 3, 5], [10, 15])
    painted = method.paint(pixels, masks)[:, 0].detach().numpy()  # [B, Q, P]
    errors = []
    for sample, (row, column) in ((s, place) for s in range(2) for place in ((2, 2), (3, 3))):
        patch = pixels[sample, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].numpy().ravel()
        wanted = (patch - patch.mean()) / np.sqrt(patch.var() + 1e-6)
        errors.append(np.square(painted[sample, 0 if row == 2 else 1] - wanted).mean())
    assert method.masked_loss(pixels, masks).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_plain_pixels_as_targets():
    pixels = torch.randn(1, 3, 16, 16)
    patch = make(normalize_targets=False).targets(pixels)[0, 6]  # row 1, column 2
    torch.testing.assert_close(patch, pixels[0, :, 4:8, 8:12].flatten())


def test_a_token_of_a_clip_covers_a_tubelet():
    clips = torch.randn(1, 4, 3, 16, 16)
    patch = make(CLIPS, normalize_targets=False).targets(clips)[0, 16 + 6]  # second tubelet
    torch.testing.assert_close(patch, clips[0, 2:4, :, 4:8, 8:12].flatten())


def test_only_hidden_tokens_count():
    method, pixels = make(), torch.randn(2, 3, 16, 16)
    masks = masks_of(pixels, [0, 3, 5], [10, 15])
    other = pixels.clone()
    other[:, :, :4, 4:8] += 1.0  # token 1 is neither seen nor painted
    torch.testing.assert_close(method.masked_loss(other, masks), method.masked_loss(pixels, masks), rtol=0, atol=0)


def test_the_encoder_sees_visible_tokens_only():
    method, pixels = make(), torch.randn(2, 3, 16, 16)
    masks = masks_of(pixels, [0, 3, 5], [10, 15])
    seen = []
    method.context_encoder.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    painted = method.paint(pixels, masks)
    assert seen == [(2, 3, 24)]
    changed = pixels.clone()
    changed[:, :, 8:, 8:] = torch.randn(2, 3, 8, 8)  # tokens 10, 11, 14, 15
    torch.testing.assert_close(method.paint(changed, masks), painted, rtol=0, atol=0)
    assert not torch.equal(method.masked_loss(changed, masks), method.masked_loss(pixels, masks))


def test_the_gradient_reaches_encoder_and_decoder():
    for method, batch in (
        (make(), ImageBatch(images(4, 3, 16, 16))),
        (make(CLIPS), VideoBatch(images(4, 4, 3, 16, 16))),
    ):
        method.loss(batch, 0).loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.context_encoder.blocks.parameters())
        assert all(p.grad is not None for p in method.parameters())


def test_masks_of_pictures_and_clips():
    _, masks = make().prepare(ImageBatch(images(5, 3, 16, 16)), 0)
    assert masks.context_idx.shape == (5, 4)  # a quarter of 16
    assert masks.target_idx.shape == (5, 1, 12)
    _, masks = make(CLIPS).prepare(VideoBatch(images(5, 4, 3, 16, 16)), 0)
    assert masks.context_idx.shape == (5, 4)  # a tenth of 16 places, rounded, in both frames
    together = torch.cat((masks.context_idx, masks.target_idx[:, 0]), 1).sort(1).values
    assert torch.equal(together, torch.arange(32).expand(5, -1))
    assert torch.equal(masks.context_idx[:, 2:], masks.context_idx[:, :2] + 16)
    assert len({tuple(ids) for ids in masks.context_idx.tolist()}) > 1


def test_it_learns_and_reopens(tmp_path):
    method, batch = make(normalize_targets=False), ImageBatch(images(8, 3, 1, 1).expand(-1, -1, 16, 16))
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    first = method.loss(batch, 0).loss.item()
    for step in range(80):
        optimizer.zero_grad()
        method.loss(batch, step).loss.backward()
        optimizer.step()
        method.after_step(step)
    assert method.loss(batch, step).loss.item() < 0.3 * first
    save_checkpoint(tmp_path, 80, method)
    again = load_method(tmp_path / "step_00000080")
    assert isinstance(again, MaskedAutoencoder)
    torch.testing.assert_close(again.context_encoder.norm.weight, method.context_encoder.norm.weight)


def test_impossible_configs():
    with pytest.raises(ConfigError, match=r"`hidden_share` must lie in \(0, 1\)"):
        MaskedAutoencoderConfig(hidden_share=1.0)
    with pytest.raises(ConfigError, match="no class token"):
        MaskedAutoencoderConfig(encoder=ViTConfig(**SMALL, class_token=True))
