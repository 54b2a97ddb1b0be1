"""A robot arm with a gripper at a table, in MuJoCo, seen by one camera; every scene looks different.

An action is a displacement of the hand in metres; inverse kinematics turns it into joint angles, and physics decides
what becomes of it. Three tasks: to *reach* a pictured place, to reach it *around* a wall that stands in the way, and to
*push* a block to its pictured place. Positions are in metres, x away from the base, z up.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from openjepa.envs.arm_facts import arm_facts
from openjepa.envs.arm_scene import (
    BLOCK_HALF,
    DISTRACTORS,
    FAR,
    LAST,
    NEAR,
    SURFACES,
    WALL_HALF,
    Scene,
    draw_scene,
    joint_angles,
    paint,
    robot_xml,
)
from openjepa.envs.drawn_world import DrawnWorld
from openjepa.envs.facts import Facts
from openjepa.errors import ConfigError, MissingDependencyError, check_shape, require
from openjepa.protocols import ActionBounds

SIZE = 64  # px
LOW, HIGH = np.array([0.28, -0.26, 0.03]), np.array([0.60, 0.26, 0.30])  # m, where the hand may be asked to go
GRID = 0.04  # m between places of the hand that `everywhere` tries
STEP = 0.04  # m, largest displacement on each axis in one step, which takes 0.2 s
SUBSTEPS = 40
OPEN = 0.03  # m, each finger from the middle when the gripper is open
REACHED, PUSHED = 0.03, 0.05  # m, a hand or block nearer than this to its goal has reached it
WALL = (0.0, 0.16)  # rad and m, yaw and top of a wall that stands still
WALL_CLEARANCE = 0.035  # m, drawn places of the hand keep from the middle of the wall
BLOCK_LOW, BLOCK_HIGH = np.array([0.34, -0.18]), np.array([0.54, 0.18])  # m, where a block is put
NAMES = {"reach": "arm", "around": "arm-around", "push": "arm-push"}  # by task
SPLITS = {"train": (0, NEAR), "near": (NEAR, FAR), "far": (FAR, LAST)}  # scene numbers


@dataclass(frozen=True)
class ArmConfig:
    """Options of the world.

    Attributes:
        task: `reach`, `around` (a wall stands on the table) or `push` (a block lies on it).
        scenes: how many scenes there are; episodes take them in turn by their seeds.
        split: which scenes: `train`, `near` (others of the same kind) or `far` (textures and hues of their own).
        wall: whether it is `still` at one place in all scenes, or `drawn` for each.
        gripper: whether a fourth number of an action opens and closes the fingers, in metres; they are closed else.
        proprio: whether the arm feels where its hand is and how far the gripper is open (4 numbers); else it sees only.
        max_steps: length of an episode of play.
    """

    task: Literal["reach", "around", "push"] = "reach"
    scenes: int = 512
    split: Literal["train", "near", "far"] = "train"
    wall: Literal["still", "drawn"] = "still"
    gripper: bool = False
    proprio: bool = False
    max_steps: int = 32

    def __post_init__(self) -> None:
        if self.task not in NAMES or self.split not in SPLITS:
            raise ConfigError(
                f"`task` must be {', '.join(NAMES)} and `split` {', '.join(SPLITS)}; got {self.task} and {self.split}."
            )
        if self.wall not in ("still", "drawn"):
            raise ConfigError(f"`wall` must be still or drawn; got {self.wall}.")
        if not 1 <= self.scenes <= NEAR or self.max_steps < 1:
            raise ConfigError(f"`scenes` must be from 1 to {NEAR} and `max_steps` at least 1; got {self.scenes}.")


class Arm(DrawnWorld):
    """A batch of arms (see `openjepa.protocols.World`).

    A state is `[x, y, z, gripper]` of the hand, the block's `[block_x, block_y, block_yaw]` where there is one, and the
    `scene` number, which decides all looks and where the wall stands. `reset_to` a state shows it at rest.

    Args:
        num_envs: number of environments B.
        config: the options.

    Raises:
        MissingDependencyError: without MuJoCo, or where it cannot draw.
    """

    def __init__(self, num_envs: int = 1, config: ArmConfig | None = None) -> None:
        self.config = config or ArmConfig()
        self.name = NAMES[self.config.task]
        self.reached = PUSHED if self.config.task == "push" else REACHED
        self.num_envs = num_envs
        self.max_steps = self.config.max_steps
        reach = np.full(3 + self.config.gripper, STEP)
        self.bounds = ActionBounds(-reach, reach)
        self._studio = _studio(self.config.task)
        self._data = [self._studio.new_data() for _ in range(num_envs)]
        self._scenes = np.zeros(num_envs, int)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each column of a state."""
        block = ("block_x", "block_y", "block_yaw") if self.config.task == "push" else ()
        return ("x", "y", "z", "gripper", *block, "scene")

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Takes the scene of each seed, and draws where hand and block are."""
        self.check_seeds(seeds)
        first = SPLITS[self.config.split][0]
        states = np.zeros((self.num_envs, len(self.state_names)))
        for i, seed in enumerate(seeds):
            scene = first + int(seed) % self.config.scenes
            states[i] = draw_state(np.random.default_rng(int(seed)), self.config, scene)
        return self.reset_to(states)

    def reset_to(self, states: np.ndarray) -> np.ndarray:
        """Puts every environment into a state [B, P], at rest; returns frames [B, 3, 64, 64]."""
        check_shape(states, f"B={self.num_envs} P={len(self.state_names)}", name="states")
        states = np.asarray(states, np.float64)
        scenes = np.rint(states[:, -1])
        if not ((scenes >= 0) & (scenes < LAST)).all():  # also catches NaN
            raise ConfigError(f"`scene` of a state must be from 0 to {LAST - 1}; got {states[:, -1]}.")
        self._scenes = scenes.astype(int)
        for data, state, scene in zip(self._data, states, self._scenes, strict=True):
            self._studio.place(data, state[:-1], wall_of(self.config, int(scene)))
        return self.render()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Moves every hand by up to 4 cm along each axis, actions [B, A] in metres, within the workspace."""
        for data, action in zip(self._data, self.allowed(actions), strict=True):
            self._studio.step(data, action)
        return self.render()

    def render(self) -> np.ndarray:
        """Returns the pictures [B, 3, 64, 64] uint8 of the present states."""
        frames = np.empty((self.num_envs, SIZE, SIZE, 3), np.uint8)
        for frame, data, scene in zip(frames, self._data, self._scenes, strict=True):
            self._studio.draw(data, draw_scene(int(scene)), frame)
        return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))

    def states(self) -> np.ndarray:
        """The truth [B, P] float32, named by `state_names`."""
        rows = [[*self._studio.state(data), scene] for data, scene in zip(self._data, self._scenes, strict=True)]
        return np.array(rows, np.float32)

    def proprio(self) -> np.ndarray | None:
        """Place of the hand and opening of the gripper [B, 4] float32 where the arm feels them, else None."""
        return self.states()[:, :4] if self.config.proprio else None

    def distance(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Distance in metres [B] of the hands, or of the blocks where they are what is to be moved."""
        what = slice(4, 6) if self.config.task == "push" else slice(0, 3)
        return np.linalg.norm(np.asarray(states)[..., what] - np.asarray(goals)[..., what], axis=-1)

    @property
    def facts(self) -> Facts:
        """See `facts.SpokenWorld`."""
        return arm_facts(LOW, HIGH, self.state_names)

    def everywhere(self, state: np.ndarray) -> np.ndarray:
        """See `facts.SpokenWorld`; places are 4 cm apart."""
        axes = [np.arange(low + GRID / 2, high, GRID) for low, high in zip(LOW, HIGH, strict=True)]
        places = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
        wall, block = wall_of(self.config, int(state[-1])), state[4:6]
        places = places[[is_free(place, self.config.task, wall, block) for place in places]]
        found = np.repeat(state[None], len(places), 0)
        found[:, :3] = places
        return found

    def unseen(self, num_envs: int) -> "Arm":
        """See `facts.SpokenWorld`: any of the near scenes."""
        return Arm(num_envs, replace(self.config, split="near", scenes=NEAR))


def draw_state(rng: np.random.Generator, config: ArmConfig, scene: int) -> np.ndarray:
    """Draws a state [P] of hand and block in a scene."""
    task, wall = config.task, wall_of(config, scene)
    while True:
        hand = rng.uniform(LOW, HIGH)
        block = np.array([*rng.uniform(BLOCK_LOW, BLOCK_HIGH), rng.uniform(-np.pi / 4, np.pi / 4)])
        if is_free(hand, task, wall, block[:2]):
            return np.array([*hand, 0.0, *(block if task == "push" else ()), scene])


def is_free(hand: np.ndarray, task: str, wall: tuple[float, float], block: np.ndarray) -> bool:
    """Whether a hand [3] may be put to a place: not into the wall of that task, nor into the block [2] of its task."""
    if task == "around":
        return bool(abs(beside_wall(hand, wall)) >= WALL_CLEARANCE or hand[2] >= wall[1] + 0.02)
    return task != "push" or bool(np.linalg.norm(hand[:2] - block) >= 0.07 or hand[2] >= 2 * BLOCK_HALF + 0.03)


def wall_of(config: ArmConfig, scene: int) -> tuple[float, float]:
    """Yaw in rad around the base, and height in m, of the wall in a scene."""
    return WALL if config.wall == "still" else draw_scene(scene).obstacle


def beside_wall(hand: np.ndarray, wall: tuple[float, float]) -> np.ndarray:
    """How far places [..., 3] are to the left of the middle of a wall, in m [...]."""
    return hand[..., 1] * np.cos(wall[0]) - hand[..., 0] * np.sin(wall[0])


@lru_cache(maxsize=3)
def _studio(task: str) -> "_Studio":
    return _Studio(task)


class _Studio:
    """One compiled model and one renderer for all arms of a task: a renderer holds a context of the graphics card."""

    def __init__(self, task: str) -> None:
        if sys.platform == "linux":
            os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen; read when MuJoCo is imported
        try:
            import mujoco
        except ImportError as error:
            raise require("mujoco", "mujoco", "simulate the arm") from error
        self._mujoco: Any = mujoco
        self.has_block = task == "push"
        self.has_obstacle = task == "around"
        self.model = mujoco.MjModel.from_xml_string(robot_xml(block=self.has_block, obstacle=self.has_obstacle))
        paint(self.model)
        try:
            self._renderer: Any = mujoco.Renderer(self.model, SIZE, SIZE)
        except Exception as error:  # each way to draw has errors of its own
            raise MissingDependencyError(
                f"MuJoCo cannot draw: {error}. It needs OpenGL: set MUJOCO_GL to egl, osmesa or glfw."
            ) from error
        atexit.register(self._renderer.close)  # later there is no module left to free it with
        self._camera = mujoco.MjvCamera()
        geom = {self.model.geom(i).name: i for i in range(self.model.ngeom)}
        self._surfaces = [geom[name] for name in SURFACES]
        links, joints = ("base", "upper", "fore"), ("turret", "elbow", "wrist")
        parts = (links, joints, ("palm", "finger_left", "finger_right"))
        self._parts = [[geom[name] for name in names] for names in parts]
        self._distractors = [geom[f"distractor{i}"] for i in range(DISTRACTORS)]
        self._things = [geom[name] for name in ("block", "obstacle") if name in geom]
        self._hand = self.model.site("hand").id
        self._joints = [self.model.joint(name).qposadr[0] for name in ("yaw", "shoulder", "elbow", "wrist")]
        self._fingers = [self.model.joint(name).qposadr[0] for name in ("finger_left", "finger_right")]
        self._block = self.model.joint("block").qposadr[0] if self.has_block else -1
        self._shown: Scene | None = None

    def new_data(self) -> Any:
        """The physics of one more arm."""
        return self._mujoco.MjData(self.model)

    def place(self, data: Any, state: np.ndarray, wall: tuple[float, float]) -> None:
        """Puts an arm into a state without its scene number, at rest."""
        self._mujoco.mj_resetData(self.model, data)
        angles, opening = joint_angles(state[:3]), np.full(2, state[3])
        data.qpos[self._joints], data.qpos[self._fingers] = angles, opening
        data.ctrl[:4], data.ctrl[4:] = angles, opening
        if self.has_block:
            at, (x, y, yaw) = self._block, state[4:7]
            data.qpos[at : at + 7] = [x, y, BLOCK_HALF, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        if self.has_obstacle:
            yaw, top = wall
            out = WALL_HALF[0] * 2
            data.mocap_pos[0] = [out * np.cos(yaw), out * np.sin(yaw), top - WALL_HALF[2]]
            data.mocap_quat[0] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        self._mujoco.mj_kinematics(self.model, data)

    def step(self, data: Any, action: np.ndarray) -> None:
        """Moves towards the hand's place plus an action [3 or 4] for 0.2 s."""
        data.ctrl[:4] = joint_angles(np.clip(data.site_xpos[self._hand] + action[:3], LOW, HIGH))
        if len(action) > 3:
            data.ctrl[4:] = np.clip(data.ctrl[4:] + action[3], 0, OPEN)
        self._mujoco.mj_step(self.model, data, nstep=SUBSTEPS)
        self._mujoco.mj_kinematics(self.model, data)  # positions of bodies lag one substep behind those of joints

    def state(self, data: Any) -> list[float]:
        """The state of an arm without its scene number."""
        found = [*data.site_xpos[self._hand], float(data.qpos[self._fingers].mean())]
        if self.has_block:
            x, y, _, w, i, j, k = data.qpos[self._block : self._block + 7]
            found += [x, y, float(np.arctan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k)))]
        return found

    def draw(self, data: Any, scene: Scene, frame: np.ndarray) -> None:
        """Draws an arm in its scene into a frame [64, 64, 3] uint8."""
        if scene is not self._shown:
            self._dress(scene)
        self._mujoco.mj_kinematics(self.model, data)
        self._mujoco.mj_camlight(self.model, data)
        self._renderer.update_scene(data, self._camera)
        self._renderer.render(out=frame)

    def _dress(self, scene: Scene) -> None:
        """Gives the model the looks of a scene."""
        model = self.model
        model.geom_matid[self._surfaces] = scene.textures
        model.geom_rgba[self._surfaces, :3] = scene.colours
        for part, colour in zip(self._parts, scene.arm, strict=True):
            model.geom_rgba[part, :3] = colour
        model.geom_rgba[self._things, :3] = scene.thing
        for i, geom in enumerate(self._distractors):
            shown = i < len(scene.distractors)
            model.geom_rgba[geom, 3] = float(shown)
            if shown:
                x, y, half = scene.distractors[i, :3]
                model.geom_pos[geom], model.geom_size[geom] = [x, y, half], half
                model.geom_rgba[geom, :3] = scene.distractors[i, 3:]
        model.light_dir[0], model.light_diffuse[0] = scene.light
        look_at, distance, azimuth, elevation, fovy = scene.camera
        camera = self._camera
        camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = look_at, distance, azimuth, elevation
        model.vis.global_.fovy = fovy
        self._shown = scene
