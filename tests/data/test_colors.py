"""Pictures of every kind against values that are known from their bytes; OpenCV as a second reader."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from openjepa.data.images import read_image
from openjepa.errors import DataError

RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))


def encode(image, kind, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def png(width, depth, kind, row, transparent=b"", palette=b""):
    """One row of raw samples: kind 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
    middle = (chunk(b"PLTE", palette) if palette else b"") + (chunk(b"tRNS", transparent) if transparent else b"")
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def tiff(photometric, bits, data, width, *more):
    """One row of grey in the smallest file that says how many bits it has and whether 0 is white."""
    at = 110 + 12 * len(more)
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, at), (278, 1), (279, len(data))]
    tags = sorted([*tags, *more])
    values = [(tag, value if isinstance(value, tuple) else (value,)) for tag, value in tags]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, len(v), *(*v, 0)[:2]) for tag, v in values)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


def grey(content):
    found = read_image(content)
    assert (found == found[:1]).all()
    return found[0].tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_highest_bits(kind):
    assert (read_image(encode(RAMP, kind)) == RAMP >> 8).all()


def planar_tiff(bits):
    """Two pixels of RGB whose channels lie one after the other: 10 20, 30 40, 50 60 times 2 ** (bits - 8)."""
    planes = [struct.pack(f"<2{'B' if bits == 8 else 'H'}", *(v << (bits - 8) for v in pair)) for pair in PLANES]
    size, after = len(planes[0]), 8 + 2 + 12 * 10 + 4
    places = tuple(after + 30 + i * size for i in range(3))
    tags = [
        *(
            (256, 2),
            (257, 1),
            (258, (bits,) * 3),
            (259, 1),
            (262, 2),
            (273, places),
        ),
        *((277, 3), (278, 1), (279, (size,) * 3), (284, 2)),
    ]
    entries, tail = b"", b""
    for tag, value in tags:
        if isinstance(value, int):
            entries += struct.pack("<HHIHH", tag, 3, 1, value, 0)
        else:
            entries += struct.pack("<HHII", tag, 3, 3, after + len(tail))
            tail += struct.pack("<3H", *value)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail.ljust(30, b"\0") + b"".join(planes)


PLANES = ((10, 20), (30, 40), (50, 60))


def test_channels_that_lie_apart_are_right_or_refused():
    assert read_image(planar_tiff(8))[:, 0].tolist() == [list(plane) for plane in PLANES]
    with pytest.raises(DataError, match=r"its channels of 16 bits lie apart, which the decoder misreads. Write them"):
        read_image(planar_tiff(16))


def test_16_bit_grey_as_opencv_reads_it(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name in ("x.png", "x.tif", "x.pgm"):
        cv2.imwrite(str(tmp_path / name), RAMP)
        assert np.abs(read_image(tmp_path / name).astype(int) - (cv2.imread(str(tmp_path / name))[..., 0])).max() <= 1


def test_grey_of_any_depth():
    assert grey(b"P5 3 1 65535\n" + struct.pack(">HHH", 0, 0x1234, 65535)) == [[0, 0x12, 255]]
    assert grey(b"P5 3 1 1000\n" + struct.pack(">HHH", 0, 500, 1000)) == [[0, 128, 255]]
    assert grey(tiff(1, 16, struct.pack("<HHH", 0, 0x8000, 65535), 3)) == [[0, 128, 255]]
    assert grey(tiff(0, 16, struct.pack("<HHH", 0, 0x8000, 65535), 3)) == [[255, 127, 0]]  # 0 is white
    assert grey(tiff(1, 12, bytes([0x00, 0x08, 0x00, 0xFF, 0xF0]), 3)) == [[0, 128, 255]]
    assert grey(png(4, 2, 0, bytes([0b00011011]))) == [[0, 85, 170, 255]]


@pytest.mark.parametrize("pixels", [RAMP.astype(np.int32), RAMP / np.float32(65535)])
def test_pixels_of_no_known_range_are_refused(pixels):
    for content in (encode(pixels, "TIFF"), Image.fromarray(pixels)):
        with pytest.raises(DataError, match=r"must be a picture that can be read; it holds .* whose white is not"):
            read_image(content)


def test_grey_with_a_sign_is_refused():
    assert grey(tiff(1, 8, bytes([3, 250]), 2, (339, 1))) == [[3, 250]]
    for bits, data in ((8, bytes([3, 250])), (16, struct.pack("<hh", 3, -5))):
        with pytest.raises(DataError, match="it holds integers with a sign, whose white is not known"):
            read_image(tiff(1, bits, data, 2, (339, 2)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.float32, np.float64, bool])
def test_arrays_of_another_type_are_refused(dtype):
    with pytest.raises(DataError, match=f"arrays must be uint8; got {np.dtype(dtype)}"):
        read_image(np.zeros((4, 4), dtype))


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (4, 4, 5), (8,), (0, 4), (4, 4, 0)])
def test_arrays_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"arrays must be \[H, W\] or \[H, W, C\]"):
        read_image(np.zeros(shape, np.uint8))


