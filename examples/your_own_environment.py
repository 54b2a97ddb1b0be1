"""A Gymnasium environment of your own as a world: five lines in `main`, the rest is the environment.

    python examples/your_own_environment.py

Needs `openjepa[sim]`.
"""

import gymnasium
import numpy as np

from openjepa.data import EpisodeStore
from openjepa.envs import GymnasiumWorld, StateAdapter, collect, make_policy


class Slider(gymnasium.Env):
    """A bright bar that an action pushes along a line of 64 pixels."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium documents it
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode: str = "rgb_array") -> None:
        self.render_mode, self.position = render_mode, 0.5

    def reset(self, *, seed=None, options=None):
        """Starts at a random place."""
        super().reset(seed=seed)
        self.position = float(self.np_random.uniform())
        return np.array([self.position], np.float32), {}

    def step(self, action):
        """Moves by at most a twentieth of the line."""
        self.position = float(np.clip(self.position + 0.05 * action[0], 0, 1))
        return np.array([self.position], np.float32), 0.0, False, False, {}

    def render(self):
        """Returns the picture [64, 64, 3]."""
        picture = np.full((64, 64, 3), 30, np.uint8)
        column = round(self.position * 60)
        picture[:, column : column + 4] = 220
        return picture


def set_position(env, state):
    env.unwrapped.position = float(state[0])


def main() -> None:
    adapter = StateAdapter(read=lambda env: np.array([env.unwrapped.position], np.float32), write=set_position)
    world = GymnasiumWorld(Slider, 4, adapter=adapter, max_steps=20, success_distance=0.05)
    goals = world.reset_to(np.array([[0.1], [0.4], [0.6], [0.9]], np.float32))  # pictures of goals
    with EpisodeStore.resume("data/slider") as store:
        collect(world, make_policy("drift", world.bounds), store, episodes=8, seed=0)
        print(f"{len(store)} episodes of {store.episode(0).actions.shape[0]} steps; goals {goals.shape}")


if __name__ == "__main__":
    main()
