"""How the true state of a Gymnasium environment is read, set and judged.

Gymnasium has no common way to do so, and goals, probes and oracles need one. `StateAdapter` is that way, and
`adapter_for` chooses one by what an environment has: MuJoCo's `data`, a classic `state`, an `agent_pos` on a grid.
Others fall back to the observation, read-only. An environment with a goal of its own (`GoalEnv`) is judged by its rule.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from openjepa.protocols import ActionBounds


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
        names: (env) to the name of each column of a state; None numbers them.
        proprio: (env) to what the agent itself can measure [P]; None where nothing.
        distance: (states [B, P], goals [B, P]) to [B], in the world's own unit.
        is_success: (states [B, P], goals [B, P]) to [B] bool; None where the user gives `success_distance`.
        picture: (env, observation, or None after `write`) to the picture [H, W, 3] uint8.
        draw_at: (env, height, width) lets it draw pictures of that size from now on; None where it cannot choose.
        draw_with: (env, first) lets it draw, from its first picture on, with what another environment of its kind has
            prepared for drawing; None where each prepares its own.
        put_away: (env) frees, before it is closed, what drawing has prepared; None where closing is enough.
        bounds: of actions, where they differ from the environment's action space.
        to_env: (env, action [A]) to the action that the environment takes.
        can_end: whether `terminated` ends an episode; if not, play goes on.
        make: arguments for `gymnasium.make`.
    """

    read: Callable[[Any], np.ndarray] | None = None
    write: Callable[[Any, np.ndarray], None] | None = None
    names: Callable[[Any], tuple[str, ...]] | None = None
    proprio: Callable[[Any], np.ndarray] | None = None
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] = euclidean
    is_success: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    picture: Callable[[Any, Any], np.ndarray] = render
    draw_at: Callable[[Any, int, int], None] | None = None
    draw_with: Callable[[Any, Any], None] | None = None
    put_away: Callable[[Any], None] | None = None
    bounds: ActionBounds | None = None
    to_env: Callable[[Any, np.ndarray], Any] | None = None
    can_end: bool = True
    make: Mapping[str, Any] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------------------
# MuJoCo: positions and velocities of all joints, and what else drives the physics.

PARTS = ("qpos", "qvel", "act", "mocap_pos", "mocap_quat")  # of MuJoCo's data, where they are not empty
FULL_TURN = 0.1  # share of the change by 1 rad that a full turn of an angle may leave in a picture, by rounding
DRAWN = ("mesh_vert", "mesh_face", "tex_data", "hfield_data", "mat_rgba")  # of a model, what a context is made of
HINGE = 3  # MuJoCo's number of the joint whose position is an angle in rad


def _simulation(env: Any) -> Any:
    """The part of an environment that has MuJoCo's `data` and `model`: itself, or one that it wraps by hand.

    One that only passes them on from another comes after that other, which can be set and drawn.
    """
    inner = env.unwrapped
    owners = [x for x in (inner, *vars(inner).values()) if hasattr(x, "model") and hasattr(x, "data")]
    owners = [x for x in owners if hasattr(x.data, "qpos")]
    return max(owners, key=lambda x: hasattr(x, "set_state") + hasattr(x, "mujoco_renderer"), default=None)


def _mujoco_parts(env: Any) -> dict[str, np.ndarray]:
    data = _simulation(env).data
    found = {name: np.asarray(getattr(data, name, ())) for name in PARTS}
    return {name: part for name, part in found.items() if part.size}


def _read_mujoco(env: Any) -> np.ndarray:
    return np.concatenate([part.ravel() for part in _mujoco_parts(env).values()])


def _write_mujoco(env: Any, state: np.ndarray) -> None:
    owner, state = _simulation(env), np.asarray(state, np.float64)
    parts = _mujoco_parts(env)
    values = dict(zip(parts, np.split(state, np.cumsum([part.size for part in parts.values()])[:-1]), strict=True))
    for name, part in parts.items():
        if name not in ("qpos", "qvel") or not hasattr(owner, "set_state"):
            part[...] = values[name].reshape(part.shape)
    if hasattr(owner, "set_state"):
        owner.set_state(values["qpos"], values["qvel"])
    else:
        import mujoco

        mujoco.mj_forward(owner.model, owner.data)


