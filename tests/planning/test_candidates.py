from typing import Any

import numpy as np
import torch

from openjepa.planning.candidates import (
    around,
    coloured_noise,
    half_range,
    held_noise,
    hold,
    shift,
    to_knots,
    white_noise,
)
from openjepa.protocols import ActionBounds


def test_each_row_is_drawn_from_its_own_stream(streams: Any) -> None:
    like = torch.zeros(1)
    rows = white_noise(streams(3), (4, 2), like)
    assert torch.equal(white_noise(streams(3)[1:2], (4, 2), like)[0], rows[1])
    assert not torch.equal(rows[0], rows[1])


def test_held_noise_is_the_same_in_each_part(streams: Any) -> None:
    noise = held_noise(streams(2), (5, 4, 6), 3, torch.zeros(1))
    assert torch.equal(noise, white_noise(streams(2), (5, 4, 2), torch.zeros(1)).repeat(1, 1, 1, 3))
    assert torch.equal(held_noise(streams(2), (5, 6), 1, torch.zeros(1)), white_noise(streams(2), (5, 6), noise))


def test_coloured_noise_has_unit_power_and_the_named_spectrum(streams: Any) -> None:
    noise = coloured_noise(streams(2), (2000, 32, 1), 2.0, torch.zeros(1))
    torch.testing.assert_close(noise.square().mean(2), torch.ones(2, 2000, 1), rtol=1e-4, atol=1e-4)
    power = torch.fft.rfft(noise[0, :, :, 0], dim=1).abs().square().mean(0)[1:-1]
    slope = np.polyfit(np.log(np.arange(1, 16)), np.log(power.numpy()), 1)[0]
    assert abs(slope + 2) < 0.25
    white = coloured_noise(streams(2), (5, 32, 1), 0.0, torch.zeros(1))
    assert torch.equal(white, white_noise(streams(2), (5, 32, 1), torch.zeros(1)))


def test_knots_and_hold() -> None:
    knots = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    held = hold(knots, 2, 5)
    assert held.flatten().tolist() == [1, 1, 2, 2, 3]
    assert torch.equal(to_knots(held, 2), knots)
    assert to_knots(torch.tensor([0.0, 1.0, 5.0]).view(1, 3, 1), 2).flatten().tolist() == [0.5, 5.0]


def test_shift_drops_what_was_executed() -> None:
    plan = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    assert shift(plan, 0).flatten().tolist() == [1, 2, 3]
    assert shift(plan, 1).flatten().tolist() == [2, 3, 3]
    assert shift(plan, 3).flatten().tolist() == [3, 3, 3]


def test_half_range_and_norms_per_primitive_action() -> None:
    bounds = ActionBounds(np.array([-1, 0], np.float32), np.array([1, 4], np.float32), max_norm=1.0)
    assert half_range(bounds, torch.zeros(1)).tolist() == [1, 2]
    twice = bounds.with_frameskip(2)
    assert twice.dim == 4
    clipped = twice.clip(torch.tensor([3.0, 4.0, 0.6, 0.8]))
    torch.testing.assert_close(clipped, torch.tensor([1 / 17**0.5, 4 / 17**0.5, 0.6, 0.8]))


def test_plans_around_plans_are_allowed_and_as_wide_as_asked(streams: Any) -> None:
    bounds = ActionBounds([-4.0, 0.0], [4.0, 1.0])
    centres = torch.tensor([1.0, 0.5]).expand(2, 400, 3, 2)
    width = torch.full((400, 1, 1), 0.1)
    width[0] = 0
    plans = around(centres, width, white_noise(streams(2), (400, 3, 2), centres), bounds)
    assert torch.equal(plans[:, 0], centres[:, 0])
    torch.testing.assert_close(plans[:, 1:].std((0, 1, 2)), torch.tensor([0.4, 0.05]), rtol=0.1, atol=0)
    wide = around(centres, 100 * width, white_noise(streams(2), (400, 3, 2), centres), bounds)
    assert torch.equal(bounds.clip(wide), wide)


def test_choices_around_choices_keep_the_share_that_is_not_chance(streams: Any) -> None:
    bounds = ActionBounds.of_categories([4])
    centres = torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(1, 4000, 1, 4)
    width = torch.full((4000, 1, 1), 0.4)
    width[0] = 0
    plans = around(centres, width, white_noise(streams(1), (4000, 1, 4), centres), bounds)
    assert torch.equal(plans[:, 0], centres[:, 0])
    # Chance decides in 40 %, and names every one of four choices equally often.
    expected = torch.tensor([0.1, 0.1, 0.7, 0.1])
    torch.testing.assert_close(plans.mean((0, 1, 2)), expected, atol=0.03, rtol=0)
