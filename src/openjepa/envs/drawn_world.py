"""What the worlds that this project draws itself have in common: their states say everything, and nothing ends."""

from collections.abc import Callable, Sequence

import numpy as np

from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

ROUNDING = 1e-4  # by which an action may leave its bounds


def slide(
    positions: np.ndarray, delta: np.ndarray, walls: np.ndarray, is_free: Callable[..., np.ndarray], substeps: int = 1
) -> np.ndarray:
    """Positions [..., 2] after moves of delta [..., 2], x before y; the half that would enter a wall is dropped.

    `is_free` takes positions and whatever [..., W] says where the walls are to [...] bool.
    """
    positions = positions.copy()
    for _ in range(substeps):
        for axis in (0, 1):
            trial = positions.copy()
            trial[..., axis] += delta[..., axis]
            positions[..., axis] = np.where(is_free(trial, walls), trial[..., axis], positions[..., axis])
    return positions


class DrawnWorld:
    """The parts of `openjepa.protocols.World` that are the same in every drawn world."""

    name: str
    num_envs: int
    bounds: ActionBounds
    max_steps: int
    reached: float  # a goal nearer than this, in the unit of `distance`, counts as reached
    frame_shape = (3, 64, 64)
    has_states = can_reset_to = can_snapshot = True

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """See `World.reset_to`; every world has its own."""
        raise NotImplementedError

    def states(self) -> np.ndarray:
        """See `World.states`; every world has its own."""
        raise NotImplementedError

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Straight distance [B] of the first two columns, the place of what acts; ways around walls may be longer."""
        return np.linalg.norm(states[..., :2] - goals[..., :2], axis=-1)

    def is_success(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether `distance` is below `reached` [B]."""
        return self.distance(states, goals) < self.reached

    def snapshot(self) -> list[np.ndarray]:
        """The states, one by one."""
        return list(self.states())

    def restore(self, snapshots: Sequence[np.ndarray]) -> np.ndarray:
        """See `World.restore`."""
        return self.reset_to(np.stack(snapshots))

    def ended(self) -> np.ndarray:
        """[B] False: nothing ends an episode but its length."""
        return np.zeros(self.num_envs, bool)

    def proprio(self) -> np.ndarray | None:
        """None: the agent sees pictures only."""
        return None

    def groups(self, starts: np.ndarray, goals: np.ndarray) -> list[str] | None:
        """None: all pairs are of one kind."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def allowed(self, actions: np.ndarray) -> np.ndarray:
        """Actions [B, A] as float64, as they are; refuses those out of the box around zero, or longer than the ball."""
        actions = np.asarray(actions)
        check_shape(actions, f"B={self.num_envs} A={self.bounds.dim}", name="actions")
        is_ball = self.bounds.max_norm is not None
        limit = float(self.bounds.max_norm or self.bounds.high[0])
        reach = np.linalg.norm(actions, axis=1, keepdims=True) if is_ball else actions
        within = np.abs(reach) <= limit * (1 + ROUNDING)
        if not within.all():  # also catches NaN
            rule = f"have a norm of at most {limit:g}" if is_ball else f"be in [{-limit:g}, {limit:g}]"
            raise ConfigError(
                f"`actions` must {rule}; got {reach[~within][0]:.3g}. Clip them with `world.bounds.clip`."
            )
        return actions.astype(np.float64)

    def check_seeds(self, seeds: Sequence[int]) -> None:
        """Refuses another number of seeds than environments."""
        if len(seeds) != self.num_envs:
            raise ConfigError(f"`seeds` must have one entry per environment ({self.num_envs}); got {len(seeds)}.")