def _mujoco_names(env: Any) -> tuple[str, ...]:
    return tuple(f"{name}{i}" for name, part in _mujoco_parts(env).items() for i in range(part.size))


def _draw_mujoco_at(env: Any, height: int, width: int) -> None:
    """Sets the size, and leaves the smoothing of edges to whoever shrinks the picture: half of the time is its own."""
    owner = _simulation(env)
    renderer = owner.mujoco_renderer
    renderer.height, renderer.width = height, width  # read when the first picture is drawn
    if hasattr(owner.model, "vis"):
        owner.model.vis.quality.offsamples = 0


def _draw_mujoco_with(env: Any, first: Any) -> None:
    """Gives an environment a viewer of its own camera and the context of the first one: one takes a second to make.

    A context holds what a model shows of meshes, textures and fields of heights; where these differ, or a renderer is
    not Gymnasium's, nothing is shared.
    """
    owner, other = _simulation(env), _simulation(first)
    mine: Any = owner.mujoco_renderer
    known: Any = getattr(other.mujoco_renderer, "viewer", None)
    needed = [(known, ("con", "cam", "opengl_context", "_init_camera")), (mine, ("_viewers", "_set_cam_config"))]
    if any(not hasattr(thing, name) for thing, names in needed for name in names):
        return
    if any(not np.array_equal(getattr(owner.model, x), getattr(other.model, x)) for x in DRAWN):
        return
    viewer = copy.copy(known)
    viewer.model, viewer.data, viewer.cam = owner.model, owner.data, type(known.cam)()
    viewer._markers, viewer._overlays = [], {}
    viewer._init_camera()
    mine.viewer = viewer
    mine._set_cam_config()
    mine._viewers["rgb_array"] = viewer


def _render_mujoco(env: Any, observation: Any) -> np.ndarray:
    """Draws with the context of this very environment, or of the first one beside it.

    Gymnasium leaves whichever was made last in force: it may be another world's, of
    another size, or none at all once a world was closed, and then pictures are black.
    """
    viewer = getattr(_simulation(env).mujoco_renderer, "viewer", None)
    if viewer is not None:  # the first picture makes it; a renderer of one's own may have none
        viewer.make_context_current()
    return render(env, observation)


def _free_mujoco(env: Any) -> None:
    """Frees what was drawn with while its own context is in force.

    Left to the collector of garbage it would be freed in whichever context is, and that one's textures with it.
    """
    viewer: Any = getattr(_simulation(env).mujoco_renderer, "viewer", None)
    if hasattr(viewer, "con") and hasattr(viewer.con, "free"):
        viewer.make_context_current()
        viewer.con.free()


