import struct
from contextlib import suppress

import numpy as np
import pytest

from openjepa.errors import DataError
from openjepa.serve.wire import pack, unpack

msgpack = pytest.importorskip("msgpack")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        np.zeros((0, 3), np.float32),
        np.array(2.5),
        np.array([True, False]),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(8.0).reshape(2, 4)[:, ::2],
        np.float32(0.1),
        np.int64(-3),
        np.bool_(True),
    ],
)
def test_arrays_arrive_as_they_were_sent(array):
    found = unpack(pack({"x": [array, "word", None, 1.5, b"raw"]}))["x"]
    assert found[1:] == ["word", None, 1.5, b"raw"]
    assert found[0].dtype == array.dtype
    np.testing.assert_array_equal(found[0], array)


def test_the_layout_is_openpis():
    """As `openpi_client.msgpack_numpy` 0.1.2 writes it."""
    content = msgpack.unpackb(pack({"x": np.array([1, 2], np.uint8)}))
    assert content == {"x": {b"__ndarray__": True, b"data": b"\x01\x02", b"dtype": "|u1", b"shape": [2]}}
    assert msgpack.unpackb(pack(np.float32(2))) == {b"__npgeneric__": True, b"data": 2.0, b"dtype": "<f4"}


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array([1j]), np.zeros(2, "i4,f8"), object(), {1, 2}, 1 << 70]
)
def test_what_is_no_number_is_not_sent(value):
    with pytest.raises(DataError, match="must hold numbers, words and arrays of numbers"):
        pack({"x": value})


def sent(data, dtype, shape, kind=b"__ndarray__"):
    return msgpack.packb({kind: True, b"data": data, b"dtype": dtype, b"shape": shape})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "must be msgpack"),
        (b"\xc1", "must be msgpack"),
        (pack({"a": 1})[:-1], "must be msgpack"),
        (pack(1) + pack(2), "must be msgpack"),
        (b"\x91" * 100_000 + b"\xc0", "must be msgpack"),  # nested without end
        (b"\xdf" + struct.pack(">I", 1 << 30), "must be msgpack"),  # says that it has a milliard entries
        (b"\xdd" + struct.pack(">I", 1 << 31), "must be msgpack"),
        (b"\xc6" + struct.pack(">I", 1 << 31), "must be msgpack"),
        (b"\x81\x90\xc0", "must be msgpack"),  # a list as a key
        (msgpack.packb({"x": "a" * 100_000}), "must be msgpack"),
        (msgpack.packb(msgpack.ExtType(1, b"code")), "must be msgpack"),
        (b"\x80\x04\x95pickled", "must be msgpack"),
        (msgpack.packb({b"__ndarray__": True}), "must be of numbers or booleans"),
        (sent(b"", "|O", [1]), "got the type"),
        (sent(b"", "i4,f8", [1]), "got the type"),
        (sent(b"", "V9999", [1]), "got the type"),
        (sent(b"", "<U9", [1]), "got the type"),
        (sent(b"", "<i4", [1 << 60]), "must have .* bytes"),
        (sent(b"1", "<i4", [1]), "must have 4 bytes; got 1"),
        (sent(b"", "<i4", [-1, 0]), "the shape of an array"),
        (sent(b"", "<i4", [0] * 9), "the shape of an array"),
        (sent(b"", "<i4", "big"), "the shape of an array"),
        (sent("x", "<i4", None, b"__npgeneric__"), "a number must be one"),
        (sent(1 << 40, "|u1", None, b"__npgeneric__"), "a number must fit its type"),
    ],
)
def test_what_is_damaged_or_dangerous_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        unpack(data)


def test_no_bytes_at_all_make_anything_but_an_error_of_ours():
    generator = np.random.default_rng(0)
    whole = pack({"image": np.zeros((4, 4, 3), np.uint8), "session_id": "a", "x": [1, 2.5, None]})
    for _ in range(3000):
        data = bytearray(whole)
        for at in generator.integers(0, len(data), 3):
            data[at] = generator.integers(256)
        with suppress(DataError):
            unpack(bytes(data[: generator.integers(1, len(data) + 1)]))
