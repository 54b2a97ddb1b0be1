"""Actions as language models and JSON write them: lists of numbers; a whole number for each group of choices."""

from collections.abc import Sequence

import numpy as np

from openjepa.errors import DataError, brief
from openjepa.nn.action_bounds import ActionBounds

NORM_SLACK, BOX_SLACK = 1e-3, 1e-6  # what rounding may add


def read_actions(values: Sequence[Sequence[float]], bounds: ActionBounds, most: int, multiple: int = 1) -> np.ndarray:
    """Checks actions and returns them [n, A] float32.

    Args:
        values: a list of numbers for each step; where actions are choices, one whole number for each group.
        bounds: of one action.
        most: largest n.
        multiple: that n must be of, the actions of a step of a model.

    Raises:
        DataError: for anything else.

    >>> read_actions([[1], [0]], ActionBounds.of_categories([2]), most=8).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    import torch

    if not values or len(values) % multiple or len(values) > most:
        parts = f" and a multiple of {multiple} (the model's step)" if multiple > 1 else ""
        raise DataError(f"`actions` must be 1 to {most} lists of numbers{parts}; got {len(values)}.")
    rows = [_one_hot(row, bounds.categories) if bounds.categories else list(row) for row in values]
    wrong = next((row for row in rows if len(row) != bounds.dim), None)
    if wrong is not None:
        raise DataError(f"each action must be {bounds.dim} numbers; got {brief(wrong, 40)}.")
    actions = np.array(rows, np.float64)
    if not np.isfinite(actions).all():
        raise DataError("`actions` must be finite numbers.")
    allowed = bounds.clip(torch.from_numpy(actions)).numpy()
    excess = np.abs(actions - allowed)
    if excess.max() > (BOX_SLACK if bounds.max_norm is None else NORM_SLACK):
        limit = "" if bounds.max_norm is None else f", with a norm of at most {bounds.max_norm:g}"
        low, high = bounds.low.round(4).tolist(), bounds.high.round(4).tolist()
        got = actions[int(excess.max(1).argmax())].round(4).tolist()
        raise DataError(f"each action must lie between {low} and {high}{limit}; got {got}.")
    return allowed.astype(np.float32)


def write_actions(actions: np.ndarray, bounds: ActionBounds) -> list[list[float]]:
    """Actions [n, A] the way `read_actions` reads them."""
    if not bounds.categories:
        return [[round(float(x), 6) for x in row] for row in actions]
    ends = np.cumsum(bounds.categories)[:-1]
    return [[float(group.argmax()) for group in np.split(row, ends)] for row in actions]


def spoken_form(bounds: ActionBounds) -> str:
    """What an action looks like, in words."""
    if bounds.categories:
        return f"{len(bounds.categories)} whole numbers from 0 to below {list(bounds.categories)}"
    low, high = bounds.low.round(4).tolist(), bounds.high.round(4).tolist()
    norm = "" if bounds.max_norm is None else f", with a Euclidean norm of at most {bounds.max_norm:g}"
    return f"{bounds.dim} numbers from {low} to {high}{norm}"


def _one_hot(row: Sequence[float], sizes: Sequence[int]) -> list[float]:
    if len(row) != len(sizes) or any(x not in range(n) for x, n in zip(row, sizes, strict=False)):
        most = ", ".join(str(n - 1) for n in sizes)
        raise DataError(f"each action must be {len(sizes)} whole numbers from 0 to {most}; got {brief(list(row), 40)}.")
    return [float(i == int(x)) for x, n in zip(row, sizes, strict=True) for i in range(n)]
