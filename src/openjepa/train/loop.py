"""The training loop: any method, any source, one process or many.

Everything inside a step is a function of the step number: the batch, the schedules, and the random numbers,
whose generator is seeded anew at every step. So a run that was killed at any moment goes on from its last
checkpoint to exactly the weights that it would have reached, and there is no sampler or generator state to
save.
"""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from openjepa.errors import CheckpointError
from openjepa.nn.distributed import rank, world_size
from openjepa.protocols import BatchSource
from openjepa.train import checkpoint as disk
from openjepa.train import distributed as processes
from openjepa.train.config import TrainConfig
from openjepa.train.device import autocast, pick_device, pick_precision, seed_device
from openjepa.train.health import Health
from openjepa.train.log import RunLog, read_metrics
from openjepa.train.optimizer import build_optimizer, clip_gradient, set_schedule
from openjepa.train.prefetch import Prefetcher
from openjepa.train.run_dir import claim, write_record
from openjepa.train.state import load_method_state, load_optimizer_state, method_state, optimizer_state

Diagnostics = Callable[[Any, int], Mapping[str, float]]


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves.

    Attributes:
        method: the trained method, in evaluation mode, on the device of the run; under fsdp2 its weights stay
            sharded, and `load_method(run_dir)` gives a whole one.
        step: finished optimiser steps.
        run_dir: where config, metrics and checkpoints are.
        metrics: the last line of metrics that holds a loss.
    """

    method: Any
    step: int
    run_dir: Path
    metrics: dict[str, Any]


def train(
    method: Any,
    source: BatchSource,
    config: TrainConfig,
    run_dir: Path | str,
    *,
    recipe_config: Any = None,
    diagnostics: Diagnostics | None = None,
) -> RunResult:
    """Trains a method, or goes on where an earlier start in `run_dir` was stopped.

    Args:
        method: an `nn.Module` with the contract of `openjepa.protocols.Method`. All that changes in it during
            training must be a parameter or a buffer.
        source: gives batch number `step`; called from one background thread.
        config: how to train.
        run_dir: its own directory for each run.
        recipe_config: the resolved configuration of the recipe, recorded in `config.json`.
        diagnostics: called as `diagnostics(method, finished_steps)` without gradients, in evaluation mode;
            what it returns joins the metrics.

    Raises:
        TrainingError: for a non-finite value, a spike, a full disk, or a directory in use.
        ConfigError: when `run_dir` holds a run with other options.
        CheckpointError: when no checkpoint of the run can be read.
    """
    run_dir = Path(run_dir)
    device = pick_device(config.device, local_rank=processes.local_rank())
    processes.join_group(device)
    with _settings(config, device), _claimed(run_dir):
        sharding = processes.pick_sharding(config.sharding)
        processes.run_on_rank_0(lambda: _prepare(run_dir, method, config, recipe_config))
        method.to(device).train()
        model = processes.parallelize(method, sharding, device, compiled=config.compile)
        run = _Run(method, model, config, run_dir, device)
        try:
            return _loop(run, source, diagnostics)
        finally:
            run.log.close()


def _loop(run: "_Run", source: BatchSource, diagnostics: Diagnostics | None) -> RunResult:
    config, method = run.config, run.method
    precision = pick_precision(config.precision, run.device)
    batches = Prefetcher(
        source,
        run.device,
        range(run.start, config.steps),
        parts=config.accumulate,
        rank=rank(),
        world_size=world_size(),
    )
    with batches:
        for step in range(run.start, config.steps):
            seed_device(run.device, _step_seed(config.seed, step, rank()))
            set_schedule(run.optimizer, lr=config.lr_at(step), weight_decay=config.weight_decay_at(step))
            loss_sum, term_sums = torch.zeros((), device=run.device), dict[str, torch.Tensor]()
            for part, batch in enumerate(batches.get(step)):
                with processes.accumulating(run.model, last=part == config.accumulate - 1):
                    with autocast(precision, run.device):
                        loss, terms = run.model(batch, step)
                    (loss / config.accumulate).backward()
                loss_sum = loss_sum + loss.detach() / config.accumulate
                for name, term in terms.items():
                    term_sums[name] = term_sums.get(name, 0.0) + term.detach() / config.accumulate
            grad_norm = clip_gradient(run.optimizer, config.grad_clip)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            method.after_step(step)
            run.health.add(step, loss_sum, term_sums, grad_norm)
            run.finish_step(step + 1, diagnostics)
    method.eval()
    return RunResult(method, config.steps, run.run_dir, run.last_metrics)


class _Run:
    """The moving parts of one run, and what happens between steps: report, diagnose, save."""

    def __init__(self, method: Any, model: nn.Module, config: TrainConfig, run_dir: Path, device: torch.device) -> None:
        self.method, self.model, self.config, self.run_dir, self.device = (
            method,
            model,
            config,
            run_dir,
            device,
        )
        self.checkpoints = run_dir / "checkpoints"
        self.optimizer = build_optimizer(
            method, lr=config.lr, weight_decay=config.weight_decay, betas=config.betas, eps=config.eps
        )
        self.health = Health(device, spike_factor=config.spike_factor)
        self.seconds = 0.0  # spent by earlier starts of this run
        self.began = time.perf_counter()
        folder, notices = processes.run_on_rank_0(lambda: find_intact(self.checkpoints))
        self.start = 0 if folder is None else self._load(folder)
        self.reported = self.start
        self.log = RunLog(
            run_dir, start=self.start, steps=config.steps, tensorboard=config.tensorboard, silent=rank() > 0
        )
        for notice in notices:
            self.log.notice(notice)
        if self.start:
            self.log.notice(f"going on from step {self.start} of {run_dir}")
        rows = read_metrics(run_dir / "metrics.jsonl") if rank() == 0 else []
        self.last_metrics: dict[str, Any] = next((row for row in reversed(rows) if "loss" in row), {})

    def _load(self, folder: Path) -> int:
        training = disk.load_training(folder)
        load_method_state(self.method, disk.load_weights(folder / disk.MODEL), source=str(folder / disk.MODEL))
        load_optimizer_state(self.optimizer, self.method, training["optimizer"], source=str(folder / disk.TRAINING))
        self.health.load_state(training["health"])
        self.seconds = training["seconds"]
        return int(training["step"])

    def finish_step(self, done: int, diagnostics: Diagnostics | None) -> None:
        """Does what is due after `done` finished steps: mostly nothing, and the device runs on."""
        config, last = self.config, done == self.config.steps
        save = last or done % config.checkpoint_every == 0
        report = last or done % config.log_every == 0
        diagnose = diagnostics is not None and (
            save if config.diagnose_every is None else last or done % config.diagnose_every == 0
        )
        self.log.tick()
        if not (save or report or diagnose):
            return
        self.health.check(disk.last_good(self.checkpoints))
        values: dict[str, float | None] = {}
        if report:
            values.update(self._report(done))
        if diagnose and diagnostics is not None:
            found = self._diagnose(done, diagnostics)
            processes.run_on_rank_0(lambda: self.log.findings(done, found))
            values.update(found)
        if values:
            processes.run_on_rank_0(lambda: self.log.metrics(done, values))
            if report:
                self.last_metrics = {"step": done, **values}
        if save:
            self._save(done)

    def _report(self, done: int) -> dict[str, float]:
        values = self.health.means()
        elapsed = time.perf_counter() - self.began
        values["lr"] = self.config.lr_at(done - 1)
        values["weight_decay"] = self.config.weight_decay_at(done - 1)
        values["steps_per_second"] = (done - self.start) / elapsed
        values["seconds"] = self.seconds + elapsed
        return values

    @torch.no_grad()
    def _diagnose(self, done: int, diagnostics: Diagnostics) -> dict[str, float | None]:
        modes = [(module, module.training) for module in self.method.modules()]
        self.method.eval()
        with processes.whole_weights(self.model):
            found = diagnostics(self.method, done)
        for module, mode in modes:
            module.training = mode
        return {name: _finite_or_none(float(value)) for name, value in found.items()}

    def _save(self, done: int) -> None:
        processes.share_buffers(self.method)
        state = method_state(self.method)  # gathers shards, so every process takes part
        training = {
            "step": done,
            "seconds": self.seconds + time.perf_counter() - self.began,
            "optimizer": optimizer_state(self.optimizer, self.method),
            "health": self.health.state(),
        }

        def write() -> None:
            disk.save_checkpoint(self.checkpoints, done, self.method, training=training, state=state)
            disk.prune(self.checkpoints, keep=self.config.keep_checkpoints, keep_every=self.config.keep_every)

        processes.run_on_rank_0(write)


def find_intact(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest intact checkpoint of a run, or None for a new run, and what to tell the user.

    A damaged one is put aside under another name and reported.

    Raises:
        CheckpointError: when there are checkpoints, but none that is intact.
    """
    notices = []
    for folder in disk.list_checkpoints(checkpoints):
        try:
            disk.verify(folder)
        except CheckpointError as error:
            aside = disk.put_aside(folder)
            notices.append(f"notice: {error} It is now {aside.name}; the steps since then are done again.")
        else:
            disk.point_latest(folder)
            return folder, notices
    if any(checkpoints.glob(f"{disk.ASIDE}*")):
        raise CheckpointError(
            f"no checkpoint in {checkpoints} is intact. Restore one, or remove the directory to start anew."
        )
    return None, []


def _prepare(run_dir: Path, method: nn.Module, config: TrainConfig, recipe_config: Any) -> None:
    disk.clean(run_dir / "checkpoints")
    write_record(run_dir, method, config, recipe_config)


def _claimed(run_dir: Path) -> Any:
    return claim(run_dir) if rank() == 0 else nullcontext()


@contextmanager
def _settings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Sets what is global in PyTorch for the time of a run, and restores it."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # PyTorch demands it for cuBLAS
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(threads)


def _step_seed(seed: int, step: int, process: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{step}/{process}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # 63 bits


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
