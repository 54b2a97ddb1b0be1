"""Displays of the last action in pictures, drawn where this file knows them."""

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.recipes.measured_displays import find_displays
from openjepa.recipes.measured_motion import Clip

SIDE, STEPS = 32, 60
BAR = (26, 4, 29, 20)  # top, left, bottom, right of a bar as long as the last action is strong


def play(*, bar: bool, seed: int = 0, follows: bool = False) -> list[Clip]:
    """A square of 4 px that held actions push about, or that lies where the last one says; and a bar below it."""
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(24):
        frames = np.zeros((STEPS + 1, 3, SIDE, SIDE), np.uint8)
        actions = np.zeros((STEPS, 2), np.float32)
        place, speed, action = rng.uniform(2, 18, 2), np.zeros(2), rng.uniform(-1, 1, 2)
        for t in range(STEPS + 1):
            if t:
                action = action if rng.random() < 0.8 else rng.uniform(-1, 1, 2)
                actions[t - 1] = action
                speed = 0.9 * speed + 0.3 * action
                place = (14 + 13 * action) if follows else (place + speed).clip(0, 20)
                if bar:
                    top, left, bottom, right = BAR
                    frames[t, :, top:bottom, left : left + round((right - left) * (1 + action[0]) / 2)] = 200
            y, x = place.astype(int).clip(0, SIDE - 4)
            frames[t, 0, y : y + 4, x : x + 4] = 255
        clips.append(Clip(frames, actions))
    return clips


def test_a_display_of_the_last_action_is_found_where_it_is() -> None:
    (found,) = find_displays(play(bar=True))
    assert max(abs(a - b) for a, b in zip(found, BAR, strict=True)) <= 4


@pytest.mark.parametrize("seed", range(4))
def test_what_actions_push_is_no_display(seed: int) -> None:
    assert find_displays(play(bar=False, seed=seed)) == ()


def test_a_world_that_lies_where_the_last_action_says_is_not_hidden() -> None:
    assert find_displays(play(bar=False, follows=True)) == ()


def test_too_few_steps_say_nothing() -> None:
    assert find_displays(play(bar=True)[:4]) == ()


def test_an_encoder_sees_nothing_of_a_hidden_box_and_all_else() -> None:
    torch.manual_seed(0)
    config = FrameEncoderConfig("conv", image_size=32, hidden=(BAR,))
    encoder = FrameEncoder(config, 8).eval()
    shown, plain = (torch.from_numpy(play(bar=bar)[0].frames[1:9]) for bar in (True, False))
    assert not torch.equal(shown, plain)
    torch.testing.assert_close(encoder(shown), encoder(plain), rtol=0, atol=0)
    moved = plain.clone()
    moved[:, :, 0, 0] = 255
    assert not torch.equal(encoder(moved), encoder(plain))


@pytest.mark.parametrize("box", [(0, 0, 40, 8), (4, 4, 4, 8), (-1, 0, 4, 4)])
def test_a_box_that_lies_outside_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="hidden"):
        FrameEncoderConfig("conv", image_size=32, hidden=(box,))
