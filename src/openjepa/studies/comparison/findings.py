"""From finished cells to `results.json`: means over seeds, intervals, matches of budgets, and who is better where.

The unit of repetition is the training seed; judged pairs and scenes are shared by all methods and seeds. Intervals
of success come from a bootstrap over seeds and over pairs, widened to Wilson's interval for as many trials as there
are pairs, because a bootstrap of nothing but successes has no width. R2 and errors are given with the range over
seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openjepa.eval.intervals import Interval, wilson
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.compute import match
from openjepa.studies.comparison.physics import auroc
from openjepa.studies.comparison.scale import CONDITIONS, HIDDEN, SHIFTS, Cell, Scale

Results = Mapping[str, Mapping[str, Any]]
RESAMPLES = 4000


def findings(results: Results, scale: Scale, *, quick: bool) -> dict[str, Any]:
    """All figures of a comparison as plain values."""
    methods = {name: _method(name, results, scale) for name in rivals.METHODS}
    return {
        "quick": quick,
        "methods": list(rivals.METHODS),
        "seeds": list(scale.seeds),
        "conditions": [*CONDITIONS, *SHIFTS],
        "episodes": scale.episodes - scale.held_out,
        "pairs": scale.pairs,
        "budget": _budget(methods, scale),
        "figures": methods,
        "differences": differences(results, scale),
        "floors": {c: _floors(c, results, scale) for c in CONDITIONS},
        "physics": {name: _physics(name, results, scale) for name in rivals.CLIP_METHODS},
        "physics_budget": _physics_budget(results, scale),
        "trials": {name: len(rivals.TRIALS[name]) for name in rivals.METHODS},
        "chosen": {name: vars(rivals.TRIALS[name][rivals.CHOSEN[name]]) for name in rivals.METHODS},
        "cpu_seconds": sum(cell["cpu_seconds"] for cell in results.values()),
    }


def kind_of(method: str) -> str:
    """The kind of cell that trains a method."""
    return "cloning" if method == rivals.CLONING else "rival"


def cell_of(results: Results, method: str, condition: str, seed: int, share: float = 1.0) -> Mapping[str, Any]:
    """The result of training a method in a condition."""
    return results[Cell(kind_of(method), method, condition, seed, share).name]


def successes(results: Results, method: str, condition: str, seeds: Sequence[int], goals: str = "all") -> np.ndarray:
    """Outcomes [seeds, pairs] of a method; a shift is judged with the model of the clean world."""
    rows = []
    for seed in seeds:
        cell = cell_of(results, method, "clean" if condition in SHIFTS else condition, seed)
        found = cell["shifts"][condition] if condition in SHIFTS else cell["planning"]["frozen"]
        rows.append(_outcomes(found, goals))
    return np.array(rows, float)


def rate(table: np.ndarray, *, seed: int = 0) -> Interval:
    """Mean of outcomes [seeds, pairs] with a 95 % interval; see the module."""
    boot = hierarchical_bootstrap(table, seed=seed)
    pairs = table.shape[1]
    alone = wilson(round(float(table.mean()) * pairs), pairs)
    return Interval(float(table.mean()), min(boot.low, alone.low), max(boot.high, alone.high))


def hierarchical_bootstrap(table: np.ndarray, *, seed: int = 0, confidence: float = 0.95) -> Interval:
    """Percentile interval of the mean of [seeds, pairs], resampling seeds and, for all of them alike, pairs."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, table.shape[0], (RESAMPLES, table.shape[0]))
    columns = rng.integers(0, table.shape[1], (RESAMPLES, table.shape[1]))
    means = np.array([table[r][:, c].mean() for r, c in zip(rows, columns, strict=True)])
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(table.mean()), float(low), float(high), confidence)


def differences(results: Results, scale: Scale) -> dict[str, dict[str, Any]]:
    """Success of the main latent method minus that of every other one, on the same pairs, by condition."""
    found: dict[str, dict[str, Any]] = {}
    for condition in (*CONDITIONS, *SHIFTS):
        ours = successes(results, rivals.LATENT, condition, scale.seeds)
        found[condition] = {}
        for other in rivals.METHODS:
            if other != rivals.LATENT:
                gap = ours - successes(results, other, condition, scale.seeds)
                found[condition][other] = as_json(hierarchical_bootstrap(gap))
    return found


def as_json(interval: Interval) -> dict[str, Any]:
    """An interval as plain values."""
    return {"mean": interval.estimate, "ci95": [interval.low, interval.high]}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and range over seeds, with every seed's value."""
    return {"mean": float(np.mean(values)), "range": [min(values), max(values)], "seeds": list(values)}


