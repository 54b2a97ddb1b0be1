"""The report of a comparison: the verdict first, then every column with its doubt, then whether it was fair."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.envs.two_rooms import TwoRooms
from openjepa.eval.intervals import Interval
from openjepa.eval.pages.report import Report
from openjepa.studies.comparison import plots, rivals
from openjepa.studies.comparison.scale import CONDITIONS, SHIFTS, WORDS, world_of
from openjepa.studies.comparison.verdict import defeats, verdict

Found = Mapping[str, Any]


def write_page(found: Found, path: Path) -> Path:
    """Writes the self-contained page."""
    seeds, figures = len(found["seeds"]), found["figures"]
    page = Report(
        "Predicting latents, or predicting the surface?",
        f"Seven ways to learn from the same {found['episodes']} episodes of random play, each with the same number of "
        f"parameters and the same training compute, over {seeds} seeds; judged by the same probes, the same planner "
        "and the same goals.",
    )
    ours = figures[rivals.LATENT]
    page.cards(
        {
            "latent prediction, clean": _interval(ours["success"]["clean"]["all"]),
            "under noisy television": _interval(ours["success"]["television"]["all"]),
            "pixel prediction, the same": _interval(figures[rivals.PIXELS]["success"]["television"]["all"]),
            "budgets matched within": (
                f"{100 * max(found['budget'][k]['worst'] for k in ('gflops', 'parameters')):.1f} %",
                "operations and parameters",
            ),
        }
    )
    page.section("The verdict", verdict(found))
    _success(page, found)
    _losses(page, found)
    _knowledge(page, found)
    _imagination(page, found)
    _physics(page, found)
    _cost(page, found)
    if "language" in found:
        _language(page, found)
    if "samples" in ours:
        _samples(page, found)
    _fairness(page, found)
    return page.write(path)


def _success(page: Report, found: Found) -> None:
    page.section(
        "Goals reached",
        f"{found['pairs']} pairs of start and goal, half of them in different rooms (long), the others in one room "
        "(short). Everybody plans in its frozen latent with the same kind of predictor, distance and search; behaviour "
        "cloning acts without a plan.",
    )
    page.image(_worlds(), "The worlds: clean, moving agents, noisy television, changed colours, slanting light.")
    page.figure(plots.success_bars(found), "Goals reached. The red disc must get to where it stands in a picture.")
    columns = ["method", "clean, short", "clean, long", *(WORDS[c] for c in (*CONDITIONS, *SHIFTS) if c != "clean")]
    rows: list[list[Any]] = []
    for name in found["methods"]:
        rate = found["figures"][name]["success"]
        others = [_interval(rate[c]["all"]) for c in (*CONDITIONS, *SHIFTS) if c != "clean"]
        rows.append([name, _interval(rate["clean"]["short"]), _interval(rate["clean"]["long"]), *others])
    for floor in ("random play", "oracle"):
        cells: list[Any] = []
        for condition, goals in (("clean", "short"), ("clean", "long"), ("agents", "all"), ("television", "all")):
            entry = found["floors"][condition].get(floor)
            cells.append(None if entry is None else _interval(entry[goals]))
        rows.append([floor, *cells, None, None])
    page.table(columns, rows, caption="Share of goals reached, with 95 % intervals over seeds and pairs.")
    what = [[name, rivals.EXPLAIN[name]] for name in found["methods"]]
    page.table(["method", "what it is"], what)


def _losses(page: Report, found: Found) -> None:
    lost = defeats(found)
    page.section(
        "Where the latent predictor loses",
        "Every column that another method leads, by the mean over seeds, whether or not the intervals overlap."
        if lost
        else "In no column is the mean of another method ahead.",
    )
    if lost:
        rows: list[list[Any]] = [[name, leader, _number(best), _number(own)] for name, leader, best, own in lost]
        page.table(["column", "leader", "its score", "the better latent method's"], rows)
    rows = []
    for condition in found["conditions"]:
        for other, gap in found["differences"][condition].items():
            low, high = gap["ci95"]
            if low <= 0:
                word = "loses" if high < 0 else "undecided"
                rows.append([WORDS[condition], other, f"{100 * gap['mean']:+.0f} points", _range(low, high), word])
    if rows:
        page.table(
            ["world", "against", "latent + inverse dynamics is ahead by", "95 % interval", "verdict"],
            rows,
            caption="Paired differences of success that do not exclude 0, or that go against the latent predictor.",
        )


def _knowledge(page: Report, found: Found) -> None:
    page.section(
        "What the latent knows",
        "The agent's position, read by a linear probe (full dots) and by a small network (hollow) from frozen latents "
        "of held-out episodes. The dotted line is the untrained encoder. A high R2 is necessary for planning and not "
        "sufficient.",
    )
    page.figure(plots.probe_dots(found), "R2 of the agent's position; lines span the seeds.")
    rows: list[list[Any]] = []
    for name in found["methods"]:
        cells: list[Any] = []
        for condition in CONDITIONS:
            entry = found["figures"][name]["probe_r2"][condition]
            cells += [_spread(entry["linear"]), f"{entry['mlp_px']['mean']:.1f} px"]
        rows.append([name, *cells])
    for kind in ("latent", "tokens"):
        cells = []
        for condition in CONDITIONS:
            cells += [_spread(found["floors"][condition]["untrained_probe_r2"][kind]["linear"]), None]
        rows.append([f"untrained ({kind})", *cells])
    columns = ["method"]
    for condition in CONDITIONS:
        columns += [f"{WORDS[condition]}: linear R2", "MLP error"]
    page.table(columns, rows, caption="Mean over seeds, with the range.")


def _imagination(page: Report, found: Found) -> None:
    page.section(
        "How far imagination strays",
        "Open-loop rollouts on held-out episodes, read out by the probe of each latent, in pixels of the world, so "
        "that latents compare. Full lines: the common predictor on frozen latents. Dashed: the dynamics that the "
        "method itself was trained with.",
    )
    page.figure(plots.rollout_curves(found), "Error of the imagined position; bands span the seeds.")


def _physics(page: Report, found: Found) -> None:
    page.section(
        "What is impossible",
        "Clips of balls and screens without actions, learned from possible ones only; then quadruples in which a body "
        "vanishes, jumps or passes through a plate while it is hidden. Each method is judged by its own surprise: "
        "latent error, pixel error, negative log-likelihood. A score of .5 is chance. Inverse dynamics and cloning "
        "have nothing to say without actions. The training is short, and what is hidden must be remembered: read the "
        "controls first.",
    )
    page.figure(plots.physics_bars(found), "AUROC of the largest surprise of a clip, impossible against possible.")
    rows: list[list[Any]] = []
    for name in rivals.CLIP_METHODS:
        for who in ("trained", "untrained"):
            entry = found["physics"][name][who]
            pairs = [_interval(entry[p]["pairs"]) for p in entry]
            rows.append([f"{name}, {who}", *pairs])
    entry = found["physics"][rivals.LATENT_ONLY]["pixel difference"]
    rows.append(["pixel difference", *[_interval(entry[p]["pairs"]) for p in entry]])
    page.table(["surprise of", *entry], rows, caption="Pairs told apart by the mean surprise; 50 % is chance.")


def _cost(page: Report, found: Found) -> None:
    page.section(
        "What a decision costs",
        "One environment, one thread. With the common predictor all planners cost the same; with its own dynamics a "
        "token model must write every imagined frame code by code.",
    )
    page.figure(plots.cost_scatter(found), "Clean world. Hollow: planning with the method's own dynamics.")
    rows: list[list[Any]] = []
    for name in found["methods"]:
        entry = found["figures"][name]
        own = entry.get("own_dynamics")
        rows.append(
            [
                name,
                f"{entry['ms_per_decision']:.1f} ms",
                f"{entry['gflops_per_decision']:.3f}",
                None if own is None else f"{own['ms_per_decision']:.0f} ms",
                None if own is None else f"{own['gflops_per_decision']:.3f}",
                None if own is None else _interval(own["success"]),
                None if own is None else own["pairs"],
            ]
        )
    columns = ["method", "per decision", "GFLOP", "own dynamics", "GFLOP", "goals reached with them", "pairs"]
    page.table(columns, rows)


def _language(page: Report, found: Found) -> None:
    page.section(
        "A language model beside it",
        "The same pairs of the clean world, played by a language model alone, by the latent predictor, and by the "
        "language model with the latent predictor as a tool over MCP. A decision that fails is an idle step.",
    )
    rows: list[list[Any]] = []
    for row in found["language"]:
        use = row.get("use")
        cells: list[Any] = [None] * 4
        if use is not None:
            failures = ", ".join(f"{count} {kind}" for kind, count in use["failures"].items()) or "none"
            cells = [f"{use['tokens_per_decision']:.0f}", f"{use['seconds_per_decision']:.2f} s", f"{use['cost']:.4g}"]
            cells.append(f"{failures} of {use['decisions']}")
        rows.append([row["name"], Interval(row["success"], *row["ci95"]), *cells])
    page.table(["player", "reached", "tokens per decision", "per decision", "cost", "failed decisions"], rows)


def _samples(page: Report, found: Found) -> None:
    counts = list(found["figures"][rivals.LATENT]["samples"])
    rows = [
        [name, *(_interval(found["figures"][name]["samples"][count]) for count in counts)] for name in found["methods"]
    ]
    page.section("How much play is needed", "The same compute on fewer episodes of the clean world.")
    page.table(["method", *(f"{count} episodes" for count in counts)], rows)


def _fairness(page: Report, found: Found) -> None:
    page.section(
        "Was it fair?",
        "Operations are counted on the tensors of a real training step, forward and backward, times the number of "
        "steps; parameters include decoders and read-outs. Seconds are CPU time of one thread: the same operations "
        "take longer in small convolutions and attention than in large matrix products, so rivals were given more "
        "seconds, not fewer. Settings were tried on other episodes, pairs and seeds, equally often for every method.",
    )
    rows: list[list[Any]] = []
    for name in found["methods"]:
        entry, chosen = found["figures"][name], found["chosen"][name]
        operations, size = (found["budget"][k]["shares"][name] for k in ("gflops", "parameters"))
        rows.append(
            [
                name,
                f"{entry['parameters']:,} ({100 * size:.1f} %)",
                f"{entry['gflops']:,.0f} ({100 * operations:.1f} %)",
                entry["steps"],
                f"{entry['train_seconds']['mean']:.0f} s",
                found["trials"][name],
                f"lr {chosen['lr']:g}, {chosen['batch']} windows, weight {chosen['weight']:g}",
            ]
        )
    columns = ["method", "parameters", "GFLOP of training", "steps", "CPU time", "trials", "chosen setting"]
    page.table(columns, rows, caption="In brackets the share of the common target.")
    clips = [
        [name, *(f"{100 * found['physics_budget'][k]['shares'][name]:.1f} %" for k in ("parameters", "gflops"))]
        for name in rivals.CLIP_METHODS
    ]
    page.table(["clips of physics", "parameters", "operations"], clips)
    page.text(
        "Limits. One family of small worlds; a budget of seconds; one planner. Methods that need long training are "
        "judged early, and a claim about them at another scale needs the full recipe. Pairs and episodes are shared by "
        "all seeds, so intervals speak about new seeds and new pairs of the same world."
    )


def _worlds() -> np.ndarray:
    """One frame of each world side by side [H, W, 3]."""
    frames = []
    for condition in (*CONDITIONS, *SHIFTS):
        frames += [TwoRooms(1, world_of(condition)).reset([5])[0], np.full((3, 64, 4), 255, np.uint8)]
    strip = np.concatenate(frames[:-1], 2).transpose(1, 2, 0)
    return strip.repeat(2, 0).repeat(2, 1)


def _interval(entry: Mapping[str, Any]) -> Interval:
    low, high = entry["ci95"]
    return Interval(entry["mean"], low, high)


def _spread(entry: Mapping[str, Any]) -> str:
    low, high = entry["range"]
    return f"{entry['mean']:.2f} ({low:.2f} to {high:.2f})"


def _range(low: float, high: float) -> str:
    return f"{100 * low:+.0f} to {100 * high:+.0f}"


def _number(value: float) -> str:
    return f"{value:.3g}"
