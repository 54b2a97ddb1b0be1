"""Mazes that were never shown: goals up to 70 steps away, by a map that is imagined from the first picture.

    python benchmarks/unseen_mazes.py
    python benchmarks/unseen_mazes.py --seeds 0 1 2 --pairs 100

Play in mazes that are drawn anew in every episode teaches one world model whose latent holds the layout
(`methods/cell_map.py`). It is judged in the fifth of all layouts that no episode of play ever had, every pair in
another one, on frozen pairs:

    flat        the model's search, straight for the goal
    imagined    a map from a wave of macro-actions through imagination (`agent/imagined_map.py`), then landmarks of it
    true        the same with the simulator's own steps in place of imagined ones: the ceiling
    random      the play that was learned from

Leaks are counted apart: pushes of 24 steps in layouts never shown, after which the imagined place lies on the other
side of a wall of the true one. The last line is JSON.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from far_goals import Kept, frozen_pairs
from torch import Tensor

from openjepa.agent import Agent, AgentConfig
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.imagined_map import Imagining, Step
from openjepa.data import EpisodeStore, WindowSource, statistics
from openjepa.data.windows import WindowConfig
from openjepa.envs import Maze
from openjepa.envs.maze import BORDER, REACH, SIZE, MazeConfig, move
from openjepa.envs.maze_ways import way_length
from openjepa.envs.policies import make_policy
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.success_rate import Player
from openjepa.eval.intervals import wilson
from openjepa.methods.cell_map import CellMapConfig, CellMapModel
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import squared_l2
from openjepa.recipes.maze import BINS, judge_bin
from openjepa.recipes.world_model import LearnConfig, PlayConfig, open_store
from openjepa.train import TrainConfig, train

UNSEEN = MazeConfig(layout="random", split="held-out")
METHODS = ("flat", "imagined", "true", "random")
PUSH = 24  # steps of a push
ASIDE = 9.0  # px that the way to the true place is longer than the straight line, if a wall is between


def learn(seed: int, options: argparse.Namespace) -> tuple[CellMapModel, float]:
    """Play in drawn mazes, and a world model of it; with the CPU seconds that it took."""
    path = options.out / f"play-random-{options.episodes}-{seed}"
    layouts = {"layout": "random", "split": "train"}
    play = PlayConfig("maze", layouts, "directed", episodes=options.episodes, steps=80, data=path)
    store: EpisodeStore = open_store(LearnConfig(play, seed=seed))
    began = time.process_time()
    windows = WindowConfig(options.window, options.batch_size, seed=seed, num_others=4)
    source = WindowSource(store, None, windows)
    method = CellMapModel(CellMapConfig(seed=seed))
    moments = statistics(store, "actions", range(len(store)))
    method.set_action_statistics(moments.mean, moments.std)
    schedule = TrainConfig(
        steps=options.steps, lr=3e-3, final_lr=3e-5, weight_decay=1e-4, checkpoint_every=200, seed=seed
    )
    folder = options.out / f"run-random-{options.episodes}-{options.steps}-{seed}"
    model = train(method, source, schedule, folder).method.eval().requires_grad_(False)
    return model, time.process_time() - began


def agent_of(model: CellMapModel, seed: int) -> Agent:
    """The search of the model, as the recipe `maze` has it; the distance of places is theirs in the picture."""
    bounds = Maze(1, UNSEEN).bounds
    planner = CEM(bounds, CEMConfig(horizon=12, knot_steps=3, num_samples=64, num_elites=8, num_iterations=3))
    options = AgentConfig(
        replan_every=4,
        reach=6.0,
        edge_patience=3,
        configurator=ConfiguratorConfig(),
        seed=seed,
    )
    scene = model.scene_dim
    cost = PathCost(lambda z, goal: squared_l2(z[..., scene:], goal[..., scene:]).sqrt(), stride=3)
    return Agent(model, planner, cost, bounds, options)


def true_steps(pairs: Manifest, scene: int, hold: int) -> dict[int, Step]:
    """Of every pair, what held actions truly lead to, as steps of a map."""

    def step(walls: np.ndarray, z: Tensor, actions: Tensor) -> Tensor:
        place, push = z[:, 0, scene:].double().numpy() + SIZE / 2, actions.double().numpy()
        for _ in range(hold):
            place = move(place, push, np.repeat(walls[None], len(place), 0))
        return torch.cat([z[:, 0, :scene], torch.from_numpy(place - SIZE / 2).float()], 1).unsqueeze(1)

    return {pair.pair_id: partial(step, np.array(pair.goal_state[2:])) for pair in pairs.pairs}


def judged(method: str, model: CellMapModel, pairs: Manifest, budget: int, seed: int) -> dict[str, Any]:
    """Success, steps and CPU milliseconds of a step of one method in one bin."""
    agent, began = agent_of(model, seed), time.process_time()
    player: Player = agent
    if method in ("imagined", "true"):
        truth = None if method == "imagined" else true_steps(pairs, model.scene_dim, 4).__getitem__
        player = Imagining(agent, model.scene_dim, step=truth)
    elif method == "random":
        player = PolicyPlayer(make_policy("directed", agent.bounds), seed)
    row = judge_bin(player, UNSEEN, pairs, budget, method)
    row["cpu_s"] = round(time.process_time() - began, 1)
    if isinstance(player, Imagining):
        row["places"] = float(np.mean([len(one) for one in player.maps]))
    return row


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
    error, low = np.linalg.norm(imagined - true, axis=1), BORDER + REACH
    through = 0
    for mine, theirs, wall in zip(imagined.clip(low, SIZE - low), true, walls, strict=True):
        through += way_length(mine, theirs, wall) > np.linalg.norm(mine - theirs) + ASIDE
    return {
        "place_px": float(np.median(place_error)),
        "push_px": float(np.median(error)),
        "push_px_95": float(np.quantile(error, 0.95)),
        "leaks": through / count,
    }


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(BINS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--window", type=int, default=17)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=100, help="of each bin")
    parser.add_argument("--pairs-seed", type=int, default=0, help="0 is judged; take another one to develop on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-unseen-mazes"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {m: {b: [] for b in options.bins} for m in options.methods}
    about, manifests = [], {}
    for seed in options.seeds:
        model, spent = learn(seed, options)
        kept = Kept(options.out / f"rows-{options.episodes}-{options.steps}-{seed}.json")
        spent = kept.once("cpu_seconds", partial(round, spent, 1))
        about.append({"cpu_seconds_of_training": spent, **kept.once("leaks", partial(leaks, model, 400, seed))})
        print(f"seed {seed} {json.dumps(about[-1])}", flush=True)
        for name in options.bins:
            pairs = frozen_pairs(UNSEEN, name, options.pairs, options.pairs_seed, options.out)
            manifests[name] = pairs.sha256[:12]
            for method in options.methods:
                task = partial(judged, method, model, pairs, BINS[name][1], seed)
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
