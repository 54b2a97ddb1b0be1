"""What is lost where episodes are cut: one store as it was recorded and one whose episodes end early, judged alike.

    python benchmarks/cut_episodes.py --out runs/cut --seeds 0 1 2

Play is recorded once for each seed; the second store holds the same episodes, each cut to a random length, 5 % of them
to 1 to 5 steps. Both are learned from by `openjepa train STORE` and judged on the same frozen pairs, which are drawn
from other play. The doctor must count what is short. The last line is one JSON object: `uncut` and `cut` (success at
the last step, mean over seeds), `difference` in points, `ci95` of both, `floor`, `by_seed`, `doctor`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data import EpisodeStore
from openjepa.envs import make_world
from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.intervals import wilson
from openjepa.protocols import Episode

SHORT_SHARE, SHORTEST = 0.05, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="two-rooms", help="whose states can be set")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/cut"))
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"uncut": [], "cut": [], "floor": []}
    counted = []
    for seed in options.seeds:
        folder = options.out / str(seed)
        uncut, cut, pairs = folder / "uncut-store", folder / "cut-store", folder / "pairs.json"
        collect(options, uncut, seed)
        if not (cut / "store.json").is_file():
            cut_store(uncut, cut, seed)
        draw_pairs(options.world, options.pairs, seed, pairs)
        for kind, store in (("uncut", uncut), ("cut", cut)):
            run = folder / f"{kind}-run"
            openjepa("train", str(store), "--seed", str(seed), "--run-dir", str(run))
            openjepa("eval", str(run), "--world", options.world, "--manifest", str(pairs))
            rows = json.loads((run / "results.json").read_text())["pairs"]
            rates[kind].append(rows["openjepa"]["success"])
            if kind == "uncut":
                rates["floor"].append(rows["random"]["success"])
        said = openjepa("doctor", str(folder / "cut-run"), "--json", "--data", str(cut))
        counted.append(json.loads(said)["data"])
    print(json.dumps(summary(rates, counted, options)))


def collect(options: argparse.Namespace, path: Path, seed: int) -> None:
    numbers = ("--episodes", str(options.episodes), "--steps", str(options.steps), "--seed", str(seed))
    openjepa("collect", options.world, "--out", str(path), *numbers)


def cut_store(source: Path, target: Path, seed: int) -> None:
    """The same episodes, each from its beginning to a random length."""
    rng = np.random.default_rng((seed, 1))
    store = EpisodeStore.open(source)
    with EpisodeStore.create(target) as cut:
        for i in range(len(store)):
            episode = store.episode(i)
            full = len(episode.actions)
            steps = int(rng.integers(1, SHORTEST + 1) if rng.random() < SHORT_SHARE else rng.integers(1, full + 1))
            own = {"states": episode.states[: steps + 1]} if episode.states is not None else {}
            cut.append(Episode(episode.frames[: steps + 1], episode.actions[:steps], info=episode.info, **own))


def draw_pairs(name: str, count: int, seed: int, path: Path) -> None:
    """Pairs of states that a reset draws, farther apart than half of them are."""
    world = make_world(name, 2 * count)
    world.reset(list(range(10_000 * (seed + 1), 10_000 * (seed + 1) + 2 * count)))
    starts = world.states()
    world.reset(list(range(10_000 * (seed + 1) + 5000, 10_000 * (seed + 1) + 5000 + 2 * count)))
    goals = world.states()
    gaps = world.distance(starts, goals)
    far = np.flatnonzero(gaps >= np.median(gaps))[:count]
    groups = world.groups(starts, goals)
    pairs = [
        Pair(
            n, tuple(map(float, starts[i])), tuple(map(float, goals[i])), float(gaps[i]), groups[i] if groups else None
        )
        for n, i in enumerate(far)
    ]
    Manifest(name, {"pairs": "of resets, the farther half"}, seed, {}, tuple(pairs)).save(path)


def openjepa(*words: str) -> str:
    print("openjepa", *words, file=sys.stderr, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "openjepa.cli", *words]
    done = subprocess.run(command, check=words[0] != "doctor", env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout


def summary(rates: dict[str, list[float]], counted: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    count = options.pairs * len(options.seeds)
    means = {kind: float(np.mean(values)) for kind, values in rates.items()}
    intervals = {kind: wilson(round(means[kind] * count), count) for kind in ("uncut", "cut")}
    return {
        **means,
        "difference": round(100 * (means["cut"] - means["uncut"]), 1),
        "ci95": {kind: [found.low, found.high] for kind, found in intervals.items()},
        "by_seed": rates,
        "seeds": options.seeds,
        "doctor": counted,
    }


if __name__ == "__main__":
    main()
