import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.data.items import FileItems
from openjepa.data.video_csv import read_video_csv
from openjepa.data.video_file import VideoFile, write_video
from openjepa.data.videos import (
    ClipConfig,
    VideoSource,
    clip_times,
    open_video,
    reference_frame_indices,
    video_folder,
)
from openjepa.errors import ConfigError, DataError

pytest.importorskip("av")


def counting_frames(count, side=32):
    """Frame i is flat grey 4 * i (below 64 frames), which survives the codec."""
    return np.broadcast_to((4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 3, side, side))


def numbers(clip):
    """Frame numbers that a clip [..., C, H, W] shows."""
    return np.rint(np.asarray(clip)[..., 0, 8, 8] / 4.0).astype(int)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for i, count in enumerate((40, 50, 60)):
        write_video(root / f"{i}.mp4", counting_frames(count), fps=10)
    return root


@pytest.mark.parametrize("wanted", [[0, 1, 2], [5], [13, 14, 30, 39], [39], [11, 23, 24, 25]])
def test_seeking_gives_exactly_the_frames_of_a_sequential_read(folder, wanted):
    with VideoFile(folder / "0.mp4") as video:
        assert (video.info.num_frames, video.info.fps) == (40, 10.0)
        sequence = np.stack(list(video.frames()))
        assert numbers(sequence).tolist() == list(range(40))
        clip = video.read((np.array(wanted) + 0.5) / 10)
        np.testing.assert_array_equal(clip, sequence[wanted])


def test_b_frames_and_rare_key_frames_are_exact_too(tmp_path):
    import av

    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "60", "bf": "3", "crf": "10"})
        stream.width = stream.height = 32
        for frame in counting_frames(60):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.transpose(1, 2, 0).copy(), "rgb24")))
        container.mux(stream.encode(None))
    with VideoFile(tmp_path / "b.mkv") as video:
        assert numbers(video.read((np.array([3, 31, 58]) + 0.5) / 25)).tolist() == [3, 31, 58]
        assert numbers(video.read(np.array([0.5 / 25, 50.0]))).tolist() == [0, 59]  # beyond the end: the last


def test_a_centre_square_is_cut_and_shrunk(tmp_path):
    frames = np.zeros((6, 3, 40, 80), np.uint8)
    frames[..., 20:60] = 200
    write_video(tmp_path / "w.mp4", frames)
    with VideoFile(tmp_path / "w.mp4") as video:
        clip = video.read(np.array([0.05, 0.35]), size=16)
        whole = video.read(np.array([0.05]))
    assert clip.shape == (2, 3, 16, 16)
    assert whole.shape == (1, 3, 40, 80)
    assert np.abs(clip[..., 2:14].astype(int) - 200).max() < 8


def test_clips_by_rate_and_by_stride(folder):
    draws = np.random.default_rng(0)
    by_stride = ClipConfig(num_frames=4, fps=None, stride=3)
    starts = set()
    for _ in range(300):
        index = clip_times(by_stride, 12, 10.0, draws) * 10 - 0.5
        assert np.allclose(np.diff(index), 3)
        starts.add(round(index[0]))
    assert starts == {0, 1, 2}  # 9 frames from first to last; the last start is drawn too
    by_rate = ClipConfig(num_frames=3, fps=5.0)
    assert np.allclose(np.diff(clip_times(by_rate, 40, 30.0, draws)), 0.2)


def test_the_published_frame_rule():
    class Last:
        def integers(self, low, high):
            assert (low, high) == (64, 100)
            return 64

    found = reference_frame_indices(100, 16, 4, Last())
    assert found.tolist() == [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]

    class First(Last):
        def integers(self, low, high):
            return low

    found = reference_frame_indices(1000, 64, 6, First())
    assert found[:4].tolist() == [0, 6, 12, 18]
    assert found[10:12].tolist() == [60, 67]
    assert found[-4:].tolist() == [365, 371, 377, 383]
    short = reference_frame_indices(10, 4, 4, First())
    assert short.tolist() == [0, 9, 9, 9]


def test_batches_are_functions_of_the_step(folder):
    config = ClipConfig(num_frames=4, fps=None, stride=2, size=16, batch_size=3, seed=1)
    items = FileItems(video_folder(folder).paths, (0, 1, 2))
    source = VideoSource(items, config)
    batch = source.batch(0)
    assert batch.clips.shape == (3, 4, 3, 16, 16)
    assert sorted(batch.labels.tolist()) == [0, 1, 2]
    assert (np.diff(numbers(batch.clips), axis=1) == 2).all()
    shares = [VideoSource(items, config).batch(0, rank=r, world_size=3) for r in range(3)]
    assert torch.equal(batch.clips, torch.cat([s.clips for s in shares]))
    assert not torch.equal(batch.clips, source.batch(1).clips)


