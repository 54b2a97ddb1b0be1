"""What an arm stands in: the model of robot and table, and everything about its looks that a scene number decides.

Scene numbers are counted: those below 2^20 are for training, those from 2^20 on are *near* (drawn from the same
distribution), and those from 2^21 on are *far*: textures and hues that no other scene has, and a camera that strays by
a quarter more. Nothing is recompiled for a scene; materials, colours, sizes, lights and camera are set before drawing.
"""

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

NEAR, FAR, LAST = 1 << 20, 1 << 21, 3 << 20  # first near scene, first far one, and behind the last; exact in float32
STREAM = 0x61726D  # sets the random numbers of scenes apart from all others
UPPER, FORE, HAND = 0.36, 0.36, 0.12  # m, links of the arm, and from the wrist to between the finger tips
SHOULDER = 0.26  # m above the table
WALL_HALF = (0.24, 0.012, 0.14)  # m, half the length, thickness and height of the obstacle
BLOCK_HALF = 0.03  # m, half a side of the block
DISTRACTORS = 5
PLAIN_SHARE = 0.3  # of surfaces without a texture
FAR_JITTER = 1.25  # of the camera in far scenes, in that of the others
EYE, LOOK_AT, FOVY = (1.05, -0.92, 0.78), (0.42, 0.04, 0.18), 34.0  # m, m, degrees
HUES, FAR_HUES = (0.0, 0.62), (0.67, 0.95)  # of all surfaces and things but the arm's joints
SURFACES = ("floor", "backdrop", "table")
TEXTURE_SIDE = 64  # px


def robot_xml(*, block: bool, obstacle: bool) -> str:
    """The model in MuJoCo's XML: a yaw, three pitches and two fingers on a table, position-controlled.

    Args:
        block: whether a block lies on the table.
        obstacle: whether a wall stands on it.
    """
    names = [*TEXTURES, *FAR_TEXTURES]
    textures = "".join(
        f'<texture name="{n}" type="2d" builtin="flat" width="{TEXTURE_SIDE}" height="{TEXTURE_SIDE}"/>'
        f'<material name="{n}" texture="{n}" texrepeat="3 3" texuniform="true"/>'
        for n in names
    )
    kinds = ("box", "sphere", "cylinder", "box", "capsule")
    distractors = "".join(
        f'<geom name="distractor{i}" type="{kind}" size=".03 .03 .03" pos="0 0 {-1 - i}" contype="0" conaffinity="0"/>'
        for i, kind in enumerate(kinds)
    )
    things = ""
    if block:
        half = f"{BLOCK_HALF} {BLOCK_HALF} {BLOCK_HALF}"
        things += f"""<body name="block" pos=".45 0 {BLOCK_HALF}"><freejoint name="block"/>
          <geom name="block" type="box" size="{half}" mass=".2" friction=".5 .01 .001" contype="4" conaffinity="3"/>
        </body>"""
    if obstacle:
        half = " ".join(map(str, WALL_HALF))
        things += f"""<body name="obstacle" mocap="true" pos=".5 0 0">
          <geom name="obstacle" type="box" size="{half}" contype="0" conaffinity="1"/></body>"""
    fingers = "".join(
        f"""<body name="finger{side}" pos="{HAND - 0.05} 0 {sign * 0.012}">
          <joint name="finger{side}" type="slide" axis="0 0 {sign}" range="0 .03" armature=".01"/>
          <geom name="finger{side}" type="box" pos=".025 0 0" size=".025 .012 .007" mass=".05" contype="1"
            conaffinity="0"/></body>"""
        for side, sign in (("_left", 1), ("_right", -1))
    )
    return f"""<mujoco model="arm">
    <option timestep=".005" integrator="implicitfast"/>
    <visual>
      <global offwidth="64" offheight="64"/>
      <quality shadowsize="0" offsamples="0" numslices="12" numstacks="6" numquads="1"/>
      <headlight ambient=".35 .35 .35" diffuse=".15 .15 .15" specular="0 0 0"/>
    </visual>
    <default>
      <geom contype="0" conaffinity="0"/>
      <joint axis="0 -1 0" armature=".05"/>
      <position kp="600" dampratio="1"/>
    </default>
    <asset>{textures}</asset>
    <worldbody>
      <light name="lamp" directional="true" dir="0 .3 -1" castshadow="false"/>
      <geom name="floor" type="plane" pos="0 0 -.4" size="4 4 .1"/>
      <geom name="backdrop" type="box" pos="-.9 .9 .4" size="3 .02 2" euler="0 0 45"/>
      <geom name="table" type="box" pos=".35 0 -.05" size=".5 .6 .05" contype="2"/>
      {distractors}{things}
      <body name="base" gravcomp="1">
        <geom name="base" type="cylinder" pos="0 0 .09" size=".07 .09"/>
        <body name="turret" pos="0 0 {SHOULDER}" gravcomp="1">
          <joint name="yaw" axis="0 0 1"/>
          <geom name="turret" type="cylinder" pos="0 0 -.04" size=".055 .06" mass="1"/>
          <body name="upper" gravcomp="1">
            <joint name="shoulder"/>
            <geom name="upper" type="capsule" fromto="0 0 0 {UPPER} 0 0" size=".035" mass=".8"/>
            <body name="fore" pos="{UPPER} 0 0" gravcomp="1">
              <joint name="elbow"/>
              <geom name="elbow" type="sphere" size=".045" mass=".1"/>
              <geom name="fore" type="capsule" fromto="0 0 0 {FORE} 0 0" size=".028" mass=".5"/>
              <body name="hand" pos="{FORE} 0 0" gravcomp="1">
                <joint name="wrist" armature=".02"/>
                <geom name="wrist" type="sphere" size=".035" mass=".1"/>
                <geom name="palm" type="box" pos="{HAND - 0.055} 0 0" size=".015 .02 .04" mass=".1" contype="1"/>
                <site name="hand" pos="{HAND} 0 0"/>
                {fingers}
              </body>
            </body>
          </body>
        </body>
      </body>
    </worldbody>
    <actuator>
      <position joint="yaw"/><position joint="shoulder"/><position joint="elbow"/>
      <position joint="wrist" kp="100"/>
      <position joint="finger_left" kp="200"/><position joint="finger_right" kp="200"/>
    </actuator>
    </mujoco>"""


