"""Columns of a LeRobot data set: from Arrow to NumPy and back, texts in runs, pictures."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from openjepa.data.robot.lerobot_layout import Feature, arrow, pretty
from openjepa.errors import DataError


def numbers(column: Any, feature: Feature | None, where: str) -> np.ndarray:
    """Rows [T, ...] of a column of numbers, scalars as [T].

    Raises:
        DataError: for values that are missing, or rows of another shape.
    """
    pa, _ = arrow()
    array, rows = column.combine_chunks(), len(column)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    is_scalar = True
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count:
            raise DataError(f"`{feature.key if feature else 'a counter'}` of {where} must have a value in every row.")
        if not pa.types.is_nested(array.type):
            break
        is_scalar, array = False, array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "buif":
        raise DataError(f"`{feature.key if feature else 'a counter'}` of {where} must hold numbers; got {array.type}.")
    shape = () if is_scalar or feature is None else feature.shape
    if values.size != rows * int(np.prod(shape, dtype=int)):
        raise DataError(
            f"rows of `{feature.key if feature else 'a counter'}` of {where} must be {list(shape)}; they are not."
        )
    return np.array(values.reshape(rows, *shape))


def runs(values: list[Any]) -> list[list[Any]]:
    """Equal neighbours once, with their number: [[3, "a"], [1, "b"]]."""
    found: list[list[Any]] = []
    for value in values:
        if found and found[-1][1] == value:
            found[-1][0] += 1
        else:
            found.append([1, value])
    return found


def unrolled(found: list[list[Any]]) -> list[Any]:
    """Undoes `runs`."""
    return [value for count, value in found for _ in range(count)]


def type_text(field: Any) -> str:
    """A column's Arrow type as text that `type_of` reads."""
    pa, _ = arrow()
    return base64.b64encode(pa.schema([field]).serialize().to_pybytes()).decode()


def type_of(text: str) -> Any:
    """The Arrow field that `type_text` wrote."""
    pa, _ = arrow()
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field(0)


def centre_square(picture: np.ndarray, size: int) -> np.ndarray:
    """The centre square of a picture [3, H, W] uint8, `size` px wide."""
    side = min(picture.shape[1:])
    top, left = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
    square = Image.fromarray(np.ascontiguousarray(picture[:, top : top + side, left : left + side].transpose(1, 2, 0)))
    how = Image.Resampling.BOX if side > size else Image.Resampling.BILINEAR
    return np.ascontiguousarray(np.asarray(square.resize((size, size), how)).transpose(2, 0, 1))


def as_arrow(values: np.ndarray) -> Any:
    """Rows of one number as scalars, vectors as lists of fixed length, others as nested lists."""
    pa, _ = arrow()
    if values[0].size == 1 and values.ndim <= 2:
        return pa.array(values.reshape(-1))
    array = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(array, values.shape[1])
    for axis in range(values.ndim - 1, 0, -1):
        ends = np.arange(0, len(array) + 1, values.shape[axis], dtype=np.int32)
        array = pa.ListArray.from_arrays(ends, array)
    return array


def task_table(tasks: Mapping[str, int]) -> Any:
    """Numbers of tasks, with the words as the index that pandas reads."""
    pa, _ = arrow()
    table = pa.table({"task_index": pa.array(list(tasks.values())), "task": list(tasks)})
    kinds = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None} for n, p, t in kinds
        ],
    }
    return table.replace_schema_metadata({"pandas": pretty(pandas)})


def next_place(chunk: int, file: int, size: int) -> tuple[int, int]:
    """Numbers of the next file, where folders hold `size` files at most."""
    return (chunk + 1, 0) if file == size - 1 else (chunk, file + 1)


def png(picture: np.ndarray) -> bytes:
    """A picture [3, H, W] uint8 as the bytes of a PNG file."""
    held = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(held, "PNG")
    return held.getvalue()
