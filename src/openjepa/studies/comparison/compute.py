"""What training and deciding cost: counted floating-point operations, parameters, and budgets that match.

Operations are counted on the real tensors of a real step, forward and backward, so that they depend on no clock and
no neighbour on the machine. Convolutions, matrix products and attention are counted, element-wise maps are not; a
multiply-add is two operations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from openjepa.errors import ConfigError

TOLERANCE = 0.05  # budgets count as matched within this share


def count_flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of one call of `work`, with all that it does backwards."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # the fused kernel of CPUs is not in the counter's table
        work()
    return int(counter.get_total_flops())


def training_flops(method: Any, batch: Any) -> int:
    """Operations of the first training step of a method: its loss and the gradient."""
    found = count_flops(lambda: method.loss(batch, 0).loss.backward())
    method.zero_grad(set_to_none=True)
    return found


def count_parameters(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def steps_within(budget: float, flops_of_step: float) -> int:
    """Steps, at least 1, that spend a budget of operations best.

    >>> steps_within(100.0, 3.0)
    33
    """
    if min(budget, flops_of_step) <= 0:
        raise ConfigError(f"`budget` and `flops_of_step` must be above 0; got {budget} and {flops_of_step}.")
    return max(1, round(budget / flops_of_step))


def fit_width(count: Callable[[int], int], target: int, widths: Sequence[int]) -> int:
    """The width whose number of parameters is nearest to a target.

    Args:
        count: width to number of parameters, growing.
        target: parameters that are wanted.
        widths: candidates, ascending.
    """
    low, high = 0, len(widths) - 1
    while low < high:  # the first width that reaches the target
        middle = (low + high) // 2
        low, high = (middle + 1, high) if count(widths[middle]) < target else (low, middle)
    nearest = min(widths[max(0, low - 1) : low + 1], key=lambda width: abs(count(width) - target))
    return int(nearest)


@dataclass(frozen=True)
class Match:
    """How well one quantity is matched over methods.

    Attributes:
        target: what each of them should have.
        shares: of each method, its number divided by the target.
        worst: largest deviation from 1.
        matched: whether that is within `TOLERANCE`.
    """

    target: float
    shares: dict[str, float]
    worst: float
    matched: bool


def match(values: Mapping[str, float], target: float) -> Match:
    """Compares the numbers of methods with what each should have.

    >>> match({"a": 98.0, "b": 104.0}, 100.0).matched
    True
    """
    shares = {name: value / target for name, value in values.items()}
    worst = max(abs(share - 1) for share in shares.values())
    return Match(target, shares, worst, worst <= TOLERANCE)
