import copy

import torch

from openjepa.masking import Masks
from openjepa.methods.ijepa import IJEPA, IJEPAConfig
from openjepa.models.vit import ViTConfig
from openjepa.nn.views import ViewConfig
from openjepa.protocols import ImageBatch

ENCODER = ViTConfig(
    img_size=(32, 32),
    patch_size=4,
    embed_dim=32,
    depth=2,
    num_heads=2,
    positions="sincos",
    sincos_order="column_first",
)


def make(**options):
    return IJEPA(IJEPAConfig(encoder=ENCODER, predictor_dim=16, predictor_depth=1, predictor_heads=2, **options))


def batch(seed=0, size=4):
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator))


def test_loss_by_hand():
    method = make()
    pixels = torch.randn(2, 3, 32, 32)
    masks = Masks(torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[[9, 10], [60, 61]]] * 2))
    z_pred, z_target = method.predict(pixels, masks)
    assert z_pred.shape == z_target.shape == (2, 2, 2, 32)
    full = method.target_encoder(pixels)
    expected = (full[1, 60] - full[1, 60].mean()) / (full[1, 60].var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(z_target[1, 1, 0], expected, atol=1e-5, rtol=1e-5)
    assert not z_target.requires_grad


def test_gradients_reach_context_encoder_and_predictor_only():
    method = make()
    method.loss(batch(), 0).loss.backward()
    for part in (method.context_encoder, method.predictor):
        assert all(p.grad is not None for p in part.parameters())
    assert all(p.grad is None for p in method.target_encoder.parameters())


def test_target_encoder_follows_the_formula():
    method = make(ema_decay=(0.9, 1.0), ema_steps=10)
    old = copy.deepcopy(method.target_encoder.state_dict())
    with torch.no_grad():
        for parameter in method.context_encoder.parameters():
            parameter.add_(1.0)
    method.after_step(5)  # decay 0.95
    for name, parameter in method.target_encoder.named_parameters():
        torch.testing.assert_close(parameter, old[name] + 0.05, atol=1e-6, rtol=1e-6)


def test_a_loss_is_a_function_of_seed_and_step():
    method, other = make(view=ViewConfig(32)), make(view=ViewConfig(32))
    assert torch.equal(method.loss(batch(), 0).loss, other.loss(batch(), 0).loss)
    assert torch.equal(method.loss(batch(), 0).loss, method.loss(batch(), 0).loss)
    first = method.loss(batch(), 0).loss
    assert not torch.equal(method.loss(batch(), 1).loss, first)


def test_training_lowers_the_loss():
    method = make(ema_decay=(0.99, 0.99))
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        loss = method.loss(batch(seed=step % 2, size=8), step).loss
        loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_global_stream_is_left_alone():
    before = torch.get_rng_state()
    first, again = make(), make()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.context_encoder.blocks[0].attn.qkv.weight, again.context_encoder.blocks[0].attn.qkv.weight)
