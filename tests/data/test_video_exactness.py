"""Every frame of every usual kind of video at its own time: one by one, in clips, in batches, and in order."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

from video_matrix import Sample, covering, number, samples, write  # noqa: E402

from openjepa.data.items import FileItems  # noqa: E402
from openjepa.data.video_file import VideoFile  # noqa: E402
from openjepa.data.videos import ClipConfig, VideoSource, draw_clip  # noqa: E402


def decoded(path: Path) -> list[int]:
    """The numbers of the frames as FFmpeg shows them from the start, not turned."""
    with av.open(str(path)) as container:
        return [number(f.to_ndarray(format="rgb24").transpose(2, 0, 1)) for f in container.decode(video=0)]


@pytest.mark.parametrize("sample", covering(samples()), ids=str)
def test_every_frame_at_its_own_time(sample, tmp_path):
    path, shown = write(sample, tmp_path), sample.shown.tolist()
    assert decoded(path) == shown
    with VideoFile(path) as video:
        assert [number(frame, sample.matrix) for frame in video.frames()] == shown
    draws = np.random.default_rng(0)
    with VideoFile(path) as video:
        assert video.info.num_frames == len(shown)
        height, width = next(video.frames()).shape[1:]
        assert (video.info.height, video.info.width) == (height, width)
        for i in draws.permutation(len(shown)):
            assert number(video.read(sample.middles[[i]])[0], sample.matrix) == shown[i]
        times = draw_clip(ClipConfig(num_frames=4, fps=None, stride=2), video, draws)
        assert set(np.diff([number(frame, sample.matrix) for frame in video.read(times)])) == {2}
    with VideoFile(path.read_bytes()) as video:
        assert [number(frame, sample.matrix) for frame in video.read(sample.middles)] == shown


def test_batches_hold_what_sequential_decoding_shows(tmp_path):
    kinds = [
        Sample("mp4", "h264", b_frames=2, open_gop=True, variable=True),
        Sample("mp4", "h264", trimmed=True),
        Sample("ts", "mpeg2", b_frames=2),
        Sample("avi", "mpeg4", b_frames=2),
        Sample("mkv", "vp8", variable=True),
        Sample("flv", "av1"),
    ]
    paths = [write(kind, tmp_path) for kind in kinds]
    config = ClipConfig(num_frames=3, fps=None, stride=2, size=32, batch_size=12, clips_per_video=2)
    batch = VideoSource(FileItems(tuple(paths), tuple(range(6))), config).batch(0)
    assert sorted(batch.labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    for clip, label in zip(batch.clips.numpy(), batch.labels.tolist(), strict=True):
        with VideoFile(paths[label]) as video:
            frames = np.stack(list(video.frames(32)))
        assert any(np.array_equal(clip, frames[i : i + 5 : 2]) for i in range(len(frames) - 4))


def concatenated(sample: Sample, folder: Path) -> Path:
    path = write(sample, folder)
    path.write_bytes(path.read_bytes() * 2)
    return path


@pytest.mark.parametrize(
    "sample",
    [Sample("ts", "h264", b_frames=2), Sample("ts", "hevc", b_frames=2), Sample("mpg", "mpeg2", b_frames=2)],
    ids=str,
)
def test_pieces_written_one_after_the_other(sample, tmp_path):
    path = concatenated(sample, tmp_path)
    wanted = 2 * list(range(24))
    with VideoFile(path) as video:
        assert (video.info.num_frames, video.info.fps) == (48, 30)
        assert [number(f) for f in video.frames()] == wanted
        assert [number(f) for f in video.read((np.arange(48) + 0.5) / 30)] == wanted
        for i in np.random.default_rng(0).permutation(48):
            assert number(video.read(np.array([(i + 0.5) / 30]))[0]) == wanted[i]


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2"])
def test_a_broadcast_that_begins_anywhere(codec, tmp_path):
    path = write(Sample("ts", codec, b_frames=2, open_gop=True), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 :])
    wanted = decoded(path)
    assert 8 <= len(wanted) < 20
    assert wanted == list(range(24 - len(wanted), 24))
    with VideoFile(path) as video:
        assert [number(f) for f in video.frames()] == wanted
        assert [number(f) for f in video.read((np.arange(len(wanted)) + 0.5) / 30)] == wanted
        assert video.info.num_frames == len(wanted)


def refreshed(path: Path) -> Path:
    """H.264 without key frames but the first: columns are renewed one after the other."""
    draws = np.random.default_rng(0)
    texture = draws.integers(0, 256, (96, 300, 3), np.uint8)
    settings = {"crf": "30", "x264-params": "intra-refresh=1:keyint=20:scenecut=0:bframes=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=settings)
        stream.width, stream.height, stream.pix_fmt, stream.thread_type = 128, 96, "yuv420p", "NONE"
        for i in range(50):
            picture = np.ascontiguousarray(texture[:, i : i + 128])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_key_packet_that_shows_nothing_is_no_place_to_begin(ending, tmp_path):
    with VideoFile(refreshed(tmp_path / f"a.{ending}")) as video:
        frames = np.stack(list(video.frames()))
        for i in (49, 21, 40, 3, 25):
            assert np.array_equal(video.read(np.array([(i + 0.5) / 30]))[0], frames[i])


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "mpeg4"])
def test_a_header_that_calls_every_packet_a_key_is_not_believed(codec, tmp_path):
    path = write(Sample("mp4", codec), tmp_path)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))
    with VideoFile(path) as video:
        for i in (21, 5, 13, 2, 23):
            assert number(video.read(np.array([(i + 0.5) / 30]))[0]) == i


def test_an_edit_list_of_two_parts(tmp_path):
    path = write(Sample("mp4", "h264", b_frames=2), tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    begin = int.from_bytes(data[at + 16 : at + 20], "big")
    parts = [(3, 333), (14, 266)]  # first frame, milliseconds
    edits = [n.to_bytes(4, "big") for first, lasts in parts for n in (lasts, begin + 512 * first, 1 << 16)]
    data[at + 8 : at + 24] = (2).to_bytes(4, "big") + b"".join(edits)
    for box in (b"elst", b"edts", b"trak", b"moov"):  # each holds the one before, and grows by an edit
        at = data.index(box) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + 12).to_bytes(4, "big")
    path.write_bytes(data)
    wanted = [*range(3, 13), *range(14, 22)]
    assert decoded(path) == wanted
    with VideoFile(path) as video:
        assert video.info.num_frames == len(wanted)
        assert [number(f) for f in video.read(video.middles(np.arange(len(wanted))))] == wanted
        for i in np.random.default_rng(0).permutation(len(wanted)):
            assert number(video.read(np.array([(i + 0.5) / 30]))[0]) == wanted[i]


def test_palettes_and_delays_of_a_gif(tmp_path):
    from PIL import Image

    draws = np.random.default_rng(0)
    pictures = [draws.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(8)]
    images = [Image.fromarray(p) for p in pictures]
    delays = [40, 100, 40, 300, 20, 20, 500, 60]  # milliseconds
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=delays)
    middles = (np.cumsum(delays) - np.array(delays) / 2) / 1000
    with VideoFile(tmp_path / "a.gif") as video:
        assert np.array_equal(video.read(middles), np.stack(pictures).transpose(0, 3, 1, 2))
        for i in (7, 2, 5, 0):  # 256 colours of its own for every picture
            assert np.array_equal(video.read(middles[[i]])[0], pictures[i].transpose(2, 0, 1))
        assert video.info.num_frames / video.info.fps == pytest.approx(1.08)


def test_a_palette_that_changes_between_key_frames(tmp_path):
    shades = np.zeros((256, 4), np.uint8)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "pal8"
        for i in range(12):
            if i % 4 == 0:  # sent with this frame only
                shades[7] = [255, 20 * i, 20 * i, 20 * i]
            frame = av.VideoFrame.from_ndarray((np.full((16, 16), 7, np.uint8), shades), "pal8")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoFile(tmp_path / "a.avi") as video:
        for i in (10, 3, 6, 11, 0):
            assert (video.read(np.array([(i + 0.5) / 10])) == 80 * (i // 4)).all()


def test_pictures_of_another_size_are_shown_as_large_as_the_first(tmp_path):
    from video_matrix import picture

    data = b""
    for i, scale in enumerate((1, 2)):
        with av.open(str(tmp_path / "piece.ts"), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"bf": "0", "crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 64 * scale, 48 * scale, "yuv420p"
            for _ in range(6):
                frame = av.VideoFrame.from_ndarray(picture(5 + i).repeat(scale, 0).repeat(scale, 1), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data += (tmp_path / "piece.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    with VideoFile(tmp_path / "a.ts") as video:
        assert [number(frame) for frame in video.frames()] == [5] * 6 + [6] * 6
        assert [number(frame) for frame in video.read((np.arange(12) + 0.5) / 30)] == [5] * 6 + [6] * 6


@pytest.mark.parametrize("ending", ["mp4", "mkv", "flv", "ts"])
def test_a_copy_that_begins_between_key_frames_shows_what_ffmpeg_shows(ending, tmp_path):
    source = write(Sample(ending, "h264", b_frames=2, frames=40), tmp_path)
    path = tmp_path / f"copy.{ending}"
    with av.open(str(source)) as whole, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for i, packet in enumerate(whole.demux(video=0)):
            if packet.dts is not None and i >= 5:
                packet.stream = stream
                copy.mux(packet)
    wanted = decoded(path)
    assert 20 <= len(wanted) < 35
    with VideoFile(path) as video:
        assert [number(frame) for frame in video.frames()] == wanted
        assert video.info.num_frames == len(wanted)
        assert [number(frame) for frame in video.read(video.middles(np.arange(len(wanted))))] == wanted
        assert number(video.read(video.middles(np.array([7])))[0]) == wanted[7]


def test_frames_of_one_time_share_the_span_until_the_next(tmp_path):
    from video_matrix import picture

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for i, at in enumerate((0, 40, 80, 80, 120, 160, 160, 160)):  # milliseconds
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(i), "rgb24")):
                packet.pts = packet.dts = at
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    assert decoded(tmp_path / "a.mkv") == list(range(8))
    with VideoFile(tmp_path / "a.mkv") as video:
        assert [number(frame) for frame in video.frames()] == list(range(8))
        assert [number(frame) for frame in video.read(video.middles(np.arange(8)))] == list(range(8))
        assert [number(frame) for frame in video.read(np.array([0.09, 0.11, 0.13]))] == [2, 3, 4]


def test_a_file_that_changed_under_its_name_is_read_anew(tmp_path):
    path = write(Sample("mkv", "h264", b_frames=2), tmp_path)
    with VideoFile(path) as video:
        assert video.info.num_frames == 24
    write(Sample("mkv", "h264", b_frames=2, frames=10), tmp_path)
    with VideoFile(path) as video:
        assert video.info.num_frames == 10
        assert number(video.read(np.array([9.5 / 30]))[0]) == 9


def test_a_recording_that_was_cut_off_shows_what_is_left_and_says_so(tmp_path, caplog):
    path = write(Sample("mkv", "h264", b_frames=2, frames=48), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    wanted = decoded(path)
    with VideoFile(path) as video:
        assert [number(frame) for frame in video.frames()] == wanted
        assert video.info.num_frames == len(wanted) < 40
    assert re.search(r"must last 1\.60 s by its header; its frames end at .* what is left is read", caplog.text)


def test_a_name_that_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Sample("mp4", "h264"), tmp_path).rename("http:x.mp4")
    with VideoFile(Path("http:x.mp4")) as video:
        assert number(video.read(np.array([0.5 / 30]))[0]) == 0


def test_a_matrix_that_is_no_quarter_turn_is_refused(tmp_path):
    from openjepa.errors import DataError

    path = write(Sample("mp4", "h264", matrix="rot90"), tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 8] = (46341).to_bytes(4, "big") * 2  # 45 degrees: a = b
    path.write_bytes(data)
    with (
        VideoFile(path) as video,
        pytest.raises(DataError, match="must be shown upright, mirrored or turned by quarters"),
    ):
        video.read(np.array([0.0]))


def test_reading_goes_on_while_frames_are_read_in_order(tmp_path):
    with VideoFile(write(Sample("mp4", "h264", b_frames=2), tmp_path)) as video:
        for i, frame in enumerate(video.frames()):
            assert number(frame) == i
            assert number(video.read(np.array([(23.5 - i) / 30]))[0]) == 23 - i
