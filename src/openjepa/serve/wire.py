"""What goes over the wire: msgpack, arrays as maps, and nothing that could be code.

The layout is openpi's, so its clients fit: an array is `{__ndarray__: True, data, dtype, shape}`, a NumPy number
`{__npgeneric__: True, data, dtype}`, with the keys as bytes. Only numbers and booleans are arrays; every size is
checked before it is believed.
"""

import math
from typing import Any

import numpy as np

from openjepa.errors import DataError, require

MOST_AXES, MOST_ENTRIES, LONGEST_WORD = 8, 256, 1 << 16


def pack(message: Any) -> bytes:
    """Packs numbers, words, bytes, lists, dictionaries and arrays of numbers.

    Raises:
        DataError: for anything else.
    """
    try:
        return _msgpack().packb(message, default=_to_map)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"a message must hold numbers, words and arrays of numbers; {error}.") from error


def unpack(data: bytes) -> Any:
    """Unpacks what `pack` or a client of openpi has packed.

    Raises:
        DataError: for bytes that are no such message, or arrays that are not what they say.
    """
    try:
        return _msgpack().unpackb(
            data,
            object_hook=_from_map,
            strict_map_key=False,
            max_str_len=LONGEST_WORD,
            max_array_len=MOST_ENTRIES,
            max_map_len=MOST_ENTRIES,
            max_ext_len=0,
        )
    except DataError:
        raise
    except (ValueError, TypeError, RecursionError, _msgpack().exceptions.UnpackException) as error:
        raise DataError(f"a message must be msgpack; {type(error).__name__}: {str(error)[:100]}.") from error


def _to_map(value: Any) -> dict[bytes, Any]:
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"got an array of {value.dtype}")
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": value.shape}
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"got a {type(value).__name__}")


def _from_map(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found or "__ndarray__" in found:
        data, shape = _entry(found, "data"), _entry(found, "shape")
        dtype = _dtype(_entry(found, "dtype"))
        sizes = shape if isinstance(shape, list) and len(shape) <= MOST_AXES else [-1]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in sizes):
            raise DataError(f"the shape of an array must be at most {MOST_AXES} sizes; got {str(shape)[:60]}.")
        if not isinstance(data, bytes) or len(data) != math.prod(sizes) * dtype.itemsize:
            size = len(data) if isinstance(data, bytes) else type(data).__name__
            raise DataError(
                f"an array {sizes} of {dtype} must have {math.prod(sizes) * dtype.itemsize} bytes; got {size}."
            )
        return np.frombuffer(data, dtype).reshape(sizes)
    if b"__npgeneric__" in found or "__npgeneric__" in found:
        value = _entry(found, "data")
        if not isinstance(value, (bool, int, float)):
            raise DataError(f"a number must be one; got a {type(value).__name__}.")
        with np.errstate(all="ignore"):
            try:
                return _dtype(_entry(found, "dtype")).type(value)
            except OverflowError as error:
                raise DataError(f"a number must fit its type; {error}.") from error
    return found


def _entry(found: dict[Any, Any], name: str) -> Any:
    return found.get(name.encode(), found.get(name))


def _dtype(name: Any) -> np.dtype:
    word = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    try:
        dtype = np.dtype(word) if isinstance(word, str) and len(word) <= 8 else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in "biuf" or dtype.hasobject:
        raise DataError(f"arrays must be of numbers or booleans; got the type {str(word)[:20]!r}.")
    return dtype


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise require("msgpack", "serve", "talk to a server") from error
    return msgpack