def joint_angles(hand: np.ndarray) -> np.ndarray:
    """Yaw, shoulder, elbow and wrist [4] in rad that bring the hand, pointing down, to a place [3] in m.

    Out of reach the arm is stretched towards the place.
    """
    x, y, z = hand
    across, up = np.hypot(x, y), z + HAND - SHOULDER
    bend = (across**2 + up**2 - UPPER**2 - FORE**2) / (2 * UPPER * FORE)
    elbow = -np.arccos(np.clip(bend, -1, 1))
    shoulder = np.arctan2(up, across) - np.arctan2(FORE * np.sin(elbow), UPPER + FORE * np.cos(elbow))
    return np.array([np.arctan2(y, x), shoulder, elbow, -np.pi / 2 - shoulder - elbow])


# --------------------------------------------------------------------------------------------------------------
# Textures: grey patterns [64, 64] in [0, 1] that a colour is multiplied with

_V, _U = np.mgrid[:TEXTURE_SIDE, :TEXTURE_SIDE] / TEXTURE_SIDE  # from 0 to 1 downwards and to the right


def _noise(cells: int) -> np.ndarray:
    drawn = np.random.default_rng((STREAM, cells)).random((cells, cells))
    return np.kron(drawn, np.ones((TEXTURE_SIDE // cells,) * 2))


def _wave(phase: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(2 * np.pi * phase)


TEXTURES: dict[str, np.ndarray] = {
    "checker": (np.floor(4 * _U) + np.floor(4 * _V)) % 2,
    "stripes": np.floor(8 * _U) % 2,
    "diagonal": np.floor(6 * (_U + _V)) % 2,
    "dots": ((4 * _U) % 1 - 0.5) ** 2 + ((4 * _V) % 1 - 0.5) ** 2 < 0.09,
    "grain": _noise(32),
    "ramp": _wave(_V),
    "bricks": ((8 * _V) % 1 < 0.2) | ((4 * _U + 0.5 * (np.floor(8 * _V) % 2)) % 1 < 0.1),
    "grid": ((6 * _U) % 1 < 0.2) | ((6 * _V) % 1 < 0.2),
}
FAR_TEXTURES: dict[str, np.ndarray] = {
    "rings": np.floor(10 * np.hypot(_U - 0.5, _V - 0.5)) % 2,
    "ripples": _wave(3 * _U + 0.3 * np.sin(2 * np.pi * 2 * _V)),
    "patches": _noise(8),
    "zigzag": np.floor(8 * (_V + 0.25 * np.abs((4 * _U) % 1 - 0.5))) % 2,
    "triangles": (4 * _U) % 1 > (4 * _V) % 1,
    "crosses": (np.abs((3 * _U) % 1 - 0.5) < 0.12) ^ (np.abs((3 * _V) % 1 - 0.5) < 0.3),
}


def paint(model: "object") -> None:
    """Writes all textures into a compiled model; before a renderer is made, which copies them."""
    data, starts = model.tex_data, model.tex_adr  # type: ignore[attr-defined]
    for start, pattern in zip(starts, [*TEXTURES.values(), *FAR_TEXTURES.values()], strict=True):
        grey = np.rint(255 * (0.45 + 0.55 * pattern.astype(float))).astype(np.uint8)
        data[start : start + 3 * TEXTURE_SIDE**2] = np.repeat(grey.ravel(), 3)


# --------------------------------------------------------------------------------------------------------------
# Scenes


@dataclass(frozen=True)
class Scene:
    """The looks of a scene.

    Attributes:
        textures: number of the texture of each of `SURFACES`, -1 for none.
        colours: of each of `SURFACES`, [3, 3] in [0, 1].
        light: direction that light goes in, and its colour, each [3].
        camera: look-at [3] in m, distance in m, azimuth, elevation and vertical field of view in degrees.
        arm: colours of links, joints and hand, [3, 3].
        distractors: x, y, half size in m and colour of each, [N, 6].
        obstacle: yaw of the wall in rad around the arm's base, and its height in m.
        thing: colour [3] of block or wall.
    """

    textures: tuple[int, ...]
    colours: np.ndarray
    light: tuple[np.ndarray, np.ndarray]
    camera: tuple[np.ndarray, float, float, float, float]
    arm: np.ndarray
    distractors: np.ndarray
    obstacle: tuple[float, float]
    thing: np.ndarray


@lru_cache(maxsize=4096)
def draw_scene(number: int) -> Scene:
    """The scene of a number; a pure function."""
    rng = np.random.default_rng((STREAM, number))
    is_far = number >= FAR
    hues = FAR_HUES if is_far else HUES

    def colour(value: tuple[float, float] = (0.35, 1.0)) -> np.ndarray:
        return np.array(colorsys.hsv_to_rgb(rng.uniform(*hues), rng.uniform(0.15, 0.9), rng.uniform(*value)))

    first, count = (len(TEXTURES), len(FAR_TEXTURES)) if is_far else (0, len(TEXTURES))
    textures = [-1 if rng.random() < PLAIN_SHARE else first + int(rng.integers(count)) for _ in SURFACES]
    colours = np.stack([colour() for _ in SURFACES])
    direction = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), -1.0])
    light = direction / np.linalg.norm(direction), rng.uniform(0.35, 0.7) * rng.uniform(0.85, 1.0, 3)
    stray = FAR_JITTER if is_far else 1.0
    eye = np.array(EYE) + stray * rng.uniform(-0.11, 0.11, 3)
    look_at = np.array(LOOK_AT) + stray * rng.uniform(-0.035, 0.035, 3)
    way = look_at - eye
    distance = float(np.linalg.norm(way))
    angles = np.degrees([np.arctan2(way[1], way[0]), np.arcsin(way[2] / distance)])
    camera = look_at, distance, float(angles[0]), float(angles[1]), FOVY + stray * rng.uniform(-2, 2)
    arm = np.stack([colour((0.5, 1.0)), colour((0.1, 0.5)), colour((0.5, 1.0))])
    shown = int(rng.integers(DISTRACTORS + 1))
    places = [rng.uniform(0.05, 0.8, shown), rng.uniform(-0.5, 0.5, shown), rng.uniform(0.015, 0.045, shown)]
    distractors = np.column_stack([*places, np.array([colour() for _ in range(shown)]).reshape(shown, 3)])
    obstacle = float(rng.uniform(-0.15, 0.15)), float(rng.uniform(0.14, 0.18))
    return Scene(tuple(textures), colours, light, camera, arm, distractors, obstacle, colour((0.5, 1.0)))
