"""Milliseconds per decision on the demonstration's worlds, beside the settings and the loop of version 0.1.0.

    python benchmarks/planning.py
    python benchmarks/planning.py --worlds two-rooms --pairs 100 --repeats 2

Trains each world as `openjepa demo` does, once (`--out`; a finished agent there is used), and plays the same pairs
with the agent as it is saved and with its peer: the same weights under 0.1.0's cross-entropy search (128 samples, 4
rounds, horizon 24 in Two-Rooms and 12 in random doors), whose rollout called the predictor step by step and embedded
the goal once for every batch of candidates. Then one measure at a time is taken away from ours (`shares`), and the
policy acts alone (`mode_1`).

Decisions are timed at batch 1 with one thread, picture to action, in CPU time, which other work on the machine does
not stretch (`wall_ms` stands beside it). An episode is a function of its pair, so every decision can be taken again:
all players take turns, `--repeats` times, each decision counts with its fastest turn, and the median over decisions is
reported. Seed and pairs are the development ones, which no judged number depends on.

The last line is JSON: the row of the world that takes longest, and all rows under `worlds`.
"""

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openjepa import protocols
from openjepa.agent import Agent, ProposeVerifyRepair, load_agent
from openjepa.config import to_dict
from openjepa.envs.two_rooms import CROSS_ROOM, TwoRooms
from openjepa.eval.acting.manifest import Manifest, draw_two_rooms_pairs
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.heads.critic import TemporalDistanceHead
from openjepa.methods.lewm import LeWM
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.candidates import centre, hold
from openjepa.planning.costs import GoalCost
from openjepa.protocols import Plan, Planner, WorldModel
from openjepa.recipes.acting import WorldModelConfig, finish
from openjepa.recipes.demo import WORLDS, DemoConfig, experiment_config
from openjepa.recipes.two_rooms import world_config
from openjepa.recipes.world_model import build
from openjepa.train import train

VERSION_0_1 = {
    "two-rooms": CEMConfig(horizon=24, knot_steps=3, num_samples=128, num_elites=16, num_iterations=4),
    "random-doors": CEMConfig(horizon=12, knot_steps=2, num_samples=128, num_elites=16, num_iterations=4),
}


class StepByStep:
    """The world model with the rollout of 0.1.0: a list of states, stacked anew for every call of the predictor."""

    def __init__(self, model: LeWM) -> None:
        self.model = model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """As the model does."""
        return self.model.encode(frames, proprio)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """States after each action, one call of the predictor after the other."""
        moves = (actions - self.model.action_mean) / self.model.action_std
        path, known = [z[:, t, 0] for t in range(z.shape[1])], z.shape[1]
        for t in range(known - 1, moves.shape[1]):
            path.append(self.model.predict(torch.stack(path[t : t + 1], 1), moves[:, t : t + 1])[:, -1])
        return torch.stack(path[known:], 1).unsqueeze(2)


