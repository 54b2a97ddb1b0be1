from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.baselines.behaviour_cloning import (
    BehaviourCloning,
    CloningConfig,
    PixelCloningConfig,
    _draw_frames,
    clone_latents,
    clone_pixels,
)
from openjepa.errors import ConfigError, ShapeError
from openjepa.protocols import ActionBounds

DISC = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)
SMALL = CloningConfig(hidden_dim=64, steps=150, batch_size=256, lr=3e-3, max_gap=None)


class Corner:
    """Reads a latent [B, T, 1, 2] from the first two pixels: 128 is 0, and 64 grey levels are a length of 1."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        return ((frames[..., 0, 0, :2].float() - 128) / 64).unsqueeze(2)


def show(points: Tensor) -> np.ndarray:
    """Frames [B, 3, 8, 8] uint8 that `Corner` reads as points [B, 2]."""
    frames = torch.zeros(len(points), 3, 8, 8, dtype=torch.uint8)
    frames[:, 0, 0, :2] = (points * 64 + 128).round().to(torch.uint8)
    return frames.numpy()


def walks(episodes: int = 300, steps: int = 12) -> tuple[Tensor, Tensor]:
    """Points that go one way each: latents [E, T, 1, 2] and actions [E, T - 1, 2], z' = z + a / 10."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(episodes, 1, generator=generator) * 2 * torch.pi
    actions = 0.8 * torch.stack([angle.cos(), angle.sin()], -1).expand(-1, steps, -1)
    start = torch.rand(episodes, 1, 2, generator=generator) - 0.5
    return torch.cat([start, start + actions.cumsum(1) / 10], 1).unsqueeze(2), actions


def directions(player: BehaviourCloning) -> Tensor:
    goals = torch.tensor([[0.6, 0.0], [0.0, -0.6], [-0.4, 0.4]])
    player.start(show(goals))
    return torch.from_numpy(player.act(show(torch.zeros(3, 2))))


def test_it_heads_for_the_goal_at_the_recorded_speed() -> None:
    latents, actions = walks()
    player = clone_latents(Corner(), latents, actions, DISC, SMALL)
    found = directions(player)
    expected = torch.tensor([[0.8, 0.0], [0.0, -0.8], [-0.5657, 0.5657]])
    torch.testing.assert_close(found, expected, atol=0.12, rtol=0)
    assert found.dtype == torch.float32
    again = clone_latents(Corner(), latents, actions, DISC, SMALL)
    assert torch.equal(directions(again), found)
    assert not torch.equal(directions(clone_latents(Corner(), latents, actions, DISC, SMALL, seed=1)), found)


def test_training_leaves_global_randomness_and_data_alone() -> None:
    latents, actions = walks(20)
    kept = latents.clone(), actions.clone()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    clone_latents(Corner(), latents, actions, DISC, replace(SMALL, steps=3))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(latents, kept[0])
    assert torch.equal(actions, kept[1])


def test_states_beyond_an_episodes_length_are_never_read() -> None:
    latents, actions = walks(40)
    lengths = torch.full((40,), 6)
    broken, empty = latents.clone(), actions.clone()
    broken[:, 6:], empty[:, 5:] = float("nan"), float("nan")
    config = replace(SMALL, steps=20)
    first = clone_latents(Corner(), latents, actions, DISC, config, lengths=lengths)
    second = clone_latents(Corner(), broken, empty, DISC, config, lengths=lengths)
    assert torch.equal(directions(first), directions(second))


