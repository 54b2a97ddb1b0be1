import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.heads.frame_decoder import DecoderConfig, fit_decoder


def discs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places [B, 2] in [-1, 1] and white pictures [B, 3, 64, 64] with a red disc of 4 px there."""
    places = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    centre = (places + 1) * 32
    grid = torch.arange(64) + 0.5
    gap = (grid[None, None, :] - centre[:, 0, None, None]) ** 2 + (grid[None, :, None] - centre[:, 1, None, None]) ** 2
    frames = torch.full((count, 3, 64, 64), 255, dtype=torch.uint8)
    frames[:, 1:] = torch.where((gap < 16)[:, None], 0, frames[:, 1:])
    return places, frames


def test_a_disc_is_drawn_where_the_latent_says_that_it_is() -> None:
    places, frames = discs(2000, 0)
    turned = places @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]])  # the latent need not be the place itself
    config = DecoderConfig(width=64, steps=300, batch_size=32, pixels=128)
    decoder = fit_decoder(turned, frames, config, generator=torch.Generator().manual_seed(1))
    places, frames = discs(50, 1)
    found = decoder.pictures(places @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]]))
    assert found.shape == frames.shape
    assert found.dtype == torch.uint8
    red = (255 - found[:, 1].float()).clamp_min(0) * (found[:, 1] < 128)
    cells = torch.arange(64) + 0.5
    centre = torch.stack([(red.sum(1) * cells).sum(1), (red.sum(2) * cells).sum(1)], 1) / red.sum((1, 2))[:, None]
    assert (centre - (places + 1) * 32).norm(dim=1).median() < 1.0  # px


def test_wrong_sizes_and_options_are_named() -> None:
    with pytest.raises(ShapeError, match="frames"):
        fit_decoder(torch.zeros(4, 2), torch.zeros(4, 3, 32, 32, dtype=torch.uint8), generator=torch.Generator())
    with pytest.raises(ConfigError, match=r"`unusual_share` must be in \[0, 1\]; got 1\.5"):
        DecoderConfig(unusual_share=1.5)
    with pytest.raises(ConfigError, match="at least 1"):
        DecoderConfig(pixels=0)
