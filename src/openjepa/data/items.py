"""Where samples come from: one small contract for files, tar shards and Hugging Face data sets."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from openjepa.data.folders import composed, walk
from openjepa.errors import DataError, listing

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".jfif", ".jpe", ".jp2", ".avif", ".apng", ".pbm", ".pnm", ".dib", ".tga"),
)
VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"),
    *(".m2ts", ".mts", ".3gp", ".ogv", ".vob", ".asf", ".mxf", ".m2v"),
)

Content = Path | bytes | Image.Image | np.ndarray


class Items(Protocol):
    """Pictures or videos by number; reading one never changes another."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def name(self, index: int) -> str:
        """What a report calls the sample; unique."""
        ...

    def content(self, index: int) -> Content:
        """The file, its bytes, or a decoded picture."""
        ...

    def label(self, index: int) -> int | None:
        """The class, where the set has classes."""
        ...


@dataclass(frozen=True)
class FileItems:
    """Files on disk.

    Attributes:
        paths: one for each sample.
        labels: class of each sample, or None.
        classes: name of each class, or None where the labels came as numbers.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.paths):
            raise DataError(f"every path must have a label; got {len(self.paths)} and {len(self.labels)}.")

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """The path as it was given."""
        return str(self.paths[index])

    def content(self, index: int) -> Path:
        """The path itself."""
        return self.paths[index]

    def label(self, index: int) -> int | None:
        """The class, where there is one."""
        return None if self.labels is None else self.labels[index]

    def take(self, numbers: Sequence[int]) -> "FileItems":
        """Some of the files, in the order of their numbers here."""
        labels = None if self.labels is None else tuple(self.labels[i] for i in numbers)
        return FileItems(tuple(self.paths[i] for i in numbers), labels, self.classes)

    def once(self) -> "FileItems":
        """Every file once, however often it is listed or linked.

        Raises:
            DataError: for a file of two classes.
        """
        first: dict[str, int] = {}
        for i, path in enumerate(self.paths):
            before = first.setdefault(os.path.realpath(path), i)
            if self.label(before) != self.label(i):
                raise DataError(
                    f"`{path}` must have one class; it is listed with {self.class_name(before)} and "
                    f"{self.class_name(i)}. Remove one."
                )
        return self.take(list(first.values()))

    def class_name(self, index: int) -> str | None:
        """What the class of a sample is called in every set: its folder, or its number as a word; None without one."""
        number = self.label(index)
        if number is None:
            return None
        return str(number) if self.classes is None else composed(self.classes[number])


class DatasetItems:
    """A Hugging Face data set, or anything like a list of dictionaries; rows are read when needed.

    Args:
        dataset: has `__len__` and `__getitem__(int) -> dict`.
        column: of the picture or video: a PIL image, an array [H, W, C], bytes, a path, or the dictionary
            with `bytes` and `path` that an undecoded column gives.
        label_column: of the class, or None.
        name: what reports call the set.
    """

    def __init__(
        self, dataset: Any, column: str = "image", label_column: str | None = None, name: str = "dataset"
    ) -> None:
        self.dataset, self.column, self.label_column, self.set_name = dataset, column, label_column, name
        self._label_rows = dataset
        known = getattr(dataset, "column_names", None)
        for wanted in (column, label_column):
            if wanted is not None and known is not None and wanted not in known:
                raise DataError(f"the data set must have a column `{wanted}`; it has {listing(known)}.")
        if label_column is not None and hasattr(dataset, "select_columns"):
            self._label_rows = dataset.select_columns([label_column])  # a label costs no decoded picture

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        """Name of the set and number of the row."""
        return f"{self.set_name}[{index}]"

    def content(self, index: int) -> Content:
        """The cell, unwrapped."""
        cell = self.dataset[index][self.column]
        if isinstance(cell, dict):
            cell = cell["bytes"] if cell.get("bytes") is not None else cell.get("path")
        if isinstance(cell, str):
            return Path(cell)
        if isinstance(cell, (bytes, Path, Image.Image, np.ndarray)):
            return cell
        raise DataError(
            f"`{self.name(index)}` must hold a picture, bytes or a path in column `{self.column}`; got "
            f"{type(cell).__name__}. Cast the column with `decode=False`."
        )

    def label(self, index: int) -> int | None:
        """The class, where a label column was named."""
        return None if self.label_column is None else int(self._label_rows[index][self.label_column])


def list_files(root: Path | str, suffixes: Sequence[str], *, labels_from_folders: bool = False) -> FileItems:
    """Lists the files of a folder and all folders below it (see `walk`); a single file is a list of one.

    Args:
        root: folder or file.
        suffixes: endings to keep, lower case; a single file is kept whatever it ends in.
        labels_from_folders: whether the first folder below `root` is the class, numbered in natural order.

    Raises:
        DataError: where nothing is found.
    """
    root = Path(root)
    if root.is_file():
        return FileItems((root,))
    if not root.is_dir():
        raise DataError(f"`{root}` must be a file or a folder; there is none. Check the path.")
    paths = tuple(walk(root, suffixes))
    if not paths:
        raise DataError(f"`{root}` must hold files ending in {', '.join(suffixes[:4])} ...; it holds none.")
    if not labels_from_folders:
        return FileItems(paths)
    loose = next((p for p in paths if p.parent == root), None)
    if loose is not None:
        raise DataError(f"every file must lie in the folder of its class; `{loose}` lies in none. Move it.")
    folders = [composed(p.relative_to(root).parts[0]) for p in paths]
    classes = tuple(dict.fromkeys(folders))  # they come in order
    numbers = {name: i for i, name in enumerate(classes)}
    return FileItems(paths, tuple(numbers[f] for f in folders), classes)
