"""Mazes that were never shown: goals up to 70 steps away, by a map that is imagined from the first picture.

    python benchmarks/unseen_mazes.py
    python benchmarks/unseen_mazes.py --seeds 0 1 2 --pairs 100

Every seed is one run of the recipe `random-mazes`, judged in the fifth of all layouts that no episode of play had,
every pair in another one, on frozen pairs:

    imagined    the saved agent: a map from a wave of macro-actions through imagination, then landmarks of it
    flat        its search, straight for the goal
    true        the map from the simulator's own steps in place of imagined ones: the ceiling
    random      the play that was learned from

Leaks are counted apart, in layouts never shown: pushes of 24 steps, after which the imagined place lies on the other
side of a wall of the true one, and edges of imagined maps through a wall. Imagined places are taken to the nearest one
where the agent may be: one that is half a pixel inside a corner lies on neither side of it. The last line is JSON.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from far_goals import Kept, frozen_pairs
from torch import Tensor

from openjepa.agent import Agent, load_agent
from openjepa.agent.imagined_map import Imagining, Step
from openjepa.config import to_dict
from openjepa.envs import Maze
from openjepa.envs.maze import BORDER, REACH, SIZE, is_free, move
from openjepa.envs.maze_ways import way_length
from openjepa.envs.policies import make_policy
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.success_rate import Player
from openjepa.eval.intervals import wilson
from openjepa.methods.cell_map import CellMapModel
from openjepa.recipes.maze import BINS, judge_bin
from openjepa.recipes.random_mazes import (
    JUDGED,
    RANDOM_MAZES,
    UNSEEN,
    RandomMazesConfig,
    build,
    finish,
    make_agent,
    seeded_config,
)
from openjepa.train import train

METHODS = ("imagined", "flat", "true", "random")
PUSH = 24  # steps of a push
ASIDE = 9.0  # px that the way to the true place is longer than the straight line, if a wall is between


def learn(seed: int, options: argparse.Namespace) -> tuple[RandomMazesConfig, Imagining, float]:
    """One run of the recipe: its config, the agent that was saved, and the CPU seconds after its play."""
    config, name = RANDOM_MAZES.config, f"{options.episodes}-{options.steps}-{seed}"
    play = replace(config.play, episodes=options.episodes, data=options.out / f"play-{options.episodes}-{seed}")
    config = replace(config, play=play, train=replace(config.train, steps=options.steps), seed=seed)
    experiment, began = build(config), time.process_time()
    record = {"recipe": "random-mazes", **to_dict(config)}
    folder = options.out / f"run-{name}"
    train(experiment.method, experiment.source, seeded_config(config).train, folder, recipe_config=record)
    finish(config, folder)
    spent = time.process_time() - began
    agent = load_agent(folder)
    assert isinstance(agent, Imagining)
    return config, agent, spent


def true_steps(pairs: Manifest, scene: int, hold: int) -> dict[int, Step]:
    """Of every pair, what held actions truly lead to, as steps of a map."""

    def step(walls: np.ndarray, z: Tensor, actions: Tensor) -> Tensor:
        place, push = z[:, 0, scene:].double().numpy() + SIZE / 2, actions.double().numpy()
        for _ in range(hold):
            place = move(place, push, np.repeat(walls[None], len(place), 0))
        return torch.cat([z[:, 0, :scene], torch.from_numpy(place - SIZE / 2).float()], 1).unsqueeze(1)

    return {pair.pair_id: partial(step, np.array(pair.goal_state[2:])) for pair in pairs.pairs}


def judged(method: str, config: RandomMazesConfig, agent: Imagining, pairs: Manifest, budget: int) -> dict[str, Any]:
    """Success, steps and CPU milliseconds of a step of one method in one bin."""
    began = time.process_time()
    player: Player = agent
    if method == "true":
        steps = true_steps(pairs, agent.scene_dim, agent.imagines.hold)
        player = make_agent(config, agent.model, step=steps.__getitem__)
    elif method == "flat":
        player = Agent(agent.model, agent.planner, agent.cost, agent.bounds, agent.config)
    elif method == "random":
        player = PolicyPlayer(make_policy("directed", agent.bounds), config.seed)
    row = judge_bin(player, UNSEEN, pairs, budget, method)
    row["cpu_s"] = round(time.process_time() - began, 1)
    if isinstance(player, Imagining):
        row["places"] = float(np.mean([len(one) for one in player.maps]))
    return row


def is_aside(one: np.ndarray, other: np.ndarray, walls: np.ndarray) -> bool:
    """Whether a wall of [W] is between two free places [2]."""
    return way_length(one, other, walls) > np.linalg.norm(one - other) + ASIDE


def freed(places: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """The nearest places where the agent may be, to a quarter of a pixel, of places [P, 2] between walls [W]."""
    line = np.arange(BORDER + REACH, SIZE - BORDER - REACH + 0.01, 0.25)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    free = grid[is_free(grid[None], walls[None])[0]]
    return free[np.linalg.norm(places[:, None] - free[None], axis=-1).argmin(1)]


def false_edges(agent: Imagining, count: int) -> dict[str, float]:
    """How many edges of maps that are imagined in layouts never shown lead through a wall."""
    world = Maze(count, UNSEEN)
    frames = world.reset(range(2 * 10**6, 2 * 10**6 + count))
    agent.start(frames)
    agent.act(frames)
    edges = through = 0
    for one, walls in zip(agent.maps, world.states()[:, 2:].astype(np.float64), strict=True):
        places = freed(one.places[:, 0, agent.scene_dim :].double().numpy() + SIZE / 2, walls)
        for a, b in {tuple(sorted(edge)) for edge in one.edges.T.tolist()}:
            edges += 1
            through += is_aside(places[a], places[b], walls)
    return {"edges": edges, "false_edges": float(through / edges)}


def leaks(model: CellMapModel, count: int, seed: int) -> dict[str, float]:
    """How far pushes in layouts never shown are imagined from where they lead, and how many through a wall."""
    world = Maze(count, UNSEEN)
    frames = torch.from_numpy(world.reset(range(10**6, 10**6 + count)).copy())
    states = world.states().astype(np.float64)
    angle = 2 * np.pi * np.random.default_rng(seed).random(count)
    push = np.stack([np.cos(angle), np.sin(angle)], 1)
    with torch.no_grad():
        z = model.encode(frames.unsqueeze(1))
        held = torch.from_numpy(push).float().unsqueeze(1).expand(-1, PUSH, -1)
        imagined = model.rollout(z, held)[:, -1, 0, model.scene_dim :].numpy() + SIZE / 2
    true, walls = states[:, :2], states[:, 2:]
    seen = z[:, 0, 0, model.scene_dim :].numpy() + SIZE / 2
    place_error = np.linalg.norm(seen - true, axis=1)
    for _ in range(PUSH):
        true = move(true, push, walls)
    error = np.linalg.norm(imagined - true, axis=1)
    ends = zip(imagined, true, walls, strict=True)
    through = sum(is_aside(freed(mine[None], wall)[0], theirs, wall) for mine, theirs, wall in ends)
    return {
        "place_px": float(np.median(place_error)),
        "push_px": float(np.median(error)),
        "push_px_95": float(np.quantile(error, 0.95)),
        "leaks": float(through / count),
    }


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(JUDGED))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=100, help="of each bin")
    parser.add_argument("--pairs-seed", type=int, default=0, help="0 is judged; take another one to develop on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-unseen-mazes"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {m: {b: [] for b in options.bins} for m in options.methods}
    about, manifests = [], {}
    for seed in options.seeds:
        config, agent, spent = learn(seed, options)
        kept = Kept(options.out / f"rows-{options.episodes}-{options.steps}-{seed}.json")
        spent = kept.once("cpu_seconds", partial(round, spent, 1))
        about.append(
            {
                "cpu_seconds_of_training": spent,
                **kept.once("leaks", partial(leaks, agent.model, 1000, seed)),
                **kept.once("false_edges", partial(false_edges, agent, 20)),
            }
        )
        print(f"seed {seed} {json.dumps(about[-1])}", flush=True)
        for name in options.bins:
            pairs = frozen_pairs(UNSEEN, name, options.pairs, options.pairs_seed, options.out)
            manifests[name] = pairs.sha256[:12]
            for method in options.methods:
                task = partial(judged, method, config, agent, pairs, BINS[name][1])
                rows[method][name].append(kept.once(f"{method}, {name}, {pairs.sha256[:12]}", task))
                print(f"seed {seed} {name:8s} {method:10s} {json.dumps(rows[method][name][-1])}", flush=True)
    found = {m: {name: _together(runs, options.pairs) for name, runs in bins.items()} for m, bins in rows.items()}
    print(json.dumps({**found, "pairs": options.pairs, "seeds": options.seeds, "manifests": manifests, "runs": about}))


def _together(runs: list[dict[str, Any]], pairs: int) -> dict[str, Any]:
    """One row of all seeds."""
    rate = wilson(round(sum(run["success"] for run in runs) * pairs), pairs * len(runs))
    ratios = [run["step_ratio"] for run in runs if run["step_ratio"] is not None]
    return {
        "success": rate.estimate,
        "ci95": [rate.low, rate.high],
        "by_run": [run["success"] for run in runs],
        "step_ratio": float(np.mean(ratios)) if ratios else None,
    }


if __name__ == "__main__":
    main()
