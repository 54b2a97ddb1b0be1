"""What success is worth: players that know nothing, and players that know everything, on the same pairs.

A player has the interface of `planning.Agent`: `start(goal_frames, env_ids, goal_proprio)` and
`act(frames, proprio, active)`. Those that read the truth are shown it as proprioception by `StateView`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openjepa.agent import Agent, AgentConfig
from openjepa.envs.policies import Policy
from openjepa.envs.two_rooms import STEP, TwoRoomsConfig
from openjepa.envs.two_rooms_oracle import TwoRoomsSimulator, path_distance
from openjepa.errors import ConfigError
from openjepa.nn.host import Array
from openjepa.nn.random import keyed_seed
from openjepa.planning import CEM, CEMConfig
from openjepa.planning.costs import PathCost
from openjepa.protocols import ActionBounds, World


class StateView:
    """A world whose proprioception is the truth; only ceilings and scripted players may look through it.

    Args:
        world: what is shown.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.name, self.num_envs, self.bounds, self.max_steps = (
            world.name,
            world.num_envs,
            world.bounds,
            world.max_steps,
        )
        self.frame_shape, self.state_names, self.has_states = world.frame_shape, world.state_names, world.has_states
        self.can_reset_to, self.can_snapshot = world.can_reset_to, world.can_snapshot

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """See `World.reset`."""
        return self.world.reset(seeds)

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """See `World.reset_to`."""
        return self.world.reset_to(states)

    def snapshot(self) -> list[Any]:
        """See `World.snapshot`."""
        return self.world.snapshot()

    def restore(self, snapshots: Sequence[Any]) -> np.ndarray:
        """See `World.restore`."""
        return self.world.restore(snapshots)

    def step(self, actions: np.ndarray) -> np.ndarray:
        """See `World.step`."""
        return self.world.step(actions)

    def ended(self) -> np.ndarray:
        """See `World.ended`."""
        return self.world.ended()

    def states(self) -> np.ndarray:
        """See `World.states`."""
        return self.world.states()

    def proprio(self) -> np.ndarray:
        """The true states [B, P]."""
        return self.world.states()

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """See `World.distance`."""
        return self.world.distance(states, goals)

    def is_success(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """See `World.is_success`."""
        return self.world.is_success(states, goals)

    def groups(self, starts: np.ndarray, goals: np.ndarray) -> list[str] | None:
        """See `World.groups`."""
        return self.world.groups(starts, goals)

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()


class PolicyPlayer:
    """Plays a policy of `envs.policies` and never looks at the goal: the random floor.

    Every environment has its own random numbers, keyed by (seed, env_id).

    Args:
        policy: what plays; a scripted one that reads states needs a `StateView`.
        seed: of all episodes.
    """

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy, self.seed = policy, seed

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Begins an episode in every environment."""
        ids = range(len(goal_frames)) if env_ids is None else env_ids
        self.policy.reset([keyed_seed(self.seed, int(i)) for i in ids])

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, A]."""
        return self.policy.act(None if proprio is None else np.asarray(proprio))


class StraightLinePlayer:
    """Walks straight at the true goal position and slides along what is in the way; needs a `StateView`.

    What it reaches needed no planning: a planner that is only a little better has learnt to head for things.

    Args:
        reach: length of a step of a full action, in the unit of the first two state columns.
    """

    def __init__(self, reach: float = STEP) -> None:
        self.reach = reach
        self._goal: np.ndarray | None = None

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """Remembers the goals' true positions."""
        self._goal = _positions(goal_proprio)

    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """Returns actions [B, 2] with a norm of at most 1."""
        if self._goal is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        way = (self._goal - _positions(proprio)) / self.reach
        return (way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1)).astype(np.float32)


def simulator_player(
    bounds: ActionBounds,
    config: TwoRoomsConfig,
    *,
    planner: CEMConfig | None = None,
    seed: int = 0,
) -> Agent:
    """Plans with the true simulator and the true length of the way: the ceiling; needs a `StateView`.

    Args:
        bounds: of the world.
        config: of the world; with two rooms.
        planner: options of CEM.
        seed: of the plans.
    """
    if config.layout == "four-rooms":
        raise ConfigError("`layout` must be fixed or random: the length of the way is known for two rooms.")
    search = planner or CEMConfig(horizon=9, num_samples=64, num_elites=8, num_iterations=3, knot_steps=3)
    return Agent(
        TwoRoomsSimulator(config),
        CEM(bounds, search),
        PathCost(path_distance),
        bounds,
        AgentConfig(seed=seed),
    )


def _positions(states: Array | None) -> np.ndarray:
    if states is None:
        raise ConfigError("`proprio` must be the true states; got None. Wrap the world in `StateView`.")
    return np.asarray(states)[:, :2]
