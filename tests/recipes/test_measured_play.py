"""How a world should be played, from episodes whose motion is known."""

import numpy as np
import pytest

from openjepa.recipes.measured_play import choose_play

gymnasium = pytest.importorskip("gymnasium")

SIDE, SQUARE = 128, 16


class Rolling(gymnasium.Env):
    """A square that rolls without friction: hurled by actions, or by waves that no action slows down."""

    metadata = {"render_modes": ["rgb_array"]}
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, render_mode=None, waves=False, strength=4.0):
        self.render_mode, self.waves, self.strength = render_mode, waves, strength

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.velocity = self.np_random.uniform(SQUARE, SIDE - SQUARE, 2), np.zeros(2)
        if self.waves:
            self.velocity = 14 * self.np_random.normal(size=2)
        return np.float32(self.place), {}

    def step(self, action):
        self.velocity = 0.98 * self.velocity + (0.1 if self.waves else self.strength) * action
        if self.waves:  # as fast as ever
            self.velocity *= 16 / max(1e-6, float(np.hypot(*self.velocity)))
        self.place = self.place + self.velocity
        outside = (self.place < SQUARE / 2) | (self.place > SIDE - SQUARE / 2)
        self.velocity = np.where(outside, -self.velocity, self.velocity)
        self.place = self.place.clip(SQUARE / 2, SIDE - SQUARE / 2)
        return np.float32(self.place), 0.0, False, False, {}

    def render(self):
        x, y = np.rint(self.place - SQUARE / 2).astype(int)
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        picture[y : y + SQUARE, x : x + SQUARE] = 250
        return picture


@pytest.fixture(scope="module", autouse=True)
def registered():
    gymnasium.register("openjepa-test/Rolling-v0", entry_point=Rolling, max_episode_steps=100)
    yield
    del gymnasium.registry["openjepa-test/Rolling-v0"]


@pytest.mark.parametrize(("options", "gentle"), [({}, 0.1), ({"strength": 0.2}, None), ({"waves": True}, None)])
def test_what_is_hurled_by_actions_is_played_with_many_strengths(options, gentle):
    found = choose_play("openjepa-test/Rolling-v0", options, seed=0)
    assert found.gentle == gentle
    assert any("strength of its own" in line for line in found.lines) == (gentle is not None)