def test_arrays():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    before = pixels.copy()
    assert (read_image(pixels) == pixels.transpose(2, 0, 1)).all()
    assert (read_image(pixels[..., :1]) == pixels[None, ..., 0]).all()
    assert (read_image(pixels[::-1, ::2, 1]) == pixels[None, ::-1, ::2, 1]).all()
    assert (pixels == before).all()
    clear = np.dstack([pixels, np.zeros((5, 7, 1), np.uint8)])
    assert (read_image(clear) == 255).all()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (png(2, 8, 6, bytes([9, 9, 9, 0, 9, 9, 9, 255])), [[255, 9]]),
        (png(2, 16, 6, struct.pack(">8H", 2304, 2304, 2304, 0, 2304, 2304, 2304, 65535)), [[255, 9]]),
        (png(2, 8, 4, bytes([9, 0, 9, 255])), [[255, 9]]),
        (png(3, 8, 3, bytes([0, 1, 2]), b"\0\xff", bytes([9, 9, 9, 50, 50, 50, 60, 60, 60])), [[255, 50, 60]]),
        (png(3, 8, 0, bytes([9, 50, 60]), struct.pack(">H", 9)), [[255, 50, 60]]),
        (png(3, 16, 0, struct.pack(">HHH", 2304, 12800, 15360), struct.pack(">H", 2304)), [[255, 50, 60]]),
        (png(4, 2, 0, bytes([0b00011011]), struct.pack(">H", 1)), [[0, 255, 170, 255]]),
        (png(2, 4, 0, bytes([0x2A]), struct.pack(">H", 2)), [[255, 170]]),
        (png(2, 1, 0, bytes([0b01000000]), struct.pack(">H", 0)), [[255, 255]]),
        (png(2, 8, 2, bytes([9, 9, 9, 50, 50, 50]), struct.pack(">HHH", 9, 9, 9)), [[255, 50]]),
        (png(2, 16, 2, struct.pack(">6H", *[2304] * 3, *[12800] * 3), struct.pack(">HHH", *[2304] * 3)), [[255, 50]]),
    ],
)
def test_transparent_pixels_are_white_whatever_lies_under_them(content, wanted):
    assert grey(content) == wanted
    assert grey(Image.open(io.BytesIO(content))) == wanted


def test_half_transparent_pixels_are_mixed_with_white():
    found = grey(png(1, 8, 6, bytes([0, 0, 0, 51])))[0][0]
    assert found == 255 - 51
    clear = Image.new("P", (4, 4), 0)
    clear.putpalette([200, 0, 0, 0, 0, 200])
    clear.putpixel((1, 1), 1)
    found = read_image(encode(clear, "GIF", transparency=0))
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 1, 1].tolist() == [0, 0, 200]
    premultiplied = Image.new("La", (2, 2), (0, 0))
    assert (read_image(premultiplied) == 255).all()


def test_grey_that_its_alpha_was_multiplied_into():
    pixels, channels, extra = bytes([40, 200, 0, 0]), (277, 2), 338
    # What the second channel is: 1 multiplied in, 2 not, 0 anything else.
    for kind, wanted in ((1, 40 + 255 - 200), (2, round((40 * 200 + 255 * 55) / 255)), (0, 40)):
        found = grey(tiff(1, (8, 8), pixels, 2, channels, (extra, kind)))[0]
        assert abs(found[0] - wanted) <= 1
        assert found[1] == (255 if kind else 0)


def test_cyan_of_cmyk_stays_cyan():
    for kind in ("TIFF", "JPEG"):
        found = read_image(encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), kind))
        assert np.abs(found[:, 4, 4].astype(int) - [0, 255, 255]).max() <= 2


def turned(pixels, orientation):
    """What EXIF says: the row and column of the file that the first row and column of the scene are."""
    flips = {1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1]}
    if orientation in flips:
        return flips[orientation](pixels)
    return flips[{5: 1, 6: 2, 7: 3, 8: 4}[orientation]](np.swapaxes(pixels, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "deep PNG", "deep TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(kind, orientation):
    pixels = (np.arange(16 * 24).reshape(16, 24) // 2).astype(np.uint8)
    stored = Image.fromarray(pixels.astype(np.uint16) << 8 if kind.startswith("deep") else pixels)
    exif = stored.getexif()
    exif[0x0112] = orientation
    content = encode(stored, kind.split()[-1], exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    wanted = turned(pixels, orientation).astype(int)
    given = Image.open(io.BytesIO(content))
    for picture in (content, given, given):
        found = read_image(picture)[0].astype(int)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= (2 if kind == "JPEG" else 0)


def test_small_reads_of_turned_jpegs_stand_upright_too():
    pixels = np.zeros((320, 640, 3), np.uint8)
    pixels[:, 320:] = 200  # the right half
    stored = Image.fromarray(pixels)
    exif = stored.getexif()
    exif[0x0112] = 6  # the right of the file is the bottom of the scene
    small = read_image(encode(stored, "JPEG", exif=exif), 16)[0]
    assert small[3].max() < 10
    assert small[-3].min() > 190


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "YCbCr"])
def test_the_picture_that_is_given_stays_as_it_is(mode):
    picture = (
        Image.fromarray(RAMP)
        if mode == "I;16"
        else Image.linear_gradient("L").resize((96, 64)).convert("RGB").convert(mode)
    )
    before = picture.copy()
    first, small, again = read_image(picture), read_image(picture, 16), read_image(picture)
    assert (picture.size, picture.mode, picture.info) == (before.size, before.mode, before.info)
    assert picture.tobytes() == before.tobytes()
    assert small.shape == (3, 16, 16)
    assert (first == again).all()


def test_an_opened_jpeg_keeps_its_size():
    content = encode(np.random.default_rng(0).integers(0, 255, (768, 1280, 3), dtype=np.uint8), "JPEG")
    whole, given = read_image(content), Image.open(io.BytesIO(content))
    read_image(given, 64)
    assert given.size == (1280, 768)
    assert (read_image(given) == whole).all()
