"""Fetches the batch of the next step while the device works on this one."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from openjepa.protocols import BatchSource


class Prefetcher:
    """One background thread, one step ahead; the order of batches is that of the steps, whatever the timing.

    Args:
        source: called from the background thread only.
        device: where batches go.
        steps: the steps that will be asked for, in order.
        parts: shares that this process splits its own share into (gradient accumulation).
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        source: BatchSource,
        device: torch.device,
        steps: Sequence[int],
        *,
        parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source, self.device, self.steps = source, device, steps
        self.parts, self.rank, self.world_size = parts, rank, world_size
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._ahead: tuple[int, Future[list[Any]]] | None = None

    def get(self, step: int) -> list[Any]:
        """Returns the parts of this process's share of batch `step`, on the device."""
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self._thread.submit(self._fetch, step))
        batches = self._ahead[1].result()
        following = step + 1
        self._ahead = (following, self._thread.submit(self._fetch, following)) if following in self.steps else None
        return [batch.to(self.device) for batch in batches]

    def _fetch(self, step: int) -> list[Any]:
        shares = self.world_size * self.parts
        # Part p of all processes together is part p of one process: statistics over a part agree, too.
        batches = [
            self.source.batch(step, rank=part * self.world_size + self.rank, world_size=shares)
            for part in range(self.parts)
        ]
        return [_pinned(b) for b in batches] if self.device.type == "cuda" else batches

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _pinned(batch: Any) -> Any:
    """Copies a batch to page-locked memory, from which the copy to the GPU runs in the background."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{name: t.pin_memory() for name, t in tensors.items() if isinstance(t, Tensor)})
