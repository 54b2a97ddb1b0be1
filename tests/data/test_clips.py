"""One clip from a video, pictures or an array; and what is refused."""

import numpy as np
import pytest
from PIL import Image

from openjepa.data.clips import list_clips, read_clip, read_clips, resize_frames
from openjepa.errors import DataError


def frames(count=6, side=8):
    return np.random.default_rng(0).integers(0, 255, (count, 3, side, side), np.uint8)


def test_arrays_in_both_orders(tmp_path):
    video = frames()
    np.save(tmp_path / "a.npy", video)
    np.save(tmp_path / "b.npy", video.transpose(0, 2, 3, 1))
    assert np.array_equal(read_clip(tmp_path / "a.npy"), video)
    assert np.array_equal(read_clip(tmp_path / "b.npy"), video)
    assert np.array_equal(read_clip(tmp_path / "a.npy", frame_step=2), video[::2])
    assert read_clip(tmp_path / "a.npy", size=4).shape == (6, 3, 4, 4)


def test_a_folder_of_pictures_in_the_order_of_names(tmp_path):
    video = frames()
    for i, frame in enumerate(video):
        Image.fromarray(frame.transpose(1, 2, 0)).save(tmp_path / f"{i:03d}.png")
    assert np.array_equal(read_clip(tmp_path), video)
    assert list_clips(tmp_path) == [tmp_path]
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(tmp_path / "999.png")
    with pytest.raises(DataError, match="pictures of one size"):
        read_clip(tmp_path)


def test_a_video(tmp_path):
    pytest.importorskip("av")
    from openjepa.data.video_file import write_video

    write_video(tmp_path / "a.mp4", np.full((9, 3, 32, 48), 100, np.uint8))
    clip = read_clip(tmp_path / "a.mp4", size=16, frame_step=3)
    assert clip.shape == (3, 3, 16, 16)
    assert abs(clip.astype(int) - 100).max() < 4


def test_a_long_video_is_cut_into_pieces(tmp_path):
    pytest.importorskip("av")
    from openjepa.data.video_file import write_video

    frames = np.repeat(2 * np.arange(110, dtype=np.uint8), 10)[:, None, None, None]  # a fifth of its number is grey
    write_video(tmp_path / "long.mp4", np.broadcast_to(frames, (1100, 3, 32, 32)))
    write_video(tmp_path / "short.mp4", np.zeros((12, 3, 32, 32), np.uint8))
    pieces = list(read_clips(tmp_path, piece=50, size=16))
    assert [len(p) for p in pieces] == [50] * 11 + [12]  # as far apart as they are long
    first = np.array([p[0, 0, 0, 0] for p in pieces[:11]], int)
    assert np.abs(first - 21 * np.arange(11)).max() <= 3  # steps of two, and the codec
    assert [len(p) for p in read_clips(tmp_path, size=16)] == [1100, 12]


def test_a_folder_of_clips_and_one_array_of_clips(tmp_path):
    np.save(tmp_path / "b.npy", frames(3))
    np.save(tmp_path / "a.npy", frames(4))
    assert [len(c) for c in read_clips(tmp_path)] == [4, 3]
    np.save(tmp_path / "all.npy", np.stack([frames(4)] * 2))
    assert [c.shape for c in read_clips(tmp_path / "all.npy", size=4, frame_step=2)] == [(2, 3, 4, 4)] * 2


def test_resizing_averages_and_cuts_the_centre():
    wide = np.zeros((1, 3, 4, 8), np.uint8)
    wide[..., 2:6] = [10, 30, 50, 70]
    assert resize_frames(wide, 2)[0, 0, 0].tolist() == [20, 60]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.mp4", None, "must be a video, a folder of pictures or a .npy file; it does not exist"),
        ("bad.npy", b"not an array", "must be a NumPy array; it cannot be read"),
        ("bad.mp4", b"not a video", "must be a video that FFmpeg decodes"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, words):
    pytest.importorskip("av")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_clip(tmp_path / name)


def test_what_is_too_short_or_of_another_kind_is_named(tmp_path):
    np.save(tmp_path / "a.npy", frames())
    with pytest.raises(DataError, match=r"at least 4 frames for this model; it has 3 with `--frame-step 2`"):
        read_clip(tmp_path / "a.npy", frame_step=2, min_frames=4)
    np.save(tmp_path / "f.npy", frames().astype(np.float32))
    with pytest.raises(DataError, match="must hold uint8 pixels; got float32"):
        read_clip(tmp_path / "f.npy")
    np.save(tmp_path / "g.npy", frames()[:, 0])
    with pytest.raises(DataError, match=r"must be \[T, 3, H, W\] or \[T, H, W, 3\]; got \[6, 8, 8\]"):
        read_clip(tmp_path / "g.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds none"):
        list_clips(tmp_path / "empty")
    with pytest.raises(DataError, match="must be a folder of clips"):
        list_clips(tmp_path / "nowhere")
