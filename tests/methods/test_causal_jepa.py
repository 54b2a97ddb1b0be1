"""CausalJEPA: what a silhouette is, that the future is not seen, and that the scale learns the expected error."""

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.methods.causal_jepa import CONTRAST, CausalJEPA, CausalJEPAConfig, FramePredictor, silhouettes
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.protocols import VideoBatch

EYE = FrameEncoderConfig("keypoints", image_size=16, width=4, hidden_dim=8, num_keypoints=2)
SMALL = {"encoder": EYE, "embed_dim": 6, "predictor_dim": 12, "depth": 2, "num_heads": 2, "context_len": 8}


def tiny(**options):
    return CausalJEPA(CausalJEPAConfig(**{**SMALL, "horizons": (1, 3), **options}))


def scene(steps=4):
    """A grey wall with a darker half, before which a red square appears in frame 1 and moves."""
    clip = torch.full((1, steps, 3, 16, 16), 160, dtype=torch.uint8)
    clip[..., 8:] = 100
    for t in range(1, steps):
        clip[0, t, :, 4:7, t : t + 3] = torch.tensor([200, 20, 40], dtype=torch.uint8)[:, None, None]
    return clip


def test_a_silhouette_is_what_has_changed():
    found = silhouettes(scene())
    assert found.shape == (1, 4, 3, 16, 16)
    assert found[0, 0].abs().max() == 0
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[4:7, 2:5] = False
    assert found[0, 2, :, outside].abs().max() == 0
    strongest = 1 - torch.exp(torch.tensor(-140 / CONTRAST))  # |20 - 160| of green, the channel that differs most
    assert torch.allclose(found[0, 2, :, 5, 3], 255 * strongest.expand(3))
    weaker = silhouettes(scene(), torch.tensor([0.1]))
    assert torch.allclose(weaker[0, 2, 0, 5, 3], 255 * (1 - torch.exp(torch.tensor(-14 / CONTRAST))))


def test_a_change_of_the_light_everywhere_is_no_change():
    clip = scene().float()
    clip[:, 2:] *= torch.tensor([0.9, 0.7, 0.5])[:, None, None]
    dim = silhouettes(clip.round().to(torch.uint8))
    where = torch.ones(16, 16, dtype=torch.bool)
    where[4:7, 2:5] = False
    assert dim[0, 2, :, where].max() < 255 * (1 - torch.exp(torch.tensor(-1.0 / CONTRAST)))  # rounding of a grey level
    assert dim[0, 2, 0, 5, 3] > 200


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


def test_loss_by_hand():
    model = tiny(variance_weight=0.0, covariance_weight=0.0, scale_weight=0.0, contrast=(1.0, 1.0))
    clips = torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = model.loss(VideoBatch(clips), 0)
    z = model.encode(clips)
    z_pred, _ = model.predictor(z)
    by_hand = [(z_pred[:, : 5 - k, i] - z[:, k:]).square().mean() for i, k in enumerate((1, 3))]
    assert torch.allclose(found.loss, torch.stack(by_hand).mean(), rtol=1e-5)
    assert set(found.terms) == {"prediction", "variance", "covariance", "scale"}
    assert bool(model.predictor.scale[0].weight.grad is None)


def test_a_still_scene_leaves_the_variance_term_unsatisfied():
    still = torch.randint(0, 256, (4, 1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    terms = tiny().loss(VideoBatch(still.expand(-1, 5, -1, -1, -1)), 0).terms
    assert terms["variance"] > 0.98  # scenes differ, but nothing varies within a clip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"horizons": (2, 1)}, "`horizons` must be ascending"),
        ({"context_len": 3}, "`context_len` must be above the longest horizon 3"),
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
