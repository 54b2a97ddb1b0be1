"""`openjepa data convert`: stores, HDF5 files, LeRobot data sets and DROID folders into one another."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from openjepa.command_line.command import OK
from openjepa.data.robot.meaning import StatedMeaning, StatedVector
from openjepa.errors import ConfigError


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `data convert`.

    A store becomes an HDF5 file (.h5, .hdf5) or a LeRobot data set (any other name); an HDF5 file, a LeRobot data set
    (a folder, or `owner/name` of the Hub) or a DROID folder becomes a store.
    """

    source: tyro.conf.Positional[str]  # what there is
    destination: tyro.conf.Positional[Path]  # what is made
    camera: str | None = None  # whose pictures are the frames of the store; None is the first
    other_cameras: bool = True  # whether the other cameras become columns
    size: int | None = None  # side in px of the centre square that frames are cut to; None keeps them whole
    fps: float | None = None  # frames per second of a store that does not say it
    robot_type: str | None = None  # of the LeRobot data set; None is what the store says
    task: str | None = None  # in words, for episodes that state none
    codec: Literal["h264", "av1", "png"] = "h264"  # of the LeRobot data set; png has no loss
    action: StatedVector = field(default_factory=StatedVector)  # what the numbers of an action mean
    proprio: StatedVector = field(default_factory=StatedVector)  # what the robot's own measurements mean


def convert(options: ConvertOptions) -> int:
    """Writes one kind of recorded data as another."""
    from openjepa.data.robot.convert import is_robot_data, open_robot_data, to_store
    from openjepa.data.robot.lerobot_hub import is_hub_id
    from openjepa.data.robot.lerobot_writer import LeRobotOptions, write_lerobot
    from openjepa.data.store_hdf5 import SUFFIXES, from_hdf5, to_hdf5

    source, destination = Path(options.source), options.destination
    stated = StatedMeaning(options.action, options.proprio)
    is_robot = is_robot_data(source) or (not source.exists() and is_hub_id(options.source))
    is_file, to_file = source.suffix.lower() in SUFFIXES, destination.suffix.lower() in SUFFIXES
    if to_file and (is_robot or is_file):
        raise ConfigError(
            f"`{source}` must be a store to become an HDF5 file; it is not. Convert it into a store first: "
            "openjepa data "
            f"convert {source} STORE."
        )
    _check_used(options, reads=is_robot, writes=not (is_robot or is_file or to_file))
    with progress_bar() as progress:
        if is_robot:
            with open_robot_data(
                options.source,
                camera=options.camera,
                size=options.size,
                stated=stated,
                other_cameras=options.other_cameras,
            ) as data:
                count = to_store(data, destination, progress=progress, say=print)
        elif is_file:
            count = from_hdf5(source, destination, progress=progress, say=print)
        elif to_file:
            count = to_hdf5(source, destination, progress=progress)
        else:
            from openjepa.data import EpisodeStore

            how = LeRobotOptions(options.fps, options.robot_type, options.task, options.codec, stated)
            count = write_lerobot(EpisodeStore.open(source), destination, how, progress=progress)
    print(f"{destination}: {count} episodes of {options.source}")
    return OK


def _check_used(options: ConvertOptions, *, reads: bool, writes: bool) -> None:
    """No option may be ignored.

    Raises:
        ConfigError: for one that this conversion has no use for.
    """
    default = ConvertOptions("", Path())
    idle = [] if reads else ["camera", "other_cameras", "size"]
    idle += [] if writes else ["fps", "robot_type", "task", "codec"]
    idle += [] if reads or writes else ["action", "proprio"]
    for name in idle:
        if getattr(options, name) != getattr(default, name):
            kind = (
                "reads a robot's data" if name in ("camera", "other_cameras", "size") else "writes a LeRobot data set"
            )
            raise ConfigError(
                f"`--{name.replace('_', '-')}` is for a conversion that {kind}; this one does not. Leave it out."
            )


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of episodes on the terminal."""
    from tqdm import tqdm

    with tqdm(unit="episode", file=sys.stderr, disable=None) as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        yield show
