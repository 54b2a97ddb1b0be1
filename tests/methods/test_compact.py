import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.methods.compact import CompactConfig, compact, moving_directions, scene_directions
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig

SPLIT = FrameEncoderConfig("split", image_size=16, width=4, num_keypoints=3)


def episodes(*, between, within, steps=40, count=300):
    """Latents [E, T, D], normal with these standard deviations between and within episodes, dimension by dimension."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(count, 1, len(between), generator=generator, dtype=torch.float64) * torch.tensor(between)
    return own + torch.randn(count, steps, len(between), generator=generator, dtype=torch.float64) * torch.tensor(
        within
    )


def test_the_scene_is_what_differs_between_episodes_and_stays_within():
    # Ratios 100, 1 and 25: the first and the third dimension tell scenes apart, although the second varies most.
    z = episodes(between=[1.0, 5.0, 1.0], within=[0.1, 5.0, 0.2])
    found = scene_directions(z, 2)
    assert found.shape == (3, 2)
    share = found.abs() / found.abs().sum(0)
    torch.testing.assert_close(share[[0, 2], [0, 1]], torch.ones(2).double(), atol=0.1, rtol=0)
    inside = z - z.mean(1, keepdim=True)
    torch.testing.assert_close((inside @ found).flatten(0, 1).var(0), torch.ones(2).double(), atol=0.05, rtol=0)


def test_what_moves_is_what_changes_from_step_to_step():
    slow = episodes(between=[9.0, 9.0], within=[0.0, 0.0], steps=30)
    time = torch.arange(30).double()
    z = torch.cat(
        [slow, (2 * time.sin() + 0 * slow[..., 0])[..., None], (0.5 * time.cos() + 0 * slow[..., 0])[..., None]], -1
    )
    found = moving_directions(z, 2)
    torch.testing.assert_close(found.abs(), torch.eye(4).double()[:, 2:], atol=0.1, rtol=0)


def test_the_compacted_encoder_gives_the_compacted_latents():
    config = LeWMConfig(embed_dim=9, scene_dim=4, encoder=SPLIT, scene_weight=1.0)
    model = LeWM(config).eval()
    model.set_action_statistics(torch.tensor([0.1, 0.2]), torch.tensor([2.0, 3.0]))
    frames = torch.randint(256, (6, 5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small, latents = compact(model, model.encode(frames), CompactConfig(3, 2))
    assert small.config.embed_dim == 5
    assert small.config.scene_dim == 3
    assert not small.training
    torch.testing.assert_close(small.encode(frames), latents, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(latents.flatten(0, 2).std(0), torch.ones(5), atol=1e-3, rtol=0)
    assert torch.equal(small.action_std, model.action_std)
    path = small.rollout(latents[:, :1], torch.zeros(6, 2, 2))
    assert path.shape == (6, 2, 1, 5)


def test_what_cannot_be_compacted_is_named():
    latents = torch.randn(3, 4, 1, 16)
    with pytest.raises(ConfigError, match="must have an encoder of kind split to be compacted; got conv"):
        compact(LeWM(LeWMConfig()), latents, CompactConfig())
    with pytest.raises(ConfigError, match=r"must not be larger than 2 \+ 14 dimensions; got 4 \+ 2"):
        compact(LeWM(LeWMConfig(scene_dim=2, encoder=SPLIT)), latents, CompactConfig())
    with pytest.raises(ConfigError, match="at least 1"):
        CompactConfig(scene_dim=0)
    with pytest.raises(ConfigError, match="at least 2 episodes of 2 states; got 1 of 4"):
        compact(LeWM(LeWMConfig(scene_dim=4, encoder=SPLIT)), latents[:1], CompactConfig())
