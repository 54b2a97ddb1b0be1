"""The shortest way through a maze, exactly: what far goals are drawn by, and what steps are compared with."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from openjepa.envs.maze import BORDER, REACH, SIZE, cells_of

Cell = tuple[int, int]  # row and column
Place = tuple[int, int]  # the same, doubled: cells are even, an odd row or column is the passage between two of them
Gate = tuple[np.ndarray, np.ndarray]  # its left and its right end, seen along the way


def way_length(start: np.ndarray, goal: np.ndarray, walls: np.ndarray) -> float:
    """Length in px of the shortest way of the agent's centre between positions [2] in a maze of walls [W].

    The cells on the way are given, since there is only one way; the string is pulled tight through the gates between
    them (the funnel algorithm: Lee & Preparata 1984).
    """
    cells = cells_of(walls)
    pitch = (SIZE - 2 * BORDER) / cells
    ends = [np.asarray(position, float) for position in (start, goal)]
    first, last = (_cell(position, pitch, cells) for position in ends)
    places = [(2 * row, 2 * column) for row, column in cell_path(first, last, walls)]
    path = [places[0]]
    for a, b in pairwise(places):
        path += [((a[0] + b[0]) // 2, (a[1] + b[1]) // 2), b]
    path = _ending_in(path, _place(ends[1], last, pitch))
    path = _ending_in(path[::-1], _place(ends[0], first, pitch))[::-1]
    corners = _tight(ends[0], ends[1], [_gate(a, b, pitch) for a, b in pairwise(path)])
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(corners)))


def cell_path(start: Cell, goal: Cell, walls: np.ndarray) -> list[Cell]:
    """Cells from one to another, both included."""
    cells = cells_of(walls)
    half = len(walls) // 2
    right, below = walls[:half].reshape(cells, cells - 1), walls[half:].reshape(cells - 1, cells)
    before: dict[Cell, Cell] = {goal: goal}
    queue = [goal]
    for row, column in queue:
        for there, wall in (
            ((row, column + 1), column + 1 < cells and right[row, column] < 0.5),
            ((row, column - 1), column > 0 and right[row, column - 1] < 0.5),
            ((row + 1, column), row + 1 < cells and below[row, column] < 0.5),
            ((row - 1, column), row > 0 and below[row - 1, column] < 0.5),
        ):
            if wall and there not in before:
                before[there] = (row, column)
                queue.append(there)
    path = [start]
    while path[-1] != goal:
        path.append(before[path[-1]])
    return path


def _cell(position: np.ndarray, pitch: float, cells: int) -> Cell:
    column, row = ((position - BORDER) // pitch).astype(int).clip(0, cells - 1)
    return int(row), int(column)


def _place(position: np.ndarray, cell: Cell, pitch: float) -> Place:
    """The cell, or the passage beside it in which a position of it lies."""
    row, column = cell
    x, y = position - BORDER - pitch * np.array([column, row])
    aside = [int(p > pitch - REACH) - int(p < REACH) for p in (y, x)]
    return 2 * row + aside[0], 2 * column + aside[1]


def _ending_in(path: list[Place], place: Place) -> list[Place]:
    """A path that ends in the cell of a place, as one that ends in the place."""
    if path[-1] == place:
        return path
    return path[:-1] if len(path) > 1 and path[-2] == place else [*path, place]


def _gate(a: Place, b: Place, pitch: float) -> Gate:
    """Both ends of the line between a cell and a passage, as far as the centre may go."""
    cell, passage = (a, b) if a[0] % 2 == a[1] % 2 == 0 else (b, a)
    low = BORDER + pitch * np.array([cell[1] // 2, cell[0] // 2]) + REACH  # x and y
    high = low + pitch - 2 * REACH
    side = (passage[1] - cell[1], passage[0] - cell[0])
    axis = 0 if side[0] else 1
    ends = np.stack([low, high])
    ends[:, axis] = high[axis] if side[axis] > 0 else low[axis]
    if b[1] < a[1] or b[0] > a[0]:  # y points downwards: left of a way down is the larger x
        ends = ends[::-1]
    return ends[0], ends[1]


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Above 0 where c lies to the right of the way from a to b, in pictures whose y points downwards."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _tight(start: np.ndarray, goal: np.ndarray, gates: Sequence[Gate]) -> list[np.ndarray]:
    """Corners of the shortest way between two ends through gates."""
    portals = [*gates, (goal, goal)]
    corners, apex, first = [start], start, 0
    while True:
        left, right = portals[first]
        at_left = at_right = first
        for i in range(first, len(portals)):
            new_left, new_right = portals[i]
            if _turn(apex, right, new_right) <= 0:  # the right side moves inwards
                if _turn(apex, left, new_right) < 0:  # and past the left one: the way bends there
                    corners.append(left)
                    apex, first = left, at_left + 1
                    break
                right, at_right = new_right, i
            if _turn(apex, left, new_left) >= 0:
                if _turn(apex, right, new_left) > 0:
                    corners.append(right)
                    apex, first = right, at_right + 1
                    break
                left, at_left = new_left, i
        else:
            return [*corners, goal]
        if first >= len(portals):
            return [*corners, goal]
