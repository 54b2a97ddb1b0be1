"""Folder layouts of the public tests of intuitive physics: which clip is the impossible twin of which.

IntPhys (1803.07616), IntPhys 2 (2506.09849), InfLevel (Weihs et al. 2022) and GRASP (2311.09048). Only paths are
found here; clips are read when they are judged. None of these sets is fetched: give the folder of your copy.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openjepa.data.folders import list_folder
from openjepa.data.images import read_image
from openjepa.data.items import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from openjepa.errors import DataError, listing, unknown


@dataclass(frozen=True)
class MatchedPair:
    """Two clips of which one is impossible.

    Attributes:
        possible: video file or folder of pictures.
        impossible: likewise.
        group: property or block that results are listed by.
        scene: pairs of one scene are not independent.
    """

    possible: Path
    impossible: Path
    group: str
    scene: str


def find_pairs(layout: str, root: Path | str) -> list[MatchedPair]:
    """Finds the matched pairs of a set.

    Args:
        layout: a name of `LAYOUTS`.
        root: the folder of your copy.

    Raises:
        ConfigError: for an unknown layout.
        DataError: where the folder does not have it, saying what is missing.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise unknown("benchmark", layout, LAYOUTS)
    if not root.is_dir():
        raise DataError(f"`{root}` must be the folder of {layout}; there is none. Check the path.")
    pairs = list(LAYOUTS[layout](root))
    if not pairs:
        raise DataError(f"`{root}` must have the layout of {layout}; no matched pair was found. {HINTS[layout]}")
    return pairs


def _intphys(root: Path) -> Iterator[MatchedPair]:
    """`dev/O1/<scene>/<1 to 4>/scene/*.png` and `status.json`; twins share the longest beginning."""
    dev = root / "dev" if (root / "dev").is_dir() else root
    blocks = [p for p in list_folder(dev) if p.name.startswith("O") and p.is_dir()]
    for scene in (p for block in blocks for p in list_folder(block) if p.is_dir()):
        clips = [p for p in list_folder(scene) if (p / "status.json").is_file()]
        possible = [p for p in clips if _is_possible(p / "status.json")]
        impossible = [p for p in clips if p not in possible]
        if len(possible) != len(impossible) or not possible:
            raise DataError(f"`{scene}` must hold as many possible as impossible clips; it does not. Copy it again.")
        for a, b in _twins(possible, impossible):
            yield MatchedPair(a / "scene", b / "scene", scene.parent.name, str(scene.relative_to(dev)))


