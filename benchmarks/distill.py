"""Mode-1 distilled from Mode-2 in mazes: how much of its success is kept, at how much of its time.

    python benchmarks/distill.py
    python benchmarks/distill.py --mazes 0 --seeds 0

Every maze and seed is one run of the recipe `maze`, as in `benchmarks/far_goals.py` (the same `--out` takes its
finished runs). The agent's Mode-2 thinks with its map and its search; a policy is taught by its plans (`openjepa
distill`). On frozen pairs:

    Mode-2              the agent as it was trained
    Mode-1              the policy alone: no map, no search, no verification
    Mode-1, verified    the policy, whose plans the world model imagines; where it does not believe them, Mode-2
    untrained           a policy of random weights
    random              the play that was learned from

Times are CPU milliseconds of whole decisions of one environment in the midst of play, from picture to action; the three
that think play the same pairs of every bin, one after the other. The last line is JSON.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from far_goals import Kept, frozen_pairs, learn, recipe

from openjepa.agent import Agent, AgentCard, load_agent, save_agent
from openjepa.agent.reflex import Reflex
from openjepa.agent.reflex_player import ReflexPlayer
from openjepa.envs import Maze
from openjepa.envs.maze import MazeConfig
from openjepa.envs.policies import make_policy
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.intervals import wilson
from openjepa.heads.goal_policy import GoalPolicy
from openjepa.recipes.acting import make_agent
from openjepa.recipes.distill import DistillConfig, distill
from openjepa.recipes.maze import BINS, judge_bin, world_config

METHODS = ("Mode-2", "Mode-1", "Mode-1, verified", "untrained", "random")
TIMED = 10  # pairs of a bin, three decisions of each


def alone(agent: Agent, reflex: Reflex) -> ReflexPlayer:
    """A player that follows a reflex without map, search or verification."""
    options = agent.config
    return ReflexPlayer(
        agent.perception,
        reflex,
        agent.bounds,
        frameskip=options.frameskip,
        replan_every=options.replan_every,
        seed=options.seed,
    )


def untrained(reflex: Reflex) -> Reflex:
    """The same policy with the weights it began with."""
    torch.manual_seed(0)
    policy = reflex.policy
    blank = GoalPolicy(1, len(policy.standardize.mean), policy.bounds, policy.num_knots, policy.config)
    blank.standardize.load_state_dict(policy.standardize.state_dict())
    return Reflex(blank.eval().requires_grad_(False), reflex.shape)


def with_reflex(agent: Agent, reflex: Reflex | None) -> Agent:
    """The same agent with or without a Mode-1."""
    parts = agent.model, agent.planner, agent.cost, agent.bounds, agent.config, agent.perception.frame_shape
    return Agent(*parts, agent.landmarks, agent.hierarchy, reflex=reflex)


def decision_ms(player: Agent | ReflexPlayer, world: Maze, pair: Pair) -> list[float]:
    """CPU milliseconds of a player's second to fourth decision of one environment, on its way between a pair."""
    found: list[float] = []
    picture = world.reset_to(np.array([pair.goal_state], np.float32)).copy()
    frames = world.reset_to(np.array([pair.start_state], np.float32))
    player.start(picture, [pair.pair_id])
    while player.decisions < 4:
        decided, began = player.decisions, time.thread_time()
        action = player.act(frames)
        spent = 1000 * (time.thread_time() - began)
        if player.decisions > max(1, decided):
            found.append(spent)
        frames = world.step(action)
    return found


def times(players: dict[str, Agent | ReflexPlayer], world: Maze, bins: dict[str, Manifest]) -> dict[str, Any]:
    """CPU milliseconds of a decision at a batch of 1, medians by bin, and their means as shares of Mode-2's."""
    found: dict[str, dict[str, float]] = {name: {} for name in players}
    for label, pairs in bins.items():
        spent: dict[str, list[float]] = {name: [] for name in players}
        for pair in pairs.pairs[:TIMED]:
            for name, player in players.items():
                spent[name] += decision_ms(player, world, pair)
        for name in players:
            found[name][label] = float(np.median(spent[name]))
    whole = {name: float(np.mean(list(by_bin.values()))) for name, by_bin in found.items()}
    return {"ms": found, "mean_ms": whole, "shares": {name: ms / whole["Mode-2"] for name, ms in whole.items()}}


