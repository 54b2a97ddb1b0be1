"""Reading video files through FFmpeg (PyAV): seek, decode only what is needed, shrink at once.

Frames are found by their time stamps, so files of variable frame rate and files that begin late are read
correctly. PyAV is imported when the first file is opened.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from openjepa.errors import DataError, require

MAX_VIDEO_PIXELS = 8192 * 8192
Source = Path | bytes


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        num_frames: number of frames.
        fps: average frames per second.
        height: of the picture as it is shown, in pixels.
        width: likewise.
    """

    num_frames: int
    fps: float
    height: int
    width: int


@cache
def pyav() -> ModuleType:
    """Returns PyAV, or says how to install it."""
    try:
        import av
    except ImportError as error:
        raise require("av", "video", "read videos") from error
    return av


class VideoFile:
    """An open video.

    Args:
        source: path or bytes.
        name: what errors call it.
        max_pixels: refuses larger pictures before anything is decoded.

    Attributes:
        info: frames, rate and size.

    Raises:
        DataError: for a file that is no video, or too large a picture.
    """

    def __init__(self, source: Source, *, name: str | None = None, max_pixels: int = MAX_VIDEO_PIXELS) -> None:
        av = pyav()
        self.name = name or (str(source) if isinstance(source, Path) else "video")
        try:
            self._container: Any = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), mode="r")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._damaged(error) from error
        try:
            streams = self._container.streams.video
            if not streams:
                raise DataError(f"`{self.name}` must be a video; it has no picture stream. Fetch it again.")
            self._stream = streams[0]
            context = self._stream.codec_context
            if context is None or not context.width or not context.height:
                raise DataError(f"`{self.name}` must be a video that FFmpeg decodes; its codec is unknown. Remove it.")
            if context.width * context.height > max_pixels:
                raise DataError(
                    f"`{self.name}` claims frames of {context.width} x {context.height} pixels, more than "
                    f"{max_pixels}. Remove it."
                )
            self._stream.thread_type = "NONE"  # parallelism is over files, where it costs nothing
            self._start = float((self._stream.start_time or 0) * self._stream.time_base)
            self._reformatter: Any = av.video.reformatter.VideoReformatter()
            self.info = VideoInfo(*self._count(), context.height, context.width)
        except BaseException:
            self.close()
            raise

    def _count(self) -> tuple[int, float]:
        """Number of frames and their average rate; counts packets where the header is silent."""
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.guessed_rate
        count = stream.frames
        seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
        if not count and rate and seconds:
            count = round(seconds * float(rate))
        if count <= 1 or not rate:  # a header may be silent, or say 1 for a growing file
            with self._errors():
                times = sorted(float(p.pts * p.time_base) for p in container.demux(stream) if p.pts is not None)
                container.seek(0)
            count = len(times)
            span = times[-1] - times[0] if count > 1 else 0.0
            rate = rate or ((count - 1) / span if span > 0 else 1.0)
        return int(count), float(rate)

    def read(self, times: np.ndarray, size: int | None = None) -> np.ndarray:
        """Decodes the frames that are shown at some moments.

        Args:
            times: [T] seconds from the first frame, ascending. Moments after the end give the last frame.
            size: side of the centre square, in pixels; None keeps the picture whole.

        Returns:
            [T, 3, H, W] uint8.

        Raises:
            DataError: where the file ends before it should, or cannot be decoded.
        """
        times = np.minimum(np.asarray(times, float), (self.info.num_frames - 0.5) / self.info.fps)
        for seek in (True, False):  # an index may point past the frame that it promises
            frames = self._decode(times, size, seek=seek)
            if frames is not None:
                return np.stack(frames)
        raise DataError(f"`{self.name}` must have a frame at {times[0]:.2f} s; it cannot be found.")

    def frames(self, size: int | None = None) -> Iterator[np.ndarray]:
        """Decodes all frames in order, each [3, H, W] uint8."""
        with self._errors():
            self._container.seek(self._stream.start_time or 0, stream=self._stream)
            for frame in self._container.decode(self._stream):
                yield self._picture(frame, size)

    def _decode(self, times: np.ndarray, size: int | None, *, seek: bool) -> list[np.ndarray] | None:
        base, half = self._stream.time_base, 0.25 / self.info.fps
        target = times[0] + self._start if seek else self._start
        out: list[np.ndarray] = []
        shown, shown_at = None, 0.0
        with self._errors():
            self._container.seek(int(target / float(base)), stream=self._stream, backward=True)
            for frame in self._container.decode(self._stream):
                if frame.time is None:
                    continue
                at = frame.time - self._start
                if shown is None and at > times[0] + 1.5 / self.info.fps and seek:
                    return None
                out += self._repeat(shown if shown is not None else frame, times, len(out), at - half, size)
                shown, shown_at = frame, at
                if len(out) == len(times):
                    return out
        if shown is None:
            return None
        if times[-1] > shown_at + max(2.5 / self.info.fps, 0.1):
            raise DataError(
                f"`{self.name}` must last {self.info.num_frames / self.info.fps:.2f} s; its frames end at "
                f"{shown_at:.2f} s. It is cut off or damaged."
            )
        return out + self._repeat(shown, times, len(out), np.inf, size)

    def _repeat(self, frame: Any, times: np.ndarray, done: int, until: float, size: int | None) -> list[np.ndarray]:
        """The frame once for every moment that is still to come and lies before `until`."""
        count = int(np.searchsorted(times[done:], until))
        return [self._picture(frame, size)] * count if count else []

    def _picture(self, frame: Any, size: int | None) -> np.ndarray:
        """Converts a frame to RGB, shrunk so that its short side is `size`, and cuts the centre square."""
        width, height = frame.width, frame.height
        if size is not None:
            scale = size / min(width, height)
            width, height = max(size, round(width * scale)), max(size, round(height * scale))
        small = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="AREA" if frame.width > width else "BILINEAR"
        )
        picture = small.to_ndarray()  # [H, W, 3]
        turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
        if turns:
            picture = np.rot90(picture, turns)
        if size is not None:
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            picture = picture[top : top + size, left : left + size]
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        av = pyav()
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return DataError(
            f"`{self.name}` must be a video that FFmpeg decodes; {why}. Write or fetch it again, or remove it."
        )

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
