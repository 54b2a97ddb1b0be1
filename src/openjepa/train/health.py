"""Watches the loss without waiting for the device: everything accumulates there until someone asks."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from openjepa.errors import TrainingError
from openjepa.nn.distributed import world_size

TREND_DECAY = 0.98  # of the running mean of the loss that spikes are measured against
SPIKE_GRACE = 50  # steps before the first spike is believed


class Health:
    """Means of the loss and its terms between two reports, and the first step at which something went wrong.

    Args:
        device: where the loss lives; `add` never copies from it.
        spike_factor: a loss above this multiple of its running mean is a spike; None = never.
    """

    def __init__(self, device: torch.device, *, spike_factor: float | None = None) -> None:
        self.device, self.spike_factor = device, spike_factor
        self.names: list[str] = []
        self._count = 0  # steps since the last report
        self._sums = torch.zeros(0)  # [K], one for each name
        self._bad_step = torch.zeros(0)  # [K] int64, first step with a non-finite value, -1 = none
        self._trend = torch.zeros((), device=device)
        self._spike_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._spike = torch.zeros(2, device=device)  # the loss of that step and the running mean before it

    @torch.no_grad()
    def add(self, step: int, loss: Tensor, terms: Mapping[str, Tensor], grad_norm: Tensor) -> None:
        """Takes in the values of one step; nothing is copied to the host."""
        values = {"loss": loss, **terms, "grad_norm": grad_norm}
        self._name(list(values), step)
        row = torch.stack([v.detach().to(self.device, torch.float32).reshape(()) for v in values.values()])
        self._sums += row
        self._count += 1
        self._bad_step = torch.where(~row.isfinite() & (self._bad_step < 0), step, self._bad_step)
        if self.spike_factor is not None:
            self._watch_spike(step, row[0], self.spike_factor)

    def _name(self, names: list[str], step: int) -> None:
        if not self.names:
            self.names = names
            self._sums = torch.zeros(len(names), device=self.device)
            self._bad_step = torch.full((len(names),), -1, dtype=torch.int64, device=self.device)
        elif names != self.names:
            changed = sorted(set(names) ^ set(self.names)) or names
            raise TrainingError(
                f"`terms` must have the same names at every step; `{changed[0]}` changed at step {step}. "
                "Return a zero for a term that is off."
            )

    def _watch_spike(self, step: int, loss: Tensor, factor: float) -> None:
        spike = (loss > factor * self._trend) & (self._spike_step < 0) & (step >= SPIKE_GRACE)
        self._spike_step = torch.where(spike, step, self._spike_step)
        self._spike = torch.where(spike, torch.stack([loss, self._trend]), self._spike)
        share = max(1.0 - TREND_DECAY, 1.0 / (step + 1))
        self._trend = self._trend.lerp(loss, share)

    def check(self, last_good: str) -> None:
        """Stops the run when any process has seen a non-finite value or a spike; waits for the device.

        Args:
            last_good: what the message says about the checkpoint that is left.

        Raises:
            TrainingError: with the term, the step and the remedy.
        """
        flags = torch.cat([self._bad_step, self._spike_step[None]])
        spike = self._spike
        if world_size() > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
            spike = spike.clone()
            dist.all_reduce(spike, op=dist.ReduceOp.MAX)
        *bad, spike_step = flags.tolist()
        # Of the values that went bad first, a term says more than the sum, the sum more than the gradient.
        blame = {"loss": 1, "grad_norm": 2}
        found = [(at, blame.get(name, 0), name) for at, name in zip(bad, self.names, strict=True) if at >= 0]
        if found:
            at, _, name = min(found)
            raise TrainingError(
                f"`{name}` must be finite; it is not at step {at}. {last_good} "
                "Lower `lr`, set `grad_clip`, or use precision fp32."
            )
        if spike_step >= 0:
            loss, trend = spike.tolist()
            raise TrainingError(
                f"`loss` must stay below {self.spike_factor:g} times its running mean; it is {loss:.4g} "
                f"against {trend:.4g} at step {spike_step}. {last_good} "
                "Lower `lr` or `grad_clip`, or raise `spike_factor`."
            )

    def means(self) -> dict[str, float]:
        """Returns the mean of every value since the last call, over all processes, and starts afresh."""
        sums = self._sums / max(1, self._count)
        if world_size() > 1:
            dist.all_reduce(sums)
            sums = sums / world_size()
        self._sums = torch.zeros_like(self._sums)
        self._count = 0
        return dict(zip(self.names, sums.tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to report the same means."""
        return {
            "names": self.names,
            "count": self._count,
            "sums": self._sums.cpu(),
            "trend": self._trend.cpu(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` returned."""
        self._name(list(state["names"]), 0)
        self._count = int(state["count"])
        self._sums = state["sums"].to(self.device)
        self._trend = state["trend"].to(self.device)