@dataclass(frozen=True)
class EveryTime:
    """The distance of 0.1.0, which embeds the goal with every batch of candidates."""

    critic: TemporalDistanceHead

    def __call__(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """As the critic, from states to goals."""
        return self.critic(z, z_goal)


class PolicyAlone:
    """Mode-1: the policy's plan, imagined only because a plan tells its path."""

    def __init__(self, actor: ProposeVerifyRepair) -> None:
        self.actor = actor

    def plan(self, model: WorldModel, z: Tensor, cost: protocols.PathCost, **_: Any) -> Plan:
        """What the policy says."""
        assert isinstance(cost, GoalCost)
        options = self.actor.repair.config
        actions = hold(self.actor.policy(z[:, -1], cost.z_goal), options.knot_steps, options.horizon)
        path = model.rollout(z, actions)
        return Plan(actions, cost(path.unsqueeze(1))[:, 0], path, actions.shape[1])


def no_policy(actor: ProposeVerifyRepair) -> Callable[[Tensor, Tensor], Tensor]:
    """In the policy's place, the middle of the bounds."""
    options = actor.repair.config
    knots = -(-options.horizon // options.knot_steps)
    return lambda z, z_goal: centre(actor.bounds, z).expand(len(z), knots, -1)


def as_trained(module: nn.Module) -> Any:
    """A copy whose weights lie in memory as PyTorch makes them; an agent lays them out for small batches."""
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.data = parameter.data.contiguous()
    return copied


def players(agent: Agent, world: str) -> dict[str, Agent]:
    """Ours, the peer, and ours with one measure less; all with the same weights."""
    actor, cost, model = agent.planner, agent.cost, agent.model
    assert isinstance(actor, ProposeVerifyRepair)
    assert isinstance(cost, PathCost)
    assert isinstance(model, LeWM)
    critic = cost.distance
    assert isinstance(critic, TemporalDistanceHead)
    plain, old, own = replace(cost, distance=EveryTime(critic)), VERSION_0_1[world], actor.config
    former = replace(cost, distance=EveryTime(as_trained(critic)), stride=old.knot_steps)

    def rebuilt(planner: Planner = actor, cost: PathCost = cost, model: Any = model) -> Agent:
        return Agent(model, planner, cost, agent.bounds, agent.config)

    def with_actor(policy: Any = actor.policy, **changes: Any) -> Agent:
        changed = replace(actor.config, **changes)
        return rebuilt(ProposeVerifyRepair(policy, actor.bounds, changed, repair=actor.repair.config))

    return {
        "ours": rebuilt(),
        "version_0_1": rebuilt(CEM(actor.bounds, old), former, StepByStep(as_trained(model))),
        "rollout step by step": rebuilt(model=StepByStep(model)),
        "goal embedded with every batch": rebuilt(cost=plain),
        "search of 0.1.0 on our rollout and cost": rebuilt(CEM(actor.bounds, old)),
        "search alone (our repair, always)": rebuilt(actor.repair),
        "proposals without the policy": with_actor(no_policy(actor)),
        "proposals without the last plan": with_actor(num_policy=own.num_policy + own.num_last, num_last=0),
        "proposals without wide ones": with_actor(num_policy=own.num_policy + own.num_wide, num_wide=0),
        "every plan repaired": with_actor(accept_gain=1.0),
        "mode_1": rebuilt(PolicyAlone(actor)),
    }


def trained(world: str, seed: int, out: Path) -> tuple[WorldModelConfig, Agent]:
    """The demonstration's recipe and its finished agent, which is made where it is missing."""
    folder = out / f"{world}-{seed}"
    recipe = experiment_config(DemoConfig(world=world, seed=seed, out=folder))  # type: ignore[arg-type]
    if not (folder / "run" / "agent" / "agent.json").is_file():
        experiment = build(recipe)
        train(
            experiment.method,
            experiment.source,
            recipe.train,
            folder / "run",
            recipe_config={"recipe": world, **to_dict(recipe)},
        )
        finish(recipe, folder / "run")
    return recipe, load_agent(folder / "run")


def milliseconds(
    agents: dict[str, Agent], config: WorldModelConfig, pairs: Manifest, repeats: int
) -> dict[str, tuple[float, float]]:
    """Of the CPU and of the wall: median over decisions of the fastest of `repeats` turns; the players alternate."""
    found: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in agents}
    for _ in range(repeats + 1):
        for name, agent in agents.items():
            found[name].append(decisions(agent, config, pairs))
    # The first turn of each pays for what is set up once.
    medians = {name: np.median(np.min(turns[1:], axis=0), axis=0) for name, turns in found.items()}
    return {name: (float(cpu), float(wall)) for name, (cpu, wall) in medians.items()}


def decisions(agent: Agent, config: WorldModelConfig, pairs: Manifest) -> list[tuple[float, float]]:
    """CPU and wall milliseconds of every decision, each pair played alone to the end of the budget or its goal."""
    spent = []
    for pair in pairs.pairs:
        world = TwoRooms(1, world_config(config))
        goal = np.array([pair.goal_state], np.float32)
        goal_frame = world.reset_to(goal).copy()
        frames = world.reset_to(np.array([pair.start_state], np.float32))
        agent.start(goal_frame, [pair.pair_id])
        for _ in range(config.act.budget):
            before, cpu, wall = agent.decisions, time.thread_time(), time.perf_counter()
            action = agent.act(frames)
            if agent.decisions > before:
                spent.append((1000 * (time.thread_time() - cpu), 1000 * (time.perf_counter() - wall)))
            frames = world.step(action)
            if world.is_success(world.states(), goal)[0]:
                break
    return spent


def measure(world: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row: speed, success and shares of one world."""
    config, agent = trained(world, options.seed, options.out)
    agents = players(agent, world)
    layout = world_config(config)
    judged = draw_two_rooms_pairs(layout, options.pairs, seed=options.pairs_seed, task=world)
    timed = draw_two_rooms_pairs(layout, options.timed_pairs, seed=options.pairs_seed, task=world)
    ms = milliseconds(agents, config, timed, options.repeats)
    judge = JudgeConfig(budget=config.act.budget, batch_size=200, latency_pairs=0)
    rows: dict[str, dict[str, float]] = {}
    for name, player in agents.items():
        report = evaluate(player, lambda n: TwoRooms(n, layout), judged, judge, name=name)
        rows[name] = {
            "ms": round(ms[name][0], 3),
            "wall_ms": round(ms[name][1], 3),
            "success": report.success.estimate,
            "success_cross_room": report.success_by_group[CROSS_ROOM].estimate,
            "model_steps": round(report.times.model_steps, 1),
        }
        print(f"{world:13s} {name:42s} {rows[name]}", flush=True)
    ours, old = rows.pop("ours"), rows.pop("version_0_1")
    return {
        "world": world,
        "ms_per_decision": ours["ms"],
        "ms_version_0_1": old["ms"],
        "wall_ms": {"ours": ours["wall_ms"], "version_0_1": old["wall_ms"]},
        "speedup": round(old["ms"] / ours["ms"], 2),
        "success": ours["success"],
        "success_version_0_1": old["success"],
        "success_cross_room": [ours["success_cross_room"], old["success_cross_room"]],
        "model_steps": {"ours": ours["model_steps"], "version_0_1": old["model_steps"]},
        "mode_1": rows.pop("mode_1"),
        "shares": {name: {**row, "times_slower": round(row["ms"] / ours["ms"], 2)} for name, row in rows.items()},
    }


def processor() -> str:
    """Name of the processor, where the system tells it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Measures, prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-planning"))
    parser.add_argument("--seed", type=int, default=7, help="of play, training and plans")
    parser.add_argument("--pairs", type=int, default=400, help="judged pairs of start and goal")
    parser.add_argument("--pairs-seed", type=int, default=101)
    parser.add_argument("--timed-pairs", type=int, default=12, help="pairs that are played alone for their times")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the fastest counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(world, options) for world in options.worlds]
    slowest = max(rows, key=lambda row: row["ms_per_decision"])
    about = {"torch": torch.__version__, "processor": processor(), "threads": 1, "seed": options.seed}
    print(json.dumps({**slowest, "worlds": rows, **about}))


if __name__ == "__main__":
    main()
