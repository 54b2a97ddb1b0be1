"""One thread computes for all clients, in the order of their calls; a call can be given up, and knows its time."""

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from openjepa.errors import DataError, OpenJEPAError

T = TypeVar("T")
Progress = Callable[[float, float, str], Coroutine[Any, Any, None]]  # done, all, words


class GivenUp(OpenJEPAError):
    """The client no longer waits for the answer."""


class Job:
    """One call, as the code that computes sees it.

    Args:
        until: when its time is over, on the clock of `time.monotonic`; infinity for no limit.
        say: is told (done, all, words).

    Attributes:
        stopped: set when the client gives up.
    """

    def __init__(self, until: float = math.inf, say: Callable[[float, float, str], None] | None = None) -> None:
        self.until, self.stopped, self._say = until, threading.Event(), say

    def clock(self) -> float:
        """The time; the end of all time once the client has given up, so that a search ends."""
        return math.inf if self.stopped.is_set() else time.monotonic()

    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.clock() > self.until

    def check(self) -> None:
        """Ends the work where nobody waits for it.

        Raises:
            GivenUp: then.
        """
        if self.stopped.is_set():
            raise GivenUp("the call was cancelled.")

    def progress(self, done: float, total: float, words: str) -> None:
        """Tells the client how far it is; also a place where the work can end."""
        self.check()
        if self._say is not None:
            self._say(done, total, words)


class Worker:
    """Runs jobs one after the other in a thread of its own.

    Args:
        waiting: jobs that may wait.
        call_seconds: of a job, counted from when it starts.
    """

    def __init__(self, waiting: int, call_seconds: float) -> None:
        self.waiting, self.call_seconds = waiting, call_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="imagine")
        self._count = 0

    async def run(self, work: Callable[[Job], T], progress: Progress) -> T:
        """Does the work and returns what it returns.

        Raises:
            DataError: where too many wait.
        """
        if self._count > self.waiting:
            raise DataError(f"the server is busy: {self._count} calls wait. Try again in a moment.")
        loop, told = asyncio.get_running_loop(), list[Future[None]]()

        def say(done: float, total: float, words: str) -> None:
            told.append(asyncio.run_coroutine_threadsafe(progress(done, total, words), loop))

        job = Job(say=say)
        self._count += 1
        try:
            return await loop.run_in_executor(self._thread, functools.partial(self._do, work, job))
        except asyncio.CancelledError:
            job.stopped.set()
            raise
        finally:
            self._count -= 1
            await asyncio.gather(*map(asyncio.wrap_future, told), return_exceptions=True)

    def _do(self, work: Callable[[Job], T], job: Job) -> T:
        job.check()
        job.until = time.monotonic() + self.call_seconds
        return work(job)

    def close(self) -> None:
        """Ends the thread after the job that runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)
