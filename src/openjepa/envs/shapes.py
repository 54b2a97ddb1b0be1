"""Pictures and clips of moving shapes, drawn in NumPy: pre-training and probing without a download.

A clip shows one object, of a class, colour, size, position and velocity of its own, before a background, with
other shapes as distractors if asked for. Every clip is a pure function of its number, so that the set is as
large as wanted and costs no disk; clips from different ranges of numbers never coincide, which makes a
held-out set.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from openjepa.errors import ConfigError
from openjepa.nn.random import keyed_rng
from openjepa.protocols import ImageBatch, VideoBatch

SHAPES = ("disc", "square", "triangle", "ring", "cross", "diamond", "bar", "star")
TEST_OFFSET = 1 << 40  # numbers from here on are for held-out sets
CHUNK = 64  # clips drawn at once: bounds the memory of their float canvases


@dataclass(frozen=True)
class ShapesConfig:
    """What is drawn.

    Attributes:
        size: side of a picture in pixels, >= 16.
        num_frames: frames T of a clip, >= 1; pictures are clips of one frame.
        num_classes: kinds of shapes in use, 2 to 8, in the order of `SHAPES`.
        radius: range of the object's radius as a share of the side, in (0, 0.5).
        speed: range of its speed in sides per frame, >= 0; it bounces off the border.
        rotation: share of a full turn that the angle of every shape is drawn from, from upright on, in [0, 1].
        distractors: further shapes, smaller and static, of random classes, >= 0.
        background: `plain` one colour, `gradient` two, `texture` smooth random patches.
        noise: standard deviation of pixel noise in grey levels, >= 0.
        batch_size: pictures or clips of a global batch, >= 1.
        num_items: number of different clips, drawn once and kept in memory; None for a new one at every slot.
        held_out: whether to draw from the numbers that training never uses.
        seed: of everything, >= 0.
    """

    size: int = 64
    num_frames: int = 16
    num_classes: int = 8
    radius: tuple[float, float] = (0.12, 0.22)
    speed: tuple[float, float] = (0.0, 0.06)
    rotation: float = 1.0
    distractors: int = 0
    background: Literal["plain", "gradient", "texture"] = "texture"
    noise: float = 4.0
    batch_size: int = 64
    num_items: int | None = None
    held_out: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 16 or self.num_frames < 1 or self.batch_size < 1 or self.seed < 0:
            raise ConfigError(
                f"`size` must be >= 16, `num_frames` and `batch_size` >= 1, `seed` >= 0; got {self.size}, "
                f"{self.num_frames}, {self.batch_size}, {self.seed}."
            )
        if not 2 <= self.num_classes <= len(SHAPES):
            raise ConfigError(f"`num_classes` must be 2 to {len(SHAPES)}; got {self.num_classes}.")
        if not 0 < self.radius[0] <= self.radius[1] < 0.5:
            raise ConfigError(f"`radius` must be two ascending numbers in (0, 0.5); got {self.radius}.")
        if not 0 <= self.speed[0] <= self.speed[1]:
            raise ConfigError(f"`speed` must be two ascending numbers >= 0; got {self.speed}.")
        if not 0 <= self.rotation <= 1:
            raise ConfigError(f"`rotation` must lie in [0, 1]; got {self.rotation}.")
        if self.distractors < 0 or self.noise < 0:
            raise ConfigError(f"`distractors` and `noise` must be >= 0; got {self.distractors} and {self.noise}.")
        if self.background not in ("plain", "gradient", "texture"):
            raise ConfigError(f"`background` must be plain, gradient or texture; got {self.background}.")
        if self.num_items is not None and self.num_items < 1:
            raise ConfigError(f"`num_items` must be >= 1 or None; got {self.num_items}.")


@dataclass(frozen=True)
class ShapeClips:
    """Clips and the truth about them.

    Attributes:
        frames: [B, T, 3, H, W] uint8.
        labels: class of the object [B] int64.
        positions: centre of the object [B, T, 2] float32, x to the right and y down, in sides, 0 to 1.
        velocities: [B, T, 2] float32 in sides per frame, as it leaves the frame (before a bounce).
        colors: [B, 3] float32, 0 to 1.
        radii: [B] float32, in sides.
    """

    frames: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    colors: np.ndarray
    radii: np.ndarray

    def rows(self, chosen: np.ndarray) -> "ShapeClips":
        """The clips at some places, in the order given."""
        return ShapeClips(**{name: value[chosen] for name, value in vars(self).items()})


def draw_clips(config: ShapesConfig, numbers: np.ndarray) -> ShapeClips:
    """Draws clips by their numbers.

    Args:
        config: what is drawn; its batch size does not matter here.
        numbers: [B] integers >= 0; each names one clip for good.
    """
    parts = [_draw(config, numbers[i : i + CHUNK]) for i in range(0, len(numbers), CHUNK)]
    if len(parts) == 1:
        return parts[0]
    return ShapeClips(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])})


def _draw(config: ShapesConfig, numbers: np.ndarray) -> ShapeClips:
    count, size, length = len(numbers), config.size, config.num_frames
    u = np.stack([_uniforms(config, int(n)) for n in numbers])  # [B, 96]
    labels = (u[:, 0] * config.num_classes).astype(np.int64)
    radii = _between(u[:, 1], config.radius)
    positions, velocities = _paths(config, u[:, 2:6], radii, length)
    turn = config.rotation * 2 * np.pi
    angle = u[:, 6] * turn
    colors, backdrop = _colors(config, u)
    still = backdrop[:, None]  # [B, 1, H, W, 3] float32
    for i in range(config.distractors):
        v = u[:, 40 + 8 * (i % 6) : 48 + 8 * (i % 6)]
        v = np.modf(v * (1 + i // 6) * 1.618)[0] if i >= 6 else v
        kind = (v[:, 0] * config.num_classes).astype(np.int64)
        cover = _cover(kind, v[:, None, 1:3], 0.5 * radii, v[:, 3] * turn, size)
        still = _paint(still, cover, v[:, 4:7])
    canvas = _paint(still, _cover(labels, positions, radii, angle, size), colors)  # [B, T, H, W, 3]
    if config.noise:
        canvas = canvas + np.stack([_noise(config, int(n)) for n in numbers])
    frames = np.clip(np.rint(canvas), 0, 255).astype(np.uint8).transpose(0, 1, 4, 2, 3)
    return ShapeClips(
        np.ascontiguousarray(frames).reshape(count, length, 3, size, size),
        labels,
        positions.astype(np.float32),
        velocities.astype(np.float32),
        colors.astype(np.float32),
        radii.astype(np.float32),
    )


class ShapeSource:
    """Batches of shapes; a `BatchSource`: batch `step` is a pure function of its number.

    Args:
        config: what is drawn.
        kind: `clips` for `VideoBatch`, `pictures` for `ImageBatch` (the first frame of each clip).
    """

    def __init__(self, config: ShapesConfig | None = None, kind: Literal["clips", "pictures"] = "clips") -> None:
        self.config, self.kind = config or ShapesConfig(), kind
        if kind not in ("clips", "pictures"):
            raise ConfigError(f"`kind` must be clips or pictures; got {kind}.")

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> ImageBatch | VideoBatch:
        """Returns this rank's share of batch `step`, with the class as label."""
        clips = self.clips(step, rank=rank, world_size=world_size)
        labels = torch.from_numpy(clips.labels)
        if self.kind == "clips":
            return VideoBatch(torch.from_numpy(clips.frames), labels)
        return ImageBatch(torch.from_numpy(clips.frames[:, 0].copy()), labels)

    @cached_property
    def kept(self) -> ShapeClips:
        """All clips of a set of `num_items`."""
        if self.config.num_items is None:
            raise ConfigError("`num_items` must be given to keep the clips; got None.")
        return draw_clips(self._as_clips(), np.arange(self.config.num_items) + self.first_number)

    @property
    def first_number(self) -> int:
        """Number of the first clip."""
        return TEST_OFFSET if self.config.held_out else 0

    def clips(self, step: int, *, rank: int = 0, world_size: int = 1) -> ShapeClips:
        """The same batch with positions and velocities, for probes."""
        c = self.config
        if c.batch_size % world_size or not 0 <= rank < world_size:
            raise ConfigError(
                f"`batch_size` must be a multiple of the {world_size} processes; got {c.batch_size} (rank {rank})."
            )
        share = c.batch_size // world_size
        slots = step * c.batch_size + np.arange(rank * share, (rank + 1) * share)
        if c.num_items is not None:
            draws = keyed_rng(c.seed, 1, step)
            return self.kept.rows(draws.integers(c.num_items, size=c.batch_size)[rank * share : (rank + 1) * share])
        return draw_clips(self._as_clips(), slots + self.first_number)

    def _as_clips(self) -> ShapesConfig:
        if self.kind == "clips":
            return self.config
        return ShapesConfig(**{**self.config.__dict__, "num_frames": 1})


