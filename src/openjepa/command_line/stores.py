"""`openjepa data`: look at a store of episodes, verify it, repair it, draw, merge and convert it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from openjepa.command_line.command import OK, SICK, Command, Group
from openjepa.errors import ConfigError


@dataclass(frozen=True)
class StoreOptions:
    """The options of what needs no more than a store."""

    path: tyro.conf.Positional[Path]  # folder of an episode store


def info(options: StoreOptions) -> int:
    """Prints what is inside."""
    from openjepa.data import describe

    for name, value in describe(options.path).items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, inner in value.items():
                print(f"  {key}: {inner}")
        else:
            print(f"{name}: {value}")
    return OK


def check(options: StoreOptions) -> int:
    """Verifies every byte; status 1 for damaged rows."""
    from openjepa.data import check

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

    with _bar() as progress:
        count = merge(options.sources, options.out, progress=progress)
    print(f"{options.out}: {count} episodes of {len(options.sources)} stores")
    return OK


@dataclass(frozen=True)
class ConvertOptions:
    """Options of `data convert`; one of the two is an HDF5 file (.h5, .hdf5), the other a store."""

    source: tyro.conf.Positional[Path]  # what there is
    destination: tyro.conf.Positional[Path]  # what is made


def convert(options: ConvertOptions) -> int:
    """Writes a store as an HDF5 file, or an HDF5 file as a store."""
    from openjepa.data.store_hdf5 import SUFFIXES, from_hdf5, to_hdf5

    source, destination = options.source, options.destination
    to_file = destination.suffix.lower() in SUFFIXES
    if to_file == (source.suffix.lower() in SUFFIXES):
        raise ConfigError(
            f"one of the two must be an HDF5 file ({', '.join(SUFFIXES)}) and the other a store; got `{source}` and "
            f"`{destination}`."
        )
    with _bar() as progress:
        if to_file:
            count = to_hdf5(source, destination, progress=progress)
        else:
            count = from_hdf5(source, destination, progress=progress, say=print)
    print(f"{destination}: {count} episodes of {source}")
    return OK


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    with tqdm(unit="episode", file=sys.stderr, disable=None) as bar:

        def show(done: int, wanted: int) -> None:
            bar.total = wanted
            bar.update(done - bar.n)

        yield show


DATA = Group(
    "look at recorded episodes, verify, repair, draw, merge and convert them",
    {
        "info": Command("show what is in a store", "PATH", lambda words: StoreOptions, info),
        "check": Command("verify every byte of a store (status 1: damaged)", "PATH", lambda words: StoreOptions, check),
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
            "write a store as an HDF5 file, or the other way round",
            "PATH FILE.h5 | FILE.h5 PATH",
            lambda words: ConvertOptions,
            convert,
            resumes=True,
        ),
    },
)
