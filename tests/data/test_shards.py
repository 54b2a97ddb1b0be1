"""Tar shards as other tools write them: nothing in them is dropped in silence."""

import io
import tarfile

import pytest
from PIL import Image

from openjepa.data.images import read_image
from openjepa.data.shards import ShardItems
from openjepa.errors import DataError


def png(value):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def shard(path, *members, form=tarfile.PAX_FORMAT):
    """Members: name and bytes, or name, kind of link and what it leads to."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, *what in members:
            entry = tarfile.TarInfo(name)
            data = what[0] if len(what) == 1 else b""
            if len(what) == 2:
                entry.type, entry.linkname = what
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def reds(items):
    return {items.name(i).rpartition(":")[2]: int(read_image(items.content(i))[0, 0, 0]) for i in range(len(items))}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_links_are_the_files_that_they_lead_to(tmp_path, form):
    name = "d" * 120  # longer than the header has room for
    found = ShardItems(
        [
            shard(
                tmp_path / "a.tar",
                (f"{name}/1.png", png(10)),
                (f"{name}/1.cls", b"4"),
                ("e/2.png", tarfile.LNKTYPE, f"{name}/1.png"),
                ("e/2.cls", tarfile.LNKTYPE, f"{name}/1.cls"),
                (f"{name}/3.png", tarfile.SYMTYPE, "1.png"),
                ("e/4.png", tarfile.SYMTYPE, "../e/2.png"),
                ("folder", tarfile.SYMTYPE, "e"),
                form=form,
            )
        ]
    )
    assert set(reds(found).values()) == {10}
    assert [found.name(i).rpartition("/")[2] for i in range(4)] == ["1", "2", "3", "4"]
    assert [found.label(i) for i in range(4)] == [4, 4, None, None]
    with pytest.raises(DataError, match=r"`2.png` in .* must be a file, or a link to one before it; it leads to"):
        ShardItems([shard(tmp_path / "b.tar", ("1.png", png(1)), ("2.png", tarfile.SYMTYPE, "3.png"))])


def test_a_shard_that_goes_on_behind_its_end_is_refused(tmp_path):
    path = shard(tmp_path / "a.tar", *((f"{i}.png", png(i)) for i in range(4)))
    whole = path.read_bytes()
    second = whole.index(b"1.png")
    for damaged in (whole + whole, whole[: second + 300], whole[:second] + b"2" + whole[second + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a.tar` must end where its list of files ends; bytes follow from \d+ on"):
            ShardItems([path])
    path.write_bytes(whole + bytes(70_000))  # written in larger blocks
    assert len(ShardItems([path])) == 4


def test_a_shard_without_an_end_is_read_and_said(tmp_path, caplog):
    path = shard(tmp_path / "a.tar", ("0.png", png(0)), ("1.png", png(1)))
    with tarfile.open(path) as tar:
        end = [tar.offset for _ in tar][-1]
    path.write_bytes(path.read_bytes()[:end])
    assert len(ShardItems([path])) == 2
    assert "has no end mark" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("cls", b" -3\n", -3),
        ("cls", b"+7", 7),
        ("json", b'{"label": 5.0}', 5),
        ("json", b'{"label": null}', None),
        ("cls", b"1_0", DataError),
        ("cls", "\u0663".encode(), DataError),
        ("cls", b"dog", DataError),
        ("cls", b"\xff", DataError),
        ("json", b'{"label": 1e400}', DataError),
        ("json", b'{"label": NaN}', DataError),
        ("json", b"[" * 100_000, DataError),
    ],
)
def test_labels_are_whole_numbers_as_lists_have_them(tmp_path, name, text, label):
    path = shard(tmp_path / "a.tar", ("0.png", png(0)), (f"0.{name}", text))
    if label is DataError:
        with pytest.raises(DataError, match="must have a whole number as label") as error:
            ShardItems([path])
        assert "\n" not in str(error.value)
    else:
        assert ShardItems([path]).label(0) == label
