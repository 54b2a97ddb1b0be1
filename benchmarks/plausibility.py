"""How well possible is told from impossible: quadruples that were never used before, with controls and false alarms.

    python benchmarks/plausibility.py runs/physics --part pairs
    python benchmarks/plausibility.py runs/physics-0 runs/physics-1 runs/physics-5 --offset 80000 --out result.json

Calibrates each run on possible clips of the scenes of training. `pairs` judges matched pairs per property by the mean
energy, beside 20 untrained networks, copying and pixel differences; intervals resample scenes. `alarms` counts
false alarms of single clips (maximum energy) in known scenes and in one that neither training nor calibration has
seen, and alarms on clips that are new but possible. The last line is one JSON object: what was found by run, and the
least, mean and largest value over runs of each property and novelty.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from openjepa.config import from_dict
from openjepa.recipes.physics import PhysicsRecipeConfig, measure_alarms, measure_pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="of `openjepa train physics`, of other seeds")
    parser.add_argument("--part", choices=("pairs", "alarms", "all"), default="all")
    parser.add_argument("--quadruples", type=int, default=60, help="of each property; two pairs each")
    parser.add_argument("--networks", type=int, default=20, help="untrained ones beside it")
    parser.add_argument("--possible", type=int, default=1000, help="clips on which false alarms are counted")
    parser.add_argument("--calibration", type=int, default=1999, help="possible clips that thresholds come from")
    parser.add_argument("--offset", type=int, default=50_000, help="numbers of judged clips begin here; vary it once")
    parser.add_argument("--out", type=Path, help="file that is given the last line; tables go beside it")
    options = parser.parse_args()
    by_seed = dict(judge_run(run, options) for run in options.runs)
    found = {"offset": options.offset, "runs": by_seed, "spread": spread(list(by_seed.values()))}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(tables(by_seed))
    print(json.dumps(found))


def judge_run(run: Path, options: argparse.Namespace) -> tuple[str, dict]:
    """The seed of a run, and what was found."""
    recorded = json.loads((run / "config.json").read_text())["recipe"]
    recorded.pop("recipe", None)
    config = from_dict(PhysicsRecipeConfig, recorded)
    sizes = ("quadruples", "networks", "possible", "calibration", "offset")
    judged = dataclasses.replace(config.judge, **{name: getattr(options, name) for name in sizes})
    config = dataclasses.replace(config, judge=judged)
    began, found = time.process_time(), {}
    print(f"seed {config.seed}")
    if options.part in ("pairs", "all"):
        found |= measure_pairs(config, run)
        for name, (estimate, low, high) in found["accuracy"].items():
            mean, deviation = found["untrained"].get(name, (float("nan"), float("nan")))
            print(
                f"{name:<13} {estimate:6.1%} [{low:.1%}, {high:.1%}]  untrained {mean:.1%} (SD {deviation:.1%})  "
                + "  ".join(f"{control} {by[name][0]:.1%}" for control, by in found["controls"].items())
            )
    if options.part in ("alarms", "all"):
        found |= measure_alarms(config, run)
        for scene, by in found["false_alarms"].items():
            for level, row in by.items():
                low, high = row["expected"]
                print(f"{scene:<13} level {level:<5} alarms {row['alarms']:.2%}  expected [{low:.2%}, {high:.2%}]")
        for kind, by in found["novel_but_possible"].items():
            print(f"{kind:<13} " + "  ".join(f"{scene} {share:.1%}" for scene, share in by.items()))
        for name, row in found["single_clips"].items():
            print(f"{name:<13} single clips: AUROC {row['auroc']:.3f}, alarms at 5 % {row['alarms']:.1%}")
    found["cpu_seconds"] = round(time.process_time() - began, 1)
    return str(config.seed), found


def spread(found: list[dict]) -> dict[str, list[float]]:
    """Least, mean and largest value over runs: of pairs by property, and of alarms by novelty and scene."""
    values: dict[str, list[float]] = {}
    for run in found:
        for name, (estimate, *_) in run.get("accuracy", {}).items():
            values.setdefault(name, []).append(estimate)
        for kind, by in run.get("novel_but_possible", {}).items():
            for scene, share in by.items():
                values.setdefault(f"{kind}, {scene}", []).append(share)
    return {name: [min(x), float(np.mean(x)), max(x)] for name, x in values.items()}


def tables(by_seed: dict[str, dict]) -> str:
    """Markdown tables of what was found with all seeds, in per cent."""
    runs, seeds = list(by_seed.values()), ", ".join(by_seed)

    def each(values: list[float], form: str = "{:.0f}") -> str:
        return ", ".join(form.format(100 * value) for value in values)

    lines = [f"Seeds {seeds}; numbers in this order, per cent.", ""]
    if "accuracy" in runs[0]:
        lines += ["| property | pairs right | untrained | copy last, pixels |", "|---|---|---|---|"]
        for name in runs[0]["accuracy"]:
            rates = each([run["accuracy"][name][0] for run in runs], "{:.1f}" if name == "all" else "{:.0f}")
            blind = each([run["untrained"][name][0] for run in runs], "{:.1f}")
            controls = each([by[name][0] for by in runs[0]["controls"].values() if name in by])
            lines.append(f"| {name} | {rates} | {blind} | {controls} |")
        lines.append("")
    if "single_clips" in runs[0]:
        lines += ["| property | single clips: AUROC | impossible that alarm at 5 % |", "|---|---|---|"]
        for name in runs[0]["single_clips"]:
            rows = [run["single_clips"][name] for run in runs]
            ranks = ", ".join(f"{row['auroc']:.3f}" for row in rows)
            lines.append(f"| {name} | {ranks} | {each([row['alarms'] for row in rows])} |")
        lines += ["", "| possible clips of | at 1 % | at 5 % | at 10 % |", "|---|---|---|---|"]
        for scene in runs[0]["false_alarms"]:
            cells = []
            for level in runs[0]["false_alarms"][scene]:
                rows = [run["false_alarms"][scene][level] for run in runs]
                low, high = rows[0]["expected"]
                cells.append(f"{each([r['alarms'] for r in rows], '{:.1f}')} [{100 * low:.1f}, {100 * high:.1f}]")
            lines.append(f"| {scene} | {' | '.join(cells)} |")
        scenes = list(runs[0]["novel_but_possible"]["light"])
        lines += ["", f"| novel, but possible | {' | '.join(scenes)} |", "|---|" + "---|" * len(scenes)]
        for kind in runs[0]["novel_but_possible"]:
            shares = [each([run["novel_but_possible"][kind][scene] for run in runs], "{:.1f}") for scene in scenes]
            lines.append(f"| {kind} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
