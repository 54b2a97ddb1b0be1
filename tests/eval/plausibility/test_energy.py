"""Energies against loops written out here, and the rules that keep them honest."""

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, DataError
from openjepa.eval.health.conformance import PointWorld
from openjepa.eval.plausibility.energy import (
    CausalEnergy,
    ChangeEnergy,
    EnergyModel,
    MaskedEnergy,
    RolloutEnergy,
    copy_last,
    energy_model,
    window_starts,
)
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig
from openjepa.methods.lejepa import LeJEPA, LeJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.vit import ViTConfig
from openjepa.nn.patch_embed import normalize_pixels

CLIP = {"img_size": (16, 16), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_frames": 8}
SMALL = {"predictor_dim": 12, "predictor_depth": 1, "predictor_heads": 1}


def clips(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def tiny_causal(**options):
    sizes = {
        "embed_dim": 3,
        "trait_dim": 1,
        "predictor_dim": 12,
        "depth": 1,
        "num_heads": 2,
        "horizons": (1, 2),
        "context_len": 6,
    }
    method = CausalJEPA(CausalJEPAConfig(FrameEncoderConfig("keypoints", 16, 4, 8, 2), **{**sizes, **options}))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return method.eval()


def tiny_masked():
    return energy_model(VJEPA2(VJEPA2Config(encoder=ViTConfig(**CLIP, tubelet_size=2), **SMALL)))


@pytest.mark.parametrize("make", [lambda: tiny_masked(), lambda: CausalEnergy(tiny_causal())])
def test_energies_that_are_not_finite_are_refused(make):
    judge = make()
    predictor = judge.networks[2] if isinstance(judge, MaskedEnergy) else judge.method.predictor
    judge.energies(clips(2, 12, 3, 16, 16))
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.fill_(3e38)  # finite weights whose products are not
    with pytest.raises(DataError, match="features must be finite; the encoder gives NaN or infinity for"):
        judge.energies(clips(2, 12, 3, 16, 16))


def test_windows_cover_the_clip_and_are_never_padded():
    assert window_starts(8, 8) == [0]
    assert window_starts(12, 8) == [0, 2, 4]
    assert window_starts(13, 8) == [0, 2, 4, 5]
    with pytest.raises(DataError, match="a clip must have at least 8 frames for this model; it has 7"):
        window_starts(7, 8)


def test_a_masked_predictor_by_the_published_recipe():
    method = VJEPA2(VJEPA2Config(encoder=ViTConfig(**CLIP, tubelet_size=2), **SMALL)).eval()
    with torch.no_grad():
        for p in method.target_encoder.parameters():
            p.add_(0.05)
    judge = energy_model(method)
    assert isinstance(judge, MaskedEnergy)
    assert judge.contexts == (2, 4)  # 1/8 ... 5/8 of 8 frames, cut to tubelets
    assert isinstance(judge, EnergyModel)
    video = clips(2, 11, 3, 16, 16)
    found = judge.energies(video)
    assert found.shape == (2, 2, 3)
    assert judge.positions(11).tolist() == [4, 6, 7]
    for p, start in enumerate((0, 2, 3)):
        pixels = normalize_pixels(video[:, start : start + 8])
        with torch.no_grad():
            target = method.target_encoder(pixels)
            target = (target - target.mean(-1, keepdim=True)) / (
                target.var(-1, unbiased=False, keepdim=True) + 1e-5
            ).sqrt()
            for k, tubes in enumerate((1, 2)):
                known = torch.arange(4 * tubes).expand(2, -1)  # 2 x 2 patches a tubelet
                asked = torch.arange(4 * tubes, 16).expand(2, -1)
                z = method.predictor(method.context_encoder(pixels, known), known, asked)
                error = (z - target[:, 4 * tubes :]).abs().mean((1, 2))
                assert np.allclose(found[:, k, p], error, atol=1e-5)


def test_the_levels_of_vjepa_2_1():
    encoder = ViTConfig(**CLIP, tubelet_size=2, image_tokenizer=True, level_layers=(0, 1))
    judge = energy_model(VJEPA21(VJEPA21Config(encoder=encoder, **SMALL)))
    assert np.isfinite(judge.energies(clips(1, 8, 3, 16, 16))).all()


def test_a_causal_model_judges_a_frame_by_those_before_it():
    judge = CausalEnergy(tiny_causal())
    video = clips(1, 6, 3, 16, 16)
    found = judge.energies(video)
    assert judge.rows == ("1 ahead", "2 ahead")
    assert judge.positions(6).tolist() == [1, 2, 3, 4, 5]
    assert found.shape == (1, 2, 5)
    assert np.isnan(found[0, 1, 0])  # nothing is foretold two frames ahead of frame 1
    assert np.isfinite(found).sum() == 9
    changed = video.clone()
    changed[:, 4] = 0
    again = judge.energies(changed)
    assert np.allclose(again[..., :3], found[..., :3], equal_nan=True, atol=1e-6)
    assert not np.allclose(again[..., 3], found[..., 3])
    with torch.no_grad():  # frame 3, two ahead, by hand: what frames 0 and 1 foretell
        z = judge.method.encode(video)
        z_pred, scale = judge.method.predictor(z[:, :2])
        by_hand = ((z_pred[:, 1, 1] - z[:, 3]).abs() / scale[:, 1, 1]).mean()
    assert found[0, 1, 2] == pytest.approx(float(by_hand), rel=1e-5)


def test_short_horizons_teach_but_do_not_judge():
    judge = CausalEnergy(tiny_causal(horizons=(1, 2, 3)))
    assert judge.rows == ("2 ahead", "3 ahead")
    assert judge.positions(6).tolist() == [2, 3, 4, 5]
    video = clips(1, 6, 3, 16, 16)
    with torch.no_grad():
        everything = judge.method.surprise(judge.method.encode(video)).numpy()
    assert np.allclose(judge.energies(video)[0], everything[0, 2:, 1:].T, equal_nan=True)


def test_a_long_clip_is_judged_in_windows_of_the_memory():
    judge = CausalEnergy(tiny_causal(), batch_size=1)
    video = clips(2, 9, 3, 16, 16)
    found = judge.energies(video)
    assert found.shape == (2, 2, 8)
    first = judge.energies(video[:, :6])
    assert np.allclose(found[..., :4], first[..., :4], equal_nan=True, atol=1e-6)  # only the first window knows these
    with torch.no_grad():  # frames are encoded once, beside the first of the clip
        z = judge.method.encode(video)
        second, third = (judge.method.surprise(z[:, s : s + 6]).numpy().transpose(0, 2, 1) for s in (2, 3))
    expected = (first[..., 4] + second[..., 3]) / 2  # frame 5: the window from 3 on gives it too little memory
    assert np.allclose(found[..., 4], expected, atol=1e-6)
    assert np.allclose(found[..., 7], third[..., 5], atol=1e-6)


def test_the_energy_of_a_world_model_is_its_one_step_error():
    frames = torch.full((1, 3, 2, 4, 4), 128, dtype=torch.uint8)
    frames[:, 1:, 0] = 136  # a quarter to the right in the first step, then still
    actions = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # z' = z + a / 4
    found = RolloutEnergy(PointWorld(), actions).energies(frames)
    assert found[0, 0].tolist() == pytest.approx([0.0, 0.125])  # the second action should have moved it by .5


def test_controls_without_a_predictor():
    video = torch.zeros(1, 3, 3, 16, 16, dtype=torch.uint8)
    video[:, 2] = 4
    assert ChangeEnergy().energies(video)[0, 0].tolist() == [0.0, 4.0]
    for judge in (CausalEnergy(tiny_causal()), tiny_masked()):
        still = copy_last(judge)
        energies = still.energies(video)
        assert energies[0, 0, 0] == pytest.approx(0, abs=1e-6)
        assert energies[0, 0, 1] > 0


def test_untrained_networks_differ_by_seed_only():
    for judge in (CausalEnergy(tiny_causal()), tiny_masked()):
        video = clips(1, 8, 3, 16, 16)
        first, again, other = (judge.untrained(seed).energies(video) for seed in (1, 1, 2))
        assert np.array_equal(first, again, equal_nan=True)
        assert not np.array_equal(first, other, equal_nan=True)


def test_a_model_without_a_predictor_is_refused():
    method = LeJEPA(LeJEPAConfig())
    with pytest.raises(ConfigError, match="must have a predictor of coming frames to be surprised; LeJEPA has none"):
        energy_model(method)
