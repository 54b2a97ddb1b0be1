"""Where the numbers of a run go: the terminal, `metrics.jsonl`, and TensorBoard if asked for."""

import errno
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from openjepa.errors import TrainingError, require
from openjepa.files import refused, replace_text

QUIET_SECONDS = 10.0  # between two lines where the terminal is not one


class RunLog:
    """Writes metrics on one process; the others hold a silent one.

    Args:
        run_dir: where `metrics.jsonl` and `tensorboard/` are.
        start: finished steps; lines of later ones, left by a killed run, are dropped.
        steps: finished steps at the end.
        tensorboard: also write event files.
        silent: whether this process writes nothing at all.
    """

    def __init__(self, run_dir: Path, *, start: int, steps: int, tensorboard: bool, silent: bool) -> None:
        self.path, self.steps, self.silent = run_dir / "metrics.jsonl", steps, silent
        self._events: Any = None
        self._start, self._began, self._printed = start, time.perf_counter(), -QUIET_SECONDS
        if silent:
            return
        if tensorboard:
            self._events = _event_writer(run_dir / "tensorboard", start)
        drop_later_lines(self.path, start)
        self._file = self.path.open("ab", buffering=0)  # a line is in the file, or not, the moment it is written
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True, file=sys.stderr)

    def tick(self) -> None:
        """Counts one step on the progress bar."""
        if not self.silent and self._bar is not None:
            self._bar.update(1)

    def metrics(self, step: int, values: Mapping[str, float | None]) -> None:
        """Writes one line for `step` finished steps; None stands for a value that is not finite.

        Raises:
            TrainingError: when the disk is full or refuses.
        """
        if self.silent:
            return
        line = (json.dumps({"step": step, **values}, allow_nan=False) + "\n").encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "short write")
            if self._events is not None:
                for name, value in values.items():
                    if value is not None:
                        self._events.add_scalar(name, value, step)
        except OSError as error:
            raise refused(self.path, error) from error
        if "loss" in values:
            self._show(step, values)

    def _show(self, step: int, values: Mapping[str, float | None]) -> None:
        loss = f"loss {values['loss']:.4g}"
        if self._bar is not None:
            self._bar.set_postfix_str(loss)
            return
        now = time.perf_counter() - self._began
        if now - self._printed < QUIET_SECONDS and step < self.steps:
            return
        self._printed = now
        rate = (step - self._start) / max(now, 1e-9)
        left = _clock((self.steps - step) / max(rate, 1e-9))
        self.notice(f"step {step}/{self.steps}  {loss}  {rate:.3g} steps/s  {left} left")

    def findings(self, step: int, values: Mapping[str, float | None]) -> None:
        """Says what a diagnosis has found; a number whose control is there too is shown beside it."""
        control = "_untrained"
        shown = [
            f"{name} {_short(value)}"
            + (f" (untrained {_short(values[name + control])})" if name + control in values else "")
            for name, value in values.items()
            if not name.endswith(control)
        ]
        self.notice(f"step {step}/{self.steps}  " + "  ".join(shown))

    def notice(self, text: str) -> None:
        """Says something to the person at the terminal."""
        if not self.silent:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Closes the files and the bar; metrics written so far are complete."""
        if self.silent:
            return
        if self._bar is not None:
            self._bar.close()
        if self._events is not None:
            self._events.close()
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a `metrics.jsonl`; a last line that a kill has cut is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    rows = []
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError("no step")
            rows.append(row)
        except (ValueError, RecursionError):
            if number != len(lines) - 1 or text.endswith("\n"):
                raise TrainingError(
                    f"{path} is damaged at line {number + 1}. Remove that line and run the command again."
                ) from None
    return rows


def drop_later_lines(path: Path, step: int) -> None:
    """Rewrites `metrics.jsonl` without what comes after `step`, so that no step appears twice."""
    if not path.is_file():
        return
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    replace_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def _event_writer(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise require("tensorboard", "track", "write TensorBoard files") from None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
