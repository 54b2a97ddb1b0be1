"""Far goals in mazes: what reaches them, by where its distance comes from.

    python benchmarks/far_goals.py
    python benchmarks/far_goals.py --mazes 0 --seeds 0 --bins near far

Every maze and seed is one run of the recipe `maze`: 1,000 episodes of random play, of which 80 steps lead about nine
steps away, so that every far way must be stitched from pieces; and upper levels on its frozen world model. Then the
same pairs, frozen in `--out`, for all methods, with the same level 1 and search:

    flat, raw                 the squared distance of latents
    flat, within episodes     the critic: a temporal distance learned from pairs of states of one episode
    ... more samples          the same with three times the samples: the multiply-adds of H-JEPA within episodes
    flat, stitched            ways along the map of landmarks, distilled into a network of pairs
    retrieval                 landmarks of the map as subgoals, the critic between them, always
    configured                the saved agent: the configurator chooses
    H-JEPA, within episodes   upper level in a latent of its own, its distance learned within episodes, no map: a wave
                              through imagination
    H-JEPA, stitched          its distance is ways along the map, whose landmarks are lifted: a search with CEM
    HWM, stitched             the same with one latent for both levels

Multiply-adds are counted (`torch.utils.flop_counter`) and CPU milliseconds taken for decisions of one environment. The
last line is JSON, by method and bin: success with its 95 % interval over all pairs, the ratio of steps to the shortest
way, multiply-adds and milliseconds of a decision.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from openjepa.files import replace_text
from openjepa.heads.fitting import valid_states
from openjepa.heads.pair_distance import fit_pair_distance
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, PathCost
from openjepa.planning.costs import squared_l2
from openjepa.planning.hierarchical import UpperConfig
from openjepa.recipes.acting import Learned, WorldModelConfig, learn_to_act, make_agent
from openjepa.recipes.hierarchy import HierarchyConfig, assemble, stacked
from openjepa.recipes.hjepa import hjepa
from openjepa.recipes.maze import BINS, judge_bin, maze, world_config
from openjepa.recipes.world_model import build, with_seed
from openjepa.train import train

# Upper levels by method: what they share, and where their distance comes from.
UPPER = {
    "H-JEPA, within episodes": HierarchyConfig("h-jepa", distance="within", macros=16, upper=UpperConfig(wave=20)),
    "H-JEPA, stitched": HierarchyConfig("h-jepa"),
    "HWM, stitched": HierarchyConfig("hwm"),
}
AS_MUCH = "flat, within episodes, more samples"
METHODS = ("flat, raw", "flat, within episodes", AS_MUCH, "flat, stitched", "retrieval", "configured", *UPPER)


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


def players(config: WorldModelConfig, learned: Learned, names: list[str], folder: Path) -> dict[str, Agent]:
    """The methods; all with the same level 1 and its search."""
    agent = make_agent(config, learned)
    landmarks, critic = learned.landmarks, agent.cost
    assert landmarks is not None
    assert isinstance(critic, PathCost)
    simple = replace(agent.config, configurator=None, edge_patience=None)

    def flat(cost: PathCost, times: int = 1) -> Agent:
        size = replace(config.act.planner, num_samples=times * config.act.planner.num_samples)
        return Agent(agent.model, CEM(agent.bounds, size), cost, agent.bounds, simple)

    found: dict[str, Agent] = {}
    for name in names:
        if name == "configured":
            found[name] = agent
        elif name == "retrieval":
            found[name] = make_agent(replace(config, act=replace(config.act, configurator=None)), learned)
        elif name in UPPER:
            found[name] = upper(config, learned, agent, UPPER[name], folder)
        elif name == "flat, stitched":
            states = valid_states(learned.memory.latents, learned.memory.lengths)
            stitched = fit_pair_distance(
                states[:: -(-len(states) // 8000)],
                landmarks,
                limit=landmarks.far,
                generator=keyed_generator(config.seed, 4),
            )
            found[name] = flat(replace(critic, distance=stitched))
        elif name == AS_MUCH:
            found[name] = flat(critic, 3)
        else:
            found[name] = flat(critic if name == "flat, within episodes" else replace(critic, distance=squared_l2))
    return found


def upper(config: WorldModelConfig, learned: Learned, agent: Agent, options: HierarchyConfig, folder: Path) -> Agent:
    """An agent without a map that searches with upper levels; they are trained once for each kind of latent."""
    method, source = stacked(learned.model, learned.memory, options, config.seed)
    schedule = replace(hjepa().train, seed=config.seed)
    record = {"recipe": "hjepa", **to_dict(options.level)}
    trained = train(method, source, schedule, folder / options.preset, recipe_config=record).method.eval()
    hierarchy = assemble(trained, learned.memory, learned.landmarks, options, config.seed)
    return Agent(trained, agent.planner, agent.cost, agent.bounds, agent.config, hierarchy=hierarchy)


def judged(agent: Agent, layout: MazeConfig, pairs: Manifest, budget: int, name: str) -> dict[str, Any]:
    """Success and steps of one method in one bin, and what a decision costs."""
    return judge_bin(agent, layout, pairs, budget, name) | cost_of_a_decision(agent, layout, pairs)


def cost_of_a_decision(agent: Agent, layout: MazeConfig, pairs: Manifest) -> dict[str, float]:
    """Multiply-adds and CPU milliseconds of decisions at batch 1: medians over some pairs of the first ones' means.

    Upper levels decide at every second decision, so two are counted and two are timed.
    """
    found = []
    for pair in pairs.pairs[:5]:
        macs, ms = [], []
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
        found.append((np.mean(macs), np.mean(ms)))
    counted, timed = np.median(found, axis=0)
    return {"macs": float(counted), "ms": float(timed)}


class Kept:
    """What one run was judged to reach, a row at a time on disk: what was stopped goes on where it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The row of that name: the kept one, or what `compute` returns, kept from now on."""
        if name not in self.rows:
            self.rows[name] = compute()
            replace_text(self.path, json.dumps(self.rows, indent=1))
        return self.rows[name]


def frozen_pairs(layout: MazeConfig, name: str, count: int, seed: int, out: Path) -> Manifest:
    """The pairs of a bin, drawn once and kept with their SHA-256."""
    path = out / f"pairs-{layout.number}-{name}-{count}-{seed}.json"
    if not path.is_file():
        draw_maze_pairs(layout, count, steps=BINS[name][0], seed=seed).save(path)
    return Manifest.load(path)


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mazes", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(BINS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--pairs", type=int, default=100, help="of each bin and maze")
    parser.add_argument("--pairs-seed", type=int, default=0, help="0 is judged; take another one to develop on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-far-goals"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {m: {b: [] for b in options.bins} for m in options.methods}
    seconds, manifests = [], {}
    options.out.mkdir(parents=True, exist_ok=True)
    for number in options.mazes:
        for seed in options.seeds:
            config, began = recipe(number, seed, options.out), time.process_time()
            folder = options.out / f"run-{number}-{seed}"
            kept = Kept(options.out / f"rows-{number}-{seed}.json")
            learned = learn(config, folder)
            alone = time.process_time() - began
            agents = players(config, learned, options.methods, folder)
            spent = {"agent": round(alone, 1), "with_levels": round(time.process_time() - began, 1)}
            seconds.append(kept.once("cpu_seconds", partial(dict, spent)))
            layout = world_config(config)
            for name in options.bins:
                pairs = frozen_pairs(layout, name, options.pairs, options.pairs_seed, options.out)
                manifests[f"{number} {name}"] = pairs.sha256[:12]
                for method, agent in agents.items():
                    task = partial(judged, agent, layout, pairs, BINS[name][1], method)
                    row = kept.once(f"{method}, {name}, {pairs.sha256[:12]}", task)
                    rows[method][name].append(row)
                    print(f"maze {number} seed {seed} {name:8s} {method:24s} {json.dumps(row)}", flush=True)
    found = {m: {name: _together(runs, options.pairs) for name, runs in bins.items()} for m, bins in rows.items()}
    about = {"mazes": options.mazes, "seeds": options.seeds, "pairs": options.pairs, "torch": torch.__version__}
    print(json.dumps({**found, **about, "manifests": manifests, "cpu_seconds_of_training": seconds}))


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
