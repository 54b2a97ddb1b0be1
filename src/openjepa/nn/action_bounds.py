"""What an environment accepts as an action: a box, a ball in it, or choices written as one-hot vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from openjepa.errors import ConfigError

if TYPE_CHECKING:  # worlds are NumPy; PyTorch is imported where a planner clips
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ActionBounds:
    """The actions that an environment accepts: a box and optionally a largest Euclidean norm, or categories.

    Attributes:
        low: [A] float64, exactly as the environment has it.
        high: [A] float64.
        max_norm: largest norm of one primitive action, or None.
        frameskip: number of primitive actions that are concatenated in one action.
        categories: sizes of the one-hot groups that an action consists of, of all its primitive actions; empty for
            a box. `Discrete(3)` is (3,), `MultiDiscrete([2, 4])` is (2, 4), `MultiBinary(3)` is (2, 2, 2).
    """

    low: np.ndarray
    high: np.ndarray
    max_norm: float | None = None
    frameskip: int = 1
    categories: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, np.array(vars(self)[name], np.float64))
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not (self.low <= self.high).all():
            raise ConfigError(f"`low` and `high` must be [A] with low <= high; got {self.low} and {self.high}.")
        if self.categories:
            is_unit = self.max_norm is None and not self.low.any() and (self.high == 1).all()
            if min(self.categories) < 1 or sum(self.categories) != self.dim or not is_unit:
                raise ConfigError(
                    f"`categories` must be sizes >= 1 that sum to the width {self.dim} of an action in [0, 1] without "
                    f"`max_norm`; got {self.categories}. Make them with `ActionBounds.of_categories`."
                )

    @classmethod
    def of_categories(cls, sizes: Sequence[int]) -> ActionBounds:
        """Bounds of one-hot vectors, concatenated: one of `sizes[0]` choices, then one of `sizes[1]`, ...

        >>> ActionBounds.of_categories([2, 3]).dim
        5
        """
        width = sum(sizes)
        return cls(np.zeros(width), np.ones(width), categories=tuple(int(n) for n in sizes))

    @property
    def dim(self) -> int:
        """Width A of an action."""
        return len(self.low)

    @cached_property
    def _box(self) -> dict[Any, Any]:
        """Lowest and highest actions as tensors, by device and dtype."""
        return {}

    def clip(self, actions: Tensor) -> Tensor:
        """Returns the nearest allowed actions [..., A].

        In a box they are cut to it, then shortened to `max_norm`; in every group of categories the largest entry,
        the first among equals, becomes 1 and the others 0.
        """
        import torch

        if self.categories:
            return torch.cat([_one_hot(group) for group in actions.split(list(self.categories), -1)], -1)
        kind = actions.device, actions.dtype
        if kind not in self._box:
            from openjepa.nn.host import to_device

            with torch.inference_mode(False):  # kept tensors serve training, too
                self._box[kind] = tuple(to_device(torch.as_tensor(edge), actions) for edge in (self.low, self.high))
        actions = actions.clamp(*self._box[kind])
        if self.max_norm is None:
            return actions
        primitive = actions.unflatten(-1, (self.frameskip, -1))
        norm = torch.linalg.vector_norm(primitive, dim=-1, keepdim=True)
        return (primitive * (self.max_norm / norm.clamp_min(1e-12)).clamp(max=1.0)).flatten(-2)

    def with_frameskip(self, frameskip: int) -> ActionBounds:
        """Bounds of `frameskip` concatenated primitive actions; norm limit and categories hold for each of them."""
        return replace(
            self,
            low=np.tile(self.low, frameskip),
            high=np.tile(self.high, frameskip),
            frameskip=self.frameskip * frameskip,
            categories=self.categories * frameskip,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "max_norm": self.max_norm,
            "frameskip": self.frameskip,
            "categories": list(self.categories),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionBounds:
        """Rebuilds bounds from `to_dict`.

        Raises:
            ConfigError: for values that are missing, unknown or contradictory.
        """
        try:
            categories = tuple(int(n) for n in values.get("categories", ()))
            return cls(**{**values, "categories": categories})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"bounds of actions must have low, high and known options: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActionBounds) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.low.tobytes(), self.high.tobytes(), self.max_norm, self.frameskip, self.categories))


def _one_hot(scores: Tensor) -> Tensor:
    return scores.new_zeros(scores.shape).scatter(-1, scores.argmax(-1, keepdim=True), 1)
