"""One episode towards a picture: the user's own, or the last frame of play from the same start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Agent, load_agent, read_card
from openjepa.agent.landmarks import Landmarks
from openjepa.agent.saved import AgentCard
from openjepa.data.images import read_image
from openjepa.envs import default_policy, make_policy, make_world
from openjepa.errors import ConfigError, DataError
from openjepa.eval.pages.animation import Replay
from openjepa.planning.costs import PathCost
from openjepa.protocols import World

DRAWN_GOAL = 25  # steps of play whose end is the goal, where no picture is given


@dataclass(frozen=True)
class Decision:
    """One decision of an agent.

    Attributes:
        step: environment step.
        state: [N, D] where it was.
        heading: [N, D] what it headed for, the goal or a subgoal.
        cost: expected of its plan.
        left: to the goal by the critic, or None where the cost knows no distance of two states.
        mode: how it was thought about; empty without a configurator.
        why: the reason, in a line.
    """

    step: int
    state: Tensor
    heading: Tensor
    cost: float
    left: float | None
    mode: str = ""
    why: str = ""


@dataclass(frozen=True)
class Played:
    """What happened.

    Attributes:
        replay: the episode as pictures.
        words: how it went.
        decisions: how it was thought about, where that is known.
        goal: [N, D] the goal as the agent sees it, or None.
        landmarks: the agent's map, or None.
    """

    replay: Replay
    words: str
    decisions: tuple[Decision, ...] = ()
    goal: Tensor | None = None
    landmarks: Landmarks | None = None

    @property
    def thoughts(self) -> list[str]:
        """A line for each change of mode."""
        changes = zip((None, *self.decisions), self.decisions, strict=False)
        return [
            f"step {now.step}: {now.why}"
            for before, now in changes
            if now.mode and (before is None or before.mode != now.mode)
        ]


def play_to_picture(
    path: Path,
    *,
    goal: Path | None = None,
    world: str | None = None,
    env: Mapping[str, Any] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> Played:
    """Reopens an agent and lets it play.

    Args:
        path: of the run or of the agent's folder.
        goal: a picture file of the size that the agent sees; None plays at random first and takes where that ends.
        world: name or id; None is where the agent learned.
        env: options of the world, by name; None are those of the agent.
        steps: that the agent has.
        seed: of the start.

    Raises:
        ConfigError: where no world is known.
        DataError: for a picture of another size.
    """
    agent, card = load_agent(path), read_card(path)
    place = place_of(card, world, env, steps)
    try:
        picture, truth = _goal(place, goal, card.frame_shape, seed)
        return _play(agent, place, picture, truth, steps, seed)
    finally:
        place.close()


def place_of(card: AgentCard, world: str | None, env: Mapping[str, Any] | None, steps: int) -> World:
    """The world that an agent is to play in; see `play_to_picture`."""
    if steps < 1:
        raise ConfigError(f"`steps` must be at least 1; got {steps}.")
    name = world or card.world
    if not name:
        raise ConfigError("this agent learned from recorded episodes of unknown origin. Say where to play: --world ID.")
    options = dict(env if env is not None else card.world_options)
    place = make_world(name, 1, image_size=card.frame_shape[1:], env_options=options)
    if place.bounds.dim != card.bounds.dim or place.bounds.categories != card.bounds.categories:
        place.close()
        raise ConfigError(
            f"`{name}` must take the actions that this agent learned ({card.bounds.dim} wide); it takes "
            f"{place.bounds.dim}. Choose the world it learned in."
        )
    return place


def _goal(
    place: World, goal: Path | None, shape: tuple[int, int, int], seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The goal as a frame [3, H, W], and its true state where that is known."""
    if goal is not None:
        frame = np.asarray(read_image(goal))
        if frame.shape != shape:
            raise DataError(
                f"`{goal}` must be {shape[1]} x {shape[2]} px like the pictures that this agent learned from; it is "
                f"{frame.shape[-2]} x {frame.shape[-1]}. Resize it, or take it at that size."
            )
        return frame, None
    policy = make_policy(default_policy(place.bounds), place.bounds)
    policy.reset([seed])
    frames = place.reset([seed])
    for _ in range(DRAWN_GOAL):
        if place.ended().any():
            break
        frames = place.step(policy.act(place.states() if place.has_states else None))
    return frames[0], place.states() if place.has_states else None


@torch.no_grad()
def _play(agent: Agent, place: World, picture: np.ndarray, truth: np.ndarray | None, steps: int, seed: int) -> Played:
    frames = place.reset([seed])
    agent.start(picture[None])
    seen, reached = [frames[0].copy()], False
    decisions: list[Decision] = []
    goal = agent.perception.goal(picture[None])
    for step in range(steps):
        before = agent.decisions
        actions = agent.act(frames, place.proprio())
        if agent.decisions > before:
            decisions.append(_decision(agent, frames, place.proprio(), goal, step))
        frames = place.step(actions)
        seen.append(frames[0].copy())
        if truth is not None:
            reached = _is_there(place, truth)
        if reached or place.ended().any():
            break
    cost = "" if agent.last_plan is None else f", expected cost {float(agent.last_plan.cost[0]):.3g}"
    if truth is None:
        words = f"played {len(seen) - 1} steps towards the picture{cost}"
    else:
        words = f"{'reached' if reached else 'did not reach'} the goal in {len(seen) - 1} steps{cost}"
    return Played(Replay(np.stack(seen), picture, reached), words, tuple(decisions), goal[0], agent.landmarks)


@torch.no_grad()
def _decision(agent: Agent, frames: np.ndarray, proprio: np.ndarray | None, goal: Tensor, step: int) -> Decision:
    """What the agent has just decided."""
    assert agent.last_plan is not None
    state = agent.perception.goal(frames, proprio)  # at rest, as a goal is
    heading = goal if agent.headed_for is None else agent.headed_for
    left = float(agent.cost.between(state, goal)[0]) if isinstance(agent.cost, PathCost) else None
    setup, why = agent.thoughts[0] if agent.thoughts else (None, "")
    cost = float(agent.last_plan.cost[0])
    return Decision(step, state[0], heading[0].clone(), cost, left, setup.mode if setup is not None else "", why)


def _is_there(place: World, truth: np.ndarray) -> bool:
    """Whether the goal is reached, by the world's own rule; without a rule nobody says so."""
    try:
        return bool(place.is_success(place.states(), truth)[0])
    except ConfigError:
        return False
