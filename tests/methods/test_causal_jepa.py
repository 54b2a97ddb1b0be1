"""CausalJEPA: what reaches the latent, that the future is not seen, and that the scale learns the expected error."""

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig, FramePredictor
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.silhouettes import silhouettes
from openjepa.protocols import VideoBatch

EYE = FrameEncoderConfig("keypoints", image_size=16, width=4, hidden_dim=8, num_keypoints=2)
SMALL = {
    "encoder": EYE,
    "embed_dim": 6,
    "trait_dim": 2,
    "predictor_dim": 12,
    "depth": 2,
    "num_heads": 2,
    "context_len": 8,
}


def tiny(**options):
    return CausalJEPA(CausalJEPAConfig(**{**SMALL, "horizons": (1, 3), **options}))


def scene(steps=4):
    """A grey wall with a darker half, before which a red square appears in frame 1 and moves."""
    clip = torch.full((1, steps, 3, 16, 16), 160, dtype=torch.uint8)
    clip[..., 8:] = 100
    for t in range(1, steps):
        clip[0, t, :, 4:7, t : t + 3] = torch.tensor([200, 20, 40], dtype=torch.uint8)[:, None, None]
    return clip


def test_the_scene_and_its_colours_do_not_reach_the_latent():
    model = tiny().eval()
    other = scene().flip(2)  # red is blue
    other[:, :, :, :, 8:] = torch.where(other[:, :, :, :, 8:] == 100, 90, other[:, :, :, :, 8:])
    assert torch.allclose(model.encode(scene()), model.encode(other), atol=1e-3)


def test_the_predictor_does_not_see_the_future():
    config = tiny().config
    predictor = FramePredictor(config).eval()
    z = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    changed = z.clone()
    changed[:, 4:] += 1
    for before, after in zip(predictor(z), predictor(changed), strict=True):
        assert torch.allclose(before[:, :4], after[:, :4], atol=1e-6)
        assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)


def test_an_energy_of_one_is_what_the_scale_learns():
    # log s + e / s is least at s = e: with the error held at 2, the scale must go to 2 and the energy to 1.
    model = tiny(horizons=(1,))
    with torch.no_grad():
        model.predictor.change.weight.zero_()
        model.predictor.change.bias.fill_(2.0)
    z = torch.zeros(1, 5, 6)  # still latents, so that every prediction is wrong by 2
    optimizer = torch.optim.Adam(model.predictor.scale.parameters(), lr=0.05)
    for _ in range(200):
        _, s = model.predictor(z)
        optimizer.zero_grad()
        (s.log() + 2.0 / s).mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert model.surprise(z)[:, 1:].mean() == pytest.approx(1.0, abs=0.02)


def test_the_energy_is_the_mean_of_each_dimensions_own():
    model = tiny(horizons=(1,))
    scales = torch.arange(1.0, 7.0)
    with torch.no_grad():
        model.predictor.change.weight.zero_()
        model.predictor.change.bias.copy_(torch.tensor([6.0, 0, 0, 0, 0, 0]))
        model.predictor.scale[2].weight.zero_()
        model.predictor.scale[2].bias.copy_((scales - 0.05).expm1().log() + 1)  # softplus(b - 1) + .05 is the scale
        energies = model.surprise(torch.zeros(1, 3, 6))
    assert torch.allclose(energies[0, 1:, 0], torch.full((2,), 6.0 / 1.0 / 6))


def test_loss_by_hand():
    off = {"variance_weight": 0.0, "covariance_weight": 0.0, "scale_weight": 0.0}
    model = tiny(**off, slowness_weight=3.0, contrast=(1.0, 1.0), drift=0.0)
    clips = torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = model.loss(VideoBatch(clips), 0)
    z = torch.stack(
        [torch.cat([model.encoder(x), model.traits(x)], -1) for x in silhouettes(clips, camera_moves=False)]
    )
    z_pred, _ = model.predictor(z)
    by_hand = [(z_pred[:, : 5 - k, i] - z[:, k:]).square().mean() for i, k in enumerate((1, 3))]
    slowness = (z[:, 1:, 4:] - z[:, :-1, 4:]).square().mean()
    assert torch.allclose(found.loss, torch.stack(by_hand).mean() + 3 * slowness, rtol=1e-5)
    assert set(found.terms) == {"prediction", "variance", "covariance", "slowness", "scale"}
    assert bool(model.predictor.scale[0].weight.grad is None)


def test_a_still_scene_leaves_the_variance_term_unsatisfied():
    still = torch.randint(0, 256, (4, 1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    terms = tiny().loss(VideoBatch(still.expand(-1, 5, -1, -1, -1)), 0).terms
    assert terms["variance"] > 1.96  # scenes differ, but nothing varies within a clip, and no body differs from another


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"horizons": (2, 1)}, "`horizons` must be ascending"),
        ({"context_len": 3}, "`context_len` must be above the longest horizon 3"),
        ({"trait_dim": 6}, "`trait_dim` must be from 1 to below 6; got 6"),
        ({"drift": -1.0}, "`drift` must be 0 or more; got -1.0"),
        ({"contrast": (0.0, 1.0)}, "`contrast` must be two ascending numbers above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        tiny(**options)


def test_pictures_of_another_size_and_long_contexts_are_refused():
    with pytest.raises(ShapeError, match=r"must be .* H = 16"):
        tiny().encode(torch.zeros(1, 5, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="at most `context_len` = 8 frames; got 9"):
        tiny().surprise(torch.zeros(1, 9, 6))