def cell(number: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One maze and seed; the agent is saved with its Mode-1."""
    config = recipe(number, seed, options.out)
    learned = learn(config, options.out / f"run-{number}-{seed}")
    agent, layout = make_agent(config, learned), world_config(config)
    began = time.process_time()
    chosen = DistillConfig(seed=seed, rounds=options.rounds)
    reflex = distill(agent, learned.memory, chosen, say=lambda line: print(f"  {line}", flush=True))
    spent = time.process_time() - began
    taught = with_reflex(agent, reflex)
    save_agent(options.out / f"agent-{number}-{seed}", taught, AgentCard(agent.bounds, (3, 64, 64), "maze"))
    players: dict[str, Any] = {
        **thinking(taught),
        "untrained": alone(agent, untrained(reflex)),
        "random": PolicyPlayer(make_policy(config.play.policy, agent.bounds), seed),
    }
    found: dict[str, Any] = {"distill_cpu_s": round(spent, 1)}
    for name, pairs in bins_of(layout, options).items():
        for method in METHODS:
            row = judge_bin(players[method], layout, pairs, BINS[name][1], method)
            found.setdefault(method, {})[name] = row
            print(f"maze {number} seed {seed} {name:8s} {method:18s} {json.dumps(row)}", flush=True)
    return found


def timed(number: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What decisions of one maze and seed cost, with the agent as it was saved."""
    layout = world_config(recipe(number, seed, options.out))
    taught = load_agent(options.out / f"agent-{number}-{seed}")
    found = times(thinking(taught), Maze(1, layout), bins_of(layout, options))
    print(f"maze {number} seed {seed} {json.dumps(found)}", flush=True)
    return found


def bins_of(layout: MazeConfig, options: argparse.Namespace) -> dict[str, Manifest]:
    """The pairs of every bin."""
    return {name: frozen_pairs(layout, name, options.pairs, options.pairs_seed, options.out) for name in options.bins}


def thinking(taught: Agent) -> dict[str, Agent | ReflexPlayer]:
    """The agent without its Mode-1, its Mode-1 alone, and both."""
    assert taught.reflex is not None
    return {
        "Mode-2": with_reflex(taught, None),
        "Mode-1": alone(taught, taught.reflex),
        "Mode-1, verified": taught,
    }


def main() -> None:
    """Measures, prints a line for each method and bin, and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mazes", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--bins", nargs="+", choices=BINS, default=list(BINS))
    parser.add_argument("--rounds", type=int, default=DistillConfig().rounds)
    parser.add_argument("--pairs", type=int, default=100, help="of each bin and maze")
    parser.add_argument("--pairs-seed", type=int, default=0, help="0 is judged; take another one to develop on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-far-goals"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    cells = {}
    for number in options.mazes:
        for seed in options.seeds:
            kept = Kept(options.out / f"distilled-{number}-{seed}-{options.pairs_seed}.json")
            found = kept.once("cell", partial(cell, number, seed, options))
            cells[f"{number}-{seed}"] = found | {"times": kept.once("times", partial(timed, number, seed, options))}
    rows = list(cells.values())
    whole = {
        name: {m: _rate([row[m][name]["success"] for row in rows], options.pairs) for m in METHODS}
        for name in options.bins
    }
    together = {m: float(np.mean([whole[name][m]["success"] for name in options.bins])) for m in METHODS}
    shares = {
        method: float(np.median([row["times"]["shares"][method] for row in rows]))
        for method in ("Mode-1", "Mode-1, verified")
    }
    result = {
        "bins": whole,
        "success": together,
        "share_of_success": together["Mode-1"] / together["Mode-2"],
        "share_of_success_verified": together["Mode-1, verified"] / together["Mode-2"],
        "share_of_time": shares["Mode-1"],
        "share_of_time_verified": shares["Mode-1, verified"],
        "times_as_fast": 1 / shares["Mode-1"],
        "mazes": options.mazes,
        "seeds": options.seeds,
        "pairs": options.pairs,
        "cells": cells,
        "torch": torch.__version__,
    }
    print(json.dumps(result))


def _rate(successes: list[float], pairs: int) -> dict[str, Any]:
    """Success of all cells with its interval, and of each."""
    rate = wilson(round(sum(successes) * pairs), pairs * len(successes))
    return {"success": rate.estimate, "ci95": [rate.low, rate.high], "by_run": successes}


if __name__ == "__main__":
    main()