def _short_way(angles: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Euclidean distance of the leading numbers of states; of those that are angles [P] bool, the short way round."""

    def distance(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        gap = np.asarray(states, np.float64)[..., : len(angles)] - np.asarray(goals)[..., : len(angles)]
        return np.linalg.norm(np.where(angles, (gap + np.pi) % (2 * np.pi) - np.pi, gap), axis=-1)

    return distance


MUJOCO = StateAdapter(read=_read_mujoco, write=_write_mujoco, names=_mujoco_names)


def _mujoco_adapter(env: Any) -> StateAdapter:
    """MuJoCo's adapter for one model: distances of positions, angles the short way round."""
    owner = _simulation(env)
    width = owner.data.qpos.size
    angles = np.zeros(width, bool)
    if hasattr(owner.model, "jnt_type"):
        angles[owner.model.jnt_qposadr[owner.model.jnt_type == HINGE]] = True

    distance = _short_way(angles)
    if not hasattr(owner, "mujoco_renderer"):
        return replace(MUJOCO, distance=distance)
    return replace(
        MUJOCO,
        distance=distance,
        picture=_render_mujoco,
        draw_at=_draw_mujoco_at,
        draw_with=_draw_mujoco_with,
        put_away=_free_mujoco,
    )


# --------------------------------------------------------------------------------------------------------------
# Others


def _write_classic(env: Any, state: np.ndarray) -> None:
    env.unwrapped.state = np.asarray(state, np.float64)


CLASSIC = StateAdapter(
    read=lambda env: np.asarray(env.unwrapped.state, np.float64),
    write=_write_classic,
)


def _classic_adapter(env: Any) -> StateAdapter:
    """The adapter of a vector `state`; its angles are those numbers that a full turn does not show."""
    state = CLASSIC.read(env)  # type: ignore[misc]

    def drawn(number: int = 0, turn: float = 0.0) -> np.ndarray:
        turned = state.copy()
        turned[number] += turn
        _write_classic(env, turned)
        return np.asarray(env.render(), np.float64)

    try:
        plain = drawn()
        if plain.ndim != 3:  # no picture: whoever draws for good says so
            return CLASSIC
        shown = [[np.abs(drawn(i, turn) - plain).mean() for turn in (1.0, 2 * np.pi)] for i in range(len(state))]
    except Exception:  # a state that never occurs need not be drawable, and drawing fails in as many ways as it is done
        return CLASSIC
    finally:
        _write_classic(env, state)
    angles = np.array([full < FULL_TURN * part for part, full in shown])
    return replace(CLASSIC, distance=_short_way(angles)) if angles.any() else CLASSIC


def _write_grid(env: Any, state: np.ndarray) -> None:
    env.unwrapped.agent_pos = tuple(int(x) for x in np.rint(state[:2]))
    env.unwrapped.agent_dir = int(np.rint(state[2])) % 4


GRID = StateAdapter(
    read=lambda env: np.array([*env.unwrapped.agent_pos, env.unwrapped.agent_dir], np.float64),
    write=_write_grid,
    names=lambda env: ("agent_x", "agent_y", "agent_dir"),
    distance=lambda states, goals: euclidean(states[..., :2], goals[..., :2]),  # cells
    is_success=lambda states, goals: euclidean(states[..., :2], goals[..., :2]) < 0.5,  # the same cell
)


def _has_classic_state(env: Any) -> bool:
    state = getattr(env.unwrapped, "state", None)
    return (
        isinstance(state, (np.ndarray, tuple, list)) and np.ndim(state) == 1 and np.asarray(state).dtype.kind in "fiu"
    )


# By what a freshly reset environment has, first come first served; `adapter_for` adds a goal's own rule.
ADAPTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], StateAdapter]], ...] = (
    (lambda env: _simulation(env) is not None, _mujoco_adapter),
    (lambda env: hasattr(env.unwrapped, "agent_pos") and hasattr(env.unwrapped, "agent_dir"), lambda env: GRID),
    (_has_classic_state, _classic_adapter),
)


def adapter_for(env: Any, observation: Any = None) -> StateAdapter:
    """Chooses an adapter for an environment that was just reset with seed 0, given what it observes."""
    base = next((make(env) for fits, make in ADAPTERS if fits(env)), StateAdapter())
    is_goal_env = isinstance(observation, Mapping) and {"achieved_goal", "desired_goal"} <= set(observation)
    return _goal_adapter(env, observation, base) if is_goal_env and base.read is not None else base


def _goal_adapter(env: Any, observation: Mapping[str, Any], base: StateAdapter) -> StateAdapter:
    """The rule of a `GoalEnv`, for states of which the achieved goal is a part; `base` where it is none.

    Its reward says whether a goal is reached where it is sparse: then a near miss is worth as much as a hit.
    """
    assert base.read is not None
    inner, achieved = env.unwrapped, np.asarray(observation["achieved_goal"], np.float64)
    starts = list(range(len(base.read(env)) - len(achieved) + 1))
    for seed in (1, 2, 0):  # columns that agree once may do so by chance; the last reset leaves it as it was found
        achieved = np.asarray(env.reset(seed=seed)[0]["achieved_goal"], np.float64)
        state = base.read(env)
        starts = [i for i in starts if np.allclose(state[i : i + len(achieved)], achieved, atol=1e-9)]
    first = starts[0] if starts else None
    hit = inner.compute_reward(achieved, achieved, {})
    if first is None or inner.compute_reward(achieved + 1e-4, achieved, {}) != hit:
        return base
    columns = slice(first, first + len(achieved))

    def is_success(states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        states, goals = np.broadcast_arrays(states, goals)
        pairs = np.stack([states[..., columns], goals[..., columns]], -2).reshape(-1, 2, len(achieved))
        reached = [inner.compute_reward(is_at, goal, {}) == hit for is_at, goal in pairs]
        return np.array(reached, bool).reshape(states.shape[:-1])

    return replace(
        base,
        distance=lambda states, goals: euclidean(states[..., columns], goals[..., columns]),
        is_success=is_success,
    )