def test_several_clips_of_one_video_are_neighbours(folder):
    config = ClipConfig(num_frames=2, fps=5.0, size=16, batch_size=6, clips_per_video=2)
    batch = VideoSource(FileItems(video_folder(folder).paths, (0, 1, 2)), config).batch(0)
    assert batch.clips.shape[0] == 6
    assert batch.labels[0::2].tolist() == batch.labels[1::2].tolist()


def test_a_short_video_repeats_its_last_frame(tmp_path):
    write_video(tmp_path / "s.mp4", counting_frames(5), fps=10)
    config = ClipConfig(num_frames=4, fps=None, stride=2, size=16, batch_size=1)
    clip = VideoSource(FileItems((tmp_path / "s.mp4",)), config).batch(0).clips
    assert numbers(clip).tolist() == [[0, 2, 4, 4]]


def test_pictures_among_videos_are_still_clips(tmp_path):
    Image.new("RGB", (20, 20), (90, 90, 90)).save(tmp_path / "p.png")
    config = ClipConfig(num_frames=4, size=16, batch_size=1)
    clip = VideoSource(FileItems((tmp_path / "p.png",)), config).batch(0).clips
    assert clip.shape == (1, 4, 3, 16, 16)
    assert (clip == 90).all()


def test_bytes_are_read_like_files(folder):
    with VideoFile((folder / "0.mp4").read_bytes()) as video:
        assert numbers(video.read(np.array([2.05]))).tolist() == [20]


def cut_off(path):
    data = path.read_bytes()
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda video: b"These are words.\n" * 40, "x.mp4` must be a video that FFmpeg decodes; "),
        (lambda video: b"", "x.mp4` must be a video that FFmpeg decodes; "),
        (cut_off, "x.mp4` must be a video that FFmpeg decodes; "),
    ],
)
def test_damaged_files_are_one_line(folder, tmp_path, content, message):
    (tmp_path / "x.mp4").write_bytes(content(folder / "0.mp4"))
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        VideoFile(tmp_path / "x.mp4").read(np.array([0.0]))
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_is_damaged_not_padded(tmp_path):
    import av

    path = tmp_path / "m.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1", "bf": "0", "crf": "1"})
        stream.width = stream.height = 64
        noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
        for frame in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoFile(path) as video, pytest.raises(DataError, match=r"m.mp4`"):
        video.read(np.array([0.05, 2.5]))


def test_gigantic_frames_are_refused_before_decoding(folder):
    with pytest.raises(DataError, match="claims frames of 32 x 32 pixels, more than 1000"):
        VideoFile(folder / "0.mp4", max_pixels=1000)


def test_one_frame_is_no_video(tmp_path):
    write_video(tmp_path / "one.mp4", counting_frames(1))
    with pytest.raises(DataError, match=r"one.mp4` must have at least 2 frames; it has 1. Treat it as a picture"):
        open_video(tmp_path / "one.mp4", str(tmp_path / "one.mp4"), min_frames=2)


def test_damaged_videos_are_named_and_replaced(folder, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    items = FileItems((*video_folder(folder).paths, tmp_path / "bad.mp4"))
    config = ClipConfig(num_frames=2, fps=5.0, size=16, batch_size=4, max_damaged_share=0.25)
    source = VideoSource(items, config)
    assert source.batch(0).clips.shape[0] == 4
    assert list(source.damage.reasons) == [str(tmp_path / "bad.mp4")]
    strict = VideoSource(items, ClipConfig(num_frames=2, fps=5.0, size=16, batch_size=4))
    with pytest.raises(DataError, match="1 of 4 samples cannot be decoded"):
        strict.batch(0)


def test_lists_of_the_references(tmp_path):
    (tmp_path / "beside.mp4").touch()
    (tmp_path / "list.csv").write_text(
        "/data/a.mp4 3\n"
        "/data/my holiday video.mp4 4\n"
        "\n"
        '"/data/quoted name.mp4" 5\n'
        "/data/b.mp4::6\n"
        "/data/c.mp4,7\n"
        "/data/d.mp4\t8\r\n"
        "beside.mp4 9\n"
    )
    items = read_video_csv(tmp_path / "list.csv")
    assert items.labels == (3, 4, 5, 6, 7, 8, 9)
    assert items.name(1) == "/data/my holiday video.mp4"
    assert items.name(2) == "/data/quoted name.mp4"
    assert items.name(3) == "/data/b.mp4"
    assert items.name(6) == str(tmp_path / "beside.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 1\nb.mp4 dog\n", "line 2 must be `path label` with a whole number as label; got `b.mp4 dog`"),
        ("a.mp4\n", "line 1 must be `path label`"),
        ("\n", "must list at least one video; it is empty"),
    ],
)
def test_broken_lists_name_the_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_video_csv(tmp_path / "list.csv")


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"one of `fps` and `stride` must be given; got 4.0 and 2"):
        ClipConfig(stride=2)
    with pytest.raises(ConfigError, match="`batch_size` must be a multiple of `clips_per_video` 3; got 8"):
        ClipConfig(batch_size=8, clips_per_video=3)
