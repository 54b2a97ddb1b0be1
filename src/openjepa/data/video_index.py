"""Where decoding may begin in a video file, and which frame is shown when.

Every frame that is given is the one that decoding from the start shows at that moment. Decoding begins elsewhere
only at a packet whose frame the decoder itself calls a key frame, and only what is shown from that one on is taken:
frames before it may need pictures that were never decoded. Where a seek does not lead there, decoding begins
earlier, in the end at the start.

Where a decoder says that a frame is damaged, every frame is decoded once. What lies between two key frames with damage
is then decoded from the start only, and a frame that differs from one decoding to the next is refused. Damage of which
the decoder says nothing is shown as it falls out.
"""

import logging
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import chain, islice, takewhile
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from openjepa.data.video_header import HeaderIndex, header_index
from openjepa.data.video_survey import (
    TRIES,
    WORTH_A_SEEK,
    Shown,
    Survey,
    Unforeseen,
    average_rate,
    frame_times,
    is_enterable,
    is_learning,
    is_one_frame_per_packet,
    shown_size,
    survey,
    unsteady,
)
from openjepa.data.video_track import BROADCASTS, Packet, Source, VideoTrack, describe
from openjepa.errors import DataError

SHORT = 0.2  # seconds, or a fiftieth, by which a header may be wrong
LOG = logging.getLogger("openjepa")
KEPT_FRAMES = 4_000_000  # of all indices that are kept: about 100 MB


class Entry(NamedTuple):
    """A key packet: its number, the number of its frame, and what tells it from all others: its place or its times."""

    packet: int
    frame: int
    about: Packet
    by_place: bool


@dataclass(frozen=True)
class FrameIndex:
    """What one pass over a file has found.

    Attributes:
        num_frames: number N of frames.
        fps: average frames per second.
        size: height and width as they are shown.
        times: [N] seconds from the first frame, ascending.
        order: [N] number of the packet of each frame.
        frame_of: [P] number of the frame of each packet, -1 where it shows none.
        entries: key packets, in order; emptied where seeking turns out not to lead to them.
        certain: every frame was decoded.
        corrupt: numbers of the packets of frames that are damaged, as far as they were decoded.
        tainted: frames of the entries after which damage is met before the next. What is shown in its place may be
            taken from any frame before, and so decoding begins at the start.
        unsteady: numbers of the frames that differ from one decoding to the next.
    """

    num_frames: int
    fps: float
    size: tuple[int, int]
    times: np.ndarray
    order: np.ndarray
    frame_of: np.ndarray
    entries: list[Entry]
    certain: bool
    corrupt: frozenset[int] = frozenset()
    tainted: frozenset[int] = frozenset()
    unsteady: frozenset[int] = frozenset()

    def enter(self, track: VideoTrack, time: float) -> Iterator[Shown]:
        """Yields the frames from one on that is shown at `time` seconds or before.

        Raises:
            Unforeseen: where another frame comes than was found.
        """
        for entry in self._entries(time):
            frames = track.frames(self._go_to(track, entry), entry.packet)
            try:
                frame = next((f for f in frames if self.frame_of[f.pts] >= entry.frame), None)
            except DataError:  # no key frame, whatever the file says; a damaged one is met again from the start
                continue
            if frame is not None and frame.pts == entry.packet and frame.key_frame:
                return self._sound(track, self._timed(chain([frame], frames), entry.frame), entry.frame)
        return self._from_start(track)

    def has_nearer_entry(self, track: VideoTrack, time: float) -> bool:
        """Whether decoding had better begin anew for the frame at `time` than go on."""
        entry = next(self._entries(time), None)
        if entry is None or track.number is None:
            return False
        return entry.packet - track.number > WORTH_A_SEEK

    def middles(self, numbers: np.ndarray) -> np.ndarray:
        """Moments [T] in the middle of frames with some numbers [T]."""
        ends = np.append(self.times[1:], self.num_frames / self.fps)
        return ((self.times + np.maximum(ends, self.times)) / 2)[np.clip(numbers, 0, len(ends) - 1)]

    def _entries(self, time: float) -> Iterator[Entry]:
        """The nearest entries at or before a moment, the last first; none is the start, for which nothing is sought."""
        wanted = int(np.searchsorted(self.times, time, "right")) - 1
        end = bisect_right(self.entries, wanted, key=lambda entry: entry.frame)
        near = reversed(self.entries[max(end - TRIES, 0) : end])
        return takewhile(lambda entry: entry.packet and entry.frame not in self.tainted, near)

    def _go_to(self, track: VideoTrack, entry: Entry) -> Iterator[Any]:
        """Packets from an entry on; counted from the start where no seek leads there."""
        about = entry.about
        # MP4 and Matroska look for the time of showing; a broadcast is searched by the time of decoding.
        for at in (about.dts,) if track.format in BROADCASTS else (about.pts, about.dts):
            if at is None or not track.seek(at):
                continue
            packets = track.packets()
            for packet in packets:
                if is_same(describe(packet), entry):
                    return chain([packet], packets)
                if None not in (packet.dts, about.dts) and packet.dts > about.dts:
                    break
        track.rewind()
        return islice(track.packets(), entry.packet, None)

    def _from_start(self, track: VideoTrack) -> Iterator[Shown]:
        track.rewind()
        return self._timed(track.frames(track.packets(), 0), 0)

    def _sound(self, track: VideoTrack, shown: Iterator[Shown], number: int) -> Iterator[Shown]:
        """The frames from a number on, which change over to decoding from the start where damage comes."""
        damage = min((frame for frame in self.tainted if frame >= number), default=None)
        yield from shown if damage is None else islice(shown, damage - number)
        if damage is not None:
            yield from islice(self._from_start(track), damage, None)

    def _timed(self, frames: Iterator[Any], number: int) -> Iterator[Shown]:
        for frame in frames:
            if number >= len(self.order) or frame.pts != self.order[number]:
                raise Unforeseen
            if frame.is_corrupt != (frame.pts in self.corrupt):  # damage that was hidden, or is by what came before
                raise Unforeseen
            yield Shown(float(self.times[number]), frame, number not in self.unsteady)
            number += 1
        if number < len(self.order):
            raise Unforeseen


