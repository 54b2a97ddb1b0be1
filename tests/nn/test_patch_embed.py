import pytest
import torch

from openjepa.errors import ShapeError
from openjepa.nn.patch_embed import PatchEmbed, TubeletEmbed, normalize_pixels


def test_one_token_by_hand():
    embed = TubeletEmbed(2, 4, 3, 5)
    clip = torch.randn(1, 4, 3, 8, 12)
    tokens = embed(clip)
    assert embed.grid(clip) == (2, 2, 3)
    assert tokens.shape == (1, 12, 5)
    # Token 11 is (t 1, row 1, column 2).
    tubelet = clip[0, 2:4, :, 4:8, 8:12].transpose(0, 1)
    expected = embed.proj.weight.flatten(1) @ tubelet.flatten() + embed.proj.bias
    torch.testing.assert_close(tokens[0, 11], expected, atol=1e-5, rtol=1e-5)


def test_equal_frames_need_one_summed_kernel():
    video, image = TubeletEmbed(2, 4, 3, 5), PatchEmbed(4, 3, 5)
    with torch.no_grad():
        image.proj.weight.copy_(video.proj.weight.sum(2))
        image.proj.bias.copy_(video.proj.bias)
    picture = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(video(picture[:, None].expand(-1, 2, -1, -1, -1)), image(picture), atol=1e-6, rtol=1e-5)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="multiples of the patch of 4 pixels; got 10 x 8"):
        PatchEmbed(4, 3, 5).grid(torch.zeros(1, 3, 10, 8))
    with pytest.raises(ShapeError, match="divisible by the tubelet of 2; got 3"):
        TubeletEmbed(2, 4, 3, 5).grid(torch.zeros(1, 3, 3, 8, 8))
    with pytest.raises(ShapeError, match="C = 3 channels"):
        PatchEmbed(4, 3, 5).grid(torch.zeros(1, 1, 8, 8))


def test_pixels_are_normalised():
    pixels = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    pixels[0, 1] = 255
    out = normalize_pixels(pixels)
    torch.testing.assert_close(out[0, 0], torch.full((2, 2), -0.485 / 0.229))
    torch.testing.assert_close(out[0, 1], torch.full((2, 2), (1 - 0.456) / 0.224))
