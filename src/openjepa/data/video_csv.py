"""Lists of videos as the reference repositories keep them: one `path label` per line."""

from pathlib import Path

from openjepa.data.items import FileItems
from openjepa.errors import DataError


def read_video_csv(file: Path | str) -> FileItems:
    """Reads a list of videos and their classes.

    A line is `path label`, separated by a space, a comma, a tab or `::`. The label is what follows the last
    separator, so a path may hold spaces, with or without quotes around it. A relative path counts from the
    folder of the list where such a file exists, else from the working directory.

    Raises:
        DataError: with the number of the first line that has no label.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError(f"`{file}` must be a list of videos; there is no such file. Check the path.")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"`{file}` must be a text file of `path label` lines; it is not text.") from error
    paths, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _parse(line.strip())
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


def _parse(line: str) -> tuple[str, int] | None:
    if line[0] in "\"'" and line.find(line[0], 1) > 0:
        end = line.find(line[0], 1)
        path, label = line[1:end], line[end + 1 :].lstrip(" ,\t:")
    else:
        separator = next((s for s in ("::", "\t", ",") if _is_label(line.rpartition(s)[2])), None)
        if separator is None and " " not in line:
            return None
        path, _, label = line.rpartition(separator or " ")
    path, label = path.strip(), label.strip()
    return (path, int(label)) if path and _is_label(label) else None


def _is_label(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _short(line: str) -> str:
    return line if len(line) <= 60 else line[:57] + "..."
