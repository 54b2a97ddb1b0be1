import numpy as np
import pytest
import torch

from openjepa.eval.health.moving_things import find_again, find_moving_things, looked_at


def test_a_dot_is_found_where_it_is(drawn):
    batch = drawn.dot()
    found = find_moving_things(batch.frames)
    gaps = (found.places[:, :, 0] - batch.states).norm(dim=-1)
    assert gaps.mean() < 0.25  # px, of a dot of 4 px with soft edges
    moves = (batch.states[:, 1:] - batch.states[:, :-1]).norm(dim=-1)
    away = batch.states - batch.states.mean(1, keepdim=True)
    assert float(found.step[0]) == pytest.approx(float(moves[moves > 0.1].median()), rel=0.15)
    assert float(found.travel[0]) == pytest.approx(float(away.square().sum(-1).mean().sqrt()), rel=0.05)
    assert 3 < float(found.size[0]) < 4.5
    assert found.grid() is None
    assert all(abs(a - b) <= 16 for a, b in zip(found.colours[0].tolist(), drawn.RED, strict=True))


def test_agent_and_block_are_two_things_and_the_floor_is_none(drawn):
    batch = drawn.pusher()
    found = find_moving_things(batch.frames)
    largest = int(found.size.argmax())
    assert found.share.argsort(descending=True).tolist() == list(range(len(found.share)))
    assert (found.places[:, :, 0] - batch.states[..., :2]).norm(dim=-1).median() < 0.3
    assert (found.places[:, :, largest] - batch.states[..., 2:]).norm(dim=-1).median() < 0.5
    floor = torch.tensor([30.0, 30.0, 40.0])
    assert (found.colours - floor).norm(dim=1).min() > 20


def test_padding_is_not_looked_at(drawn):
    batch = drawn.dot()
    lengths = torch.randint(5, 31, (len(batch.frames),), generator=torch.Generator().manual_seed(0))
    frames = batch.frames.clone()
    for row, n in zip(frames, lengths.tolist(), strict=True):
        row[n:] = 255 * (torch.arange(row.shape[0] - n)[:, None, None, None] % 2)  # flashes
    found, wanted = find_moving_things(frames, lengths), find_moving_things(batch.frames, lengths)
    torch.testing.assert_close(found.travel, wanted.travel)
    torch.testing.assert_close(found.share, wanted.share)
    torch.testing.assert_close(found.step, wanted.step)


def test_a_thing_out_of_sight_stays_where_it_was():
    frames = torch.zeros(1, 6, 3, 16, 16, dtype=torch.uint8)
    for t, x in enumerate((2, 4, None, None, 8, 10)):
        if x is not None:
            frames[0, t, 0, 4:6, x : x + 2] = 250
    found = find_moving_things(frames)
    assert found.places[0, :, 0, 0].tolist() == [3, 5, 5, 5, 9, 11]
    assert (found.places[0, :, 0, 1] == 5).all()


def test_jumps_from_cell_to_cell_show_their_grid(drawn):
    rng = np.random.default_rng(0)
    jumps = rng.integers(-1, 2, (20, 20, 2)) * (rng.random((20, 20, 1)) < 0.5)
    cells = (3 + jumps.cumsum(1)).clip(0, 5)
    assert find_moving_things(drawn.draw([(cells * 5 + 2.5, 2.5, drawn.RED)])).grid() == 5


def test_large_grey_pictures_are_looked_at_through_every_other_pixel():
    assert looked_at(64, 64) == 1
    assert looked_at(96, 128) == 2
    frames = torch.zeros(2, 8, 1, 128, 128, dtype=torch.uint8)
    for t in range(8):
        frames[:, t, :, 40:60, 10 * t : 10 * t + 20] = 200
    found = find_moving_things(frames)
    assert float(found.size[0]) == pytest.approx(20, abs=0.1)
    assert float(found.step[0]) == pytest.approx(10, abs=0.1)
    assert found.places[0, 1, 0].tolist() == [20, 50]
    labels = find_again(frames, found.colours)
    assert ((labels == 0) == (frames[:, :, 0] == 200)).all()


def test_a_still_picture_holds_nothing_that_moves():
    found = find_moving_things(torch.full((3, 5, 3, 8, 8), 100, dtype=torch.uint8))
    assert len(found.size) == 0
    assert found.places.shape == (3, 5, 0, 2)
    assert found.grid() is None
