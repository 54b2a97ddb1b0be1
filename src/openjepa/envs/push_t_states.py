"""How the state of Push-T (`gym_pusht`) is read, set and judged."""

from typing import Any

import numpy as np

from openjepa.envs.gymnasium_states import StateAdapter, euclidean
from openjepa.protocols import ActionBounds

PUSH_T_REACH = 40.0  # px that an action of 1 puts the target ahead of the pusher
PUSH_T_NAMES = ("pusher_x", "pusher_y", "block_x", "block_y", "block_angle", "pusher_vx", "pusher_vy")


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
        names=lambda env: PUSH_T_NAMES,
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
