"""Environments of other authors, with one peculiarity each; importing this file registers some of them."""

import threading

import gymnasium
import numpy as np
from gymnasium import spaces


class Toy(gymnasium.Env):
    """A bar at a position in [0, 1] that drifts to the right; checks that its space contains every action."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Box(-0.25, 0.25, (1,), np.float32)
    shape = (40, 80)

    def __init__(self, render_mode=None, action_space=None, size=3, image_size=None):
        self.render_mode, self.size, self.image_size = render_mode, size, image_size
        self.action_space = type(self).action_space if action_space is None else action_space
        self.seen = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.count = float(self.np_random.uniform(0, 0.5)), 0
        return np.float32([self.position]), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.seen.append(action)
        self.position, self.count = min(self.position + 0.01, 1.0), self.count + 1
        return np.float32([self.position]), 0.0, False, False, {}

    def render(self):
        picture = np.zeros((*self.shape, 3), np.uint8)
        picture[:, : round(self.position * self.shape[1])] = 255
        return picture


class Truncated(Toy):
    """Is truncated after three steps, and refuses to be stepped afterwards."""

    def step(self, action):
        if self.count >= 3:
            raise RuntimeError("step after the end")
        observation, *_ = super().step(action)
        return observation, 0.0, False, self.count >= 3, {}


class Terminated(Truncated):
    """Terminates after three steps, and plays on when asked."""

    def step(self, action):
        observation, *_ = Toy.step(self, action)
        return observation, 0.0, self.count >= 3, False, {}


class Growing(Toy):
    """Its pictures change their size after two steps."""

    def render(self):
        return np.zeros((40 + 8 * (self.count > 2), 80, 3), np.uint8)


class Rambling(Toy):
    """Its observations change their size after two steps."""

    def step(self, action):
        observation, *rest = super().step(action)
        return (np.zeros(2, np.float32) if self.count > 2 else observation), *rest


class Unseen(Toy):
    """Cannot be drawn."""

    def render(self):
        raise NotImplementedError


class Crashing(Toy):
    """Breaks in its fifth step, with words on several lines."""

    def step(self, action):
        if self.count >= 4:
            raise ValueError("the gearbox broke\nsecond line")
        return super().step(action)


class Picturing(Toy):
    """Observes pictures only; its layout is drawn by the reset and it can be copied."""

    observation_space = spaces.Dict({"image": spaces.Box(0, 255, (4, 4, 3), np.uint8), "text": spaces.Text(9)})

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"image": np.zeros((4, 4, 3), np.uint8), "text": "go"}, {}

    def step(self, action):
        super().step(action)
        self.position = float(self.np_random.uniform())  # chance is part of what a copy must hold
        return {"image": np.zeros((4, 4, 3), np.uint8), "text": "go"}, 0.0, False, False, {}


class Locked(Picturing):
    """Holds what cannot be copied."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lock = threading.Lock()


class Grid(Picturing):
    """A MiniGrid-like world: an agent on cells, and a wall that a reset draws."""

    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.agent_pos, self.agent_dir = (1, 1), 0
        self.wall = int(self.np_random.integers(3, 7))
        return observation, info

    def step(self, action):
        ahead = [(1, 0), (0, 1), (-1, 0), (0, -1)][self.agent_dir]
        if action == 2:
            self.agent_pos = (self.agent_pos[0] + ahead[0], self.agent_pos[1] + ahead[1])
        else:
            self.agent_dir = (self.agent_dir + (1 if action else -1)) % 4
        return {"image": np.zeros((4, 4, 3), np.uint8), "text": "go"}, 0.0, False, False, {}

    def render(self):
        picture = np.zeros((10, 10, 3), np.uint8)
        picture[:, self.wall] = 90
        picture[self.agent_pos[1] % 10, self.agent_pos[0] % 10] = 120 + 40 * self.agent_dir
        return picture


class Maze(Toy):
    """A `GoalEnv` around a simulation that it wraps by hand, with a marker whose place the reset draws."""

    observation_space = spaces.Dict(
        {k: spaces.Box(-9, 9, (2,)) for k in ("observation", "achieved_goal", "desired_goal")}
    )

    class Simulation:
        mujoco_renderer = None

        def __init__(self):
            self.model, self.data = object(), type("Data", (), {})()
            self.data.qpos, self.data.qvel = np.zeros(3), np.zeros(3)

        def set_state(self, qpos, qvel):
            self.data.qpos, self.data.qvel = qpos.copy(), qvel.copy()

    def __init__(self, render_mode=None, sparse=True):
        super().__init__(render_mode)
        self.inside, self.sparse = self.Simulation(), sparse
        self.inside.mujoco_renderer = type("Renderer", (), {"width": 480, "height": 480})()

    @property
    def data(self):
        return self.inside.data

    @property
    def model(self):
        return self.inside.model

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        self.inside.set_state(self.np_random.uniform(1, 2, 3), np.zeros(3))
        self.goal = self.np_random.uniform(0, 9, 2)
        return self.observe(), {}

    def observe(self):
        return {
            "observation": np.zeros(2),
            "achieved_goal": self.inside.data.qpos[1:].copy(),
            "desired_goal": self.goal,
        }

    def step(self, action):
        self.inside.data.qpos = self.inside.data.qpos + 0.1
        return self.observe(), 0.0, False, False, {}

    def compute_reward(self, achieved, desired, info):
        near = float(np.linalg.norm(achieved - desired, axis=-1))
        return float(near <= 0.45) if self.sparse else -near

    def render(self):
        picture = np.zeros((10, 10, 3), np.uint8)
        picture[tuple(self.goal.astype(int))] = 255
        picture[tuple((self.inside.data.qpos[1:] * 3).astype(int) % 10)] = 100
        return picture


for kind in (Toy, Truncated, Growing, Rambling, Unseen, Crashing, Picturing):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
gymnasium.register("Keyed-v0", entry_point=lambda **options: Toy(action_space=spaces.Dict({"a": spaces.Discrete(2)})))
