import os
import socket
import unicodedata

import numpy as np
import pytest
from PIL import Image

from openjepa.data.clips import list_clips, read_clip, read_clips
from openjepa.data.folders import natural_key, walk
from openjepa.data.images import ImageConfig, ImageSource, image_folder
from openjepa.data.items import FileItems
from openjepa.data.video_csv import read_video_csv
from openjepa.errors import DataError


def picture(path, value=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value,) * 3).save(path)
    return path


def listed(root):
    return [str(path.relative_to(root)) for path in image_folder(root).paths]


def test_numbers_in_names_count_as_numbers():
    names = ["10.png", "9.png", "a10b2", "a10b10", "a9", "a", "01.png", "1.png", "x" + "9" * 5000, "x1" + "0" * 5000]
    wanted = ["01.png", "1.png", "9.png", "10.png", "a", "a9", "a10b2", "a10b10", "x" + "9" * 5000, "x1" + "0" * 5000]
    assert sorted(names, key=natural_key) == wanted


@pytest.mark.parametrize("form", ["{}.png", "frame_{:04d}.png", "{:03d}-x.png", "a 1 ({}).png"])
def test_frames_come_in_the_order_of_their_numbers(tmp_path, form):
    numbers = [0, 1, 2, 9, 10, 11, 99, 100, 999, 1000, 9999, 10000, 10001]
    for i in np.random.default_rng(0).permutation(len(numbers)):
        picture(tmp_path / "clip" / form.format(numbers[i]), 10 * int(i))
    assert read_clip(tmp_path / "clip")[:, 0, 0, 0].tolist() == [10 * i for i in range(len(numbers))]
    assert listed(tmp_path / "clip") == [form.format(n) for n in numbers]


def test_clips_and_classes_too(tmp_path):
    for name in ("clip10", "clip9", "clip100"):
        picture(tmp_path / name / "0.png")
    assert [p.name for p in list_clips(tmp_path)] == ["clip9", "clip10", "clip100"]
    items = image_folder(tmp_path, labels=True)
    assert items.classes == ("clip9", "clip10", "clip100")
    assert [items.class_name(i) for i in range(3)] == ["clip9", "clip10", "clip100"]


def test_linked_folders_and_files_count_and_loops_end(tmp_path):
    root, pool = tmp_path / "set", tmp_path / "pool"
    picture(pool / "deep" / "0.png")
    alone = picture(tmp_path / "alone.png")
    picture(root / "b" / "1.png")
    os.symlink(pool, root / "a")
    os.symlink(alone, root / "b" / "2.png")
    os.symlink("..", root / "b" / "up")
    os.symlink(".", root / "b" / "here")
    os.symlink(root, pool / "deep" / "top")
    assert listed(root) == ["a/deep/0.png", "b/1.png", "b/2.png"]
    assert image_folder(root, labels=True).labels == (0, 1, 1)
    os.symlink(root, tmp_path / "link")
    assert listed(tmp_path / "link") == listed(root)


def test_two_links_to_one_folder_are_two_classes(tmp_path):
    picture(tmp_path / "pool" / "0.png")
    (tmp_path / "set").mkdir()
    for name in "ab":
        os.symlink(tmp_path / "pool", tmp_path / "set" / name)
    assert image_folder(tmp_path / "set", labels=True).classes == ("a", "b")


def test_what_is_no_picture_is_left_out_and_what_is_broken_is_named(tmp_path):
    picture(tmp_path / "1.png")
    picture(tmp_path / "folder.png" / "2.png")  # a folder, whatever it is called
    picture(tmp_path / ".hidden" / "3.png")
    (tmp_path / "._1.png").write_bytes(b"AppleDouble")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door.png"))
    os.symlink("nowhere.png", tmp_path / "broken.png")
    os.symlink("circle.png", tmp_path / "circle.png")
    assert listed(tmp_path) == ["1.png", "broken.png", "circle.png", "folder.png/2.png"]
    source = ImageSource(image_folder(tmp_path), ImageConfig(size=8, batch_size=4, max_damaged_share=0.5))
    source.batch(0)
    assert sorted(name.rpartition("/")[2] for name in source.damage.reasons) == ["broken.png", "circle.png"]


def test_apple_double_files_are_no_frames(tmp_path):
    for i in range(3):
        picture(tmp_path / "clips" / "a" / f"{i}.png", i)
        (tmp_path / "clips" / "a" / f"._{i}.png").write_bytes(b"AppleDouble")
    (tmp_path / "clips" / "._b.mp4").write_bytes(b"AppleDouble")
    (tmp_path / "clips" / "._a").mkdir()
    assert list_clips(tmp_path / "clips") == [tmp_path / "clips" / "a"]
    assert len(read_clip(tmp_path / "clips" / "a")) == 3


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    picture(tmp_path / "set" / "0.png")
    (tmp_path / "set" / "locked").mkdir()
    real = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="locked` must be a folder that can be read; Permission denied"):
        walk(tmp_path / "set", (".png",))


