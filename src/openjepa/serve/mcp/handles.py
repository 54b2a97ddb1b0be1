"""Handles: a client holds a word that nobody can guess, and what it stands for stays in the server.

The protocol has no sessions of its own any more, so whoever knows a handle may use it: it is the key to what is behind
it. Things belong to an owner (an episode, an embedding), which is opened, used and forgotten as a whole.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from openjepa.errors import DataError, brief

T = TypeVar("T")
RESTED = 60.0  # seconds after which an owner may give way to a new one


class Shelf:
    """Keeps things behind handles, as many and as long as the limits say; of one thread.

    Args:
        owners: open at a time.
        per_owner: things that each keeps; the one that was not used for longest goes first.
        idle_seconds: after which an owner that nobody asked for is forgotten, with all its things.
        clock: seconds.
    """

    def __init__(
        self, owners: int, per_owner: int, idle_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owners, self.per_owner, self.idle_seconds, self.clock = owners, per_owner, idle_seconds, clock
        self._used: OrderedDict[str, float] = OrderedDict()  # owners, that of the oldest use first
        self._things: dict[str, OrderedDict[str, Any]] = {}  # by owner, then by handle
        self._owner_of: dict[str, str] = {}

    def open(self, kind: str, thing: Any) -> str:
        """Keeps a new owner and returns its handle.

        Raises:
            DataError: where all places are taken by owners that are in use.
        """
        self._forget_idle()
        if len(self._used) >= self.owners:
            oldest, used = next(iter(self._used.items()))
            if self.clock() - used < RESTED:
                raise DataError(
                    f"at most {self.owners} episodes and embeddings can be open at a time, and all are in use. Close "
                    "one with `forget`, or try again in a minute."
                )
            self.forget(oldest)
        handle = _word(kind)
        self._things[handle], self._used[handle] = OrderedDict({handle: thing}), self.clock()
        self._owner_of[handle] = handle
        return handle

    def keep(self, kind: str, thing: Any, owner: str) -> str:
        """Keeps something of an owner and returns its handle."""
        things, handle = self._things[owner], _word(kind)
        things[handle], self._owner_of[handle] = thing, owner
        if len(things) > self.per_owner + 1:
            oldest = next(name for name in things if name != owner)
            del things[oldest], self._owner_of[oldest]
        return handle

    def get(self, handle: str, kind: type[T], name: str) -> T:
        """Returns what a handle stands for, which is of a kind; `name` is the argument that it came in.

        Raises:
            DataError: for a handle that is unknown, expired or of another kind.
        """
        self._forget_idle()
        owner = self._owner_of.get(handle)
        if owner is None:
            raise DataError(
                f"`{name}` must be a handle of this server; `{brief(handle, 40)}` is unknown or has expired (after "
                f"{self.idle_seconds / 60:.0f} idle minutes, or {self.per_owner} others in use). Call `observe` or "
                "`embed` again."
            )
        thing = self._things[owner][handle]
        if not isinstance(thing, kind):
            raise DataError(f"`{name}` must be a handle of another kind; `{handle}` is a {handle.partition('-')[0]}.")
        self._used[owner] = self.clock()
        self._used.move_to_end(owner)
        self._things[owner].move_to_end(handle)
        return thing

    def __contains__(self, handle: str) -> bool:
        return handle in self._owner_of

    def owner(self, handle: str) -> str:
        """The owner of something that `get` found."""
        return self._owner_of[handle]

    def forget(self, handle: str) -> int:
        """Forgets the owner behind a handle with all that it has; returns how many things that were."""
        owner = self._owner_of.get(handle)
        if owner is None:
            return 0
        things = self._things.pop(owner)
        del self._used[owner]
        for name, thing in things.items():
            del self._owner_of[name]
            if isinstance(thing, Closing):
                thing.close()
        return len(things)

    def __len__(self) -> int:
        return len(self._owner_of)

    def _forget_idle(self) -> None:
        now = self.clock()
        for owner in [owner for owner, used in self._used.items() if now - used > self.idle_seconds]:
            self.forget(owner)


class Closing:
    """Something that holds more than memory, such as a world; inherited, so that the shelf need not ask."""

    def close(self) -> None:
        """Gives it back."""


def _word(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"  # 96 bits
