import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.data.crops import CropConfig
from openjepa.data.images import ImageConfig, ImageSource, image_folder, read_image
from openjepa.data.items import DatasetItems
from openjepa.data.sampling import JoinedItems, Slots, mixture_weights
from openjepa.data.shards import ShardItems
from openjepa.errors import ConfigError, DataError


def flat(value, size=(20, 16)):
    return Image.new("RGB", size, (value, 2 * value % 256, 255 - value))


def png(value):
    file = io.BytesIO()
    flat(value).save(file, "png")
    return file.getvalue()


def png_bomb(width=60_000, height=60_000):
    """A valid header that claims gigabytes, and almost no data."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of two classes; the red channel tells which is which."""
    for i in range(12):
        path = tmp_path / ("cat" if i % 2 else "dog") / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        flat(10 * i).save(path)
    return tmp_path


def reds(batch):
    return [int(v) // 10 for v in batch.images[:, 0, 0, 0]]


def test_a_folder_with_classes(folder):
    items = image_folder(folder, labels=True)
    assert items.classes == ("cat", "dog")
    assert len(items) == 12
    batch = ImageSource(items, ImageConfig(size=8, batch_size=4)).batch(0)
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert [n % 2 == 1 for n in reds(batch)] == [n == 0 for n in batch.labels.tolist()]


def test_an_epoch_shows_everything_once_and_ranks_share_it(folder):
    items = image_folder(folder)
    source = ImageSource(items, ImageConfig(size=8, batch_size=4, seed=5))
    epoch = [n for step in range(3) for n in reds(source.batch(step))]
    assert sorted(epoch) == list(range(12))
    later = [n for step in range(3, 6) for n in reds(source.batch(step))]
    assert sorted(later) == list(range(12))
    assert later != epoch
    fresh = ImageSource(items, ImageConfig(size=8, batch_size=4, seed=5))
    halves = [fresh.batch(2, rank=r, world_size=2) for r in range(2)]
    assert torch.equal(source.batch(2).images, torch.cat([h.images for h in halves]))
    assert source.batch(0).labels is None


def test_the_centre_square_is_taken_and_shrunk(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200  # exactly the centre square
    Image.fromarray(picture).save(tmp_path / "wide.png")
    out = read_image(tmp_path / "wide.png", 10)
    assert out.shape == (3, 10, 10)
    assert (out == 200).all()


def test_jpegs_are_decoded_small_but_right(tmp_path):
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    Image.fromarray(np.broadcast_to(ramp, (640, 640))).convert("RGB").save(tmp_path / "r.jpg", quality=95)
    small = read_image(tmp_path / "r.jpg", 16)
    expected = 255 * (np.arange(16) + 0.5) / 16
    assert np.abs(small[0, 8] - expected).max() < 4


def test_random_crops_while_reading_are_a_function_of_the_step(folder):
    config = ImageConfig(size=8, batch_size=4, crop=CropConfig(scale=(0.2, 0.5), flip=0.5))
    first, again = (ImageSource(image_folder(folder), config).batch(1) for _ in range(2))
    assert torch.equal(first.images, again.images)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    image = Image.new(mode, (9, 7)) if mode == "I;16" else flat(40, (9, 7)).convert(mode)
    image.save(tmp_path / f"x{suffix}")
    assert read_image(tmp_path / f"x{suffix}").shape == (3, 7, 9)


def test_a_gigantic_header_is_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_bomb())
    with pytest.raises(DataError, match="claims 60000 x 60000 pixels, more than `max_pixels` 100000000") as caught:
        read_image(tmp_path / "bomb.png", 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", png(3)[:60], png_bomb(50, 50)])
def test_damaged_files_are_one_line(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x.png` must be a picture that can be decoded; ") as caught:
        read_image(tmp_path / "x.png", 8)
    assert "\n" not in str(caught.value)


def test_a_damaged_sample_is_named_and_replaced_by_a_real_one(folder):
    (folder / "dog" / "04.png").write_bytes(b"not a picture")
    config = ImageConfig(size=8, batch_size=12, max_damaged_share=0.1)
    source = ImageSource(image_folder(folder), config)
    batch = source.batch(0)
    assert [name.rpartition("/")[2] for name in source.damage.reasons] == ["04.png"]
    counts = np.bincount(reds(batch), minlength=12)
    assert counts[4] == 0
    assert counts.sum() == 12
    assert sorted(counts.tolist()) == [0, *[1] * 10, 2]
    again = ImageSource(image_folder(folder), ImageConfig(**{**config.__dict__, "num_threads": 3}))
    assert torch.equal(again.batch(0).images, batch.images)
    source.batch(1)
    assert len(source.damage.reasons) == 1


def test_too_much_damage_stops_the_run(folder):
    for name in ("00", "02"):
        (folder / "dog" / f"{name}.png").write_bytes(b"")
    source = ImageSource(image_folder(folder), ImageConfig(size=8, batch_size=12, max_damaged_share=0.1))
    with pytest.raises(DataError, match=r"2 of 12 samples cannot be decoded, more than `max_damaged_share` 0.1"):
        source.batch(0)


def tar_of(path, samples):
    with tarfile.open(path, "w") as tar:
        for name, content in samples:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_shards_give_the_same_as_files(tmp_path):
    for shard in range(2):
        samples = []
        for i in range(3):
            n = 3 * shard + i
            samples += [(f"d/{n:04d}.png", png(10 * n))]
            samples += (
                [(f"d/{n:04d}.cls", str(n % 2).encode())]
                if shard
                else [(f"d/{n:04d}.json", json.dumps({"label": n % 2}).encode())]
            )
        tar_of(tmp_path / f"{shard}.tar", samples)
    items = ShardItems(sorted(tmp_path.glob("*.tar")))
    assert len(items) == 6
    batch = ImageSource(items, ImageConfig(size=8, batch_size=6)).batch(0)
    assert sorted(reds(batch)) == list(range(6))
    assert [n % 2 for n in reds(batch)] == batch.labels.tolist()
    assert items.name(4).endswith("1.tar:d/0004")


def test_damaged_shards_are_one_line(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match=r"must be a plain tar file; .* Unpack it first."):
        ShardItems([tmp_path / "a.tar.gz"])
    tar_of(tmp_path / "b.tar", [("0.txt", b"x")])
    with pytest.raises(DataError, match="1 shards must hold pictures or videos"):
        ShardItems([tmp_path / "b.tar"])
    with pytest.raises(DataError, match=r"c.tar` must be a plain tar file"):
        ShardItems([tmp_path / "c.tar"])
    tar_of(tmp_path / "d.tar", [("d/0.png", png(1)), ("d/trip.2020.png", png(2)), ("d/trip.2021.png", png(3))])
    with pytest.raises(DataError, match=r"`d/trip.2020.png` in .*d.tar` must have no dot before its ending"):
        ShardItems([tmp_path / "d.tar"])
    tar_of(tmp_path / "e.tar", [("0.png", png(1)), ("0.seg.png", png(2))])  # a second picture beside the sample's own
    assert len(ShardItems([tmp_path / "e.tar"])) == 1
    tar_of(tmp_path / "f.tar", [("0.png", png(1)), ("0.png", png(2))])
    with pytest.raises(DataError, match=r"f.tar` must hold `0.png` once"):
        ShardItems([tmp_path / "f.tar"])


def test_rows_of_a_data_set_are_read_when_needed():
    class Rows:
        column_names = ("image", "label")

        def __init__(self):
            self.reads = 0

        def __len__(self):
            return 100

        def __getitem__(self, i):
            self.reads += 1
            forms = (
                flat(i % 25 * 10),
                {"bytes": png(i % 25 * 10), "path": None},
                np.asarray(flat(i % 25 * 10)),
            )
            return {"image": forms[i % 3], "label": i % 4}

    rows = Rows()
    batch = ImageSource(DatasetItems(rows, "image", "label"), ImageConfig(size=8, batch_size=5)).batch(0)
    assert rows.reads <= 10
    assert batch.labels.shape == (5,)
    with pytest.raises(DataError, match="must have a column `picture`; it has image, label"):
        DatasetItems(rows, "picture")


def test_labels_of_a_data_set_cost_no_pictures():
    class Rows:
        def __init__(self, columns):
            self.column_names = columns

        def select_columns(self, columns):
            return Rows(columns)

        def __getitem__(self, i):
            assert self.column_names == ["label"]
            return {"label": 7}

    assert DatasetItems(Rows(["image", "label"]), "image", "label").label(3) == 7


def test_mixtures_draw_by_share_not_by_size():
    class Count:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

    parts = [Count(10), Count(1000)]
    joined = JoinedItems(parts)
    slots = Slots(joined, batch_size=4000, sampling="uniform", weights=mixture_weights(parts, [0.75, 0.25]), seed=1)
    numbers = slots.numbers(0)
    assert abs((numbers < 10).mean() - 0.75) < 0.03
    assert numbers.max() < 1010


def test_options_are_checked(folder):
    with pytest.raises(ConfigError, match="`size` and `batch_size` must be >= 1"):
        ImageConfig(size=0)
    with pytest.raises(DataError, match="`batch_size` must be at most the 12 samples"):
        ImageSource(image_folder(folder), ImageConfig(batch_size=13))
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"must hold files ending in .jpg"):
        image_folder(folder / "empty")
    with pytest.raises(DataError, match=r"there is none. Check the path."):
        image_folder(folder / "nowhere")
