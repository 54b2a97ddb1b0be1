"""`openjepa verify FOLDER`: recomputes a recorded case, or a folder of them, and says how far every output is off.

A case is a folder with `case.json` (architecture, tolerances), a checkpoint in a published layout,
`inputs.safetensors` and `outputs.safetensors`. A value passes when `abs(value - expected) <= atol + rtol *
abs(expected)`. Masks, schedules and the planner are cases without weights, in JSON.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openjepa.errors import CheckpointError
from openjepa.interop.state_files import read_file, read_json
from openjepa.parity.recompute import recompute
from openjepa.parity.recorded_case import Case


@dataclass(frozen=True)
class Row:
    """One output: its largest difference, and that difference as a share of what is allowed."""

    name: str
    shape: tuple[int, ...]
    difference: float
    used: float  # largest share of the tolerance that an element uses; above 1 fails
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether every element is within tolerance."""
        return self.used <= 1.0


@dataclass(frozen=True)
class Report:
    """What `verify` found."""

    case: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every output is within tolerance."""
        return all(row.passed for row in self.rows)

    @property
    def largest(self) -> float:
        """Largest difference of all outputs."""
        return max(row.difference for row in self.rows)

    def line(self) -> str:
        """The report as one line: outputs, largest difference, and largest share of a tolerance."""
        verdict = "" if self.passed else "  FAILED"
        used = max(row.used for row in self.rows)
        return f"{self.case:<22}{len(self.rows):>4} outputs  {self.largest:9.2e}  {used:7.1%} of limit{verdict}"

    def table(self) -> str:
        """The report as text, one line for each output."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'output':{width}}  {'shape':>16}  {'difference':>10}  {'of limit':>8}"]
        for row in self.rows:
            shape = "x".join(map(str, row.shape)) or "scalar"
            verdict = "" if row.passed else f"  FAILED {row.note}".rstrip()
            lines.append(f"{row.name:{width}}  {shape:>16}  {row.difference:10.2e}  {row.used:8.1%}{verdict}")
        failed = sum(not row.passed for row in self.rows)
        verdict = f"{failed} beyond tolerance" if failed else "all within tolerance"
        return "\n".join([*lines, f"{self.case}: {len(self.rows)} outputs, {verdict}"])


def verify(folder: Path | str) -> Report:
    """Recomputes the case in `folder`, in float32 on the CPU.

    Raises:
        CheckpointError: for a folder that is no case, or a checkpoint that does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "there is none"
        raise CheckpointError(f"`{folder}` must be a folder; {found}. Give a folder that holds `case.json`.")
    if not (folder / "case.json").is_file():
        raise CheckpointError(f"`{folder}` must hold `case.json`; there is none, so it is no recorded case.")
    case = read_json(folder / "case.json")
    if not isinstance(case.get("case"), str):
        raise CheckpointError(f"{folder / 'case.json'} must name its `case`; it names none, so it is no recorded case.")
    limits = case.get("outputs", {})
    expected = read_file(folder / "outputs.safetensors") if limits else {}
    try:
        result = recompute(Case(case, folder))
    except KeyError as error:
        raise CheckpointError(
            f"{folder} must state {error} in its files; it does not, so it is no whole case."
        ) from error
    if not limits and not result.extra:
        raise CheckpointError(f"{folder / 'case.json'} must list `outputs`; there is nothing to compare.")
    rows = []
    for name, limit in limits.items():
        if name not in expected:
            raise CheckpointError(f"{folder / 'outputs.safetensors'}: `{name}` is missing.")
        rows.append(_compare(name, result.outputs.get(name), expected[name], limit))
    # What a case states outside of its outputs (parameters after a step, schedules) has limits of its own.
    rows += [Row(name, (), value, value / limit) for name, (value, limit) in result.extra.items()]
    return Report(case["case"], tuple(rows))


def run(folder: str) -> int:
    """Prints the report of a case, or a line for each case in a folder of cases.

    Returns:
        The exit status: 0 within tolerance, 1 beyond it.
    """
    cases = [] if (Path(folder) / "case.json").is_file() else sorted(Path(folder).glob("*/case.json"))
    if not cases:
        report = verify(folder)
        print(report.table())
        return 0 if report.passed else 1
    reports = []
    for case in cases:
        reports.append(verify(case.parent))
        print(reports[-1].line(), flush=True)
    failed = sum(not report.passed for report in reports)
    print(f"{len(reports)} cases, {f'{failed} beyond tolerance' if failed else 'all within tolerance'}")
    return 1 if failed else 0


def _compare(name: str, value: Tensor | None, expected: Tensor, limit: dict[str, float]) -> Row:
    shape = tuple(expected.shape)
    if value is None:
        return Row(name, shape, float("inf"), float("inf"), "not recomputed")
    if value.shape != expected.shape:
        return Row(name, shape, float("inf"), float("inf"), f"has shape {list(value.shape)}")
    difference = (value.double() - expected.double()).abs()
    if not torch.isfinite(difference).all():
        return Row(name, shape, float("inf"), float("inf"), "not finite")
    allowed = limit.get("atol", 0.0) + limit.get("rtol", 0.0) * expected.double().abs()
    return Row(name, shape, float(difference.max()), float((difference / allowed).max()))