def _is_possible(status: Path) -> bool:
    try:
        return bool(json.loads(status.read_text())["header"]["is_possible"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"`{status}` must say `header.is_possible`; it does not. Copy it again.") from error


def _twins(possible: list[Path], impossible: list[Path]) -> list[tuple[Path, Path]]:
    """Pairs clips greedily by the number of first frames that they share, the longest first."""
    shared = [(-_shared_frames(a / "scene", b / "scene"), a, b) for a in possible for b in impossible]
    taken: set[Path] = set()
    found = []
    for _, a, b in sorted(shared):
        if a not in taken and b not in taken:
            taken |= {a, b}
            found.append((a, b))
    return found


def _shared_frames(first: Path, second: Path) -> int:
    names = [p.name for p in list_folder(first, IMAGE_SUFFIXES)]
    for i, name in enumerate(names):
        a, b = first / name, second / name
        if not b.is_file():
            return i
        if a.read_bytes() != b.read_bytes() and not np.array_equal(read_image(a), read_image(b)):
            return i
    return len(names)


def _grasp(root: Path) -> Iterator[MatchedPair]:
    """`level2/P_<Property>/<file>` and `level2/IP_<Property>/<same file>`."""
    level = root / "level2" if (root / "level2").is_dir() else root
    for folder in (p for p in list_folder(level) if p.name.startswith("P_")):
        name = folder.name.removeprefix("P_")
        for clip in (p for p in list_folder(folder) if _is_video(p)):
            twin = level / f"IP_{name}" / clip.name
            if not twin.exists():
                raise DataError(f"`{clip}` must have a twin `{twin}`; there is none. Copy the set again.")
            yield MatchedPair(clip, twin, name, f"{name}/{clip.stem}")


def _inflevel(root: Path) -> Iterator[MatchedPair]:
    """CSV files of pairs with the columns `possible` and `impossible` (or `plausible`, `implausible`)."""
    for table in list_folder(root, (".csv",)):
        for number, row in enumerate(_rows(table)):
            possible, impossible = (_column(row, names, table) for names in (POSSIBLE, IMPOSSIBLE))
            group = row.get("property") or row.get("principle") or table.stem
            yield MatchedPair(root / possible, root / impossible, group, row.get("scene") or f"{table.stem}/{number}")


def _intphys2(root: Path) -> Iterator[MatchedPair]:
    """`metadata.csv` with name, type (1_Possible, 2_Impossible, ...) and scene; or `labels.csv` and `Images/`."""
    table = next((root / n for n in ("metadata.csv", "labels.csv") if (root / n).is_file()), None)
    if table is None:
        raise DataError(
            f"`{root}` must hold `metadata.csv` or `labels.csv`; it holds neither. Give one split, such as Debug."
        )
    scenes: dict[str, dict[bool, list[tuple[str, Path]]]] = {}
    groups: dict[str, str] = {}
    for row in _rows(table):
        name, kind, scene = (_column(row, names, table) for names in (NAMES, TYPES, SCENES))
        is_impossible = "impossible" in kind.lower()
        scenes.setdefault(scene, {True: [], False: []})[is_impossible].append((kind.lower(), _find(root, name)))
        groups[scene] = row.get("condition") or row.get("environment") or "all"
    for scene, clips in scenes.items():
        if len(clips[True]) != len(clips[False]):
            raise DataError(f"scene `{scene}` of `{table}` must have as many possible as impossible clips.")
        for (_, possible), (_, impossible) in zip(sorted(clips[False]), sorted(clips[True]), strict=True):
            yield MatchedPair(possible, impossible, groups[scene], scene)


def _find(root: Path, name: str) -> Path:
    """A clip by its name: as it stands, with an ending of videos, in `Videos/`, or as a folder in `Images/`."""
    for path in (root / name, *(root / f"{name}{s}" for s in VIDEO_SUFFIXES), root / "Images" / name):
        if path.exists():
            return path
    for suffix in ("", *VIDEO_SUFFIXES):
        if (root / "Videos" / f"{name}{suffix}").exists():
            return root / "Videos" / f"{name}{suffix}"
    raise DataError(f"`{root}` must hold the clip `{name}` of its table; it does not. Copy the set again.")


def _is_video(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in (*VIDEO_SUFFIXES, ".npy")


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield {(key or "").strip().lower(): (value or "").strip() for key, value in row.items()}


def _column(row: Mapping[str, str], names: tuple[str, ...], table: Path) -> str:
    found = next((row[name] for name in names if row.get(name)), None)
    if found is None:
        raise DataError(f"`{table}` must have a column {' or '.join(names)}; it has {listing(row)}.")
    return found


POSSIBLE, IMPOSSIBLE = ("possible", "plausible"), ("impossible", "implausible")
NAMES, TYPES = ("name", "filename", "video_name"), ("type", "label")
SCENES = ("sceneindex", "scene", "scene_name", "scene_id")

LAYOUTS: dict[str, Callable[[Path], Iterator[MatchedPair]]] = {
    "intphys": _intphys,
    "intphys2": _intphys2,
    "inflevel": _inflevel,
    "grasp": _grasp,
}
HINTS = {
    "intphys": "Expected dev/O1/<scene>/<1..4>/scene/*.png with status.json.",
    "intphys2": "Expected metadata.csv beside the videos of one split.",
    "inflevel": "Expected *.csv with columns possible and impossible beside the videos.",
    "grasp": "Expected level2/P_<Property>/ and level2/IP_<Property>/.",
}
