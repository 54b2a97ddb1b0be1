"""Selective decoding: describe a stream only where what can be said changes (after VL-JEPA, 2512.10942).

The meaning of a moment is the vector of probabilities of all captions. A description says those that are probable; a
new one is due where it would say otherwise in more captions than a change point, each counted by how sure it now is:
what is said rightly may become less probable without becoming wrong, and what is on the edge says nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape

KEPT = 0.985  # share of captions that a held description must still have right, on average
TRIED = tuple(0.1 * 1.15**i for i in range(45))  # change points, in captions


def moments(said: Tensor, change: float) -> list[int]:
    """When to speak: at first, and where what can be said has changed.

    Args:
        said: probabilities [T, K] of K captions.
        change: from which on, in captions, > 0.
    """
    check_shape(said, "T K", name="said")
    if change <= 0:
        raise ConfigError(f"`change` must be above 0; got {change}.")
    found = [0]
    for t in range(1, len(said)):
        otherwise = (said[t] > 0.5) != (said[found[-1]] > 0.5)
        if float((2 * said[t] - 1).abs()[otherwise].sum()) > change:
            found.append(t)
    return found


def evenly(length: int, count: int) -> list[int]:
    """So many moments at equal distances, the first one among them: uniform sampling."""
    return sorted({int(i * length / count) for i in range(min(count, length))})


def held(spoken: Sequence[int], length: int) -> Tensor:
    """The moment whose description is in force at each moment [T]."""
    marks = torch.zeros(length, dtype=torch.long)
    marks[list(spoken)] = torch.tensor(list(spoken))
    return marks.cummax(0).values


def kept(is_said: Tensor, is_true: Tensor, spoken: Sequence[int]) -> float:
    """Share of captions that are right when descriptions are held until the next one.

    Args:
        is_said: [T, K] bool, what a description of each moment would say.
        is_true: [T, K] bool.
        spoken: moments that are described.
    """
    return float((is_said[held(spoken, len(is_said))] == is_true).float().mean())


def calibrate_change(clips: Sequence[Tensor], share: float = KEPT) -> float:
    """The largest change point at which held descriptions still say what fresh ones would, in a share of captions.

    Args:
        clips: probabilities [T, K] of each.
        share: in (0, 1).
    """
    best = TRIED[0]
    for change in TRIED:
        scores = [kept(said > 0.5, said > 0.5, moments(said, change)) for said in clips]
        if sum(scores) / len(scores) >= share:
            best = change
    return best
