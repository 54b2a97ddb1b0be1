"""Runs the cells of a comparison in worker processes; each finished cell is a file, and a rerun goes on from them."""

import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openjepa.errors import ConfigError, DataError
from openjepa.files import read_json, replace_text, sealed_json
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.scale import CONDITIONS, Cell, CompareConfig, Scale, development, full, quick

# CPU-seconds of a cell at the quick scale, for the time that is left.
COSTS = {
    "play": 5.0,
    "floors": 4.0,
    "untrained": 7.0,
    rivals.PIXELS_ONLY: 30.0,
    rivals.TOKENS: 32.0,
    rivals.CLONING: 17.0,
}
OWN_TOKENS = 60.0  # planning with the transformer itself


def cells_of(scale: Scale) -> list[Cell]:
    """All cells of a comparison, play first, then the slow ones."""
    cells = [Cell("play", condition=c, cost=COSTS["play"]) for c in CONDITIONS]
    later = [Cell("floors", condition=c, cost=COSTS["floors"]) for c in CONDITIONS]
    for seed in scale.seeds:
        later += [Cell("physics", m, seed=seed, cost=22.0) for m in rivals.CLIP_METHODS]
        for condition in CONDITIONS:
            later.append(Cell("untrained", condition=condition, seed=seed, cost=COSTS["untrained"]))
            for method in rivals.METHODS:
                kind = "cloning" if method == rivals.CLONING else "rival"
                extra = OWN_TOKENS if (method, condition) == (rivals.TOKENS, "clean") else 0.0
                cost = COSTS.get(method, 20.0) + extra
                later += [Cell(kind, method, condition, seed, share, cost=cost) for share in shares(scale, condition)]
    return cells + sorted(later, key=lambda cell: -cell.cost)


def shares(scale: Scale, condition: str) -> tuple[float, ...]:
    """The learning curve is drawn in the clean world only."""
    return scale.shares if condition == "clean" else (1.0,)


def trials_of(scale: Scale) -> list[Cell]:
    """Every setting of every method under noisy television, where they differ most, on data that is never judged."""
    conditions = ("television",)
    cells = [Cell("play", condition=c, cost=COSTS["play"]) for c in conditions]
    for method in rivals.METHODS:
        kind = "cloning" if method == rivals.CLONING else "rival"
        for trial in range(len(rivals.TRIALS[method])):
            cells += [Cell(kind, method, c, scale.seeds[0], trial=trial, cost=14.0) for c in conditions]
    return cells


def scale_of(config: CompareConfig) -> Scale:
    """The scale that the options name."""
    scale = quick() if config.quick else full()
    return development(scale) if config.tune else scale


def run_cells(cells: list[Cell], scale: Scale, config: CompareConfig) -> dict[str, dict[str, Any]]:
    """Runs what is not there yet; returns the results by the name of the cell.

    Raises:
        DataError: where the folder holds another comparison, or a cell fails.
    """
    out = config.out
    _claim(out, scale, config)
    done = {cell.name: found for cell in cells if (found := _read(out, cell)) is not None}
    waiting = [cell for cell in cells if cell.name not in done]
    if done and waiting:
        _say(f"{len(done)} of {len(cells)} parts are there; going on")
    stages = [[c for c in waiting if c.kind == "play"], [c for c in waiting if c.kind != "play"]]
    bar = _Progress(sum(cell.cost for cell in waiting), len(waiting), config.workers)
    context = multiprocessing.get_context("spawn")
    device = "cpu" if config.quick else config.device
    with ProcessPoolExecutor(config.workers, context, initializer=_become_worker) as pool:
        try:
            for stage in stages:
                futures = {pool.submit(run_cell, cell, scale, out, device): cell for cell in stage}
                _collect(futures, done, bar)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return done


def _collect(futures: dict[Future, Cell], done: dict[str, dict[str, Any]], bar: "_Progress") -> None:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in finished:
            cell = futures[future]
            try:
                done[cell.name] = future.result()
            except (ArithmeticError, RuntimeError, ValueError, OSError) as error:
                raise DataError(
                    f"the part `{cell.name}` failed: {type(error).__name__}: {error} Run the same command again to "
                    "repeat it; finished parts are kept."
                ) from error
            bar.add(cell, done[cell.name]["seconds"])


def run_cell(cell: Cell, scale: Scale, out: Path, device: str = "cpu") -> dict[str, Any]:
    """Runs one cell and writes its file."""
    from openjepa.studies.comparison import physics, worlds

    work = {
        "play": lambda: worlds.play(cell, scale, out),
        "rival": lambda: worlds.train_and_judge(cell, scale, out, device),
        "cloning": lambda: worlds.clone_and_judge(cell, scale, out),
        "floors": lambda: worlds.judge_floors(cell, scale),
        "untrained": lambda: worlds.judge_untrained(cell, scale, out),
        "physics": lambda: physics.judge_physics(cell, scale, out, device),
    }
    start, cpu = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        found = work[cell.kind]()
    facts = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    result = {"cell": asdict(cell), **facts, **found}
    path = out / "cells" / f"{cell.name}.json"
    replace_text(path, sealed_json(result))
    return result


def _become_worker() -> None:
    """One thread for each worker: small networks gain nothing from more, and workers would fight for cores."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the work
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)


def _leave_with(parent: int) -> None:
    """Ends this worker when its parent is gone, so that a killed comparison leaves nothing behind that computes."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _claim(out: Path, scale: Scale, config: CompareConfig) -> None:
    (out / "cells").mkdir(parents=True, exist_ok=True)
    mark, wanted = out / "config.json", json.dumps({**asdict(scale), "tune": config.tune}, indent=2) + "\n"
    if mark.exists() and mark.read_bytes() != wanted.encode():
        raise ConfigError(f"`{out}` holds a comparison with other options. Choose another --out, or remove it.")
    mark.write_text(wanted)


def _read(out: Path, cell: Cell) -> dict[str, Any] | None:
    path = out / "cells" / f"{cell.name}.json"

    def damaged(reason: str) -> DataError:
        return DataError(f"`{path}` cannot be read ({reason}). Remove it and run the same command again.")

    return read_json(path, damaged=damaged) if path.exists() else None


class _Progress:
    """Says what is finished and how long the rest will take."""

    def __init__(self, cost: float, count: int, workers: int) -> None:
        self.cost, self.count, self.workers = cost, count, workers
        self.spent, self.finished, self.started = 0.0, 0, time.perf_counter()

    def add(self, cell: Cell, seconds: float) -> None:
        self.spent, self.finished = self.spent + cell.cost, self.finished + 1
        elapsed = time.perf_counter() - self.started
        left = elapsed * (self.cost - self.spent) / max(self.spent, 1e-9)
        tail = "" if self.finished == self.count else f"; about {_minutes(left)} left"
        _say(f"[{self.finished}/{self.count}] {cell.words}: {seconds:.0f} s{tail}")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _say(words: str) -> None:
    print(words, file=sys.stdout, flush=True)
