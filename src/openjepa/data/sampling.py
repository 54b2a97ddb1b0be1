"""Which samples a batch holds, what replaces a damaged one, and when damage stops a run.

Everything is a function of (seed, step, slot): no state to save, the same samples for any number of
processes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import numpy as np

from openjepa.data.items import Items
from openjepa.errors import ConfigError, DataError
from openjepa.nn.random import keyed_rng

T = TypeVar("T")
Sampling = Literal["epoch", "uniform"]
MAX_REPLACEMENTS = 50


class DamageLog:
    """The samples that could not be decoded, each counted once, and the share of them that is too many.

    Args:
        total: samples of the whole set.
        max_share: largest share of damaged ones, in [0, 1]; one more stops the run.

    Attributes:
        reasons: name of a damaged sample to one line that says why, in the order found.
    """

    def __init__(self, total: int, max_share: float) -> None:
        if not 0 <= max_share <= 1:
            raise ConfigError(f"`max_damaged_share` must lie in [0, 1]; got {max_share}.")
        self.total, self.max_share = total, max_share
        self.reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, reason: str) -> None:
        """Counts a damaged sample.

        Raises:
            DataError: when the share is passed, with the number and the first name.
        """
        with self._lock:
            self.reasons.setdefault(name, reason)
            count = len(self.reasons)
        if count > self.max_share * self.total:
            first, why = next(iter(self.reasons.items()))
            raise DataError(
                f"{count} of {self.total} samples cannot be decoded, more than `max_damaged_share` "
                f"{self.max_share:g} allows; the first: {why if first in why else f'`{first}`: {why}'} "
                "Remove them, or raise the limit."
            )

    def lines(self) -> list[str]:
        """One line for a report per damaged sample."""
        return [f"{name}: {reason}" for name, reason in self.reasons.items()]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


class Slots:
    """Draws samples for the slots of a batch and reads them; another real sample replaces a damaged one.

    Args:
        items: the samples.
        batch_size: slots of a global batch, over all processes.
        sampling: `epoch` shows every sample once before any comes again (an incomplete last batch is left
            out), `uniform` draws each with replacement.
        seed: of the drawing.
        max_damaged_share: see `DamageLog`.
        num_threads: decoding threads; 0 decodes in the calling thread.
        weights: probability of each sample up to a factor, only for `uniform`; None for equal ones.
    """

    def __init__(
        self,
        items: Items,
        *,
        batch_size: int,
        sampling: Sampling = "epoch",
        seed: int = 0,
        max_damaged_share: float = 0.01,
        num_threads: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        self.items, self.batch_size, self.sampling, self.seed = items, batch_size, sampling, seed
        self.num_threads = num_threads
        self.damage = DamageLog(len(items), max_damaged_share)
        self._cumulative = None if weights is None else np.cumsum(weights) / np.sum(weights)
        self._epoch: tuple[int, np.ndarray] | None = None
        self._pool: ThreadPoolExecutor | None = None
        if sampling not in ("epoch", "uniform"):
            raise ConfigError(f"`sampling` must be epoch or uniform; got {sampling}.")
        if weights is not None and sampling != "uniform":
            raise ConfigError("`weights` need `sampling` uniform; got epoch.")
        if sampling == "epoch" and len(items) < batch_size:
            raise DataError(
                f"`batch_size` must be at most the {len(items)} samples there are; got {batch_size}. Lower "
                "it, or use `sampling` uniform."
            )
        if not len(items):
            raise DataError("a data set must hold at least one sample; got none.")

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which as many samples were drawn as there are."""
        return max(len(self.items) // self.batch_size, 1)

    def numbers(self, step: int) -> np.ndarray:
        """Numbers of the samples of global batch `step` [B]."""
        count = len(self.items)
        if self.sampling == "uniform":
            draws = keyed_rng(self.seed, step)
            if self._cumulative is None:
                return draws.integers(count, size=self.batch_size)
            found = np.searchsorted(self._cumulative, draws.random(self.batch_size), side="right")
            return np.minimum(found, count - 1)
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._epoch
        if order is None or order[0] != epoch:
            order = self._epoch = epoch, keyed_rng(self.seed, epoch, 0).permutation(count)
        return order[1][position * self.batch_size : (position + 1) * self.batch_size]

    def read(
        self, step: int, rank: int, world_size: int, read: Callable[[int, np.random.Generator], T]
    ) -> list[tuple[int, T]]:
        """Reads this rank's share of batch `step`.

        Args:
            step: number of the batch.
            rank: number of this process.
            world_size: number of processes.
            read: decodes sample `index` with random numbers of its own; raises DataError for a damaged one.

        Returns:
            (number of the sample, what `read` returned) for every slot.

        Raises:
            ConfigError: where the processes cannot share a batch evenly.
            DataError: when too many samples are damaged.
        """
        if self.batch_size % world_size or not 0 <= rank < world_size:
            raise ConfigError(
                f"`batch_size` must be a multiple of the {world_size} processes; got {self.batch_size} (rank {rank})."
            )
        share = self.batch_size // world_size
        slots = range(rank * share, (rank + 1) * share)
        numbers = self.numbers(step)

        def fill(slot: int) -> tuple[int, T]:
            return self._fill(int(numbers[slot]), step, slot, read)

        if self.num_threads == 0:
            return [fill(slot) for slot in slots]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, thread_name_prefix="decode")
        return list(self._pool.map(fill, slots))

    def _fill(self, index: int, step: int, slot: int, read: Callable[[int, np.random.Generator], T]) -> tuple[int, T]:
        for attempt in range(MAX_REPLACEMENTS):
            draws = keyed_rng(self.seed, step, slot + 1, attempt)
            try:
                return index, read(index, draws)
            except DataError as error:
                self.damage.add(self.items.name(index), str(error))
                index = int(draws.integers(len(self.items)))
        raise DataError(
            f"{MAX_REPLACEMENTS} samples in a row cannot be decoded; the last is "
            f"`{self.items.name(index)}`. Check the data."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}


class JoinedItems:
    """Several sets as one, in order.

    Args:
        parts: the sets.
    """

    def __init__(self, parts: Sequence[Items]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(p) for p in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _find(self, index: int) -> tuple[Items, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - (int(self._ends[part - 1]) if part else 0)

    def name(self, index: int) -> str:
        """What the set of the sample calls it."""
        items, i = self._find(index)
        return items.name(i)

    def content(self, index: int) -> Any:
        """What the set of the sample gives."""
        items, i = self._find(index)
        return items.content(i)

    def label(self, index: int) -> int | None:
        """What the set of the sample says."""
        items, i = self._find(index)
        return items.label(i)


def mixture_weights(parts: Sequence[Items], shares: Sequence[float]) -> np.ndarray:
    """Weights [samples] with which every part gets its share of the draws, whatever its size.

    Args:
        parts: the sets, as handed to `JoinedItems`.
        shares: share of each, up to a factor, > 0.
    """
    if len(parts) != len(shares) or min(shares) <= 0:
        raise ConfigError(f"`shares` must be one positive number per set; got {list(shares)}.")
    return np.concatenate([np.full(len(p), s / len(p)) for p, s in zip(parts, shares, strict=True)])


def chunks(count: int, size: int) -> Iterator[range]:
    """Cuts 0 ... count - 1 into ranges of `size`; the last may be shorter."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
