"""The trials of every method's settings as a table, and which of them does best."""

from collections.abc import Mapping
from typing import Any

from openjepa.studies.comparison import rivals


def trial_table(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Success and linear R2 of each trial; the best one has the highest mean success, then the higher R2.

    Args:
        results: of cells with a `trial`, by name; trials that are not there are left out.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in rivals.METHODS}
    for method in rivals.METHODS:
        for number, setting in enumerate(rivals.TRIALS[method]):
            found = {
                cell["cell"]["condition"]: cell
                for cell in results.values()
                if cell["cell"]["method"] == method and cell["cell"]["trial"] == number
            }
            if found:
                success = {name: _success(cell) for name, cell in found.items()}
                probe = {name: cell["probe"]["linear"] for name, cell in found.items()}
                score = (sum(success.values()) / len(success), sum(probe.values()) / len(probe))
                rows[method].append({**vars(setting), "success": success, "probe_r2": probe, "score": score})
    best = {m: max(range(len(r)), key=lambda i: tuple(r[i]["score"])) for m, r in rows.items() if r}
    lines = ["method, lr, windows, weight: success and linear R2 in each world; * the best"]
    for method, trials in rows.items():
        for number, trial in enumerate(trials):
            worlds = "  ".join(
                f"{name} {100 * trial['success'][name]:.0f} % {trial['probe_r2'][name]:.2f}"
                for name in trial["success"]
            )
            mark = "*" if best[method] == number else " "
            lines.append(f"{mark} {method}, {trial['lr']:g}, {trial['batch']}, {trial['weight']:g}: {worlds}")
    return {"trials": rows, "best": best, "lines": lines}


def _success(cell: Mapping[str, Any]) -> float:
    outcomes = [*cell["planning"]["frozen"]["short"], *cell["planning"]["frozen"]["long"]]
    return sum(outcomes) / len(outcomes)
