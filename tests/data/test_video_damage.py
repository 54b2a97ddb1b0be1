"""Damaged videos: reading by number shows what decoding from the start shows; what shows nothing is not counted."""

import struct
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

from video_matrix import Sample, number, write  # noqa: E402

from openjepa.data.video_file import VideoFile  # noqa: E402
from openjepa.data.video_survey import unsteady  # noqa: E402
from openjepa.data.video_track import VideoTrack  # noqa: E402
from openjepa.errors import DataError  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet():
    av.logging.set_level(None)  # FFmpeg tells of every damage
    return


def decoded(path: Path) -> np.ndarray | None:
    """All pictures [T, 3, H, W] by FFmpeg alone; None where it gives up."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        try:
            return np.stack([f.to_ndarray(format="rgb24").transpose(2, 0, 1) for f in container.decode(video=0)])
        except av.error.FFmpegError:
            return None


def damaged(path: Path, packet: int, change: Callable[[bytes], bytes]) -> Path:
    """Changes the bytes of one packet."""
    with av.open(str(path)) as container:
        old = bytes([p for p in container.demux(video=0) if p.size][packet])
    data, new = path.read_bytes(), change(old)
    assert new != old
    assert len(new) == len(old)
    at = data.rindex(old)
    path.write_bytes(data[:at] + new + data[at + len(old) :])
    return path


def noise(packet: bytes) -> bytes:
    half = len(packet) // 2
    return packet[:half] + np.random.default_rng(0).bytes(len(packet) - half)


def read_by_number(path: Path, seed: int) -> dict[int, np.ndarray]:
    with VideoFile(path) as video:
        order = np.random.default_rng(seed).permutation(video.info.num_frames)
        return {i: video.read(video.middles([i]))[0] for i in order.tolist()}


@pytest.mark.parametrize("packet", [20, 24])
@pytest.mark.parametrize(
    "kind",
    [
        Sample("avi", "mpeg4", frames=48),
        Sample("mp4", "mpeg4", frames=48),
        Sample("mp4", "h264", frames=48),
        Sample("mkv", "h264", b_frames=2, frames=48),
        Sample("flv", "h264", b_frames=2, frames=48),
    ],
    ids=str,
)
def test_frames_before_and_after_damage(kind, packet, tmp_path):
    path = damaged(write(kind, tmp_path), packet, noise)
    wanted = decoded(path)
    if wanted is None:
        with VideoFile(path) as video, pytest.raises(DataError, match="must be a video that FFmpeg decodes"):
            list(video.frames())
        with pytest.raises(DataError, match="must be a video that FFmpeg decodes"):
            read_by_number(path, 0)
        return
    with VideoFile(path) as video:
        assert np.array_equal(np.stack(list(video.frames())), wanted)
    read_by_number(path, 0)  # the damage is met
    shown = read_by_number(path, 1)
    assert [i for i, frame in enumerate(wanted) if not np.array_equal(shown[i], frame)] == []


def test_only_frames_that_differ_from_one_decoding_to_the_next_are_refused(tmp_path, monkeypatch):
    path = damaged(write(Sample("mp4", "mpeg4", frames=48), tmp_path), 20, noise)
    monkeypatch.setattr("openjepa.data.video_index.unsteady", lambda track: frozenset({21, 22}))
    wanted = decoded(path)
    assert wanted is not None
    with VideoFile(path) as video:
        frames = video.frames()
        assert [np.array_equal(next(frames), wanted[i]) for i in range(21)] == [True] * 21
        with pytest.raises(DataError, match=r"must decode to the same frames every time; that at 0\.70 s does not"):
            next(frames)
    with VideoFile(path) as video:
        for i in (40, 23, 20, 3):
            assert np.array_equal(video.read(video.middles([i]))[0], wanted[i])
        with pytest.raises(DataError, match=r"that at 0\.73 s does not"):
            video.read(video.middles([22]))


def test_what_damage_leaves_in_memory_is_found():
    """Frames that show what frames before them have left, as a decoder of two buffers, each given back, would."""

    class Frame:
        def __init__(self, number, left):
            self.picture = np.full((2, 2), left if number == 2 else number)

        def to_ndarray(self, format):
            return self.picture.astype(np.uint8)

    class Track:
        def rewind(self):
            self.alive = []

        def packets(self):
            return range(5)

        def frames(self, packets, number):
            for i in packets:
                self.alive = [ref for ref in self.alive if ref() is not None]
                frame = Frame(i, len(self.alive))
                self.alive.append(weakref.ref(frame))
                yield frame
                del frame

    assert unsteady(Track()) == {2}


def test_a_decoder_that_has_learned_from_damage_reads_no_earlier_frame(tmp_path):
    """An MPEG-4 decoder that has met a true end of a picture expects one in all: frame 0, with more behind, changes."""
    path = write(Sample("avi", "mpeg4", gop=12), tmp_path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        first = next(p for p in container.demux(video=0))
    at = data.index(bytes(first))
    data[at - 4 : at] = struct.pack("<I", first.size + 200)  # the first chunk is longer, by noise
    data[at + first.size : at + first.size] = np.random.default_rng(0).bytes(200)
    path.write_bytes(data)
    wanted = decoded(path)
    assert wanted is not None
    with VideoFile(path) as video:
        assert np.array_equal(video.read(video.middles(np.arange(24))), wanted)
        for i in reversed(range(24)):
            assert np.array_equal(video.read(video.middles([i]))[0], wanted[i])


@pytest.mark.parametrize("container", ["mpg", "ts"])
def test_a_packet_without_a_picture_is_not_counted(container, tmp_path):
    path = write(Sample(container, "mpeg2", frames=48), tmp_path)
    damaged(path, 36, lambda old: old.replace(b"\0\0\1\0", b"\0\0\2\0"))
    wanted = decoded(path)
    assert wanted is not None
    assert len(wanted) < 48
    with VideoFile(path) as video:
        assert video.info.num_frames == len(wanted)
        assert np.array_equal(video.read(video.middles(np.arange(len(wanted)))), wanted)


def not_coded(packet: bytes) -> bytes:
    """An MPEG-4 picture that says of itself that it is not coded: the one before stays."""
    at = packet.index(b"\0\0\1\xb6") + 4
    bits = [byte >> shift & 1 for byte in packet[at : at + 4] for shift in range(7, -1, -1)]
    coded = 2 + bits[2:].index(0) + 1 + 1 + 5 + 1  # type, whole seconds, marker, thirtieths, marker
    assert bits[coded - 1] == bits[coded] == 1
    bits[coded:] = [0] + [1] * (len(bits) - coded - 1)
    return packet[:at] + np.packbits(bits).tobytes()


@pytest.mark.parametrize("ending", ["avi", "mp4", "mkv"])
def test_a_picture_that_is_not_coded_is_not_counted(ending, tmp_path):
    kind = Sample(ending, "mpeg4", frames=48)
    source = write(kind, tmp_path)
    path = tmp_path / f"dropped.{ending}"
    with av.open(str(source)) as there, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(there.streams.video[0])
        for i, packet in enumerate(p for p in there.demux(video=0) if p.size):
            if i in (30, 31):
                new = av.Packet(not_coded(bytes(packet)))
                new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
                packet = new
            packet.stream = stream
            container.mux(packet)
    wanted = decoded(path)
    assert wanted is not None
    assert len(wanted) == 46
    with VideoFile(path) as video:
        assert video.info.num_frames == 46
        assert [number(frame) for frame in video.read(video.middles(np.arange(46)))] == [
            i for i in range(48) if i not in (30, 31)
        ]
        assert number(video.read(np.array([31.5 / 30]))[0]) == 29


def test_frames_too_close_to_be_told_apart_are_refused(tmp_path):
    path = write(Sample("avi", "mjpeg"), tmp_path)
    data = bytearray(path.read_bytes())
    rate = data.index(b"strh") + 8 + 24
    data[rate - 4 : rate + 4] = struct.pack("<II", 1, 2**31 - 1)  # scale and rate
    path.write_bytes(data)
    with VideoFile(path) as video, pytest.raises(DataError, match="must show each frame for 4 microseconds or more"):
        video.read(np.array([0.0]))


def test_a_stream_that_appears_on_the_way(tmp_path):
    """PyAV then reads past its list of streams at the end of the file, and raises or not."""

    class Late:
        def __init__(self, container):
            self.container = container

        def demux(self, stream):
            yield from self.container.demux(stream)
            raise IndexError("list index out of range")

    track = VideoTrack(write(Sample("ts", "mpeg2"), tmp_path), "a.ts", 10_000)
    track._container = Late(track._container)
    assert [number(f.to_ndarray(format="rgb24").transpose(2, 0, 1)) for f in track.frames(track.packets())] == list(
        range(24)
    )