def test_a_wide_action_is_executed_in_parts_and_cut_to_the_bounds() -> None:
    seen = []

    def policy(z: Tensor, z_goal: Tensor) -> Tensor:
        seen.append(z)
        return torch.tensor([[0.1, 0.2, 0.75, 1.0]]).repeat(len(z), 1)

    player = BehaviourCloning(Corner(), policy, DISC, frameskip=2)
    frames = show(torch.zeros(2, 2))
    player.start(frames, env_ids=[4, 5])
    played = np.stack([player.act(frames) for _ in range(4)])
    np.testing.assert_allclose(played[0], [[0.1, 0.2]] * 2, rtol=1e-6)
    np.testing.assert_allclose(played[1], [[0.6, 0.8]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(played[2:], played[:2])
    assert player.decisions == len(seen) == 2
    player.act(frames)
    player.start(frames)
    assert player.decisions == 0
    np.testing.assert_array_equal(player.act(frames), played[0])  # begins with the first part


def pictures() -> tuple[Tensor, Tensor]:
    """A bright square in 16 x 16 px that goes left or right by 1 px per step: frames and actions (+-0.5, 0)."""
    frames = torch.zeros(40, 7, 3, 16, 16, dtype=torch.uint8)
    actions = torch.zeros(40, 6, 2)
    for e in range(40):
        way = 1 if e % 2 else -1
        actions[e, :, 0] = 0.5 * way
        for t in range(7):
            x = 6 + way * (t - 3) + (e // 2) % 3
            frames[e, t, :, 6:10, x : x + 3] = 255
    return frames, actions


def test_it_learns_from_pixels_with_an_encoder_of_its_own() -> None:
    frames, actions = pictures()
    encoder = replace(PixelCloningConfig().encoder, image_size=16, width=8, hidden_dim=32)
    config = PixelCloningConfig(encoder, hidden_dim=32, steps=120, max_gap=None, episodes_per_step=16, lr=5e-3)
    player = clone_pixels(frames, actions, DISC, config)
    player.start(frames[[0, 1], 6].numpy())
    found = player.act(frames[[0, 1], 2].numpy())
    np.testing.assert_allclose(found, [[-0.5, 0], [0.5, 0]], atol=0.15)
    again = clone_pixels(frames, actions, DISC, replace(config, steps=5))
    once = clone_pixels(frames, actions, DISC, replace(config, steps=5))
    for p in (again, once):
        p.start(frames[:2, 6].numpy())
    np.testing.assert_array_equal(again.act(frames[:2, 2].numpy()), once.act(frames[:2, 2].numpy()))


def test_drawn_frames_stay_in_their_episode_and_window() -> None:
    lengths = torch.tensor([2, 5, 30])
    config = PixelCloningConfig(max_gap=6, episodes_per_step=500, frames_per_episode=4)
    episode, step = _draw_frames(lengths, config, torch.Generator().manual_seed(0))
    assert (step >= 0).all()
    assert (step < lengths[episode, None]).all()
    gaps = step.diff(dim=1)
    assert (gaps >= 0).all()
    span = step[:, -1] - step[:, 0]
    assert torch.equal(span, torch.tensor([1, 4, 6])[episode])
    assert set(step[episode == 2, 0].tolist()) == set(range(24))
    whole = replace(config, max_gap=None)
    episode, step = _draw_frames(lengths, whole, torch.Generator().manual_seed(0))
    assert torch.equal(step[:, -1] - step[:, 0], lengths[episode] - 1)


def test_mistakes_are_named() -> None:
    latents, actions = walks(4)
    with pytest.raises(ShapeError, match="`actions` must be"):
        clone_latents(Corner(), latents, actions, DISC, frameskip=2)
    with pytest.raises(ConfigError, match="`frameskip` must be at least 1"):
        clone_latents(Corner(), latents, actions, DISC, frameskip=0)
    with pytest.raises(ConfigError, match="`max_gap`"):
        CloningConfig(max_gap=0)
    with pytest.raises(ConfigError, match="`hidden_dim`"):
        CloningConfig(hidden_dim=0)
    with pytest.raises(ConfigError, match="`frames_per_episode`"):
        PixelCloningConfig(frames_per_episode=1)
    with pytest.raises(ConfigError, match="`lr` > 0"):
        PixelCloningConfig(lr=0)
    with pytest.raises(ConfigError, match="must follow `start`"):
        BehaviourCloning(Corner(), lambda z, g: z, DISC).act(show(torch.zeros(1, 2)))
