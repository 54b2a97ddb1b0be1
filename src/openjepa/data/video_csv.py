"""Lists of videos as the reference repositories keep them: one `path label` per line."""

import codecs
import os
import re
from pathlib import Path

from openjepa.data.items import FileItems
from openjepa.errors import DataError


def read_video_csv(file: Path | str) -> FileItems:
    """Reads a list of videos and their classes.

    A line is `path label`, separated by a space, a comma, a tab or `::`, and ends at a newline. The label, any whole
    number, is what follows the last separator, so a path may hold spaces, with or without quotes around it. A
    relative path counts from the folder of the list where such a file exists, else from the working directory.

    Raises:
        DataError: with the number of the first line that has no label.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError(f"`{file}` must be a list of videos; there is no such file. Check the path.")
    raw = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    if b"\0" in raw:
        raise DataError(f"`{file}` must be a text file of `path label` lines; it is not text.")
    paths, labels = [], []
    for number, line in enumerate(os.fsdecode(raw).split("\n"), 1):  # names may hold all other kinds of line ends
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        entry = _parse(line)
        if entry is None:
            raise DataError(
                f"`{file}` line {number} must be `path label` with a whole number as label; got `{_short(line)}`."
            )
        path = Path(entry[0])
        beside = file.parent / path
        paths.append(beside if not path.is_absolute() and beside.exists() else path)
        labels.append(entry[1])
    if not paths:
        raise DataError(f"`{file}` must list at least one video; it is empty.")
    return FileItems(tuple(paths), tuple(labels))


# A path in quotes, a quote within them doubled as in CSV files, or anything; then a separator, the most telling first.
_QUOTED = re.compile(r"""[ \t]*(["'])(.+)\1[ \t]*(?:::|,|\t| )[ \t]*([+-]?[0-9]{1,1000})[ \t]*""", re.DOTALL)
_PLAIN = [
    re.compile(rf"[ \t]*(.*[^ \t])[ \t]*{s}[ \t]*([+-]?[0-9]{{1,1000}})[ \t]*", re.DOTALL)
    for s in ("::", "\t", ",", "[ ]")
]


def _parse(line: str) -> tuple[str, int] | None:
    if found := _QUOTED.fullmatch(line):
        quote, path, label = found.groups()
        return path.replace(2 * quote, quote), int(label)
    found = next((match for pattern in _PLAIN if (match := pattern.fullmatch(line))), None)
    return (found[1], int(found[2])) if found else None


def _short(line: str) -> str:
    return line if len(line) <= 60 else line[:57] + "..."
