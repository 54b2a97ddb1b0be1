"""Robot data of any layout as one source of episodes, and as a store."""

from collections.abc import Callable
from pathlib import Path

from openjepa.data.robot.droid import DroidData, is_droid
from openjepa.data.robot.lerobot import LeRobotData
from openjepa.data.robot.lerobot_hub import fetch_dataset, is_hub_id
from openjepa.data.robot.lerobot_layout import is_lerobot
from openjepa.data.robot.meaning import StatedMeaning
from openjepa.data.store_merge import Progress, copy_into
from openjepa.errors import ConfigError, DataError


def is_robot_data(folder: Path) -> bool:
    """Whether a folder is a LeRobot data set, or holds trajectories in the manner of DROID."""
    return is_lerobot(folder) or is_droid(folder)


def open_robot_data(
    place: str | Path,
    *,
    camera: str | None = None,
    size: int | None = None,
    stated: StatedMeaning | None = None,
    other_cameras: bool = True,
) -> LeRobotData | DroidData:
    """Opens a folder, or a data set of the Hub by its id; close it with `with`.

    Args:
        place: a LeRobot or DROID folder, or `owner/name`.
        camera: whose pictures are the frames; None is the first.
        size: side in px of the centre square that frames are cut to; None keeps them whole.
        stated: what the user says of the numbers of a LeRobot data set.
        other_cameras: whether the pictures of other cameras are read.

    Raises:
        DataError: where there is neither.
    """
    folder = Path(place)
    if not folder.exists() and is_hub_id(str(place)):
        folder = fetch_dataset(str(place))
    if not is_lerobot(folder) and is_droid(folder):
        if stated not in (None, StatedMeaning()):
            raise ConfigError(f"the meaning of `{place}` is that of DROID and cannot be stated anew; leave it out.")
        return DroidData(folder, camera=camera, size=size)
    if not folder.is_dir():
        raise DataError(f"no robot data at `{place}`: it is neither a folder nor `owner/name` of the Hub.")
    return LeRobotData(folder, camera=camera, size=size, stated=stated, other_cameras=other_cameras)


def to_store(
    source: LeRobotData | DroidData,
    out: str | Path,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Copies robot data into a store; returns the number of episodes.

    Args:
        source: the data.
        out: a new store, or the beginning of the same copy.
        progress: called after every episode.
        say: takes one line for everything that is left out.

    Raises:
        DataError: for the first episode that is not sound; those before it are kept.
    """
    for line in source.left_out:
        if say is not None:
            say(line)
    return copy_into(source, out, progress=progress)
