"""Moments of videos: a long one has an embedding for every so many seconds, not one for all of it."""

from dataclasses import dataclass

import numpy as np

from openjepa.data.items import Content, Items
from openjepa.data.videos import video_seconds

TOGETHER = 8  # moments that are decoded together; a few frames of each are in memory


@dataclass(frozen=True)
class Stretch:
    """Moments `first` to `first + count - 1` of a file."""

    file: int
    first: int
    count: int


class Moments:
    """The files of a set as stretches of moments; each stretch is one sample.

    Every video is opened once to see how long it is. A picture, and a file that cannot be opened, is one moment.

    Args:
        files: pictures and videos.
        every: seconds from one moment to the next, > 0.
        stretches: known ones; None looks into the videos.
    """

    def __init__(self, files: Items, every: float, stretches: list[Stretch] | None = None) -> None:
        self.files, self.every = files, every
        self.stretches = self._stretches() if stretches is None else stretches

    def _stretches(self) -> list[Stretch]:
        return [
            Stretch(file, first, min(TOGETHER, count - first))
            for file, count in enumerate(self._counts().tolist())
            for first in range(0, count, TOGETHER)
        ]

    def _counts(self) -> np.ndarray:
        """Moments of each file: those that are there in full, at least one."""
        seconds = np.nan_to_num(video_seconds(self.files, exact=True))
        return np.maximum(np.floor(seconds / self.every + 1e-6), 1).astype(int)

    def __len__(self) -> int:
        return len(self.stretches)

    def name(self, index: int) -> str:
        """The name of the file."""
        return self.files.name(self.stretches[index].file)

    def content(self, index: int) -> Content:
        """The file."""
        return self.files.content(self.stretches[index].file)

    def label(self, index: int) -> int | None:
        """The class of the file."""
        return self.files.label(self.stretches[index].file)

    def times(self, index: int, num_frames: int, fps: float | None) -> np.ndarray:
        """When the frames of each moment of a stretch are shown, [count, T] seconds.

        Args:
            index: of the stretch.
            num_frames: T.
            fps: frames per second; None spreads them over the moment.
        """
        stretch = self.stretches[index]
        starts = self.every * (stretch.first + np.arange(stretch.count))
        steps = (np.arange(num_frames) + 0.5) * self.every / num_frames if fps is None else np.arange(num_frames) / fps
        return starts[:, None] + steps

    def finished_files(self, done: set[int]) -> int:
        """How many files have all their stretches among those that are done."""
        return len(self.files) - len({s.file for i, s in enumerate(self.stretches) if i not in done})
