"""Schedules as pure functions of the update number, so that a resumed run needs no scheduler state.

`n` counts optimiser updates from 1, as in the published code of I-JEPA, V-JEPA and V-JEPA 2: update n uses
the value at n. `horizon` T is the length of the curve, which may exceed the number of updates that are run
(V-JEPA: 1.25 times). The decay of a target encoder is `openjepa.nn.ema.ema_decay_at`.
"""

import math


def warmup(n: int, *, start: float, peak: float, warmup_steps: int) -> float:
    """Straight line from `start` to `peak`, then `peak`.

    >>> warmup(5, start=0.0, peak=1.0, warmup_steps=10)
    0.5
    """
    return peak if n >= warmup_steps else start + n / warmup_steps * (peak - start)


def cosine(n: float, *, start: float, end: float, horizon: float) -> float:
    """Half a cosine from `start` at 0 to `end` at `horizon`, where it stays.

    I-JEPA moves its weight decay so (arXiv 2301.08243 says linearly, the published code uses a cosine).
    """
    if n >= horizon:
        return end
    value = end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * n / horizon))
    return max(value, end) if start >= end else min(value, end)


def linear(n: float, *, start: float, end: float, horizon: float) -> float:
    """Straight line from `start` at 0 to `end` at `horizon`, where it stays (the cool-down of V-JEPA 2).

    >>> linear(3, start=1.0, end=0.0, horizon=4)
    0.25
    """
    return end if n >= horizon else start + n / horizon * (end - start)


def warmup_cosine(n: int, *, start: float, peak: float, end: float, warmup_steps: int, horizon: int) -> float:
    """Warm-up, then half a cosine down to `end` (I-JEPA, V-JEPA 1, LeWM)."""
    if n < warmup_steps:
        return warmup(n, start=start, peak=peak, warmup_steps=warmup_steps)
    return cosine(n - warmup_steps, start=peak, end=end, horizon=max(1, horizon - warmup_steps))


def warmup_linear(n: int, *, start: float, peak: float, end: float, warmup_steps: int, horizon: int) -> float:
    """Warm-up, then a straight line to `end`; without warm-up it is the cool-down of V-JEPA 2."""
    if n < warmup_steps:
        return warmup(n, start=start, peak=peak, warmup_steps=warmup_steps)
    return linear(n - warmup_steps, start=peak, end=end, horizon=max(1, horizon - warmup_steps))


def warmup_stable_decay(
    n: int, *, start: float, peak: float, end: float, warmup_steps: int, anneal_steps: int, horizon: int
) -> float:
    """Warm-up, constant, and a straight line to `end` over the last `anneal_steps` (V-JEPA 2-AC)."""
    stable_until = horizon - anneal_steps
    if n < stable_until or anneal_steps == 0:
        return warmup(n, start=start, peak=peak, warmup_steps=warmup_steps)
    return linear(n - stable_until, start=peak, end=end, horizon=anneal_steps)