def _median(values: Sequence[float | None]) -> float:
    """Median over seeds; one whose first goals were reached by the first decision has no time."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else 0.0


def _outcomes(found: Mapping[str, Any], goals: str = "all") -> list[int]:
    return [*found["short"], *found["long"]] if goals == "all" else list(found[goals])


def _method(name: str, results: Results, scale: Scale) -> dict[str, Any]:
    clean = [cell_of(results, name, "clean", seed) for seed in scale.seeds]
    found: dict[str, Any] = {
        "parameters": clean[0]["parameters"],
        "gflops": clean[0]["gflops"],
        "steps": clean[0]["steps"],
        "train_seconds": spread([cell["train_seconds"] for cell in clean]),
        "probe_r2": {},
        "success": {},
        "rollout_px": {},
    }
    for condition in CONDITIONS:
        cells = [cell_of(results, name, condition, seed) for seed in scale.seeds]
        found["probe_r2"][condition] = {
            kind: spread([cell["probe"][kind] for cell in cells]) for kind in ("linear", "mlp", "mlp_px")
        }
        if "rollout" in cells[0]:
            found["rollout_px"][condition] = _rollouts([cell["rollout"] for cell in cells])
    for condition in (*CONDITIONS, *SHIFTS):
        found["success"][condition] = {
            goals: as_json(rate(successes(results, name, condition, scale.seeds, goals)))
            | {"seeds": successes(results, name, condition, scale.seeds, goals).mean(1).tolist()}
            for goals in ("all", "short", "long")
        }
    decide = [cell["planning"]["frozen"] for cell in clean]
    found["ms_per_decision"] = _median([d["ms"] for d in decide])
    found["gflops_per_decision"] = decide[0]["gflops"]
    own = [cell["planning"]["own"] for cell in clean if "own" in cell["planning"]]
    if own:
        found["own_dynamics"] = {
            "success": as_json(rate(np.array([_outcomes(o) for o in own], float))),
            "pairs": len(_outcomes(own[0])),
            "ms_per_decision": _median([o["ms"] for o in own]),
            "gflops_per_decision": own[0]["gflops"],
        }
    if len(scale.shares) > 1:
        found["samples"] = _samples(name, results, scale)
    return found


def _samples(name: str, results: Results, scale: Scale) -> dict[str, Any]:
    """Success in the clean world against the number of training episodes."""
    total, found = scale.episodes - scale.held_out, {}
    for share in scale.shares:
        cells = [cell_of(results, name, "clean", seed, share) for seed in scale.seeds]
        table = np.array([_outcomes(cell["planning"]["frozen"]) for cell in cells], float)
        found[str(round(share * total))] = as_json(rate(table))
    return found


def _rollouts(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of every curve over the horizon, and the range of the predicted ones."""
    found: dict[str, Any] = {}
    for dynamics in cells[0]:
        curves = {c: np.array([cell[dynamics][c] for cell in cells]) for c in cells[0][dynamics]}
        found[dynamics] = {name: table.mean(0).tolist() for name, table in curves.items()}
        found[dynamics]["lowest"] = curves["predicted"].min(0).tolist()
        found[dynamics]["highest"] = curves["predicted"].max(0).tolist()
    return found


def _floors(condition: str, results: Results, scale: Scale) -> dict[str, Any]:
    cell = results[Cell("floors", condition=condition).name]["planning"]
    probes = [results[Cell("untrained", condition=condition, seed=seed).name]["probe"] for seed in scale.seeds]
    found: dict[str, Any] = {
        name: {goals: as_json(rate(np.array([_outcomes(played, goals)], float))) for goals in ("all", "short", "long")}
        for name, played in cell.items()
    }
    found["untrained_probe_r2"] = {
        kind: {score: spread([probe[kind][score] for probe in probes]) for score in ("linear", "mlp")}
        for kind in ("latent", "tokens")
    }
    return found


def _physics(name: str, results: Results, scale: Scale) -> dict[str, Any]:
    cells = [results[Cell("physics", name, seed=seed).name]["scores"] for seed in scale.seeds]
    return {
        who: {p: _told([cell[who][p] for cell in cells]) for p in HIDDEN}
        for who in ("trained", "untrained", "pixel difference")
    }


def _told(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """AUROC of single clips and accuracy of pairs; scenes are resampled, and seeds."""
    maxima = np.array([cell["maxima"] for cell in cells])  # [seeds, scenes, 4]
    pairs = np.array([np.mean(cell["pairs"], 1) for cell in cells])  # [seeds, scenes]
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // 10):
        rows = rng.integers(0, len(maxima), len(maxima))
        scenes = rng.integers(0, maxima.shape[1], maxima.shape[1])
        means.append(np.mean([auroc(maxima[r][scenes]) for r in rows]))
    low, high = np.quantile(means, [0.025, 0.975])
    estimate = float(np.mean([auroc(m) for m in maxima]))
    return {
        "auroc": {"mean": estimate, "ci95": [float(low), float(high)]},
        "pairs": as_json(hierarchical_bootstrap(pairs)),
    }


def _budget(methods: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    operations = match({name: found["gflops"] for name, found in methods.items()}, scale.gflops)
    parameters = match({name: found["parameters"] for name, found in methods.items()}, scale.parameters)
    return {"gflops": vars(operations), "parameters": vars(parameters)}


def _physics_budget(results: Results, scale: Scale) -> dict[str, Any]:
    cells = {name: results[Cell("physics", name, seed=scale.seeds[0]).name] for name in rivals.CLIP_METHODS}
    operations = match({name: cell["gflops"] for name, cell in cells.items()}, scale.clip_gflops)
    parameters = match({name: cell["parameters"] for name, cell in cells.items()}, scale.parameters)
    return {"gflops": vars(operations), "parameters": vars(parameters)}
