"""One pass over a video file: which frames are shown, in which order, and when."""

import re
from collections import deque
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from openjepa.data.video_orientation import orientation
from openjepa.data.video_track import BROADCASTS, Packet, VideoTrack
from openjepa.errors import DataError

# Codecs that decode the same from a key frame on, whatever came before. Others are decoded from the start.
ENTERABLE = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "libaom-av1", "mpeg1video", "mpeg2video", "mpeg4"}
ENTERABLE |= {"flv", "h263", "msmpeg4", "wmv1", "wmv2", "ffv1", "png"}
WORTH_A_SEEK = 8  # frames; over fewer it is as fast to decode on
TRIES = 3  # key frames that are tried before decoding begins at the start
HEAD = 24  # frames that are decoded to see whether packets come out as their times say
# Codecs of which a packet is one shown frame. VP8 hides frames in packets of their own; others are not known.
ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "libdav1d", "libaom-av1", "mpeg1video", "mpeg2video", "mpeg4"}
ONE_FRAME_PER_PACKET |= {"flv", "h263", "msmpeg4", "wmv1", "wmv2", "ffv1", "png"}
# Decoders that learn an encoder's faults from what they have seen: what is damaged changes all that comes after it.
LEARNING = {"flv", "h263", "mpeg4", "msmpeg4", "wmv1", "wmv2"}
# Where packets are cut out of a stream of bytes, by what a picture begins; none was sent, or damage has taken it.
PICTURES = {
    "mpeg1video": re.compile(rb"\x00\x00\x01\x00"),
    "mpeg2video": re.compile(rb"\x00\x00\x01\x00"),
    "mpeg4": re.compile(rb"\x00\x00\x01\xb6"),
    "h264": re.compile(rb"\x00\x00\x01[\x01\x05\x21\x25\x41\x45\x61\x65]"),
    "hevc": re.compile(rb"\x00\x00\x01[\x00-\x13\x20-\x2b]"),
}
SMALLEST_PICTURE = {"mpeg4": 10}  # bytes; with fewer an encoder says that the picture before stays
PROGRESSIVE = (0, 1)  # FFmpeg's numbers: not known, progressive
FIELD_CODED = {"h264", "hevc"}  # in a broadcast the two fields of a frame may be packets of their own
WITHOUT_OWN_TIMES = {"avi"}  # packets say when they are decoded, not when they are shown
WITHOUT_TIMES = {"h264", "hevc", "m4v", "mpegvideo", "obu", "dirac", "vc1"}  # a bare stream: frames at even distances
SHORTEST = 4e-6  # seconds of a frame; the fastest cameras take longer, and sums of times are not more exact
LONGEST_GAP = 10.0  # seconds without a picture in a broadcast; more is a clock that was set, as FFmpeg has it


@dataclass(frozen=True)
class VideoInfo:
    """What a video file shows.

    Attributes:
        num_frames: number of frames.
        fps: average frames per second; `num_frames / fps` is the duration.
        height: of the picture as it is shown, in pixels.
        width: likewise.
    """

    num_frames: int
    fps: float
    height: int
    width: int


class Shown(NamedTuple):
    """A frame and when it is shown, in seconds from the first frame; `steady` where every decoding gives the same."""

    time: float
    frame: Any
    steady: bool = True


class Decoded(NamedTuple):
    """A decoded frame: the number of its packet, and what the decoder says of it."""

    packet: int
    key: bool
    corrupt: bool


class Unforeseen(Exception):
    """A frame came that the index did not foresee."""


