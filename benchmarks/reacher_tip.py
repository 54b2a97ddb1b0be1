"""How near the tip of `Reacher-v5` stays to where a goal picture shows it, in metres: 5 cm and 3 cm.

    python benchmarks/reacher_tip.py runs/foreign/reacher-0 runs/foreign/reacher-1 runs/foreign/reacher-2

Judges agents that `openjepa train Reacher-v5` made, on pairs of held-out episodes: near goals lie 25 steps later in the
same episode, far ones in another one. `openjepa eval` measures the angles of both joints instead, and the place of the
red target, which the arm cannot move. The last line is one JSON object: for each bin `within_5_cm` and `within_3_cm` at
the last step, `first_hit` within 5 cm at any step, `ci95` (Wilson, of 5 cm), `random` (the same for random actions).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from openjepa import load_agent
from openjepa.command_line.runs import open_run
from openjepa.data import split
from openjepa.envs import default_policy, make_policy
from openjepa.eval.intervals import wilson
from openjepa.recipes.world_model import open_store, with_seed, world_of

PAIRS, NEAR, SEED = 100, 25, 7
BUDGETS = {"near": 50, "far": 100}  # environment steps
ARM = (0.1, 0.11)  # m, of its two links


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    print(json.dumps({name: row(runs, name, budget) for name, budget in BUDGETS.items()}))


def row(runs: list[Path], name: str, budget: int) -> dict[str, Any]:
    """All runs on pairs of one kind."""
    ours, chance = [], []
    for run in runs:
        config = with_seed(open_run(run).config)
        starts, goals = pairs(config, far=name == "far")
        agent = load_agent(run)
        ours.append(gaps(config, agent, starts, goals, budget))
        chance.append(gaps(config, None, starts, goals, budget))
    last, count = [float((gap[-1] < 0.05).mean()) for gap in ours], PAIRS * len(runs)
    interval = wilson(round(sum(last) * PAIRS), count)
    return {
        "within_5_cm": float(np.mean(last)),
        "by_seed": last,
        "ci95": [interval.low, interval.high],
        "within_3_cm": float(np.mean([(gap[-1] < 0.03).mean() for gap in ours])),
        "first_hit": float(np.mean([(gap < 0.05).any(0).mean() for gap in ours])),
        "random": float(np.mean([(gap[-1] < 0.05).mean() for gap in chance])),
    }


def pairs(config: Any, *, far: bool) -> tuple[np.ndarray, np.ndarray]:
    """States [PAIRS, P] of starts and goals, from episodes that training never saw."""
    store = open_store(config)
    _, held_out = split(store, config.play.held_out, config.seed)
    rng, found = np.random.default_rng(SEED), list[tuple[np.ndarray, np.ndarray]]()
    while len(found) < PAIRS:
        here, there = (np.asarray(store.rows_of("states", int(i))) for i in rng.choice(held_out, 2, replace=False))
        start = int(rng.integers(len(here) - NEAR))
        goal = there[int(rng.integers(len(there)))] if far else here[start + NEAR]
        if np.linalg.norm(tip(here[start]) - tip(goal)) > 0.05:
            found.append((here[start], goal))
    return np.stack([start for start, _ in found]), np.stack([goal for _, goal in found])


def gaps(config: Any, agent: Any, starts: np.ndarray, goals: np.ndarray, budget: int) -> np.ndarray:
    """Metres [T, PAIRS] between tip and pictured tip after each step; `agent` None acts at random."""
    world = world_of(config.play, PAIRS, judged=True, draw_every=agent.span if agent else 0)
    policy = make_policy(default_policy(world.bounds), world.bounds)
    policy.reset(range(PAIRS))
    try:
        pictures, frames, seen = world.reset_to(goals), world.reset_to(starts), []
        if agent:
            agent.start(pictures)
        for _ in range(budget):
            frames = world.step(agent.act(frames) if agent else policy.act(None))
            seen.append(np.linalg.norm(tip(world.states()) - tip(goals), axis=-1))
        return np.stack(seen)
    finally:
        world.close()


def tip(states: np.ndarray) -> np.ndarray:
    """Metres [..., 2] of the tip, from the angles of both joints."""
    angles = states[..., 0], states[..., 0] + states[..., 1]
    ends = [length * np.stack([np.cos(x), np.sin(x)], -1) for length, x in zip(ARM, angles, strict=True)]
    return np.sum(ends, axis=0)


if __name__ == "__main__":
    main()
