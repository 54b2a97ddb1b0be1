"""The encoder in NumPy gives what the encoder gives."""

import numpy as np
import pytest
import torch

from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.quick_frames import QuickFrames


@pytest.mark.parametrize("gain", [None, 0.5])
@pytest.mark.parametrize("size", [32, 64])
def test_latents_are_those_of_the_encoder(gain, size):
    torch.manual_seed(0)
    encoder = FrameEncoder(FrameEncoderConfig("conv", image_size=size, width=8, hidden_dim=24, gain=gain), 6).eval()
    if gain is not None:
        encoder.pixels.measure(255 * torch.rand(3, size, size), 30.0)
    frames = torch.randint(256, (5, 3, size, size), dtype=torch.uint8)
    assert QuickFrames.reads(encoder)
    quick = QuickFrames(encoder)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(quick(frames.numpy())), encoder(frames), rtol=1e-4, atol=1e-5)
    one = quick(frames[:1].numpy())
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, quick(frames.numpy())[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config", [FrameEncoderConfig("keypoints"), FrameEncoderConfig("conv", shrink_from=(128, 128))]
)
def test_it_does_not_stand_for_other_encoders(config):
    assert not QuickFrames.reads(FrameEncoder(config, 6))
