"""Plain MP4 files: the header alone says where decoding may begin and how much is shown."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, islice
from typing import Any

import numpy as np

from openjepa.data.video_survey import (
    SHORTEST,
    SMALLEST_PICTURE,
    TRIES,
    WORTH_A_SEEK,
    Shown,
    Unforeseen,
    average_rate,
    is_enterable,
    is_one_frame_per_packet,
)
from openjepa.data.video_track import Source, VideoTrack
from openjepa.errors import DataError

COARSE = 4  # units of time between two frames, below which rounding may exchange them


@dataclass(frozen=True)
class HeaderIndex:
    """A plain MP4 file: its header lists every packet, and all are shown.

    Attributes:
        num_frames: number of frames.
        fps: average frames per second.
        first: time of the first frame, in units of the stream.
        even: frames follow each other at even distances, so that numbers are times.
        size: height and width as they are shown; None until a frame was decoded to know.
    """

    num_frames: int
    fps: float
    first: int
    even: bool
    size: tuple[int, int] | None = None

    def enter(self, track: VideoTrack, time: float) -> Iterator[Shown]:
        """Yields the frames from one on that is shown at `time` seconds or before."""
        entries, at = track.stream.index_entries, self._target(track, time)
        target = at
        for _ in range(TRIES):
            number = entries.search_timestamp(at)
            if number < 0 or not track.seek(at):
                break
            at = entries[number].timestamp - 1
            packets = track.packets()
            key = next(packets, None)
            if key is None or key.pts is None or key.pts > target:
                continue
            begin, frames = key.pts, track.frames(chain([key], packets))
            try:
                frame = next((f for f in frames if f.pts is not None and f.pts >= begin), None)
            except DataError:  # no key frame, whatever the header says; a damaged one is met again from the start
                continue
            if frame is not None and frame.pts == begin and frame.key_frame:
                return self._timed(track, chain([frame], frames))
        track.rewind()
        shown = self._timed(track, track.frames(track.packets()))
        first = next(shown, None)
        if first is None or first.time != 0:
            raise Unforeseen
        return chain([first], shown)

    def has_nearer_entry(self, track: VideoTrack, time: float) -> bool:
        """Whether decoding had better begin anew for the frame at `time` than go on."""
        number = track.stream.index_entries.search_timestamp(self._target(track, time))
        if number < 0 or track.position is None:
            return False
        skipped = (track.stream.index_entries[number].timestamp - track.position) * float(track.time_base)
        return skipped * self.fps > WORTH_A_SEEK

    def _target(self, track: VideoTrack, time: float) -> int:
        return self.first + math.floor(min(time, self.num_frames / self.fps) / float(track.time_base) + 1e-6)

    def _timed(self, track: VideoTrack, frames: Iterator[Any]) -> Iterator[Shown]:
        unit = float(track.time_base)
        step, last = 1 / (self.fps * unit), math.inf
        for frame in frames:
            if frame.is_corrupt:  # what came before may have a part in what is shown instead
                raise Unforeseen
            if frame.pts is not None:
                if self.even and frame.pts - last > 1.5 * step + 1:  # a packet that shows nothing
                    raise Unforeseen
                last = frame.pts
                yield Shown((last - self.first) * unit, frame)
        if self.even and last < self.first + (self.num_frames - 1.5) * step - 1:
            raise Unforeseen


def header_index(track: VideoTrack) -> HeaderIndex | None:
    """The index of a plain MP4 file, or None for any other.

    Plain: no fragments, no edit list that hides packets, decoding times that rise, and a first packet that is a key
    and shown first. Nothing is decoded for it.
    """
    stream, entries = track.stream, track.stream.index_entries
    count = len(entries)
    if "mp4" not in track.format or not count or count != stream.frames or not stream.duration:
        return None
    if not is_enterable(track) or not is_one_frame_per_packet(track) or is_fragmented(track.source):
        return None
    if not entries[0].is_keyframe or any(entry.is_discard for entry in entries):
        return None
    smallest = SMALLEST_PICTURE.get(stream.codec_context.codec.name)
    if smallest and any(entry.size < smallest for entry in entries):
        return None
    decoded = np.array([entry.timestamp for entry in entries])
    if (np.diff(decoded) <= 0).any():
        return None
    off = np.abs(decoded - np.linspace(decoded[0], decoded[-1], count)).max()
    if decoded[-1] - decoded[0] >= COARSE * (count - 1):
        even = off <= 1  # times are whole numbers
    else:  # one unit moves a frame into the place of another; where they are reordered only their packets tell
        even = off == 0 and not stream.codec_context.has_b_frames
    track.rewind()
    first = [packet.pts for packet in islice(track.packets(), stream.codec_context.reorder_depth + 2)]
    if None in first or not first or first[0] != min(first):
        return None
    rate = average_rate(track, count, float(stream.duration * stream.time_base))
    if rate * SHORTEST > 0.5:
        return None
    return HeaderIndex(count, rate, first[0], bool(even))


def is_fragmented(source: Source) -> bool:
    """Whether an MP4 file has fragments, whose frames its header does not list."""
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            size, kind = struct.unpack(">I4s", head[:8])
            if kind == b"moof":
                return True
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size < 8:  # 0: the box lasts to the end
                return False
            file.seek(size - len(head), 1)
    return False
