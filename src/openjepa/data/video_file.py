"""Reading video files through FFmpeg (PyAV): exactly the frames that decoding from the start shows, each at its time.

Only what is needed is decoded, and shrunk at once. PyAV is imported when the first file is opened.
"""

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data.video_index import FrameIndex, Index, index, reconsidered, sized
from openjepa.data.video_orientation import orientation
from openjepa.data.video_survey import Shown, Unforeseen, VideoInfo
from openjepa.data.video_track import Source, VideoTrack, pyav
from openjepa.errors import DataError

MAX_VIDEO_PIXELS = 8192 * 8192


class VideoFile:
    """An open video.

    Args:
        source: path or bytes.
        name: what errors call it.
        max_pixels: refuses larger pictures before anything is decoded.

    Raises:
        DataError: for a file that is no video, or too large a picture.
    """

    def __init__(self, source: Source | str, *, name: str | None = None, max_pixels: int = MAX_VIDEO_PIXELS) -> None:
        self.name = name or ("video" if isinstance(source, bytes) else str(source))
        self._source, self._max_pixels = Path(source) if isinstance(source, str) else source, max_pixels
        self._track: VideoTrack | None = self._open()
        self._rest: Iterator[Shown] = iter(())
        self._now: Shown | None = None  # the frame that is shown, and the one after it
        self._next: Shown | None = None
        self._reformatter: Any = pyav().video.reformatter.VideoReformatter()

    def _open(self) -> VideoTrack:
        return VideoTrack(self._source, self.name, self._max_pixels)

    @cached_property
    def _index(self) -> Index:
        return index(self._reading())

    @property
    def num_frames(self) -> int:
        """How many frames are shown."""
        return self._index.num_frames

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self._index.fps

    @property
    def seconds(self) -> float:
        """How long all frames are shown."""
        return self._index.num_frames / self._index.fps

    @property
    def info(self) -> VideoInfo:
        """Frames, rate and size, as they are shown; a first frame may have to be decoded for the size."""
        found, size = self._index, self._index.size
        if size is None:
            found, size = sized(self._reading(), found)
            self._use(found)
        return VideoInfo(found.num_frames, found.fps, *size)

    def header_seconds(self) -> float:
        """How long the file says that it lasts; nothing is read. 0 where it says nothing."""
        return self._reading().header_seconds()

    def read(self, times: np.ndarray, size: int | None = None) -> np.ndarray:
        """Decodes the frames that are shown at some moments.

        A frame is shown from its own time until that of the next.

        Args:
            times: [T] seconds from the first frame. Moments before it give the first frame, moments after the end
                the last.
            size: side of the centre square, in pixels; None keeps the picture whole.

        Returns:
            [T, 3, H, W] uint8.

        Raises:
            DataError: where the file ends before it should, or cannot be decoded.
        """
        times = np.asarray(times, float)
        order = np.argsort(times, kind="stable")
        pictures = list(self.pictures(times[order], size))
        return np.stack([pictures[i] for i in np.argsort(order)])

    def pictures(self, times: np.ndarray, size: int | None = None) -> Iterator[np.ndarray]:
        """Decodes the frames that are shown at some moments, one by one; arguments and errors as in `read`.

        Moments that ascend are fastest.
        """
        shown, picture = None, np.empty(0)
        for time in np.asarray(times, float):
            found = self._at(float(time))
            if shown is None or found.frame is not shown:
                shown, picture = (
                    found.frame,
                    self._picture(found.frame, size, None if size else self._whole(found.frame)),
                )
            yield picture

    def frames(self, size: int | None = None) -> Iterator[np.ndarray]:
        """Decodes all frames in order, each [3, H, W] uint8."""
        track = self._track
        if track is None or not track.at_start:
            track = self._open()
        else:
            self._track = None  # `read` opens the file anew
        whole = damage = None
        try:
            for number, frame in enumerate(track.frames(track.packets())):
                if damage is None and frame.is_corrupt:
                    damage = self._whole_index()
                if damage is not None and number in damage.unsteady:
                    raise self._unsteady(damage.times[number])
                picture = self._picture(frame, size, whole)
                whole = whole or picture.shape[1:]
                yield picture
        finally:
            track.close()

    def middles(self, numbers: np.ndarray) -> np.ndarray:
        """The moments [T], in seconds, in the middle of the frames with some numbers [T]."""
        found = self._index
        if not isinstance(found, FrameIndex) and not found.even:
            found = index(self._reading(), listed=True)
            self._use(found)
        if isinstance(found, FrameIndex):
            return found.middles(numbers)
        return (np.asarray(numbers) + 0.5) / found.fps

    def _whole_index(self) -> FrameIndex:
        """The index of a file of which every frame was decoded."""
        while not (isinstance(found := self._index, FrameIndex) and found.certain):
            self._use(index(self._reading(), certain=True))
        return found

    def _unsteady(self, time: float) -> DataError:
        return DataError(
            f"`{self.name}` must decode to the same frames every time; that at {time:.2f} s does not. It is damaged; "
            "write or fetch it again, or remove it."
        )

    def _whole(self, frame: Any) -> tuple[int, ...] | None:
        """Height and width of the first frame as it is shown; None where that is the frame's own for certain."""
        if self._index.size is None and (frame.height, frame.width) == self._reading().coded:
            return None
        return self.info.height, self.info.width

    def _reading(self) -> VideoTrack:
        if self._track is None:
            self._track = self._open()
        return self._track

    def _at(self, time: float) -> Shown:
        """The frame that is shown at a moment."""
        while True:
            try:
                return self._advance(time)
            except Unforeseen:
                self._use(reconsidered(self._reading(), self._index))

    def _use(self, found: Index) -> None:
        self._index, self._now, self._next = found, None, None

    def _advance(self, time: float) -> Shown:
        track, time = self._reading(), time + 1e-6  # times are sums of floating-point numbers
        behind = self._now is None or time < self._now.time
        if behind or (self._next and time >= self._next.time and self._index.has_nearer_entry(track, time)):
            self._rest = self._index.enter(track, max(time, 0.0))
            self._now, self._next = next(self._rest, None), next(self._rest, None)
        while self._next is not None and self._next.time <= time:
            self._now, self._next = self._next, next(self._rest, None)
        if self._now is None:
            raise DataError(f"`{self.name}` must have a frame at {time:.2f} s; it cannot be found.")
        if not self._now.steady:
            raise self._unsteady(self._now.time)
        return self._now

    def _picture(self, frame: Any, size: int | None, whole: tuple[int, ...] | None) -> np.ndarray:
        """Converts a frame to RGB, shrunk so that its short side is `size`, and cuts the centre square.

        Without `size` it gets the height and width of `whole`: in pieces written one after the other they may change.
        """
        turn = orientation(frame, self.name)
        frame = composed_on_white(frame)
        width, height = frame.width, frame.height
        if size is not None:
            scale = size / min(width, height)
            width, height = max(size, round(width * scale)), max(size, round(height * scale))
        elif whole is not None:
            height, width = turn.shown(whole[0], whole[1])
        small = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="AREA" if frame.width > width else "BILINEAR", threads=1
        )
        picture = turn.apply(small.to_ndarray())  # [H, W, 3]
        if size is not None:
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            picture = picture[top : top + size, left : left + size]
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def close(self) -> None:
        """Closes the file."""
        if self._track is not None:
            self._track.close()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def has_alpha(pixels: str) -> bool:
    """Whether a pixel format of FFmpeg's has transparency."""
    return any(part.is_alpha for part in pyav().VideoFormat(pixels).components)


def composed_on_white(frame: Any) -> Any:
    """Returns a frame without transparency, as pictures are read: the colours under it are no part of what is shown."""
    if not has_alpha(frame.format.name):
        return frame
    rgba = frame.to_ndarray(format="rgba")  # [H, W, 4]
    if (rgba[..., 3] == 255).all():
        return frame
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    shown = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    return pyav().VideoFrame.from_ndarray(shown.astype(np.uint8), format="rgb24")


def write_video(path: Path | str, frames: np.ndarray, *, fps: int = 10, codec: str = "libx264") -> None:
    """Writes frames [T, 3, H, W] uint8 as a video with key frames for cheap seeking.

    Odd sides lose a row or column, as H.264 needs even ones.
    """
    av = pyav()
    frames = frames[..., : frames.shape[2] // 2 * 2, : frames.shape[3] // 2 * 2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "18", "g": "12", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        stream.thread_type = "NONE"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(1, 2, 0)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
