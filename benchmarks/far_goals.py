"""Far goals in mazes: what reaches them, by where its distance comes from.

    python benchmarks/far_goals.py
    python benchmarks/far_goals.py --mazes 0 --seeds 0 --bins near far

Every maze and seed is one run of the recipe `maze`: 1,000 episodes of random play, of which 80 steps lead about nine
steps away, so that every far way must be stitched from pieces. Then the same pairs for all methods, with the same world
model and search:

    flat, raw                 the squared distance of latents
    flat, within episodes     the critic: a temporal distance learned from pairs of states of one episode
    flat, stitched            ways along the map of landmarks, distilled into a network of pairs
    retrieval                 the saved agent: landmarks of the map as subgoals, the critic between them

Multiply-adds are counted (`torch.utils.flop_counter`) and CPU milliseconds taken for decisions of one environment. The
last line is JSON, by method and bin: success with its 95 % interval over all pairs, the ratio of steps to the shortest
way, multiply-adds and milliseconds of a decision.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from openjepa.agent import Agent
from openjepa.config import to_dict
from openjepa.envs import Maze
from openjepa.envs.maze import MazeConfig
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.maze_pairs import draw_maze_pairs
from openjepa.eval.intervals import wilson
from openjepa.heads.fitting import valid_states
from openjepa.heads.pair_distance import fit_pair_distance
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, PathCost
from openjepa.planning.costs import squared_l2
from openjepa.recipes.acting import Learned, WorldModelConfig, learn_to_act, make_agent
from openjepa.recipes.maze import BINS, judge_bin, maze, world_config
from openjepa.recipes.world_model import build, with_seed
from openjepa.train import train

METHODS = ("flat, raw", "flat, within episodes", "flat, stitched", "retrieval")


def recipe(number: int, seed: int, out: Path) -> WorldModelConfig:
    """The recipe of one maze and seed, its play beside its run."""
    config = maze()
    options = {**config.play.options, "number": number}
    play = replace(config.play, options=options, data=out / f"play-{number}-{seed}")
    return with_seed(replace(config, play=play, seed=seed))


def learn(config: WorldModelConfig, folder: Path) -> Learned:
    """Trains a world model, or takes the finished one, and fits everything else."""
    experiment = build(config)
    record = {"recipe": "maze", **to_dict(config)}
    model = train(experiment.method, experiment.source, config.train, folder, recipe_config=record).method
    return learn_to_act(model, config)


def players(config: WorldModelConfig, learned: Learned, names: list[str]) -> dict[str, Agent]:
    """The methods; all with the same weights and search."""
    agent = make_agent(config, learned)
    landmarks = learned.landmarks
    assert landmarks is not None
    search = CEM(agent.bounds, config.act.planner)
    critic = agent.cost
    assert isinstance(critic, PathCost)
    found = {"retrieval": agent}

    def flat(cost: PathCost) -> Agent:
        return Agent(agent.model, search, cost, agent.bounds, agent.config)

    if "flat, raw" in names:
        found["flat, raw"] = flat(replace(critic, distance=squared_l2))
    if "flat, within episodes" in names:
        found["flat, within episodes"] = flat(critic)
    if "flat, stitched" in names:
        states = valid_states(learned.memory.latents, learned.memory.lengths)
        stitched = fit_pair_distance(
            states[:: -(-len(states) // 8000)],
            landmarks,
            limit=landmarks.far,
            generator=keyed_generator(config.seed, 4),
        )
        found["flat, stitched"] = flat(replace(critic, distance=stitched))
    return {name: found[name] for name in names}


def cost_of_a_decision(agent: Agent, layout: MazeConfig, pairs: Manifest) -> dict[str, float]:
    """Multiply-adds and CPU milliseconds of decisions at batch 1: medians over the first steps of some pairs."""
    macs, ms = [], []
    for pair in pairs.pairs[:4]:
        world = Maze(1, layout)
        goal = world.reset_to(np.array([pair.goal_state], np.float32)).copy()
        frames = world.reset_to(np.array([pair.start_state], np.float32))
        agent.start(goal, [pair.pair_id])
        for step in range(4 * agent.config.replan_every):
            before, start = agent.decisions, time.thread_time()
            if step < 2 * agent.config.replan_every:
                with FlopCounterMode(display=False) as counter:
                    action = agent.act(frames)
                if agent.decisions > before:
                    macs.append(counter.get_total_flops() / 2)
            else:
                action = agent.act(frames)
                if agent.decisions > before:
                    ms.append(1000 * (time.thread_time() - start))
            frames = world.step(action)
    return {"macs": float(np.median(macs)), "ms": float(np.median(ms))}


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mazes", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(BINS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--pairs", type=int, default=100, help="of each bin and maze")
    parser.add_argument("--pairs-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-far-goals"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {m: {b: [] for b in options.bins} for m in options.methods}
    seconds = []
    for number in options.mazes:
        for seed in options.seeds:
            config, began = recipe(number, seed, options.out), time.process_time()
            learned = learn(config, options.out / f"run-{number}-{seed}")
            seconds.append(time.process_time() - began)
            layout = world_config(config)
            agents = players(config, learned, options.methods)
            for name in options.bins:
                steps, budget = BINS[name]
                pairs = draw_maze_pairs(layout, options.pairs, steps=steps, seed=options.pairs_seed)
                for method, agent in agents.items():
                    row = judge_bin(agent, layout, pairs, budget, method)
                    row |= cost_of_a_decision(agent, layout, pairs)
                    rows[method][name].append(row)
                    print(f"maze {number} seed {seed} {name:8s} {method:22s} {json.dumps(row)}", flush=True)
    found = {m: {name: _together(runs, options.pairs) for name, runs in bins.items()} for m, bins in rows.items()}
    about = {"mazes": options.mazes, "seeds": options.seeds, "pairs": options.pairs, "torch": torch.__version__}
    print(json.dumps({**found, **about, "cpu_seconds_of_training": [round(s, 1) for s in seconds]}))


def _together(runs: list[dict[str, Any]], pairs: int) -> dict[str, Any]:
    """One row of all mazes and seeds."""
    hits = round(sum(run["success"] for run in runs) * pairs)
    rate = wilson(hits, pairs * len(runs))
    ratios = [run["step_ratio"] for run in runs if run["step_ratio"] is not None]
    return {
        "success": rate.estimate,
        "ci95": [rate.low, rate.high],
        "by_run": [run["success"] for run in runs],
        "step_ratio": float(np.mean(ratios)) if ratios else None,
        "macs": float(np.median([run["macs"] for run in runs])),
        "ms": round(float(np.median([run["ms"] for run in runs])), 2),
    }


if __name__ == "__main__":
    main()