def test_every_usual_ending_is_listed(tmp_path):
    endings = "JPG jpeg jfif jpe png apng webp bmp dib gif tif tiff ppm pgm pbm pnm jp2 avif tga"
    names = [f"{i}.{ending}" for i, ending in enumerate(endings.split())]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert listed(tmp_path) == names


def test_accents_are_written_in_one_way(tmp_path):
    for split, form in (("train", "NFC"), ("test", "NFD")):
        picture(tmp_path / split / unicodedata.normalize(form, "café") / "0.png")
    picture(tmp_path / "both" / "cafe\u0301" / "0.png")
    picture(tmp_path / "both" / "caf\u00e9" / "1.png")
    both = image_folder(tmp_path / "both", labels=True)
    assert (both.labels, both.classes) == ((0, 0), ("café",))
    names = {image_folder(tmp_path / split, labels=True).class_name(0) for split in ("train", "test")}
    assert names == {"caf\u00e9"}


def test_a_file_that_is_listed_twice_counts_once(tmp_path):
    paths = tuple(picture(tmp_path / name) for name in ("a.png", "b.png"))
    os.symlink("a.png", tmp_path / "link.png")
    listed_twice = FileItems((*paths, tmp_path / "link.png", paths[1]), (4, 7, 4, 7))
    assert listed_twice.once() == FileItems(paths, (4, 7))
    with pytest.raises(DataError, match=r"link.png` must have one class; it is listed with 4 and 7. Remove one."):
        FileItems((*paths, tmp_path / "link.png"), (4, 7, 7)).once()


NAMES = [b"caf\xe9.png", b"two\nlines.png", b"-dash.png", b"[a]*?.png", b"tab\t.png", b"a:b.png", b" blank .png"]
NAMES += ["nel\x85 ls\u2028 fs\x1c.png".encode(), b"'quote\".png", b"%d.png", b"\\.png"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_listed_and_read(tmp_path, name):
    path = tmp_path / "set" / os.fsdecode(name)
    os.link(picture(tmp_path / "plain.png", 70), (path.parent.mkdir(), path)[1])
    items = image_folder(path.parent)
    assert [os.fsencode(p.name) for p in items.paths] == [name]
    assert (ImageSource(items, ImageConfig(size=8, batch_size=1)).batch(0).images == 70).all()
    if b"\n" in name:
        return
    quoted = b'"' + os.fsencode(path).replace(b'"', b'""') + b'"'
    for entry in (os.fsencode(path), quoted):
        (tmp_path / "list.txt").write_bytes(entry + b" 5\r\n" + entry + b",6\n")
        found = read_video_csv(tmp_path / "list.txt")
        assert (found.paths, found.labels) == ((path, path), (5, 6))


def test_labels_of_lists_are_any_whole_numbers(tmp_path):
    numbers = (-1, 0, 7_000_000_000, 10**30)
    (tmp_path / "list.csv").write_text("\ufeff" + "".join(f"{i}.png {n:+d}\n" for i, n in enumerate(numbers)))
    items = read_video_csv(tmp_path / "list.csv")
    assert items.labels == numbers
    assert items.class_name(3) == "1" + 30 * "0"
    for text in ("a.mp4 +-3", "a.mp4 1.5", "a.mp4 --1", "3"):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(DataError, match=r"line 1 must be `path label`"):
            read_video_csv(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes("a.mp4 1\n".encode("utf-16"))
    with pytest.raises(DataError, match="it is not text"):
        read_video_csv(tmp_path / "list.csv")


def test_labels_of_a_batch_fit_or_are_refused(tmp_path):
    paths = (picture(tmp_path / "a.png"), picture(tmp_path / "b.png"))
    good = ImageSource(FileItems(paths, (-5, 2**40)), ImageConfig(size=8, batch_size=2)).batch(0)
    assert sorted(good.labels.tolist()) == [-5, 2**40]
    with pytest.raises(DataError, match="labels must fit into 64 bits; got 9223372036854775808"):
        ImageSource(FileItems(paths, (0, 2**63)), ImageConfig(size=8, batch_size=2)).batch(0)


def test_arrays_of_clips_have_their_channels_first_or_last(tmp_path):
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 8, 6), dtype=np.uint8)
    for array in (clips, clips.transpose(0, 1, 3, 4, 2)):
        np.save(tmp_path / "clips.npy", array)
        assert all(
            (found == wanted).all() for found, wanted in zip(read_clips(tmp_path / "clips.npy"), clips, strict=True)
        )
    np.save(tmp_path / "clips.npy", clips[:, :, :2])
    with pytest.raises(DataError, match=r"must be \[T, 3, H, W\] or \[T, H, W, 3\]; got \[4, 2, 8, 6\]"):
        list(read_clips(tmp_path / "clips.npy"))
