"""Worlds that OpenJEPA did not write, by the command line alone: train, then judge near and far goals.

    python benchmarks/foreign_worlds.py --out runs/foreign --seeds 0 1 2
    python benchmarks/foreign_worlds.py --worlds two-rooms --seeds 0

Every cell is `openjepa train WORLD` and `openjepa eval RUN`, as a user would type them; an existing run goes on where
it stopped. Far goals of the foreign Two-Rooms lie in the other room in half of the pairs; the pendulum must also stand
upright and still, from anywhere and from hanging, as a state in which it swings cannot be held. The last line is one
JSON object: for each world and bin `success` (share of pairs whose goal holds at the last step, mean over seeds),
`ci95` (Wilson, all pairs of all seeds), `floor` (random play), `oracle` (the recorded way, where there is one), `seeds`
and `cpu_seconds`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.intervals import wilson

STANDS = float(np.radians(15))  # of a pendulum: distance of (angle, speed) in rad and rad/s from standing still
HERE = Path(__file__).parent


@dataclass(frozen=True)
class World:
    """A world and the options that belong to it: what it is called, and within what a goal counts as reached."""

    id: str
    train: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()


WORLDS = {
    "two-rooms": World("foreign_two_rooms:ForeignTwoRooms-v0", ("--episodes", "1000"), ("--radius", "10.5")),
    "pointmaze": World("PointMaze_UMaze-v3"),
    "pendulum": World("Pendulum-v1"),
    "minigrid-empty": World("minigrid:MiniGrid-Empty-16x16-v0", ("--env.highlight", "false")),
    "pointmaze-medium": World("PointMaze_Medium-v3"),
    "minigrid-four-rooms": World("one_layout:OneFourRooms-v0", ("--env.highlight", "false")),
    "minigrid-empty-lit": World("minigrid:MiniGrid-Empty-16x16-v0"),
    "reacher": World("Reacher-v5", (), ("--radius", "0.5")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/foreign"))
    options = parser.parse_args()
    table: dict[str, Any] = {}
    for name in options.worlds:
        cells = [run_cell(name, seed, options.out) for seed in options.seeds]
        bins = [key for key, value in cells[0].items() if isinstance(value, dict)]
        for key in bins:
            table[f"{name}/{key}"] = {
                **summary([cell[key] for cell in cells]),
                "seeds": options.seeds,
                "cpu_seconds": [round(cell["cpu_seconds"]) for cell in cells],
            }
    for name, row in table.items():
        print(name, row, file=sys.stderr)
    print(json.dumps(table))


def run_cell(name: str, seed: int, out: Path) -> dict[str, Any]:
    """Trains and judges one world with one seed; its figures by bin, and the CPU seconds of both commands."""
    world = WORLDS[name]
    run = out / f"{name}-{seed}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    openjepa("train", world.id, "--seed", str(seed), "--run-dir", str(run), *world.train)
    openjepa("eval", str(run), *world.evaluate)
    cell = {key: row for key, row in json.loads((run / "results.json").read_text()).items() if key != "offline"}
    if name == "two-rooms":
        cell["across"] = across(world, run)
    if name == "pendulum":
        cell["upright"], cell["swing up"] = upright(world, run, hangs=False), upright(world, run, hangs=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cell["cpu_seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cell


def across(world: World, run: Path) -> dict[str, Any]:
    """Far pairs of the foreign Two-Rooms, every second one across the wall at x = 112 px."""
    path = run / "across.json"
    rng = np.random.default_rng(7)
    pairs = []
    while len(pairs) < 100:
        start, goal = rng.uniform(25, 199, (2, 2))
        crosses = (start[0] < 112) != (goal[0] < 112)
        clear = min(abs(start[0] - 112), abs(goal[0] - 112)) > 15
        if clear and crosses == (len(pairs) % 2 == 0) and np.linalg.norm(start - goal) > 60:
            group = "across" if crosses else "same room"
            ends = [tuple(float(x) for x in state) for state in (start, goal)]
            pairs.append(Pair(len(pairs), *ends, float(np.linalg.norm(start - goal)), group))
    Manifest(world.id, {"pairs": "far, half across"}, 7, {}, tuple(pairs)).save(path)
    openjepa("eval", str(run), "--manifest", str(path), *world.evaluate)
    return json.loads((run / "results.json").read_text())["pairs"]


def upright(world: World, run: Path, *, hangs: bool) -> dict[str, Any]:
    """Pendulums that must stand upright and still at the last of 100 steps: from anywhere, or from hanging."""
    path = run / ("swing-up.json" if hangs else "upright.json")
    rng = np.random.default_rng(7)
    pairs = []
    while len(pairs) < 100:
        angle, speed = rng.uniform(-1, 1, 2)
        start = (np.pi + 0.1 * angle, 0.1 * speed) if hangs else (np.pi * angle, speed)
        away = float(np.linalg.norm(start))
        if away > 2 * STANDS:
            pairs.append(Pair(len(pairs), tuple(float(x) for x in start), (0.0, 0.0), away))
    Manifest(world.id, {"pairs": "upright"}, 7, {}, tuple(pairs)).save(path)
    openjepa("eval", str(run), "--manifest", str(path), "--radius", str(STANDS))
    return json.loads((run / "results.json").read_text())["pairs"]


def openjepa(*words: str) -> None:
    print("openjepa", *words, file=sys.stderr, flush=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE / "worlds"), os.environ.get("PYTHONPATH", "")]),
    }
    environment.setdefault("OMP_NUM_THREADS", "1")
    subprocess.run([sys.executable, "-m", "openjepa.cli", *words], check=True, env=environment, stdout=sys.stderr)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    rates = [row["openjepa"]["success"] for row in rows]
    count = sum(row["pairs"] for row in rows)
    interval = wilson(round(sum(row["openjepa"]["success"] * row["pairs"] for row in rows)), count)
    found: dict[str, Any] = {
        "success": float(np.mean(rates)),
        "by_seed": rates,
        "ci95": [interval.low, interval.high],
        "floor": float(np.mean([row["random"]["success"] for row in rows])),
    }
    for name, key in (("recorded way", "oracle"), ("behaviour cloning", "behaviour_cloning")):
        if name in rows[0]:
            found[key] = float(np.mean([row[name]["success"] for row in rows]))
    return found


if __name__ == "__main__":
    main()