@dataclass(frozen=True)
class Survey:
    """What one pass has found.

    Attributes:
        packets: all packets, in the order of the file.
        shown: each frame that was decoded, in the order of showing.
        complete: all frames were decoded, not only the first.
        first: the first frame.
        doubtful: some packet that was not decoded may show nothing.
    """

    packets: list[Packet]
    shown: list[Decoded]
    complete: bool
    first: Any
    doubtful: bool = False

    def order(self) -> list[int] | None:
        """The packet of every shown frame, in order; None if it takes decoding all to know."""
        seen = [frame.packet for frame in self.shown]
        if self.complete:
            return seen
        if self.doubtful or any(frame.corrupt for frame in self.shown):
            return None
        times = [p.pts for p in self.packets if p.pts is not None]
        if len(times) < len(self.packets):
            return None
        begin = times[seen[0]]
        after = [i for i, p in enumerate(self.packets) if not p.discard and times[i] >= begin]
        order = sorted(after, key=times.__getitem__)
        jumps = any(b < a for a, b in pairwise(p.dts for p in self.packets if p.dts is not None))
        doubtful = jumps or len({times[i] for i in order}) < len(order) or order[: len(seen)] != seen
        return None if doubtful else order


def survey(track: VideoTrack, *, decode_all: bool) -> Survey | None:
    """Reads all packets of a file from the start and decodes the first frames, or all.

    Returns:
        What was found; None for a file without a frame.
    """
    track.rewind()
    packets: list[Packet] = []
    shown: list[Decoded] = []
    first = None
    stream = track.packets(packets)
    for frame in track.frames(stream, 0):
        first = frame if first is None else first
        shown.append(Decoded(frame.pts, frame.key_frame, frame.is_corrupt))
        if not decode_all and len(shown) == HEAD:
            break
    else:
        decode_all = True
    doubtful = False
    for packet in stream:  # the rest, not decoded
        doubtful = doubtful or not may_show(track, packet)
    return Survey(packets, shown, decode_all, first, doubtful) if shown else None


def unsteady(track: VideoTrack) -> frozenset[int]:
    """Numbers of the frames of a damaged file that differ from one decoding to the next.

    Where damage leaves a part of a picture undecoded, some decoders show what its memory held before. That depends on
    which frames were let go, and so they are kept for as many frames as give other memory.
    """
    sums: list[list[int]] = []
    for kept in (0, 4):
        track.rewind()
        held: deque[Any] = deque(maxlen=kept)
        sums.append([])
        for frame in track.frames(track.packets(), 0):
            held.append(frame)
            sums[-1].append(crc32(frame.to_ndarray(format="rgb24")))
    return frozenset(i for i, (a, b) in enumerate(zip_longest(*sums)) if a != b)


def may_show(track: VideoTrack, packet: Any) -> bool:
    """Whether a packet has what a picture needs, as far as that can be told without decoding it."""
    name = track.stream.codec_context.codec.name
    if packet.is_corrupt or packet.size < SMALLEST_PICTURE.get(name, 0):  # a broadcast counts, and notices what is lost
        return False
    marks = PICTURES.get(name) if track.format in BROADCASTS | WITHOUT_TIMES else None
    return marks is None or marks.search(packet) is not None


def is_one_frame_per_packet(track: VideoTrack) -> bool:
    """Whether packets alone tell what is shown, once the first frames have confirmed it."""
    context = track.stream.codec_context
    codec = context.codec
    if track.format in WITHOUT_TIMES or (track.format in WITHOUT_OWN_TIMES and context.has_b_frames):
        return False
    if track.format in BROADCASTS and codec.name in FIELD_CODED and context.field_order not in PROGRESSIVE:
        return False
    return codec.name in ONE_FRAME_PER_PACKET or codec.intra_only


def is_enterable(track: VideoTrack) -> bool:
    """Whether a key frame of this codec is decoded alike whatever came before; palettes come in pieces."""
    codec = track.stream.codec_context.codec
    return (codec.name in ENTERABLE or codec.intra_only) and track.stream.codec_context.pix_fmt != "pal8"


def is_learning(track: VideoTrack) -> bool:
    """Whether what a decoder of this codec makes of a frame depends on faults that it met before."""
    return track.stream.codec_context.codec.name in LEARNING


def average_rate(track: VideoTrack, count: int, seconds: float) -> float:
    """Frames per second of `count` frames in `seconds`; what the file says where that agrees."""
    rate = float(track.stream.average_rate or track.stream.guessed_rate or 0)
    constant = rate and abs(count / rate - seconds) <= 0.002  # times in a file may be rounded to milliseconds
    return rate if constant else count / seconds


