import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.losses.sigreg import SIGRegConfig, sigreg
from openjepa.methods.lejepa import LeJEPA, LeJEPAConfig
from openjepa.methods.levjepa import LeVJEPA, LeVJEPAConfig
from openjepa.models.vit import ViTConfig
from openjepa.nn.views import ViewConfig
from openjepa.protocols import ImageBatch, VideoBatch

SMALL = {
    "img_size": (32, 32),
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 1,
    "num_heads": 2,
    "class_token": True,
}
VIEWS = {"global_view": ViewConfig(32, (0.5, 1.0)), "local_view": ViewConfig(16, (0.1, 0.4), flip=0.5)}
HEAD = {"projector_dim": 32, "embedding_dim": 8}


def images(size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator))


def lejepa(**options):
    return LeJEPA(LeJEPAConfig(encoder=ViTConfig(**SMALL), **VIEWS, **HEAD, num_local=3, **options))


def levjepa(**options):
    encoder = ViTConfig(**SMALL, num_frames=4, attention="frame_causal")
    return LeVJEPA(LeVJEPAConfig(encoder=encoder, **VIEWS, **HEAD, num_local=2, keep_share=0.2, **options))


def test_lejepa_loss_by_hand():
    method = lejepa(sigreg_weight=0.3)
    method.eval()  # BatchNorm by its running statistics, so that one view at a time gives the same
    found = method.loss(images(), 0)
    big, small = method.prepare(images(), 0)
    views = [*big.chunk(2), *small.chunk(3)]
    e = torch.stack([method.projector(method.encoder(view)[:, 0]) for view in views])  # [V, B, d]
    mean = (e[0] + e[1]) / 2
    invariance = sum((mean - view).square().mean() for view in e) / 5
    config = SIGRegConfig(num_directions=256, num_samples_ref=None)
    gaussian = sum(sigreg(view, config, seed=0, step=0) for view in e) / 5
    torch.testing.assert_close(found.loss, 0.7 * invariance + 0.3 * gaussian, atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    method = lejepa()
    method.loss(images(), 0).loss.backward()
    assert all(p.grad is not None for p in method.parameters())
    clips = VideoBatch(torch.randint(0, 256, (6, 4, 3, 32, 32), dtype=torch.uint8))
    method = levjepa()
    method.loss(clips, 0).loss.backward()
    assert all(p.grad is not None for p in method.parameters())


def test_tokens_are_dropped_for_each_sample_on_its_own():
    method = levjepa()
    clips = VideoBatch(torch.randint(0, 256, (6, 4, 3, 32, 32), dtype=torch.uint8))
    (big, kept), (small, few) = method.prepare(clips, 0)
    assert big.shape == (6, 4, 3, 32, 32)
    assert kept.shape == (6, 13)  # round(0.2 * 64)
    assert small.shape == (12, 4, 3, 16, 16)
    assert few.shape == (12, 3)  # round(0.2 * 16)
    assert len({tuple(ids) for ids in kept.tolist()}) > 1


def test_rank_stays_up_with_sigreg_and_falls_without():
    spread = {}
    for weight in (0.0, 0.5):
        method = lejepa(sigreg_weight=weight)
        optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
        for step in range(40):
            optimizer.zero_grad()
            method.loss(images(16, seed=step % 4), step).loss.backward()
            optimizer.step()
            method.after_step(step)
        big, _ = method.prepare(images(32, seed=0), step)
        with torch.no_grad():
            spread[weight] = float(method.projector(method.encoder(big)[:, 0]).std(0).mean())
    assert spread[0.5] > 0.4
    assert spread[0.0] < 0.1


def test_impossible_configs():
    with pytest.raises(ConfigError, match="two views in all"):
        LeJEPAConfig(encoder=ViTConfig(**SMALL), num_global=1, num_local=0)
    with pytest.raises(ConfigError, match="have a class token"):
        LeVJEPAConfig(encoder=ViTConfig(**{**SMALL, "class_token": False}, num_frames=4))
