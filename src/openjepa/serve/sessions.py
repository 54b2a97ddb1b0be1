"""Who acts for whom: every session of a connection has an agent of its own, on weights that all share."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from openjepa.agent.agent import Agent
from openjepa.agent.saved import AgentCard
from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.planning.budget import Budgeted

# Where the picture of an observation may stand: ours, and those of RoboArena's first cameras.
PICTURES = ("observation/image", "observation/exterior_image_0_left", "observation/exterior_image_1_left", "image")
GOAL, PROPRIO = "goal", "observation/proprio"


@dataclass(frozen=True)
class Decision:
    """What a session answers.

    Attributes:
        actions: [H, A] float32, to be executed one after the other before the next observation.
        plan_cost: of the whole plan behind them.
        cut_short: whether the search ran out of time.
    """

    actions: np.ndarray
    plan_cost: float
    cut_short: bool


class Session:
    """One episode after another of one robot.

    Args:
        agent: whose weights, planner and options are used; it is not changed.
    """

    def __init__(self, agent: Agent) -> None:
        frame_shape = agent.perception.frame_shape
        if frame_shape is None:
            raise ConfigError("an agent must know the size of its pictures to be served; this one does not.")
        self.frame_shape, self.planner = frame_shape, Budgeted(agent.planner)
        self.agent = agent.with_planner(self.planner)
        self._goal: np.ndarray | None = None

    def reset(self) -> None:
        """Ends the episode; the next observation must bring a goal."""
        self._goal = None

    def infer(self, observation: Mapping[Any, Any], until: float | None = None) -> Decision:
        """Returns the actions of the next model step.

        Args:
            observation: the picture (one of `PICTURES`), [H, W, C] or [C, H, W] uint8; `goal`, likewise, in the
                first one of an episode, and again where it changes; `observation/proprio` [P] where the model has it.
            until: when the answer must be there, on the monotonic clock, or None.

        Raises:
            DataError: for an observation without a picture, or an episode without a goal.
            ShapeError: for a picture of another size or type.
        """
        name = next((key for key in PICTURES if key in observation), None)
        if name is None:
            raise DataError(f"an observation must hold a picture `{PICTURES[0]}`; got {_names(observation)}.")
        frame = self._picture(observation[name], name)
        proprio = self._proprio(observation)
        self.planner.until = until
        if GOAL in observation:
            goal = self._picture(observation[GOAL], GOAL)
            if self._goal is None or not np.array_equal(goal, self._goal):
                self.agent.start(goal[None], goal_proprio=self._proprio(observation, "goal/proprio"))
                self._goal = goal
        if self._goal is None:
            raise DataError(
                "an episode must begin with a picture `goal`; got none. Send it with the first observation."
            )
        before = self.planner.cut_short
        steps = range(self.agent.span)  # until the agent looks again
        actions = np.stack([self.agent.act(frame[None], proprio)[0] for _ in steps])
        plan = self.agent.last_plan
        assert plan is not None
        return Decision(actions, float(plan.cost[0]), self.planner.cut_short > before)

    def _picture(self, value: Any, name: str) -> np.ndarray:
        """A picture [C, H, W]."""
        channels, height, width = self.frame_shape
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
            got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise ShapeError(f"`{name}` must be a picture of uint8 pixels; got {got}.")
        if value.shape == (height, width, channels):
            return np.ascontiguousarray(value.transpose(2, 0, 1))
        if value.shape != self.frame_shape:
            raise ShapeError(
                f"`{name}` must be [{height}, {width}, {channels}] like the pictures that the agent learned from; got "
                f"{list(value.shape)}. Resize it."
            )
        return value.copy()

    @staticmethod
    def _proprio(observation: Mapping[Any, Any], name: str = PROPRIO) -> np.ndarray | None:
        value = observation.get(name)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or value.ndim != 1 or not np.isfinite(value).all():
            raise ShapeError(f"`{name}` must be [P] finite numbers.")
        return value.astype(np.float32)[None]


def metadata(agent: Agent, card: AgentCard, budget_ms: float | None) -> dict[str, Any]:
    """What a client is told first: openpi's free dictionary, with the entries of RoboArena's configuration."""
    channels, height, width = card.frame_shape
    return {
        "image_resolution": [height, width],
        "needs_wrist_camera": False,
        "n_external_cameras": 1,
        "needs_stereo_camera": False,
        "needs_session_id": False,
        "action_space": card.action_meaning,
        "channels": channels,
        "observation_keys": list(PICTURES),
        "goal_key": GOAL,
        "goals": list(card.goals),
        "action_horizon": agent.span,
        "action_dim": agent.bounds.dim,
        "action_low": agent.bounds.low,
        "action_high": agent.bounds.high,
        "world": card.world,
        "budget_ms": budget_ms,
    }


def _names(observation: Mapping[Any, Any]) -> str:
    words = [str(key)[:40] for key in list(observation)[:6]]
    return ", ".join(words) or "nothing"


def milliseconds(since: float) -> float:
    """Milliseconds since a moment of `time.monotonic`."""
    return (time.monotonic() - since) * 1e3