def shown_size(frame: Any, name: str) -> tuple[int, int]:
    """Height and width of a frame as it is shown."""
    return orientation(frame, name).shown(frame.height, frame.width)


def frame_times(track: VideoTrack, packets: list[Packet], order: list[int]) -> tuple[np.ndarray, float]:
    """When frames are shown.

    Args:
        track: for its format and rate.
        packets: all.
        order: the packet of every shown frame.

    Returns:
        Seconds [N] from the first frame, ascending; and the end of the last frame.

    Raises:
        DataError: for frames too close to be told apart.
    """
    rate = track.stream.guessed_rate or track.stream.average_rate or 25
    unit = float(track.time_base)
    step = 1 / (float(rate) * unit)
    own = np.array([np.nan if packets[i].pts is None else packets[i].pts for i in order])
    if track.format in WITHOUT_TIMES:
        ticks = step * np.arange(len(order))
    elif track.format not in WITHOUT_OWN_TIMES and (np.diff(own) > 0).all():
        ticks = own - own[0]
    else:
        ticks = _joined(track, packets, order, own, step)
    gaps = np.diff(ticks)
    if track.format in BROADCASTS:
        gaps[gaps * unit > LONGEST_GAP] = step
        ticks = np.concatenate([[0.0], np.cumsum(gaps)])
    if len(gaps) and gaps.min() * unit < SHORTEST:
        raise DataError(
            f"`{track.name}` must show each frame for {1e6 * SHORTEST:.0f} microseconds or more; its times differ by "
            f"{gaps.min() * unit:.1e} s. It is damaged; write it again with its true rate, or remove it."
        )
    last = packets[order[-1]].duration or (float(np.median(gaps)) if len(gaps) else step)
    return ticks * unit, float(ticks[-1] + last) * unit


def _joined(track: VideoTrack, packets: list[Packet], order: list[int], own: np.ndarray, step: float) -> np.ndarray:
    """Times of a file whose clock jumps back (pieces written one after the other), or that has no times of showing."""
    decoded = np.array([np.nan if p.dts is None else p.dts for p in packets])
    known = np.where(np.isnan(decoded), -np.inf, decoded)
    piece = np.cumsum(np.concatenate([[False], known[1:] < known[:-1]]) & ~np.isnan(decoded))
    piece = np.maximum.accumulate(piece[order])  # [N]
    delay = track.stream.codec_context.reorder_depth if track.format in WITHOUT_OWN_TIMES else None
    ticks = np.zeros(len(order))
    begin = 0.0
    for number in np.unique(piece):
        here = piece == number
        times = _piece(own[here], decoded[order][here], step, delay)
        ticks[here] = begin + times - times[0]
        begin = ticks[here][-1] + step
    return ticks


def _piece(own: np.ndarray, decoded: np.ndarray, step: float, delay: int | None) -> np.ndarray:
    """Times of frames in the order of showing: their own, or those of decoding in order, or even distances.

    A decoder holds back `delay` frames to reorder them, so a frame is shown when the `delay`-th after it is
    decoded; None where frames have times of their own.
    """
    if delay is None and (np.diff(own) > 0).all():
        return own
    decoded = np.sort(decoded)
    if (np.diff(decoded) > 0).all():
        late = min(delay or 0, len(decoded) - 1)
        return np.concatenate([decoded[late:], decoded[-1] + step * np.arange(1, late + 1)])
    if delay is None and (np.diff(own) >= 0).all():
        return _apart(own, step)
    return step * np.arange(len(own))


def _apart(own: np.ndarray, step: float) -> np.ndarray:
    """Ascending times in which frames of one time share the span until the next: none is shown for no time at all."""
    first = np.flatnonzero(np.diff(own, prepend=-np.inf) > 0)
    last = own[first[-1]] + step
    return np.interp(np.arange(len(own)), np.append(first, len(own)), np.append(own[first], last))