def is_same(found: Packet, entry: Entry) -> bool:
    """Whether a packet is that of an entry."""
    about = entry.about
    if entry.by_place:
        return (found.pos, found.size) == (about.pos, about.size)
    return (found.pts, found.dts, found.size) == (about.pts, about.dts, about.size)


Index = HeaderIndex | FrameIndex


def index(track: VideoTrack, *, listed: bool = False, certain: bool = False) -> Index:
    """Finds what a file shows; kept in memory as long as the file stays as it is.

    A plain MP4 file needs its header only. Any other is read once from end to end, and decoded once if its packets
    do not tell what is shown; both are said once in the log.

    Args:
        track: the file.
        listed: the time of every frame is needed, not only what the header says.
        certain: decode every frame, as what the packets say was wrong.

    Raises:
        DataError: for a file without frames, or one that cannot be read.
    """
    key = _key(track.source)
    found = None if certain else KEPT.get(key, listed=listed)
    if found is None and not listed and not certain:
        found = header_index(track)
    if found is None:
        found = _surveyed(track, certain or not is_one_frame_per_packet(track))
    KEPT.put(key, found)
    return found


def sized(track: VideoTrack, found: Index) -> tuple[Index, tuple[int, int]]:
    """The same, with the height and width of the picture, for which a plain MP4 file must decode its first frame."""
    track.rewind()
    first = next(track.frames(track.packets()), None)
    if first is None:
        raise DataError(f"`{track.name}` must be a video; it has no frames. Fetch it again, or remove it.")
    size = shown_size(first, track.name)
    found = replace(found, size=size)
    KEPT.put(_key(track.source), found)
    return found, size


def reconsidered(track: VideoTrack, found: Index) -> Index:
    """The index to go by after an unforeseen frame: of all frames decoded, then without seeking.

    Raises:
        DataError: where that was the case already.
    """
    if isinstance(found, HeaderIndex) or not found.certain:
        return index(track, certain=True)
    if not found.entries:
        raise DataError(
            f"`{track.name}` must decode to the same frames every time; it does not. It is damaged; remove it."
        )
    found.entries.clear()
    return found


