"""How the true state of a Gymnasium environment is read, set and judged.

Gymnasium has no common way to do so, and goals, probes and oracles need one. `StateAdapter` is that way;
there is one for Push-T, for MuJoCo, and for the classic-control environments. Others fall back to the
observation, read-only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openjepa.protocols import ActionBounds

PUSH_T_REACH = 40.0  # px that an action of 1 puts the target ahead of the pusher


def euclidean(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Euclidean distance of states [B, P] and goals [B, P]; [B]."""
    return np.linalg.norm(np.asarray(states, np.float64) - goals, axis=-1)


def render(env: Any, observation: Any) -> np.ndarray:
    """The picture that the environment renders."""
    return env.render()


@dataclass(frozen=True)
class StateAdapter:
    """What `GymnasiumWorld` must know about one kind of environment; every part has a default.

    Attributes:
        read: (env) to the state [P]; None takes the flattened observation.
        write: (env, state [P]) puts a freshly reset env into that state; None where that is impossible.
        proprio: (env) to what the agent itself can measure [P]; None where nothing.
        distance: (states [B, P], goals [B, P]) to [B], in the world's own unit.
        is_success: (states [B, P], goals [B, P]) to [B] bool; None where the user gives `success_distance`.
        picture: (env, observation, or None after `write`) to the picture [H, W, 3] uint8.
        bounds: of actions, where they differ from the environment's action space.
        to_env: (env, action [A]) to the action that the environment takes.
        can_end: whether `terminated` ends an episode; if not, play goes on.
        make: arguments for `gymnasium.make`.
    """

    read: Callable[[Any], np.ndarray] | None = None
    write: Callable[[Any, np.ndarray], None] | None = None
    proprio: Callable[[Any], np.ndarray] | None = None
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] = euclidean
    is_success: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    picture: Callable[[Any, Any], np.ndarray] = render
    bounds: ActionBounds | None = None
    to_env: Callable[[Any, np.ndarray], Any] | None = None
    can_end: bool = True
    make: Mapping[str, Any] = field(default_factory=dict)


def push_t_adapter(reach: float | None = PUSH_T_REACH) -> StateAdapter:
    """Push-T: state [pusher x, y, block x, y, block angle, pusher vx, vy] in px, rad and px/s.

    The block moves without inertia, so this is the whole state but for the physics engine's memory of
    contacts: the step after `reset_to` can differ by a pixel of 512 where the pusher touches the block. The
    picture leaves out the marker of the last action that `render` draws, which would tell an encoder the
    action. Play goes on when the block covers the printed goal.

    Args:
        reach: px that an action of 1 puts the target ahead of the pusher; actions are then in [-1, 1] per
            axis. None keeps the environment's own actions, a target in [0, 512] px.
    """
    if reach is None:
        bounds, to_env = None, None
    else:
        bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))

        def to_env(env: Any, action: np.ndarray) -> np.ndarray:
            target = np.array(env.unwrapped.agent.position) + reach * action
            return np.clip(target, 0.0, 512.0).astype(np.float32)

    return StateAdapter(
        read=_read_push_t,
        write=_write_push_t,
        proprio=lambda env: _read_push_t(env)[[0, 1, 5, 6]],
        distance=push_t_distance,
        is_success=is_push_t_success,
        picture=lambda env, observation: env.unwrapped.get_obs() if observation is None else observation,
        bounds=bounds,
        to_env=to_env,
        can_end=False,
        make={"obs_type": "pixels", "observation_width": 512, "observation_height": 512},
    )


def _read_push_t(env: Any) -> np.ndarray:
    agent, block = env.unwrapped.agent, env.unwrapped.block
    return np.array([*agent.position, *block.position, block.angle % (2 * np.pi), *agent.velocity])


def _write_push_t(env: Any, state: np.ndarray) -> None:
    # Not through `reset_to_state`, whose block position is not the one that it is given.
    x, y, block_x, block_y, angle, vx, vy = map(float, state)
    agent, block = env.unwrapped.agent, env.unwrapped.block
    agent.position, agent.velocity = (x, y), (vx, vy)
    block.angle = angle  # turns about the centre of mass, so the position comes after it
    block.position = (block_x, block_y)
    env.unwrapped.space.reindex_shapes_for_body(agent)
    env.unwrapped.space.reindex_shapes_for_body(block)


def push_t_angle(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Angle in rad, 0 to pi, between the blocks of states [B, P] and goals [B, P]; [B]."""
    turn = np.asarray(states, np.float64)[..., 4] - goals[..., 4]
    return np.abs((turn + np.pi) % (2 * np.pi) - np.pi)


def push_t_distance(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Euclidean distance in px of pusher and block together, without the angle (2608.10145); [B]."""
    return euclidean(np.asarray(states)[..., :4], np.asarray(goals)[..., :4])


def is_push_t_success(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """The moderate rule of 2608.10145: pusher and block within 20 px, block angle within 20 degrees; [B]."""
    return (push_t_distance(states, goals) < 20) & (push_t_angle(states, goals) < np.deg2rad(20))


def _write_mujoco(env: Any, state: np.ndarray) -> None:
    model = env.unwrapped.model
    env.unwrapped.set_state(np.asarray(state[: model.nq], np.float64), np.asarray(state[model.nq :], np.float64))


MUJOCO = StateAdapter(
    read=lambda env: np.concatenate([env.unwrapped.data.qpos.ravel(), env.unwrapped.data.qvel.ravel()]),
    write=_write_mujoco,
)


def _write_classic(env: Any, state: np.ndarray) -> None:
    env.unwrapped.state = np.asarray(state, np.float64)


CLASSIC = StateAdapter(
    read=lambda env: np.asarray(env.unwrapped.state, np.float64),
    write=_write_classic,
)


def adapter_for(env: Any) -> StateAdapter:
    """Chooses by what is there: MuJoCo's qpos and qvel, a classic `state`, else the observation."""
    inner = env.unwrapped
    if hasattr(inner, "set_state") and hasattr(getattr(inner, "data", None), "qpos"):
        return MUJOCO
    if type(inner).__module__.startswith("gymnasium.envs.classic_control"):
        return CLASSIC
    return StateAdapter()
