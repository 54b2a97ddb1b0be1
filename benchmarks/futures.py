r"""Several futures and planning under risk, over training seeds: the tables of `docs/uncertainty.md`.

    python benchmarks/futures.py fork --seeds 0 1 2
    python benchmarks/futures.py bridge --seeds 0 1 2

Every seed records its play, trains its encoder from pixels, fits its predictors and is judged on episodes that
nothing was trained on. Options of the recipe follow as `--option judge.clips 200`. Prints a table with the mean over
seeds and the range, shares of episodes with Wilson's interval; the last line is one JSON object with everything.
`--join` shows the outputs of several runs as one table.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.config import override
from openjepa.eval.intervals import wilson
from openjepa.recipes.world_model import with_seed
from openjepa.studies import load_experiment
from openjepa.train import train

FORK_COLUMNS = ("coverage", "stated_first", "prob_error", "middle", "impossible", "best_error", "skill", "sharpness")


def run_seed(name: str, seed: int, options: dict[str, Any], work: Path) -> tuple[dict[str, Any], float]:
    """Trains and judges one seed; returns the figures and the CPU-seconds."""
    began = time.process_time()
    recipe = load_experiment(name)
    config = with_seed(replace(override(recipe.config, options), seed=seed))
    config = replace(config, play=replace(config.play, data=work / f"{name}-play-{seed}"))
    experiment = recipe.build(config)
    run_dir = work / f"{name}-{seed}"
    train(experiment.method, experiment.source, config.train, run_dir)
    assert recipe.judge is not None
    return recipe.judge(config, run_dir), time.process_time() - began


def over_seeds(results: list[dict[str, Any]], *path: str) -> str:
    """Mean over seeds, and the range where the seeds differ."""
    found: list[Any] = results
    for name in path:
        found = [value[name] for value in found]
    if any(value is None for value in found):
        return "-"
    values = np.array(found, float)
    spread = "" if np.ptp(values) < 5e-4 else f" ({values.min():.3g}-{values.max():.3g})"
    return f"{values.mean():.3f}{spread}"


def show_fork(results: list[dict[str, Any]]) -> None:
    for block, kinds in results[0].items():
        print(f"\n{block}")
        print(" | ".join(["predictor", *FORK_COLUMNS, "ece"]))
        for kind in kinds:
            columns = [over_seeds(results, block, kind, column) for column in FORK_COLUMNS]
            print(" | ".join([kind, *columns, over_seeds(results, block, kind, "calibration", "ece")]))


def pooled(results: list[dict[str, Any]], *path: str) -> str:
    """A share over the episodes of all seeds, with Wilson's interval."""
    happened = trials = 0
    for found in results:
        *way, name = path
        for step in way:
            found = found[step]
        happened += round(found[name][0] * found["episodes"])
        trials += found["episodes"]
    return wilson(happened, trials).percent()


def show_bridge(results: list[dict[str, Any]]) -> None:
    for block, rows in results[0].items():
        print(f"\n{block}, the model states {over_seeds(results, block, 'stated risk')}")
        print("plans by | model | best on paper | took the bridge | fell | arrived | steps | cost")
        for measure, row in rows.items():
            if measure == "stated risk":
                continue
            best = row.get("optimum", {}).get("choice", "-")
            for model in [name for name in row if name != "optimum"]:
                shares = [pooled(results, block, measure, model, c) for c in ("crossed", "fell", "arrived")]
                means = [over_seeds(results, block, measure, model, c) for c in ("steps", "cost")]
                print(" | ".join([measure, model, best, *shares, *means]))


def join(outputs: list[Path]) -> list[dict[str, Any]]:
    """The figures of several runs by seed; a seed may be spread over runs, one for each probability."""
    by_seed: dict[str, dict[str, Any]] = {}
    for path in outputs:
        (line,) = [line for line in path.read_text().splitlines() if line.startswith('{"study"')]
        for seed, blocks in json.loads(line)["seeds"].items():
            by_seed.setdefault(seed, {}).update(blocks)
    return list(by_seed.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("study", choices=("fork", "bridge"))
    parser.add_argument("--join", type=Path, nargs="+", help="outputs of earlier runs, to show as one table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--option", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--work", type=Path, help="where play and runs go; default: a temporary directory")
    args = parser.parse_args()
    show = show_fork if args.study == "fork" else show_bridge
    if args.join:
        show(join(args.join))
        return
    work = Path(tempfile.mkdtemp(prefix="futures-", dir=args.work))
    options = {name: json.loads(value) for name, value in args.option}
    results: list[dict[str, Any]] = []
    seconds: list[float] = []
    for seed in args.seeds:
        found, spent = run_seed(args.study, seed, options, work)
        results.append(found)
        seconds.append(spent)
        print(f"seed {seed}: {spent:.0f} CPU-seconds", flush=True)
    show(results)
    by_seed = dict(zip(args.seeds, results, strict=True))
    print(json.dumps({"study": args.study, "cpu_seconds": seconds, "seeds": by_seed}))


if __name__ == "__main__":
    main()
