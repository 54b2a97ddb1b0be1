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

Times are CPU milliseconds of decisions of one environment in the midst of play: of perception, which all share, and of
the thought that follows it. The last line is JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from far_goals import Kept, frozen_pairs, learn, recipe

from openjepa.agent import Agent
from openjepa.agent.perception import Perception
from openjepa.agent.reflex import Reflex
from openjepa.agent.reflex_player import ReflexPlayer
from openjepa.envs import Maze
from openjepa.envs.policies import make_policy
from openjepa.eval.acting.floors import PolicyPlayer
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.intervals import wilson
from openjepa.heads.goal_policy import GoalPolicy
from openjepa.recipes.acting import make_agent
from openjepa.recipes.distill import DistillConfig, distill
from openjepa.recipes.maze import BINS, judge_bin, world_config

METHODS = ("Mode-2", "Mode-1", "Mode-1, verified", "untrained", "random")
TIMED = 20  # episodes, three decisions of each


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


class Watched:
    """A perception that notes how long it took; everything else is the perception's own."""

    def __init__(self, perception: Perception) -> None:
        self.perception, self.ms = perception, 0.0

    def state(self, *arguments: Any) -> torch.Tensor:
        """See `Perception.state`."""
        began = time.thread_time()
        found = self.perception.state(*arguments)
        self.ms = 1000 * (time.thread_time() - began)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.perception, name)


def decision_ms(player: Any, world: Maze, pairs: Manifest) -> dict[str, float]:
    """CPU milliseconds of a player's decisions of one environment in the midst of play, medians.

    The first decisions of an episode do not count.
    """
    found: list[tuple[float, float]] = []
    watched = player.perception = Watched(player.perception)
    for pair in pairs.pairs[:TIMED]:
        picture = world.reset_to(np.array([pair.goal_state], np.float32)).copy()
        frames = world.reset_to(np.array([pair.start_state], np.float32))
        player.start(picture, [pair.pair_id])
        while player.decisions < 4:
            decided, began = player.decisions, time.thread_time()
            action = player.act(frames)
            spent = 1000 * (time.thread_time() - began)
            if player.decisions > max(1, decided):
                found.append((watched.ms, spent - watched.ms))
            frames = world.step(action)
    player.perception = watched.perception
    perception, thought = np.median(found, axis=0).tolist()
    return {"perception": perception, "thought": thought, "both": perception + thought}


def times(players: dict[str, Agent | ReflexPlayer], world: Maze, pairs: Manifest) -> dict[str, Any]:
    """CPU milliseconds of a decision at a batch of 1, and those of Mode-1 as shares of those of Mode-2."""
    found = {name: decision_ms(player, world, pairs) for name, player in players.items()}
    mode2 = found["Mode-2"]
    shares = {name: {part: ms[part] / mode2[part] for part in ("thought", "both")} for name, ms in found.items()}
    return {"ms": found, "shares": shares}


def cell(number: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One maze and seed."""
    config = recipe(number, seed, options.out)
    learned = learn(config, options.out / f"run-{number}-{seed}")
    agent, layout = make_agent(config, learned), world_config(config)
    began = time.process_time()
    chosen = DistillConfig(seed=seed, rounds=options.rounds)
    reflex = distill(agent, learned.memory, chosen, say=lambda line: print(f"  {line}", flush=True))
    spent = time.process_time() - began
    thinking: dict[str, Agent | ReflexPlayer] = {
        "Mode-2": agent,
        "Mode-1": alone(agent, reflex),
        "Mode-1, verified": with_reflex(agent, reflex),
    }
    players: dict[str, Any] = {
        **thinking,
        "untrained": alone(agent, untrained(reflex)),
        "random": PolicyPlayer(make_policy(config.play.policy, agent.bounds), seed),
    }
    found: dict[str, Any] = {"distill_cpu_s": round(spent, 1)}
    for name in options.bins:
        pairs = frozen_pairs(layout, name, options.pairs, options.pairs_seed, options.out)
        for method in METHODS:
            row = judge_bin(players[method], layout, pairs, BINS[name][1], method)
            found.setdefault(method, {})[name] = row
            print(f"maze {number} seed {seed} {name:8s} {method:18s} {json.dumps(row)}", flush=True)
    found["times"] = times(thinking, Maze(1, layout), pairs)
    return found


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
            cells[f"{number}-{seed}"] = kept.once("cell", lambda n=number, s=seed: cell(n, s, options))
    rows = list(cells.values())
    whole = {
        name: {m: _rate([row[m][name]["success"] for row in rows], options.pairs) for m in METHODS}
        for name in options.bins
    }
    together = {m: float(np.mean([whole[name][m]["success"] for name in options.bins])) for m in METHODS}
    shares = {
        method: {
            part: float(np.median([row["times"]["shares"][method][part] for row in rows]))
            for part in ("thought", "both")
        }
        for method in ("Mode-1", "Mode-1, verified")
    }
    result = {
        "bins": whole,
        "success": together,
        "share_of_success": together["Mode-1"] / together["Mode-2"],
        "share_of_success_verified": together["Mode-1, verified"] / together["Mode-2"],
        "shares_of_time": shares,
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
