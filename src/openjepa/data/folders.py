"""What lies in a folder: linked folders too, each loop cut once, in the order of the numbers in the names."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from openjepa.errors import DataError

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Key that sorts names by the numbers in them: `2.png` before `10.png`.

    >>> sorted(["b10", "b9", "a"], key=natural_key)
    ['a', 'b9', 'b10']
    """
    parts = []
    for i, part in enumerate(_NUMBER.split(name)):
        if i % 2:  # by length first, so that no number is too long to compare
            digits = part.lstrip("0")
            parts.append((0, len(digits), digits))
        elif part:
            parts.append((1, 0, part))
    return parts, name  # the name itself decides between 1 and 01


def is_hidden(name: str) -> bool:
    """Whether a name is left out: it begins with a dot, as do AppleDouble files (`._x.png`)."""
    return name.startswith(".")


def shown_name(name: str) -> str:
    """Returns a name as one line: line ends and other control characters as escapes, all else as it is."""
    # Surrogates stand for bytes that are not UTF-8; the terminal gets those bytes back.
    kept = (c if c.isprintable() or "\ud800" <= c <= "\udfff" else c.encode("unicode_escape").decode() for c in name)
    return "".join(kept)


def composed(name: str) -> str:
    """Returns a name with every accent in one letter: systems store the same word in two ways, and show it as one."""
    return unicodedata.normalize("NFC", name)


def file_stamp(path: Path) -> str:
    """Returns what differs when the content of a file has changed: its size and its times, or `missing`."""
    try:
        found = path.stat()
    except OSError:
        return "missing"
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def list_folder(folder: Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Lists what lies in one folder, in natural order, hidden names left out.

    Args:
        folder: the folder.
        suffixes: files of these endings (lower case) only; everything where None.

    Raises:
        DataError: for a folder that cannot be read.
    """
    found = _entries(folder)
    return [folder / e.name for e in found if suffixes is None or (_ends(e, suffixes) and _kind(e) == "file")]


def walk(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Lists the files of a folder and all folders below it, linked ones too, in natural order.

    A folder is not entered a second time below itself, so a link to a folder above ends there. A link that leads
    nowhere is listed, so that whoever reads it can name it; sockets, pipes and devices are not.

    Args:
        root: the folder.
        suffixes: endings of the files, lower case.

    Raises:
        DataError: for a folder that cannot be read.
    """
    found: list[Path] = []
    waiting: list[tuple[Path, frozenset[tuple[int, int]], list[os.DirEntry[str]]]] = []

    def enter(folder: Path, above: frozenset[tuple[int, int]]) -> None:
        status = folder.stat()
        own = (status.st_dev, status.st_ino)
        if own not in above:
            waiting.append((folder, above | {own}, _entries(folder)[::-1]))

    enter(root, frozenset())
    while waiting:
        folder, inside, entries = waiting[-1]
        if not entries:
            waiting.pop()
            continue
        entry = entries.pop()
        kind = _kind(entry)
        if kind == "folder":
            enter(folder / entry.name, inside)
        elif kind == "file" and _ends(entry, suffixes):
            found.append(folder / entry.name)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: natural_key(e.name))
    except OSError as error:
        raise DataError(f"`{folder}` must be a folder that can be read; {error.strerror}.") from error


def _ends(entry: os.DirEntry[str], suffixes: Sequence[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in suffixes


def _kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)) else "other"
    except OSError:  # a link to itself
        return "file"
