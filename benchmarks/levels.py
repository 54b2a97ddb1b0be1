"""Three levels beside two in the largest maze: what the third saves or costs.

    python benchmarks/levels.py
    python benchmarks/levels.py --pairs 30 --methods "two, stitched" "three, stitched"

One run of the recipe `maze` with 7 x 7 cells, and upper levels on its frozen world model: the second is 8 steps slow,
the third 16. No method has a map to go by; distances above are stitched from it, or learned within episodes, where
every level sends a wave through imagination instead of a search. The last line is JSON, by method and
bin: success with its 95 % interval, the ratio of steps to the shortest way, multiply-adds and CPU milliseconds of a
decision (upper levels decide at every second one); and what the levels took to train.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from far_goals import UPPER, Kept, judged, learn, recipe, upper

from openjepa.envs.maze import LARGEST
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.maze_pairs import draw_maze_pairs
from openjepa.recipes.acting import Learned, WorldModelConfig, make_agent
from openjepa.recipes.hierarchy import HierarchyConfig
from openjepa.recipes.maze import world_config

STITCHED, WITHIN = UPPER["H-JEPA, stitched"], UPPER["H-JEPA, within episodes"]
METHODS = {
    "two, stitched": STITCHED,
    "three, stitched": replace(STITCHED, num_levels=3),
    "two, within episodes": WITHIN,
    "three, within episodes": replace(WITHIN, num_levels=3),
}
BINS = {"distant": ((45, 70), 160), "far": ((80, 150), 300), "farthest": ((160, 260), 520)}


def largest(seed: int, out: Path) -> WorldModelConfig:
    """The recipe of the largest maze; its play beside its run."""
    config = recipe(0, seed, out)
    data = out / f"play-{LARGEST}x{LARGEST}-{seed}"
    return replace(config, play=replace(config.play, options={**config.play.options, "cells": LARGEST}, data=data))


def pairs_of(config: WorldModelConfig, name: str, options: argparse.Namespace) -> Manifest:
    """The pairs of a bin, drawn once."""
    path = options.out / f"pairs-{LARGEST}x{LARGEST}-{name}-{options.pairs}-{options.pairs_seed}.json"
    if not path.is_file():
        steps = BINS[name][0]
        draw_maze_pairs(world_config(config), options.pairs, steps=steps, seed=options.pairs_seed).save(path)
    return Manifest.load(path)


def measured(
    config: WorldModelConfig, learned: Learned, method: str, kept: Kept, options: argparse.Namespace
) -> dict[str, Any]:
    """One method in all bins."""
    levels: HierarchyConfig = METHODS[method]
    names = {name: f"{method}, {name}, {options.pairs}, {options.pairs_seed}" for name in options.bins}
    if not all(row in kept.rows for row in names.values()) or f"{method}, cpu_s" not in kept.rows:
        began = time.process_time()
        folder = options.out / f"run-{LARGEST}x{LARGEST}-{options.seed}" / f"{levels.num_levels}-levels"
        agent = upper(config, learned, make_agent(config, learned), levels, folder)
        spent = round(time.process_time() - began, 1)
        kept.once(f"{method}, cpu_s", partial(float, spent))
        for name, row in names.items():
            pairs, budget = pairs_of(config, name, options), BINS[name][1]
            found = kept.once(row, partial(judged, agent, world_config(config), pairs, budget, method))
            print(f"{method:24s} {name:8s} {json.dumps(found)}", flush=True)
    rows = {name: kept.rows[row] for name, row in names.items()}
    return {**rows, "cpu_seconds_of_levels": kept.rows[f"{method}, cpu_s"]}


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(BINS))
    parser.add_argument("--pairs", type=int, default=60, help="of each bin")
    parser.add_argument("--pairs-seed", type=int, default=0, help="0 is judged; take another one to develop on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-far-goals"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    config = largest(options.seed, options.out)
    kept = Kept(options.out / f"rows-{LARGEST}x{LARGEST}-{options.seed}.json")
    learned = learn(config, options.out / f"run-{LARGEST}x{LARGEST}-{options.seed}")
    rows = {method: measured(config, learned, method, kept, options) for method in options.methods}
    about = {"cells": LARGEST, "seed": options.seed, "pairs": options.pairs, "torch": torch.__version__}
    print(json.dumps({**rows, **about}))


if __name__ == "__main__":
    main()
