"""`openjepa data`: look at recorded episodes, verify, repair, draw, merge and convert them."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from openjepa.command_line.command import OK, SICK, Command, Group
from openjepa.command_line.converting import ConvertOptions, convert, progress_bar
from openjepa.data.robot.meaning import StatedMeaning, StatedVector
from openjepa.errors import ConfigError


@dataclass(frozen=True)
class StoreOptions:
    """The options of what needs no more than a store."""

    path: tyro.conf.Positional[Path]  # folder of an episode store


def info(options: StoreOptions) -> int:
    """Prints what is inside."""
    from openjepa.data import describe
    from openjepa.data.robot.lerobot_check import describe_lerobot
    from openjepa.data.robot.lerobot_layout import is_lerobot

    found = describe_lerobot(options.path) if is_lerobot(options.path) else describe(options.path)
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key}: {inner}")
        else:
            print(f"{name}: {value}")
    return OK


@dataclass(frozen=True)
class CheckOptions:
    """Options of `data check`."""

    path: tyro.conf.Positional[Path]  # folder of an episode store, or of a LeRobot data set
    action: StatedVector = field(default_factory=StatedVector)  # of a data set: what the numbers of an action mean
    proprio: StatedVector = field(default_factory=StatedVector)  # of a data set: what the robot's own numbers mean


def check(options: CheckOptions) -> int:
    """Verifies every byte; status 1 for damaged rows of a store, 2 for a data set that is not what it says."""
    from openjepa.data import check
    from openjepa.data.robot.lerobot_check import check_lerobot
    from openjepa.data.robot.lerobot_layout import is_lerobot

    stated = StatedMeaning(options.action, options.proprio)
    if is_lerobot(options.path):
        with progress_bar() as progress:
            print(check_lerobot(options.path, stated=stated, progress=progress))
        return OK
    if stated != StatedMeaning():
        raise ConfigError(
            f"`--action` and `--proprio` are for LeRobot data sets; `{options.path}` is none. Leave them out."
        )
    report = check(options.path)
    print(report)
    return OK if report.is_sound else SICK


def repair(options: StoreOptions) -> int:
    """Brings back every whole episode."""
    from openjepa.data import repair

    kept = repair(options.path, say=print)
    print(f"{options.path}: {kept} episodes")
    return OK


@dataclass(frozen=True)
class PreviewOptions:
    """Options of `data preview`."""

    path: tyro.conf.Positional[Path]  # folder of an episode store
    episode: int = 0  # its number; negative ones count from the end
    out: Path = Path("preview.png")  # .png: frames in a row over the actions; .gif: all frames, moving
    frames: int = 8  # of a .png, evenly spaced
    fps: float = 10.0  # frames per second of a .gif


def preview(options: PreviewOptions) -> int:
    """Draws an episode."""
    from openjepa.data.store_preview import preview

    out = preview(options.path, options.episode, out=options.out, num_frames=options.frames, fps=options.fps)
    print(f"{out}: episode {options.episode} of {options.path}")
    return OK


@dataclass(frozen=True)
class MergeOptions:
    """Options of `data merge`."""

    sources: tyro.conf.Positional[tuple[Path, ...]]  # folders of episode stores with equal columns, in this order
    out: Path  # folder of the new store


def merge(options: MergeOptions) -> int:
    """Copies the episodes of several stores into one."""
    from openjepa.data.store_merge import merge

    with progress_bar() as progress:
        count = merge(options.sources, options.out, progress=progress)
    print(f"{options.out}: {count} episodes of {len(options.sources)} stores")
    return OK


DATA = Group(
    "look at recorded episodes, verify, repair, draw, merge and convert them",
    {
        "info": Command("show what is in a store or a LeRobot data set", "PATH", lambda words: StoreOptions, info),
        "check": Command(
            "verify every byte of a store (status 1: damaged) or a LeRobot data set (status 2)",
            "PATH",
            lambda words: CheckOptions,
            check,
        ),
        "repair": Command(
            "bring back every whole episode of a damaged store", "PATH", lambda words: StoreOptions, repair
        ),
        "preview": Command(
            "draw an episode: frames over actions",
            "PATH [--episode N] [--out FILE.png|FILE.gif]",
            lambda words: PreviewOptions,
            preview,
        ),
        "merge": Command(
            "copy stores with equal columns into one",
            "PATH... --out PATH",
            lambda words: MergeOptions,
            merge,
            resumes=True,
        ),
        "convert": Command(
            "write a store as an HDF5 file or a LeRobot data set, or the other way round; read DROID folders",
            "SOURCE DESTINATION",
            lambda words: ConvertOptions,
            convert,
            resumes=True,
        ),
    },
)
