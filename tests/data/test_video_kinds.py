"""Kinds of video that come from elsewhere: several streams, transparency, cropped pictures, coarse clocks."""

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

from av.bitstream import BitStreamFilterContext  # noqa: E402
from av.stream import Disposition  # noqa: E402
from video_matrix import number, picture  # noqa: E402

from openjepa.data.video_file import VideoFile  # noqa: E402


def add(container, codec="libx264", pixels="yuv420p", size=(48, 64), rate=10, **options):
    stream = container.add_stream(codec, rate=rate, options={str(k): str(v) for k, v in options.items()})
    stream.height, stream.width, stream.pix_fmt, stream.thread_type = *size, pixels, "NONE"
    return stream


def encode(stream, pictures, form="rgb24"):
    for i, array in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), form)
        frame.pts, frame.time_base = i, Fraction(1, 10)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("marked", [0, 1])
def test_of_two_streams_the_marked_one_is_shown(ending, marked, tmp_path):
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        streams = [add(container), add(container, size=(96, 128))]
        for i, stream in enumerate(streams):
            stream.disposition = Disposition.default if i == marked else Disposition(0)
        sides = ([picture(i) for i in range(5)], [picture(i).repeat(2, 0).repeat(2, 1) for i in range(9)])
        for stream, pictures in zip(streams, sides, strict=True):
            container.mux(list(encode(stream, pictures)))
    with VideoFile(path) as video:
        assert (video.num_frames, video.info.height) == ((5, 48), (9, 96))[marked]
        assert len(list(video.frames())) == video.num_frames


@pytest.mark.parametrize(("ending", "codec"), [("mov", "png"), ("mov", "qtrle"), ("mkv", "ffv1")])
def test_transparent_pixels_of_a_video_are_composed_on_white(ending, codec, tmp_path):
    rgba = np.zeros((4, 48, 64, 4), np.uint8)
    rgba[..., :3] = (200, 40, 0)
    rgba[:, :, :32, 3] = 255  # opaque at the left, then half and not at all
    rgba[:, :, 32:48, 3] = 128
    with av.open(str(tmp_path / f"a.{ending}"), "w") as container:
        stream = add(container, codec, {"png": "rgba", "qtrle": "argb", "ffv1": "bgra"}[codec])
        container.mux(list(encode(stream, rgba, "rgba")))
    with VideoFile(tmp_path / f"a.{ending}") as video:
        whole, small = next(video.frames()), next(video.frames(24))
    assert whole[:, 5, 5].tolist() == [200, 40, 0]
    assert np.abs(whole[:, 5, 40].astype(int) - [227, 147, 127]).max() <= 1  # colour * alpha + 255 * (1 - alpha)
    assert whole[:, 5, 60].tolist() == [255, 255, 255]
    assert small[:, 12, 23].tolist() == [255, 255, 255]


def test_transparency_that_is_not_read_is_said(tmp_path, caplog):
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = add(container, "libvpx-vp9", "yuva420p", deadline="realtime")
        stream.metadata["alpha_mode"] = "1"
        container.mux(list(encode(stream, [picture(0)] * 2)))
    with caplog.at_level(logging.WARNING, "openjepa"), VideoFile(tmp_path / "a.webm") as video:
        assert video.num_frames == 2
    assert "keeps its transparency beside its pictures, where it is not read" in caplog.text


@pytest.mark.parametrize("left", [2, 10, 16, 34])
def test_what_a_stream_cuts_off_at_the_left_is_cut_off(left, tmp_path):
    columns = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (64, 128, 3))
    raw, path = tmp_path / "raw.mp4", tmp_path / "a.mp4"
    with av.open(str(raw), "w") as container:
        container.mux(list(encode(add(container, size=(64, 128), crf=1), [columns] * 3)))
    with av.open(str(raw)) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        cut = BitStreamFilterContext(f"h264_metadata=crop_left={left}:crop_right=8:crop_top=4", stream, copy)
        for packet in source.demux(stream):
            for found in cut.filter(packet if packet.dts is not None else None):
                found.stream = copy
                container.mux(found)
    with VideoFile(path) as video:
        frame = next(video.frames())
        assert (video.info.height, video.info.width) == frame.shape[1:] == (60, 128 - left - 8)
    assert np.abs(frame[0, 30].astype(int) - np.arange(left, 120)).max() <= 4


@pytest.mark.parametrize("timescale", [7, 12, 25])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_a_clock_too_coarse_for_the_frames(timescale, b_frames, tmp_path):
    """An MP4 file whose unit of time is about as long as a frame: numbers are not times."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"video_track_timescale": str(timescale)}) as container:
        stream, last = add(container, bf=b_frames, g=8), -99
        for packet in encode(stream, [picture(i) for i in range(24)]):
            unit = float(packet.time_base) * timescale
            last = max(last + 1, round(packet.dts * unit))  # decoding times must rise, and so some frames are late
            packet.pts, packet.dts, packet.time_base = max(last, round(packet.pts * unit)), last, Fraction(1, timescale)
            container.mux(packet)
    with av.open(str(path)) as container:
        shown = [number(f.to_ndarray(format="rgb24").transpose(2, 0, 1)) for f in container.decode(video=0)]
    assert len(shown) == 24
    with VideoFile(path) as video:
        assert [number(frame) for frame in video.frames()] == shown
        for i in np.random.default_rng(0).permutation(24):
            assert number(video.read(video.middles([i]))[0]) == shown[i]


def test_a_path_may_be_text(tmp_path: Path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.mux(list(encode(add(container), [picture(0)] * 3)))
    with VideoFile(str(tmp_path / "a.mp4")) as video:
        assert video.num_frames == 3
