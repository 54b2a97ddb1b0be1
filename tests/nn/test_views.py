import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.nn.views import ViewConfig, random_view


def draw(pixels, config, seed=0):
    return random_view(pixels, config, generator=torch.Generator().manual_seed(seed))


def ramp(batch=4, side=32):
    columns = torch.arange(side, dtype=torch.float32).expand(side, side)
    return torch.stack((columns, columns.T, torch.full((side, side), 7.0)))[None].repeat(batch, 1, 1, 1)


def test_the_whole_picture_is_the_picture():
    pixels = ramp()
    view = draw(pixels, ViewConfig(32, (1.0, 1.0), (1.0, 1.0)))
    torch.testing.assert_close(view, pixels, atol=1e-4, rtol=0)
    flipped = draw(pixels, ViewConfig(32, (1.0, 1.0), (1.0, 1.0), flip=1.0))
    torch.testing.assert_close(flipped, pixels.flip(-1), atol=1e-4, rtol=0)


def test_a_crop_has_the_scale_asked_for():
    view = draw(ramp(64), ViewConfig(16, (0.25, 0.25), (1.0, 1.0)))
    # A quarter of the area: 16 of 32 columns in 16 pixels, so neighbours are one unit apart.
    steps = view[:, 0, 4, 5] - view[:, 0, 4, 4]
    torch.testing.assert_close(steps, torch.ones(64), atol=1e-3, rtol=0)
    starts = view[:, 0, 4, 4]
    assert starts.std() > 2  # crops move
    torch.testing.assert_close(view[:, 2], torch.full((64, 16, 16), 7.0))


def test_one_draw_for_all_frames_and_a_function_of_the_seed():
    clips = ramp(3)[:, None].repeat(1, 4, 1, 1, 1).to(torch.uint8)
    config = ViewConfig(16, (0.2, 0.5), flip=0.5, jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2)
    view = draw(clips, config)
    assert view.shape == (3, 4, 3, 16, 16)
    for frame in range(1, 4):
        torch.testing.assert_close(view[:, frame], view[:, 0])
    assert torch.equal(view, draw(clips, config))
    assert not torch.equal(view, draw(clips, config, seed=1))


def test_grey_and_jitter():
    pixels = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    whole = {"size": 8, "scale": (1.0, 1.0), "aspect": (1.0, 1.0)}
    grey = draw(pixels, ViewConfig(**whole, grey=1.0))
    luma = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    torch.testing.assert_close(grey[:, 0], luma, atol=0.1, rtol=0)
    torch.testing.assert_close(grey[:, 2], luma, atol=0.1, rtol=0)
    same = draw(pixels, ViewConfig(**whole, jitter=(0.0, 0.0, 0.0, 1e-9), jitter_share=1.0))
    torch.testing.assert_close(same, pixels, atol=0.2, rtol=0)
    darker = draw(pixels, ViewConfig(**whole, jitter=(0.5, 0.0, 0.0, 0.0), jitter_share=1.0))
    assert 0.0 <= float(darker.min()) <= float(darker.max()) <= 255.0
    assert (darker - pixels).abs().mean() > 1


def test_ranges_are_checked():
    with pytest.raises(ConfigError, match="`scale` must be two ascending numbers"):
        ViewConfig(scale=(0.5, 0.2))