def _uniforms(config: ShapesConfig, number: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[config.seed, number])).random(96)


def _noise(config: ShapesConfig, number: int) -> np.ndarray:
    draws = np.random.Generator(np.random.Philox(key=[config.seed + (1 << 32), number]))
    shape = config.num_frames, config.size, config.size, 3
    return draws.standard_normal(shape, np.float32) * np.float32(config.noise)


def _between(u: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _paths(config: ShapesConfig, u: np.ndarray, radii: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight paths [B, T, 2] that bounce off the border, and their velocities."""
    speed, angle = _between(u[:, 2], config.speed), u[:, 3] * 2 * np.pi
    velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)  # [B, 2]
    low, room = radii[:, None, None], 1 - 2 * radii[:, None, None]
    free = u[:, None, :2] * room + velocity[:, None] * np.arange(length)[:, None]  # [B, T, 2]
    turns = np.floor(free / room)  # reflections fold the line
    inside = free - turns * room
    odd = turns.astype(np.int64) % 2 == 1
    sign = np.where(odd, -1.0, 1.0)
    return low + np.where(odd, room - inside, inside), velocity[:, None] * sign


def _colors(config: ShapesConfig, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour of the object [B, 3] in 0 ... 1 and the background [B, H, W, 3] in grey levels, far from it."""
    count, size = len(u), config.size
    colors = u[:, 8:11]
    base = np.modf(colors + 0.35 + 0.3 * u[:, 11:14])[0]  # at least a third of the range away, per channel
    if config.background == "plain":
        field = np.broadcast_to(base[:, None, None], (count, size, size, 3))
    elif config.background == "gradient":
        other = np.modf(base + 0.15 * (u[:, 14:17] - 0.5) + 1)[0]
        axis = np.linspace(0, 1, size)
        mix = np.cos(u[:, 17, None, None] * 6.28) * axis + np.sin(u[:, 17, None, None] * 6.28) * axis[:, None]
        mix = ((mix + 1) / 2)[..., None]
        field = base[:, None, None] * (1 - mix) + other[:, None, None] * mix
    else:
        field = base[:, None, None] + 0.25 * _texture(u, size)
    return colors, np.clip(255 * field, 0, 255).astype(np.float32)


def _texture(u: np.ndarray, size: int) -> np.ndarray:
    """Smooth patterns [B, H, W, 3] in -1 ... 1: three plane waves per channel."""
    axis = np.linspace(0, 1, size)
    out = np.zeros((len(u), size, size, 3))
    for wave in range(3):
        k = 18 * (u[:, 18 + 2 * wave : 20 + 2 * wave] - 0.5)  # cycles per side, times about 2 pi
        phase = k[:, 0, None, None] * axis + k[:, 1, None, None] * axis[:, None]  # [B, H, W]
        shift = 6.28 * u[:, 24 + 3 * wave : 27 + 3 * wave]
        out += np.sin(phase[..., None] + shift[:, None, None]) / 3
    return out


def _paint(canvas: np.ndarray, cover: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Lays a colour [B, 3] over the canvas [B, T, H, W, 3] where cover [B, T, H, W] is 1."""
    paint = (255 * colors).astype(np.float32)[:, None, None, None]
    return canvas + cover[..., None] * (paint - canvas)


def _cover(kind: np.ndarray, centres: np.ndarray, radii: np.ndarray, angle: np.ndarray, size: int) -> np.ndarray:
    """Share of each pixel inside the shape [B, T, H, W] float32, with edges one pixel wide."""
    pixel = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x = pixel - centres[:, :, None, None, 0].astype(np.float32)  # [B, T, 1, W]
    y = pixel[:, None] - centres[:, :, None, None, 1].astype(np.float32)  # [B, T, H, 1]
    cos, sin = (f(angle).astype(np.float32)[:, None, None, None] for f in (np.cos, np.sin))
    r = radii.astype(np.float32)[:, None, None, None]
    across, along = (x * cos + y * sin) / r, (y * cos - x * sin) / r  # in radii
    distance = np.empty(np.broadcast_shapes(across.shape, along.shape), np.float32)
    for shape in np.unique(kind):
        of = kind == shape
        distance[of] = DISTANCES[shape](across[of], along[of])
    return np.clip(0.5 - distance * r * size, 0, 1)


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.8


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(0.866 * x + 0.5 * y, -0.866 * x + 0.5 * y), -y) - 0.5


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.75) - 0.25


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    upright = np.maximum(abs(x) - 0.3, abs(y) - 1)
    return np.minimum(upright, np.maximum(abs(y) - 0.3, abs(x) - 1))


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.894 * abs(x) + 0.447 * abs(y) - 0.447


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x) - 1, abs(y) - 0.28)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.7 - 0.3 * np.cos(5 * np.arctan2(y, x))


DISTANCES = (_disc, _square, _triangle, _ring, _cross, _diamond, _bar, _star)  # in radii, as in SHAPES
