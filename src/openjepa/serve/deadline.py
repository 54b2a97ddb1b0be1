"""When a search must end for its answer to be in time: a margin that is learned from how late answers were.

A search ends by its own clock, but the answer is there later: another process had the core, the last look at candidates
took longer than those before, the answer had to be packed. How much later depends on the machine and its load, so it is
measured: the margin is the overrun that few of the latest answers exceeded. Were the next answer like those, it would
be late with a probability of at most `LATE`. And requests are decided one after the other, so who searches leaves time
to those who wait: an equal share to those who wait already, half of the rest to each who comes.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openjepa.planning.budget import Budgeted

LATE = 0.005  # share of answers that may be late
REMEMBERED = 400  # latest answers by which the margin is set
FIRST_SHARE = 0.15  # of the budget: the margin before the first answer
LARGEST_SHARE = 0.6  # of the budget: a margin never leaves less than the rest to the search


class Deadline:
    """Sets the moment at which every search must end; for any number of threads, one of which searches.

    Args:
        budget: seconds from the arrival of a request to its answer, > 0; None sets no limit.
        clock: seconds, as arrivals count them.
    """

    def __init__(self, budget: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget, self.clock = budget, clock
        self._lock = threading.Lock()
        self._overruns: deque[float] = deque([] if budget is None else [FIRST_SHARE * budget], REMEMBERED)
        self._waiting = 0
        self._searching: Budgeted | None = None

    @property
    def margin(self) -> float:
        """Seconds before the budget's end at which a search must end."""
        if self.budget is None:
            return 0.0
        with self._lock:
            latest = sorted(self._overruns, reverse=True)
        allowed = max(1, int(LATE * (len(latest) + 1)))  # that many of them were as late as the margin, or later
        return min(max(latest[allowed - 1], 0.0), LARGEST_SHARE * self.budget)

    def wait(self) -> None:
        """A request begins to wait for its search."""
        with self._lock:
            self._waiting += 1
            planner, now = self._searching, self.clock()
            if planner is not None and planner.until is not None:
                planner.until -= max(0.0, planner.until - now) / 2

    @contextmanager
    def search(self, planner: Budgeted, arrived: float) -> Iterator[float | None]:
        """The search for a request that waited since it arrived; gives when it must end, or None for no limit."""
        until = None if self.budget is None else arrived + self.budget - self.margin
        with self._lock:
            self._waiting -= 1
            if until is not None:
                now = self.clock()
                until = now + max(0.0, until - now) / (1 + self._waiting)
            planner.until, self._searching = until, planner
        try:
            yield until
        finally:
            with self._lock:
                self._searching = None

    def note(self, until: float | None, answered: float) -> None:
        """Remembers when the answer was there whose search was cut short to end at `until`."""
        if until is not None:
            with self._lock:
                self._overruns.append(answered - until)
