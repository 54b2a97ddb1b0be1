"""What the numbers of a robot's data mean: units, frame rate, kind and frame of actions, gripper convention.

Nothing here is guessed. What a data set does not say is `unknown` until the user states it, and what is stated is
held against the numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from openjepa.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:  # options are read without NumPy
    import numpy as np

Kind = Literal["absolute", "displacement", "velocity", "unknown"]
Frame = Literal["base", "hand", "camera", "world", "joints", "pixels", "unknown"]

# The largest value that is believed, by unit, of a position and of a change in one step.
LARGEST: Mapping[str, tuple[float, float]] = {
    "m": (20.0, 2.0),
    "mm": (20e3, 2e3),
    "rad": (4 * math.pi, 2 * math.pi),
    "deg": (720.0, 360.0),
    "px": (1e5, 1e5),
    "gripper": (math.inf, math.inf),  # its range is that of the convention
    "1": (math.inf, math.inf),
    "unknown": (math.inf, math.inf),
}
ROOM = 0.05  # of the way from closed to open, by which a gripper may overshoot


@dataclass(frozen=True)
class Vector:
    """What a vector of numbers is.

    Attributes:
        names: one for each axis; none where the data set gives none.
        units: one for each axis, or one for all: m, mm, rad, deg, px, gripper, 1 (no unit), unknown. For a velocity,
            the unit of what changes; it is per second.
        kind: `absolute` is where to be, `displacement` is the change in one step, `velocity` the change per second.
        frame: axes of the numbers: of the robot's base, its hand, the camera, the world, its joints, or a picture.
        closed: value of an axis of unit `gripper` that means closed.
        open: value that means open.
    """

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ("unknown",)
    kind: Kind = "unknown"
    frame: Frame = "unknown"
    closed: float = 0.0
    open: float = 1.0

    def __post_init__(self) -> None:
        for unit in self.units:
            if unit not in LARGEST:
                raise unknown("unit", unit, LARGEST)
        for word, known in ((self.kind, get_args(Kind)), (self.frame, get_args(Frame))):
            if word not in known:
                raise unknown("meaning", word, known)
        if self.closed == self.open:
            raise ConfigError(f"`closed` and `open` must differ; both are {self.open}.")

    def units_of(self, width: int, name: str) -> tuple[str, ...]:
        """The unit of every axis.

        Raises:
            DataError: where there are more or fewer axes than units.
        """
        if len(self.units) not in (1, width):
            raise DataError(f"`{name}` has {width} axes; units are stated for {len(self.units)}. Give 1 or {width}.")
        return self.units if len(self.units) == width else self.units * width

    def check(self, values: "np.ndarray", name: str, where: str) -> None:
        """Holds values [T, A] against their units.

        Raises:
            DataError: for a value that cannot be of its unit, with the axis and the row.
        """
        step = self.kind in ("displacement", "velocity")
        for axis, unit in enumerate(self.units_of(values.shape[1], name)):
            column, largest = values[:, axis].astype(float), LARGEST[unit][1 if step and self.kind != "velocity" else 0]
            low, high = -largest, largest
            if unit == "gripper":
                low, high = sorted((self.closed, self.open))
                room = ROOM * (high - low)
                low, high = (low - high - room, high - low + room) if step else (low - room, high + room)
                if self.kind == "velocity":
                    low, high = -math.inf, math.inf
            wrong = ((column < low) | (column > high)).nonzero()[0]
            if len(wrong):
                axis_name = self.names[axis] if len(self.names) == values.shape[1] else str(axis)
                raise DataError(
                    f"axis `{axis_name}` of `{name}` must be within {low:.4g} and {high:.4g} ({unit}); row {wrong[0]} "
                    f"of {where} has {column[wrong[0]]:.6g}. State the unit that it has, or mend the data."
                )


@dataclass(frozen=True)
class RobotSpec:
    """What a robot's data are, kept with every episode.

    Attributes:
        fps: frames, poses and actions per second, > 0.
        robot_type: what its maker calls it.
        action: what an action is; the one of row t leads from frame t to frame t + 1.
        proprio: what the robot measures about itself.
        cameras: of the pictures, by column of a store.
        source: name in the data set of each column of a store, where it differs.
    """

    fps: float
    robot_type: str = "unknown"
    action: Vector = field(default_factory=Vector)
    proprio: Vector = field(default_factory=Vector)
    cameras: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"`fps` must be a rate above 0; got {self.fps}.")

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            **asdict(self),
            "cameras": dict(self.cameras),
            "source": dict(self.source),
            "action": plain_vector(self.action),
            "proprio": plain_vector(self.proprio),
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any], where: str) -> "RobotSpec":
        """Reads what `plain` wrote.

        Raises:
            DataError: for anything else.
        """
        try:
            known = {f.name for f in fields(cls)}
            values = {name: value for name, value in plain.items() if name in known}
            for name in ("action", "proprio"):
                values[name] = vector_of(values.get(name, {}))
            return cls(**values)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(f"`{where}` must hold the meaning of a robot's data; it does not ({error}).") from error

    def stated(self, stated: "StatedMeaning") -> "RobotSpec":
        """The same with what the user states."""
        return replace(self, action=stated.action.over(self.action), proprio=stated.proprio.over(self.proprio))

    def check(self, actions: "np.ndarray", proprio: "np.ndarray | None", where: str) -> None:
        """Holds actions [T, A] and proprioception [T + 1, P] against their units."""
        self.action.check(actions, "action", where)
        if proprio is not None:
            self.proprio.check(proprio, "observation.state", where)


def plain_vector(vector: Vector) -> dict[str, Any]:
    """As plain values for JSON."""
    return {**asdict(vector), "names": list(vector.names), "units": list(vector.units)}


def vector_of(plain: Mapping[str, Any]) -> Vector:
    """Reads what `plain_vector` wrote."""
    options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    return Vector(**options)


@dataclass(frozen=True)
class StatedVector:
    """What the user says of a vector; None is what the data set says.

    Attributes:
        kind: absolute, displacement or velocity.
        frame: base, hand, camera, world, joints or pixels.
        units: of every axis, or one for all: m, mm, rad, deg, px, gripper, 1.
        closed: value of a gripper axis that means closed.
        open: value that means open.
    """

    kind: Kind | None = None
    frame: Frame | None = None
    units: tuple[str, ...] | None = None
    closed: float | None = None
    open: float | None = None

    def over(self, found: Vector) -> Vector:
        """What was found, with what is stated in its place."""
        return replace(found, **{name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class StatedMeaning:
    """What the user says of the numbers of a data set.

    Attributes:
        action: of the actions.
        proprio: of what the robot measures about itself.
    """

    action: StatedVector = field(default_factory=StatedVector)
    proprio: StatedVector = field(default_factory=StatedVector)
