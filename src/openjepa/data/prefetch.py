"""Batches decoded ahead of time by several processes or threads, in an order that timing cannot change."""

from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from multiprocessing import get_context
from typing import Any, Literal

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.protocols import BatchSource

_worker_source: Any = None


class PrefetchedSource:
    """A source whose next batches are made in the background; a `BatchSource` itself.

    Batch `step` is a pure function of its number, so that whoever computes it, and when, makes no difference.
    The damage that worker processes find is counted here, and the same limit stops the run.

    Args:
        source: the batches; with processes it must be picklable.
        num_workers: processes or threads, >= 1.
        ahead: batches kept in the making, >= 1.
        kind: `process` (spawned, whole cores for decoding) or `thread` (no copies; PyAV and PIL release the
            lock).
    """

    def __init__(
        self,
        source: BatchSource,
        *,
        num_workers: int = 2,
        ahead: int = 4,
        kind: Literal["process", "thread"] = "thread",
    ) -> None:
        if num_workers < 1 or ahead < 1:
            raise ConfigError(f"`num_workers` and `ahead` must be >= 1; got {num_workers} and {ahead}.")
        if kind not in ("process", "thread"):
            raise ConfigError(f"`kind` must be process or thread; got {kind}.")
        self.source, self.ahead, self.kind = source, ahead, kind
        self._made: dict[tuple[int, int, int], Future[Any]] = {}
        self._pool: Executor = (
            ThreadPoolExecutor(num_workers, thread_name_prefix="batches")
            if kind == "thread"
            else ProcessPoolExecutor(
                num_workers, mp_context=get_context("spawn"), initializer=_adopt, initargs=(source,)
            )
        )

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> Any:
        """Returns this rank's share of batch `step`, and starts on the following ones."""
        for number in range(step, step + self.ahead + 1):
            key = (number, rank, world_size)
            if key not in self._made:
                self._made[key] = self._submit(*key)
        for key in [k for k in self._made if k[0] < step]:
            self._made.pop(key).cancel()
        result = self._made.pop((step, rank, world_size)).result()
        if self.kind == "thread":
            return result
        batch, damaged = result
        log = getattr(self.source, "damage", None)
        for name, reason in damaged.items():
            if log is not None:
                log.add(name, reason)
        return _tensors(batch)

    def _submit(self, step: int, rank: int, world_size: int) -> Future[Any]:
        if self.kind == "thread":
            return self._pool.submit(self.source.batch, step, rank=rank, world_size=world_size)
        return self._pool.submit(_work, step, rank, world_size)

    def close(self) -> None:
        """Stops the workers."""
        self._made.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "PrefetchedSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _adopt(source: Any) -> None:
    """Runs once in every worker process."""
    global _worker_source
    _worker_source = source
    torch.set_num_threads(1)


def _work(step: int, rank: int, world_size: int) -> tuple[Any, dict[str, str]]:
    batch = _worker_source.batch(step, rank=rank, world_size=world_size)
    log = getattr(_worker_source, "damage", None)
    return _arrays(batch), {} if log is None else dict(log.reasons)


def _arrays(batch: Any) -> Any:
    """Tensors as NumPy arrays, which travel through a pipe and need no shared memory."""
    if not is_dataclass(batch) or isinstance(batch, type):
        return batch
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{k: v.numpy() for k, v in values.items() if isinstance(v, Tensor)})


def _tensors(batch: Any) -> Any:
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{k: torch.from_numpy(v) for k, v in values.items() if type(v).__module__ == "numpy"})
