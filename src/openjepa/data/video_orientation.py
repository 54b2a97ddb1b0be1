"""How a decoded frame lies when it is shown: turned and mirrored by the display matrix of its file."""

from typing import Any, NamedTuple

import numpy as np

from openjepa.errors import DataError


class Orientation(NamedTuple):
    """The way from the coded picture to the shown one: first transposed, then flipped.

    Attributes:
        transpose: rows become columns.
        left_right: columns are flipped.
        up_down: rows are flipped.
    """

    transpose: bool = False
    left_right: bool = False
    up_down: bool = False

    def shown(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as they are shown."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turns and mirrors a picture [H, W, C]; a view."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


UPRIGHT = Orientation()


def orientation(frame: Any, name: str) -> Orientation:
    """Reads the display matrix of a frame.

    A matrix (a b; c d) shows the coded point (x, y) at (a x + c y, b x + d y).

    Raises:
        DataError: for one that does more than quarter turns and mirrors.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    along, across = min(abs(a), abs(d)), min(abs(b), abs(c))
    rest = max(abs(b), abs(c)) if along >= across else max(abs(a), abs(d))
    if rest > 0.02 * max(along, across):  # a degree is 0.017
        raise DataError(
            f"`{name}` must be shown upright, mirrored or turned by quarters; its display matrix is "
            f"{[round(v / 65536, 3) for v in (a, b, c, d)]}. Encode it again as it is shown."
        )
    if across > along:
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)
