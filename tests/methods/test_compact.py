import math

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.methods.compact import CompactConfig, compact, displacement_directions, keypoints, scene_directions
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig

SPLIT = FrameEncoderConfig("split", image_size=16, width=4, num_keypoints=3)


def episodes(*, between, within, steps=40, count=300):
    """States [E, T, D], normal with these standard deviations between and within episodes, dimension by dimension."""
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


def wanderers(*, count=200, steps=60, wall=2.0, noise=0.02):
    """Places [E, T, 2] of points that move by half of each action and stop at a wall, their actions, and features."""
    generator = torch.Generator().manual_seed(1)
    headings = 2 * math.pi * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    turns = (0.3 * torch.randn(count, steps, generator=generator, dtype=torch.float64)).cumsum(1)
    actions = torch.stack([(headings + turns).cos(), (headings + turns).sin()], -1)
    place, path = torch.zeros(count, 2, dtype=torch.float64), []
    for t in range(steps + 1):
        path.append(place)
        if t < steps:
            place = place + 0.5 * actions[:, t]
            place = torch.stack([place[:, 0].clamp(max=wall), place[:, 1]], -1)
    places = torch.stack(path, 1)
    mixing = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    features = places @ mixing
    features[..., 4] = 3 * places[..., 0].square()  # bent, and it changes more than all others
    return places, actions, features + noise * torch.randn(features.shape, generator=generator, dtype=torch.float64)


def test_what_moves_is_found_by_dead_reckoning_in_spite_of_contacts():
    places, actions, features = wanderers()
    blocked = (places[:, 1:, 0] == 2.0).double().mean()
    assert blocked > 0.2  # the wall counts
    found = features @ displacement_directions(features, actions, 6)
    # In units of an action a place is twice its coordinates, up to where the episode began.
    error = (found - found[:, :1]) - 2 * (places - places[:, :1])
    assert error.square().mean().sqrt() < 0.1
    plain = torch.linalg.lstsq(
        (features[:, 6:] - features[:, :-6]).flatten(0, 1), actions.unfold(1, 6, 1).sum(-1).flatten(0, 1)
    ).solution
    naive = features @ plain
    assert ((naive - naive[:, :1]) - 2 * (places - places[:, :1])).square().mean().sqrt() > 0.2


def test_the_compacted_encoder_gives_the_compacted_latents():
    config = LeWMConfig(embed_dim=9, scene_dim=4, encoder=SPLIT, scene_weight=1.0)
    model = LeWM(config).eval()
    model.set_action_statistics(torch.tensor([0.1, 0.2]), torch.tensor([2.0, 3.0]))
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (6, 9, 3, 16, 16), dtype=torch.uint8, generator=generator)
    options = CompactConfig(3, displacement_steps=2, scene_every=1)
    scene, moving = keypoints(model, frames, options)
    assert scene.shape == moving.shape == (6, 9, 6)
    small, latents = compact(model, scene, moving, torch.randn(6, 8, 2, generator=generator), options)
    assert small.config.embed_dim == 5
    assert small.config.scene_dim == 3
    assert not small.training
    found = small.encode(frames)
    torch.testing.assert_close(found[..., 3:], latents[..., 3:], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(
        found[..., :3].mean(1, keepdim=True).expand_as(found[..., :3]), latents[..., :3], atol=2e-3, rtol=1e-3
    )
    torch.testing.assert_close(found.flatten(0, 2).std(0), torch.ones(5), atol=1e-3, rtol=0)
    assert torch.equal(small.action_std, model.action_std)
    path = small.rollout(latents[:, :1], torch.zeros(6, 2, 2))
    assert path.shape == (6, 2, 1, 5)
    assert torch.equal(path[..., :3], latents[:, :1, :, :3].expand(-1, 2, -1, -1))  # the scene stays


def test_with_one_origin_the_encoder_still_gives_the_latents():
    config = LeWMConfig(embed_dim=9, scene_dim=4, encoder=SPLIT, scene_weight=1.0)
    model = LeWM(config).eval()
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (6, 9, 3, 16, 16), dtype=torch.uint8, generator=generator)
    options = CompactConfig(3, displacement_steps=2, scene_every=1, origin_steps=20, origin_dim=2)
    scene, moving = keypoints(model, frames, options)
    actions = torch.randn(6, 8, 2, generator=generator)
    small, latents = compact(model, scene, moving, actions, options)
    torch.testing.assert_close(small.encode(frames)[..., 3:], latents[..., 3:], atol=2e-3, rtol=1e-3)
    as_it_was = compact(model, scene, moving, actions, CompactConfig(3, displacement_steps=2, scene_every=1))[1]
    assert not torch.allclose(latents, as_it_was, atol=1e-2)
    with pytest.raises(ConfigError, match=r"`stillness` and `origin_steps` must be 0 or more; got 0\.0 and -1"):
        CompactConfig(origin_steps=-1)


def test_some_frames_are_enough_for_the_scene():
    model = LeWM(LeWMConfig(embed_dim=9, scene_dim=4, encoder=SPLIT, scene_weight=1.0)).eval()
    frames = torch.randint(256, (2, 9, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    every, all_moving = keypoints(model, frames, CompactConfig(scene_every=1))
    some, moving = keypoints(model, frames, CompactConfig(scene_every=4))
    torch.testing.assert_close(some, every[:, [0, 4, 8]])
    assert torch.equal(moving, all_moving)


def test_what_cannot_be_compacted_is_named():
    frames = torch.zeros(3, 4, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="must have an encoder of kind split to be compacted; got conv"):
        keypoints(LeWM(LeWMConfig()), frames, CompactConfig())
    with pytest.raises(ConfigError, match="at least 1"):
        CompactConfig(scene_dim=0)
    model = LeWM(LeWMConfig(scene_dim=4, encoder=SPLIT))
    scene, moving, actions = torch.randn(3, 2, 6), torch.randn(3, 4, 6), torch.randn(3, 3, 2)
    with pytest.raises(ConfigError, match=r"at least 2 episodes of more than 6 states; got 3 of 4\. Lower"):
        compact(model, scene, moving, actions, CompactConfig())
    with pytest.raises(ShapeError, match="actions"):
        compact(model, scene, moving, actions[:, :2], CompactConfig())
