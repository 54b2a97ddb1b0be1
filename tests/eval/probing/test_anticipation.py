"""Anticipation probes: features whose answer is known, real networks, and clips of moving shapes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openjepa.envs.shapes import ShapesConfig, draw_clips
from openjepa.errors import ConfigError
from openjepa.eval.probing.anticipation import AnticipationConfig, ClipBeforeTheEnd, Forecaster, anticipate_arrays
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig
from openjepa.eval.probing.frozen_encoder import frozen
from openjepa.eval.probing.frozen_probes import LabelledSet
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.methods.vjepa2_1 import VJEPA21, VJEPA21Config
from openjepa.models.vit import ViTConfig
from openjepa.nn.patch_embed import normalize_pixels

VIDEO = {"img_size": (32, 32), "patch_size": 8, "num_frames": 8, "tubelet_size": 2, "embed_dim": 24, "depth": 2}
PREDICTOR = {"predictor_dim": 24, "predictor_depth": 1, "predictor_heads": 2}
ONE_HEAD = AttentiveTrainConfig((3e-3,), (0.01,), epochs=6, batch_size=32, depth=1, num_heads=2)


def make(**options):
    method = VJEPA2(VJEPA2Config(encoder=ViTConfig(num_heads=2, **VIDEO, **options), **PREDICTOR)).eval()
    return Forecaster(frozen(method.target_encoder), method.predictor)


def clips_of(count, held_out=False):
    """Clips of 8 frames, of which 4 are seen; the class is the quarter where the object is in the last one."""
    config = ShapesConfig(size=32, num_frames=8, speed=(0.02, 0.06), noise=0.0, background="plain")
    drawn = draw_clips(config, np.arange(count) + (1 << 40 if held_out else 0))
    last = drawn.positions[:, -1] > 0.5
    return LabelledSet(torch.from_numpy(drawn.frames[:, :4]), torch.from_numpy(last[:, 0] + 2 * last[:, 1]).long())


def test_asks_for_the_tokens_of_the_moment_ahead():
    forecaster, asked = make(), {}
    real = forecaster.predictor.forward

    def record(z, context_idx, target_idx, **options):
        asked.update(context=context_idx, target=target_idx, **options)
        return real(z, context_idx, target_idx, **options)

    forecaster.predictor.forward = record
    context, future = forecaster.forecast(torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8), ahead=5)
    assert context.shape == (2, 2 * 16, 24)
    assert future.shape == (2, 16, 24)
    # 2 latent frames are seen, 5 // 2 are skipped, so latent frame 4 is asked for: tokens 64 to 79.
    assert asked["target"][1].tolist() == list(range(64, 80))
    assert asked["context"][0].tolist() == list(range(32))
    assert asked["grid"] == (5, 4, 4)
    assert asked["mask_token"] == 0


def test_prediction_is_what_the_method_predicts_in_training():
    forecaster = make()
    clips = torch.randint(256, (2, 8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    _, future = forecaster.forecast(clips[:, :6], ahead=0)
    tokens = forecaster.encoder.network.tokenize(normalize_pixels(clips))
    seen, hidden = torch.arange(48).expand(2, -1), torch.arange(48, 64).expand(2, -1)
    z = forecaster.encoder.network.encode(tokens, seen)  # the encoder sees only the first 6 frames of 8
    torch.testing.assert_close(future, forecaster.predictor(z, seen, hidden, grid=tokens.grid))


def test_levels_of_vjepa2_1_and_its_last_channels():
    encoder = ViTConfig(num_heads=2, **VIDEO, level_layers=(0, 1), image_tokenizer=True, rope_pretrained_grid=16)
    method = VJEPA21(VJEPA21Config(encoder=encoder, **PREDICTOR)).eval()
    forecaster = Forecaster(frozen(method.target_encoder), method.predictor)
    context, future = forecaster.forecast(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8), ahead=2)
    assert context.shape == (1, 32, 24)
    assert future.shape == (1, 16, 24)


def test_a_table_of_positions_has_an_end():
    forecaster = make(positions="sincos")
    clips = torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8)
    assert forecaster.forecast(clips, ahead=2)[1].shape == (1, 16, 24)
    with pytest.raises(ConfigError, match="within the 4 latent frames that the predictor has positions for"):
        forecaster.forecast(clips, ahead=4)


def test_the_source_that_holds_the_answer_is_found():
    # The predicted tokens tell the classes apart, those of the encoder are one constant.
    forecaster = make()
    labels = torch.arange(60) % 2
    clips = torch.zeros(60, 4, 3, 32, 32, dtype=torch.uint8)
    signal = torch.where(labels == 1, 1.0, -1.0)[:, None, None] * torch.arange(1.0, 25.0)
    calls = iter([*signal[:40].split(20), *signal[40:].split(20)])

    known = SimpleNamespace(
        forecast=lambda part, ahead: (torch.ones(len(part), 32, 24), next(calls).expand(-1, 16, -1))
    )
    report = anticipate_arrays(
        known,
        LabelledSet(clips[:40], labels[:40]),
        LabelledSet(clips[40:], labels[40:]),
        AnticipationConfig(attentive=ONE_HEAD, batch_size=20),
        control=forecaster,
    )
    scores = {row.probe: row for row in report.rows}
    assert scores["context"].accuracy == scores["context"].control == 0.5
    assert scores["future"].accuracy == scores["both"].accuracy == 1.0
    assert scores["both"].control == 0.5
    assert "random init" in report.text()


def test_moving_shapes_end_to_end():
    config = AnticipationConfig(ahead=4, attentive=ONE_HEAD)
    report = anticipate_arrays(make(), clips_of(96), clips_of(64, held_out=True), config)
    assert [row.probe for row in report.rows] == ["context", "future", "both"]
    assert all(0 <= value <= 1 for row in report.rows for value in (row.accuracy, row.control))


def test_moments_end_before_the_end():
    # A video of 2 s: the frame before the last eighth, four frames back from 1 s before the end, at 8 per second.
    np.testing.assert_allclose(ClipBeforeTheEnd(4, 8, 8.0)(2.0), np.array([4.5, 5.5, 6.5, 7.5]) / 8)
    np.testing.assert_allclose(ClipBeforeTheEnd(2, 1, 8.0)(0.125), [0.0, 0.0])


def test_what_does_not_belong_together():
    forecaster = make()
    other = VJEPA2(VJEPA2Config(encoder=ViTConfig(num_heads=2, **{**VIDEO, "embed_dim": 48}), **PREDICTOR))
    with pytest.raises(ConfigError, match="must read features of width 24, as the encoder gives; it reads 48"):
        Forecaster(forecaster.encoder, other.predictor)
    with pytest.raises(ConfigError, match="`sources` must be of context, future, both"):
        AnticipationConfig(sources=("past",))
    with pytest.raises(ConfigError, match="`ahead` must be >= 0 frames"):
        forecaster.forecast(torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8), ahead=-1)
