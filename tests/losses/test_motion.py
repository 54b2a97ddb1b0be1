import math

import pytest
import torch

from openjepa.losses.motion import MotionReadout, centre_of, median_frame, motion_loss, motion_places


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 8, 9])
def test_the_median_frame_is_the_median(steps: int) -> None:
    frames = torch.randint(256, (2, steps, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(steps))
    assert torch.equal(median_frame(frames), frames.median(1).values)


def moving_point() -> torch.Tensor:
    """A bright pixel that is elsewhere in each of 3 frames of 8 x 8, beside one that is always there."""
    frames = torch.zeros(1, 3, 3, 8, 8, dtype=torch.uint8)
    frames[:, :, :, 7, 7] = 200
    for t, (y, x) in enumerate([(0, 1), (3, 3), (6, 0)]):
        frames[0, t, :, y, x] = 100
    return frames


def test_places_are_where_the_window_differs_from_its_median() -> None:
    places, seen = motion_places(moving_point(), 4)  # cells of 2 px
    assert seen.tolist() == [[True, True, True]]
    expected = torch.zeros(3, 4, 4)
    expected[0, 0, 0] = expected[1, 1, 1] = expected[2, 3, 0] = 1
    assert torch.equal(places[0], expected.flatten(1))


def test_what_stands_still_and_noise_are_not_motion() -> None:
    frames = torch.full((1, 4, 3, 8, 8), 90, dtype=torch.uint8)
    frames[0, 1] += 12  # grey levels
    places, seen = motion_places(frames, 4)
    assert not seen.any()
    assert not places.any()


def test_the_centre_is_in_tenths_of_the_side_from_the_middle() -> None:
    places = torch.zeros(2, 4, 4)
    places[0, 0, 3] = 1  # above, at the right
    places[1, 1:3, 1] = 0.5
    assert torch.allclose(centre_of(places.flatten(1)), torch.tensor([[3.75, -3.75], [-1.25, 0.0]]))


def test_the_loss_by_hand() -> None:
    places, seen = motion_places(moving_point(), 4)
    seen[0, 2] = False  # does not count
    exact = torch.cat([(places + 1e-9).log(), centre_of(places)], -1)
    assert motion_loss(exact, places, seen).item() == pytest.approx(0, abs=1e-5)
    blind = torch.zeros(1, 3, 18)
    missed = 3.75**2 + 3.75**2, 1.25**2 + 1.25**2
    assert motion_loss(blind, places, seen).item() == pytest.approx(math.log(16) + sum(missed) / 2, rel=1e-5)
    assert motion_loss(blind, places, torch.zeros_like(seen)).item() == 0


def test_the_read_out_reads_the_centre_linearly() -> None:
    read_out = MotionReadout(3, 4, hidden_dim=8)
    poses = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    middle = read_out((poses[:1] + poses[1:2]) / 2)[0, -2:]
    assert torch.allclose(middle, read_out(poses)[:2, -2:].mean(0), atol=1e-6)
    assert read_out(poses).shape == (5, 18)
