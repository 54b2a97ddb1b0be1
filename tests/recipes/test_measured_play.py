"""How a world should be played, from episodes whose motion is known."""

import numpy as np
import pytest

from openjepa.data import EpisodeStore
from openjepa.protocols import Episode
from openjepa.recipes.measured_play import PlayChoices, _choose

SIDE, SQUARE = 128, 16


def rolling(speed: float, seed: int) -> Episode:
    """A square that rolls on and bounces off the frame: one tenth of its velocity is new in every step."""
    rng = np.random.default_rng(seed)
    actions = rng.normal(size=(100, 2)).astype(np.float32).clip(-1, 1)
    frames = np.zeros((101, 3, SIDE, SIDE), np.uint8)
    place, velocity = rng.uniform(SQUARE, SIDE - SQUARE, 2), speed * rng.normal(size=2)
    for t, frame in enumerate(frames):
        x, y = np.rint(place - SQUARE / 2).astype(int)
        frame[:, y : y + SQUARE, x : x + SQUARE] = 250
        if t < 100:
            velocity = 0.95 * velocity + 0.3 * speed * actions[t]
            place = place + velocity
            outside = (place < SQUARE / 2) | (place > SIDE - SQUARE / 2)
            velocity = np.where(outside, -velocity, velocity)
            place = place.clip(SQUARE / 2, SIDE - SQUARE / 2)
    return Episode(frames, actions)


@pytest.mark.parametrize(("speed", "gentle"), [(1.0, None), (9.0, 0.1)])
def test_what_is_hurled_is_played_with_many_strengths(tmp_path, speed, gentle):
    with EpisodeStore.create(tmp_path / "store") as store:
        for seed in range(8):
            store.append(rolling(speed, seed))
        found = _choose(store, PlayChoices(64, 60, "smooth"), 200, 0)
    assert found.gentle == gentle
    assert any("strength of its own" in line for line in found.lines) == (gentle is not None)
