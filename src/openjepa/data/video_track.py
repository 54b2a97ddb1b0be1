"""The picture stream of a video file: its packets in the order of the file, and the frames that they decode to."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from openjepa.errors import DataError, require

LOG = logging.getLogger("openjepa")
Source = Path | bytes
# Recordings of a broadcast or a camera begin anywhere: what cannot be decoded before the first picture is skipped.
BROADCASTS = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc"}


class Packet(NamedTuple):
    """What a packet says about itself; times in units of the stream's time base."""

    pts: int | None
    dts: int | None
    pos: int | None
    size: int
    key: bool
    discard: bool
    duration: int


@cache
def pyav() -> ModuleType:
    """Returns PyAV, or says how to install it."""
    try:
        import av
    except ImportError as error:
        raise require("av", "video", "read videos") from error
    return av


class VideoTrack:
    """A video file, opened at its start.

    Args:
        source: path or bytes.
        name: what errors call it.
        max_pixels: refuses larger pictures before anything is decoded.

    Attributes:
        stream: PyAV's picture stream.
        time_base: seconds of a unit of time.
        coded: height and width as the header has them.
        position: decoding time of the last packet that was read.
        at_start: nothing was read yet.
        number: number of the last packet that was decoded, where they are numbered.

    Raises:
        DataError: for a file that is no video, or too large a picture.
    """

    def __init__(self, source: Source, name: str, max_pixels: int) -> None:
        self.source, self.name, self.max_pixels = source, name, max_pixels
        self._open()

    def _open(self) -> None:
        av = pyav()
        self.position: int | None = None
        self.number: int | None = None
        self.at_start = True
        self._container: Any = None
        try:
            with self.errors():
                self._container = av.open(_opened(self.source), mode="r")
            streams = [
                s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
            ]
            if not streams:
                raise DataError(f"`{self.name}` must be a video; it has no picture stream. Fetch it again.")
            # What a player shows of several: the one that the file marks, else the first.
            self.stream = next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])
            context = self.stream.codec_context
            if context is None or not context.width or not context.height:
                raise DataError(f"`{self.name}` must be a video that FFmpeg decodes; its codec is unknown. Remove it.")
            if context.width * context.height > self.max_pixels:
                raise DataError(
                    f"`{self.name}` claims frames of {context.width} x {context.height} pixels, more than "
                    f"{self.max_pixels}. Remove it."
                )
        except BaseException:
            self.close()
            raise
        context.flags |= av.codec.context.Flags.unaligned  # else what is cut off at the left is rounded
        if "1" in (self.stream.metadata.get(name) for name in ("alpha_mode", "ALPHA_MODE")):
            _say_opaque(self.name)
        self.stream.thread_type = "NONE"  # parallelism is over files, where it costs nothing
        self.time_base = self.stream.time_base
        self.coded = (context.height, context.width)
        self.format = self._container.format.name

    def rewind(self) -> None:
        """Goes back to the start with a decoder that has seen nothing."""
        if not self.at_start:
            self.close()
            self._open()

    def seek(self, timestamp: int) -> bool:
        """Goes to a key packet at or before a time, if the format can.

        Nothing is promised of where it lands; who calls looks at what comes.
        """
        context, self.at_start = self.stream.codec_context, False
        depth = context.reorder_depth
        try:
            self._container.seek(timestamp, stream=self.stream)
        except (pyav().error.FFmpegError, OSError):
            return False
        # The decoder learns how far frames are reordered as it goes, and drops frames until it knows.
        context.reorder_depth = max(depth, context.reorder_depth)
        return True

    def header_seconds(self) -> float:
        """How long the file says that it lasts; 0 where it says nothing."""
        stream = self.stream
        if stream.duration and self.format not in BROADCASTS:
            return float(stream.duration * stream.time_base)
        return (self._container.duration or 0) / 1e6

    def claimed_seconds(self) -> float | None:
        """When the file says that it ends; None where that is a guess, or may be said of its sound."""
        container = self._container
        guessed = self.format in BROADCASTS or "mp4" in self.format  # an edit list may show less; `packets` looks
        if guessed or len(container.streams) > 1 or not container.duration:
            return None
        return container.duration / 1e6

    def packets(self, log: list[Packet] | None = None) -> Iterator[Any]:
        """Yields the packets from here to the end, and describes each in `log`.

        An empty packet (an AVI repeats a picture by one) shows nothing, and would end the decoder.

        Raises:
            DataError: where the file cannot be read.
        """
        self.at_start = False
        with self.errors():
            for packet in self._demuxed():
                if packet.dts is not None:
                    self.position = packet.dts
                if packet.size:
                    if log is not None:
                        log.append(describe(packet))
                    yield packet
        if (
            "mp4" in self.format
            and len(entries := self.stream.index_entries)
            and self.position != entries[-1].timestamp
        ):
            raise DataError(
                f"`{self.name}` must hold every frame that its header lists; it ends before. It is cut off or damaged."
            )

    def _demuxed(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self.stream)
        except IndexError:  # PyAV at the end of a file in which a stream has appeared on the way
            return

    def decode(self, packet: Any | None, *, lenient: bool = False) -> list[Any]:
        """Returns the frames that a packet completes, in the order in which they are shown; None ends the stream.

        Args:
            packet: of `packets`.
            lenient: returns nothing for a packet that cannot be decoded.

        Raises:
            DataError: for what cannot be decoded.
        """
        if lenient:
            try:
                return self.stream.codec_context.decode(packet)
            except pyav().error.FFmpegError:
                return []
        with self.errors():
            return self.stream.codec_context.decode(packet)

    def frames(self, packets: Iterator[Any], number: int | None = None) -> Iterator[Any]:
        """Decodes packets and yields what is shown, in order.

        Args:
            packets: of `packets`, from a point where decoding can begin.
            number: what to call the first packet; each frame's `pts` then is the number of its packet. None
                leaves the frames their own times.
        """
        lenient = self.format in BROADCASTS
        for packet in packets:
            if number is not None:
                packet.pts, self.number, number = number, number, number + 1
            for frame in self.decode(packet, lenient=lenient):
                lenient = False
                yield self._numbered(frame, number)
        for frame in self.decode(None):
            yield self._numbered(frame, number)

    def _numbered(self, frame: Any, number: int | None) -> Any:
        if number is not None and (frame.pts is None or not 0 <= frame.pts < number):
            frame.pts = self.number  # a decoder that forgets: the packet that completed the frame
        return frame

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns FFmpeg's errors into one line."""
        try:
            yield
        except (pyav().error.FFmpegError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise DataError(
                f"`{self.name}` must be a video that FFmpeg decodes; {why}. Write or fetch it again, or remove it."
            ) from error

    def close(self) -> None:
        """Closes the file."""
        if self._container is not None:
            self._container.close()


@cache
def _say_opaque(name: str) -> None:
    LOG.warning(
        "`%s` keeps its transparency beside its pictures, where it is not read: what lies under it shows.", name
    )


def _opened(source: Source) -> str | io.BytesIO:
    """What PyAV opens: a path is said to be one, as a colon in a name would mean a protocol."""
    return io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"


def describe(packet: Any) -> Packet:
    """Reads what a packet says about itself."""
    return Packet(
        packet.pts, packet.dts, packet.pos, packet.size, packet.is_keyframe, packet.is_discard, packet.duration or 0
    )
