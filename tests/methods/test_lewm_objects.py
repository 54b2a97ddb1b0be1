"""A latent of places alone: points of things, which a picture is painted from, and points of what acts."""

import math
from dataclasses import replace

import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.methods.compact import CompactConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.principal import keep_principal
from openjepa.models.feature_painter import FIRST_WIDTH, FeaturePainter
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.nn.random import keyed_generator
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes.acting import ActConfig

ENCODER = FrameEncoderConfig("objects", image_size=32, num_keypoints=3, agent_keypoints=2)
OPTIONS = {"embed_dim": 10, "encoder": ENCODER, "agent_dim": 4, "dense_weight": 1.0, "variance_weight": 0.0}


def make(**options):
    return LeWM(LeWMConfig(**{**OPTIONS, "covariance_weight": 0.0, **options}))


def batch():
    generator = keyed_generator(0)
    frames = torch.randint(256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return TrajectoryBatch(frames, torch.randn(2, 2, 2, generator=generator))


def gradients(model, name):
    """Which of the encoder's parts a term reaches."""
    weights = {"prediction": 0.0, "inverse_dynamics": 0.0, "dense": 0.0, name: 1.0}
    model._weights = lambda step: weights
    model.zero_grad()
    model.loss(batch(), 0).loss.backward()
    trunk = model.context_encoder.trunk
    parts = {"things": trunk.maps.weight, "agent": trunk.agent.maps.weight}
    return {part for part, weight in parts.items() if weight.grad is not None and weight.grad.abs().max() > 0}


def test_what_acts_and_what_is_there_are_learned_apart():
    """An action teaches the points of what acts, a painted picture those of things, and neither the other's."""
    assert gradients(make(), "inverse_dynamics") == {"agent"}
    assert gradients(make(), "dense") == {"things"}


def test_slow_features_follow_the_encoder_and_their_mean_follows_them():
    model = make(dense_target="ema", ema_decay=0.5).train()
    seen, frames = model.context_encoder.trunk.features, batch().frames.flatten(0, 1)
    model.painter.measure(frames)
    torch.testing.assert_close(model.painter.target(frames).mean(0), torch.zeros(48, 8, 8), atol=1e-5, rtol=0)
    first = [p.clone() for p in model.painter.features.parameters()]
    with torch.no_grad():
        for p in seen.parameters():
            p.add_(1.0)
    model.after_step(0)
    for slow, old in zip(model.painter.features.parameters(), first, strict=True):
        torch.testing.assert_close(slow, old + 0.5)
    before = model.painter.mean.clone()
    now = model.painter.features(model.context_encoder.pixels(frames)).mean(0)
    model.painter.target(frames)
    torch.testing.assert_close(model.painter.mean, 0.99 * before + 0.01 * now)
    assert gradients(make(dense_target="ema"), "dense") == {"things"}


def test_the_latent_is_where_the_points_are():
    model = make().eval()
    frames = batch().frames
    z = model.encode(frames)
    trunk = model.context_encoder.trunk
    pixels = model.context_encoder.pixels(frames.flatten(0, 1))
    assert z.shape == (2, 3, 1, 10)
    assert z.abs().max() <= 1
    torch.testing.assert_close(z.flatten(0, 2)[:, 6:], trunk.agent(pixels))


def test_a_point_is_painted_as_a_gaussian():
    """Height 1 at the point, e^-1/2 one width beside it, in x and in y."""
    painter = FeaturePainter(4, image_size=32)  # two points, a map of 8 x 8
    x, y = painter.cells[5], painter.cells[2]
    blobs = painter.blobs(torch.stack([x, x + FIRST_WIDTH, y, y]).unsqueeze(0))[0]
    assert blobs.shape == (2, 8, 8)
    torch.testing.assert_close(blobs[0, 2, 5], torch.tensor(1.0))
    assert blobs[0].flatten().argmax() == 2 * 8 + 5
    torch.testing.assert_close(blobs[1, 2, 5], torch.tensor(math.exp(-0.5)))


def test_what_always_stands_there_counts_for_nothing():
    """Over the measured frames every place has mean 0, and every channel a root mean square of 1."""
    painter = FeaturePainter(4, image_size=32)
    frames = torch.randint(256, (300, 3, 32, 32), dtype=torch.uint8, generator=keyed_generator(1))
    frames[..., :16, :] = 200  # a wall
    painter.measure(frames)
    target = painter.target(frames)
    torch.testing.assert_close(target.mean(0), torch.zeros(32, 8, 8), atol=1e-4, rtol=0)
    torch.testing.assert_close(target.square().mean((0, 2, 3)), torch.ones(32), atol=1e-3, rtol=0)
    assert target[..., :3, :].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent_dim": 2}, "`agent_dim` must be 4 of 10 dimensions, of an encoder of `objects`.*; got 2 of 10"),
        ({"state": "pair"}, "with frames as states"),
        ({"embed_dim": 16}, "`agent_dim` must be 4 of 10 dimensions, .*; got 4 of 16"),
        ({"dense_target": "pixels"}, "`dense_target` must be one of frame, ema; got pixels"),
        (
            {"dense_target": "ema", "encoder": replace(ENCODER, gain=0.5)},
            "`dense_target` ema needs an encoder that sees",
        ),
        ({"agent_dim": 0}, "`dense_weight` needs an encoder of `objects`, its `agent_dim`, and frames of its size"),
        ({"encoder": replace(ENCODER, shrink_from=(64, 64))}, "and frames of its size"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_principal_components_keep_distances_and_are_seen_again():
    """Points of which two move as one have one component less; what is left tells states as far apart as before."""
    model = make().eval()
    z = torch.randn(6, 5, 1, 10, generator=keyed_generator(2))
    z[..., 7] = 2 * z[..., 3] + 1  # rank 9
    small, kept = keep_principal(model, z, 9)
    assert kept.shape == (6, 5, 1, 9)
    apart, before = (torch.cdist(x.flatten(0, 2).double(), x.flatten(0, 2).double()) for x in (kept, z))
    torch.testing.assert_close(apart, before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kept.mean((0, 1)), torch.zeros(1, 9), atol=1e-5, rtol=0)
    spread = kept.flatten(0, 2).std(0)
    assert (spread[:-1] >= spread[1:]).all()
    frames = batch().frames
    small, kept = keep_principal(model, model.encode(frames), 4)
    torch.testing.assert_close(small.encode(frames), kept)


def test_one_of_two_ways_to_a_smaller_latent():
    with pytest.raises(ConfigError, match="`principal` must be below `embed_dim` 10, without scene dimensions; got 10"):
        keep_principal(make(), torch.zeros(2, 3, 1, 10), 10)
    with pytest.raises(ConfigError, match="`compact` and `principal` both make the latent smaller"):
        ActConfig(principal=2, compact=CompactConfig())