def _surveyed(track: VideoTrack, decode_all: bool) -> FrameIndex:
    _say_once(decode_all)
    found = survey(track, decode_all=decode_all)
    order = found.order() if found else None
    if found and order is None:
        _say_once(True)
        found = survey(track, decode_all=True)
        order = found.order() if found else None
    if found is None or order is None:
        raise DataError(f"`{track.name}` must be a video; it has no frames. Fetch it again, or remove it.")
    times, end = frame_times(track, found.packets, order)
    frame_of = np.full(len(found.packets), -1, np.int32)
    frame_of[order] = np.arange(len(order))
    entries = _entries_of(found, frame_of) if is_enterable(track) else []
    corrupt = sorted(int(frame_of[frame.packet]) for frame in found.shown if frame.corrupt)
    entries = [] if corrupt and is_learning(track) else entries
    begin = found.packets[order[0]]
    _say_if_short(track, end + float((begin.pts or begin.dts or 0) * track.time_base))
    return FrameIndex(
        len(order),
        average_rate(track, len(order), end),
        shown_size(found.first, track.name),
        times,
        np.array(order, np.int32),
        frame_of,
        entries,
        found.complete,
        frozenset(frame.packet for frame in found.shown if frame.corrupt),
        _tainted(corrupt, entries, len(order)),
        unsteady(track) if corrupt else frozenset(),
    )


def _entries_of(found: Survey, frame_of: np.ndarray) -> list[Entry]:
    """The key packets that can be told from all others, by their place in the file or by their times."""
    keys = [frame.packet for frame in found.shown if frame.key] if found.complete else range(len(found.packets))
    places = Counter((p.pos, p.size) for p in found.packets)
    times = Counter((p.pts, p.dts, p.size) for p in found.packets)
    entries: list[Entry] = []
    for number in keys:
        about, frame = found.packets[number], int(frame_of[number])
        if not about.key or frame < 0 or (entries and frame <= entries[-1].frame):
            continue
        by_place = about.pos is not None and places[about.pos, about.size] == 1
        if by_place or times[about.pts, about.dts, about.size] == 1:
            entries.append(Entry(number, frame, about, by_place))
    return entries


def _tainted(corrupt: list[int], entries: list[Entry], num_frames: int) -> frozenset[int]:
    """The frames of the entries after which damage is met before the next."""
    ends = [entry.frame for entry in entries[1:]] + [num_frames]
    return frozenset(
        entry.frame
        for entry, end in zip(entries, ends[: len(entries)], strict=True)
        if bisect_left(corrupt, entry.frame) < bisect_left(corrupt, end)
    )


@cache
def _say_once(decode_all: bool) -> None:
    how = "decoded" if decode_all else "read, not decoded,"
    LOG.info("Some videos are %s once from end to end to learn which frames they show; this is kept in memory.", how)


def _say_if_short(track: VideoTrack, end: float) -> None:
    """A file that was cut off shows what is left of it, as FFmpeg does; but not silently."""
    claimed = track.claimed_seconds()
    if claimed is not None and end < claimed - max(SHORT, 0.02 * claimed):
        LOG.warning(
            "`%s` must last %.2f s by its header; its frames end at %.2f s. It is cut off; what is left is read.",
            track.name,
            claimed,
            end,
        )


class _Kept:
    """Indices of files that did not change, the oldest forgotten first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[tuple[object, ...], Index] = OrderedDict()
        self._frames = 0

    def get(self, key: tuple[object, ...], *, listed: bool) -> Index | None:
        with self._lock:
            found = self._found.get(key)
        return None if listed and isinstance(found, HeaderIndex) else found

    def put(self, key: tuple[object, ...], found: Index) -> None:
        with self._lock:
            self._frames += _weight(found) - _weight(self._found.pop(key, None))
            self._found[key] = found
            while self._frames > KEPT_FRAMES and len(self._found) > 1:
                self._frames -= _weight(self._found.popitem(last=False)[1])


def _key(source: Source) -> tuple[object, ...]:
    if isinstance(source, bytes):
        return len(source), sha256(source).digest()
    state = source.stat()
    return source.absolute(), state.st_size, state.st_mtime_ns, state.st_ino


def _weight(found: Index | None) -> int:
    return len(found.order) if isinstance(found, FrameIndex) else 20 if found else 0


KEPT = _Kept()
