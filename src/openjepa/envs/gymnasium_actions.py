"""Between the actions that a model takes, [A] numbers, and what an action space of Gymnasium contains."""

from typing import Any

import numpy as np

from openjepa.errors import ConfigError
from openjepa.protocols import ActionBounds


def bounds_of(space: Any, name: str) -> ActionBounds:
    """The bounds of an action space: its own box, flattened, or one one-hot group for every choice.

    Raises:
        ConfigError: for a space that is unbounded, or of another kind.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return ActionBounds.of_categories([int(space.n)])
    if isinstance(space, spaces.MultiDiscrete):
        return ActionBounds.of_categories(space.nvec.ravel().tolist())
    if isinstance(space, spaces.MultiBinary):
        return ActionBounds.of_categories([2] * int(np.prod(space.shape)))
    if not isinstance(space, spaces.Box):
        raise ConfigError(
            f"`{name}` must have Box, Discrete, MultiDiscrete or MultiBinary actions; got a {type(space).__name__} "
            "space. Wrap it with an action wrapper."
        )
    if not space.is_bounded():
        raise ConfigError(
            f"actions of `{name}` must be bounded; got {_short(space.low)} to {_short(space.high)}. Wrap it with "
            "`RescaleAction` or `ClipAction`, or give an adapter with `bounds`."
        )
    return ActionBounds(space.low.ravel(), space.high.ravel())


def to_space(space: Any, bounds: ActionBounds, action: np.ndarray) -> Any:
    """An element of an action space, which contains it, from an action [A] float64 within its bounds.

    Where the space wants whole numbers they are rounded; what the conversion to its dtype pushes out of the box by a
    rounding error is put back.
    """
    from gymnasium import spaces

    if not bounds.categories:
        return _to_box(space, action)
    groups = np.split(action, np.cumsum(bounds.categories)[:-1])
    choices = np.array([group.argmax() for group in groups])
    if isinstance(space, spaces.Discrete):
        return int(space.start + choices[0])
    choices = choices.reshape(space.shape)
    if isinstance(space, spaces.MultiDiscrete):
        choices = choices + space.start
    return choices.astype(space.dtype)


def _to_box(space: Any, action: np.ndarray) -> np.ndarray:
    shaped = action.reshape(space.shape)
    if np.issubdtype(space.dtype, np.floating):
        return np.clip(shaped.astype(space.dtype), space.low, space.high)
    # By Python's whole numbers, which have no limit: the ends of int64 are no float64.
    edges = zip(shaped.flat, space.low.flat, space.high.flat, strict=True)
    whole = [min(max(round(float(x)), int(low)), int(high)) for x, low, high in edges]
    return np.array(whole, space.dtype).reshape(space.shape)


def _short(edge: np.ndarray) -> str:
    return np.array2string(edge.ravel(), threshold=4, edgeitems=2, precision=4)
