"""Four rooms: walls and closed doors hold, open ones let through, distractors jump, pictures show all of it."""

import numpy as np
import pytest

from openjepa.envs import make_world
from openjepa.envs.four_rooms import AGENT, DOORS, REACHED, SOLID, STAY, FourRooms, FourRoomsConfig
from openjepa.errors import ConfigError
from openjepa.eval.health.world_conformance import check_world


def state(x: float, y: float, closed: int | None = None, world: FourRooms | None = None) -> np.ndarray:
    found = np.zeros(len((world or FourRooms()).state_names), np.float32)
    found[:2] = x, y
    if closed is not None:
        found[2 + closed] = 1
    return found


def test_it_is_a_world() -> None:
    check_world(lambda n: make_world("four-rooms-distractors", n))


@pytest.mark.parametrize(
    ("start", "heading", "door"),
    [((80, 56), (1, 0), 0), ((144, 168), (-1, 0), 1), ((56, 80), (0, 1), 2), ((168, 144), (0, -1), 3)],
)
def test_a_door_lets_through_unless_it_is_closed(start, heading, door) -> None:
    world = FourRooms(3)
    beside = np.add(start, np.where(np.abs(heading), 0, 30.0))  # at the wall, 30 px beside the door
    world.reset_to(np.stack([state(*start), state(*start, door), state(*beside)]))
    for _ in range(24):
        world.step(np.tile(np.array(heading, np.float32), (3, 1)))
    along = (world.states()[:, :2] - DOORS[door]) @ np.array(heading)
    assert along[0] == pytest.approx(28)  # 24 steps of 2.5 px from 32 px before it
    assert (along[1:] < -5).all()


def test_distractors_jump_now_and_then_and_touch_nothing() -> None:
    world = FourRooms(50, FourRoomsConfig(distractors=2))
    world.reset(range(50))
    before, jumps = world.states(), 0
    for _ in range(100):
        world.step(np.zeros((50, 2), np.float32))
        after = world.states()
        ways = [np.linalg.norm(after[:, i : i + 2] - before[:, i : i + 2], axis=1) for i in (6, 10)]
        jumps += int((np.stack(ways) > 6).sum())
        assert np.array_equal(after[:, :6], before[:, :6])
        before = after
    assert jumps == pytest.approx(50 * 2 * 100 / STAY, rel=0.2)


def test_the_same_state_is_shown_at_both_sizes_and_one_door_in_two_episodes_is_closed() -> None:
    small, large = (make_world("four-rooms-distractors", 200, env_options={"size": size}) for size in (64, 224))
    frames = small.reset(range(200)), large.reset(range(200))
    assert frames[1].shape == (200, 3, 224, 224)
    assert np.array_equal(small.states(), large.states())
    closed = small.states()[:, 2:6].sum(1)
    assert set(closed) == {0.0, 1.0}
    assert 0.4 < closed.mean() < 0.6
    for picture, side in zip(frames, (64, 224), strict=True):
        scale = side / 224
        for i in range(4):
            x, y = (DOORS[i] * scale).astype(int)
            seen = (picture[:, :, y, x] == np.array(SOLID)).all(1)
            covered = (np.abs(small.states()[:, [0, 1, 6, 7]].reshape(-1, 2, 2) - DOORS[i]).max(2) < 12).any(1)
            assert np.array_equal(seen[~covered], small.states()[~covered, 2 + i] == 1)
        x, y = (small.states()[0, :2] * scale).astype(int)
        assert np.abs(picture[0, :, y, x].astype(int) - AGENT).max() < 60
    goals = small.states()
    goals[:, 0] += REACHED - 0.5
    goals[:, 6:] = 0
    assert small.is_success(small.states(), goals).all()


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="`size` must be one of 64, 224"):
        FourRoomsConfig(size=96)
    with pytest.raises(ConfigError, match="`distractors` from 0 to 5"):
        FourRoomsConfig(distractors=6)
    with pytest.raises(ConfigError, match="must be 224, at which it is drawn; got 64"):
        make_world("four-rooms-distractors", image_size=64, env_options={"size": 224})
