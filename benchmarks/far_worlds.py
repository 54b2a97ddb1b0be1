"""Far goals in worlds of other kinds than mazes, by agents that `openjepa train WORLD` saved.

    python benchmarks/far_worlds.py --out runs/far-worlds --seeds 0 1 2
    python benchmarks/far_worlds.py --worlds four-rooms --seeds 0

Every cell is one `openjepa train`, as a user would type it, and then the same frozen pairs for all players:

    flat, raw               the agent's world model and search, the squared distance of latents, no map
    flat, within episodes   the same with the learned distance and the policy, no map
    configured              the saved agent: its configurator goes by its map of remembered states, where it has one
    random, standing still  the floors
    oracle                  who knows every wall and where it is: the shortest way, the ceiling

A goal is reached where its rule holds at the last step of the budget (`success`); `first_hit` is beside it. The last
line is one JSON object by world, bin and player: the rates with the 95 % interval of all pairs of all seeds, CPU
milliseconds of a decision, and seconds of training.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from far_ways import Guide, Passages, foreign_rooms, four_rooms, point_maze

from openjepa import load_agent
from openjepa.agent import Agent, ProposeVerifyRepair
from openjepa.data import EpisodeStore
from openjepa.envs import GymnasiumWorld, collect, is_environment_id, make_policy, make_world
from openjepa.eval.acting.floors import PolicyPlayer, StateView
from openjepa.eval.acting.manifest import STREAM, Manifest, Pair, draw_recorded_pairs
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.eval.intervals import wilson
from openjepa.nn.random import keyed_seed
from openjepa.planning.costs import PathCost, squared_l2
from openjepa.protocols import World

HERE = Path(__file__).parent
PLAYERS = ("configured", "flat, within episodes", "flat, raw", "random", "standing still", "oracle")


@dataclass(frozen=True)
class Far:
    """A world, how an agent learns it, and its far pairs.

    Attributes:
        id: name of the world, or of a recipe and its world.
        train: options of the command.
        play: those of them that say what is recorded, void where all seeds learn from given play.
        options: of the world that is judged.
        radius: within which a goal counts as reached; None is the world's own rule.
        ways: what is known of its walls, from a state: for pairs and oracle; None for neither.
        bins: by name: fewest and most steps of the shortest way, or the offset in recorded play, and the budget.
        policy: of recorded pairs.
        size: side of a picture in px, where the world can choose.
    """

    id: str
    train: tuple[str, ...]
    bins: dict[str, tuple[tuple[float, float] | int, int]]
    options: tuple[tuple[str, Any], ...] = ()
    play: tuple[str, ...] = ()
    radius: float | None = None
    ways: Callable[[World, np.ndarray], Passages] | None = None
    policy: str = "smooth"
    size: int = 64

    def make(self, num_envs: int, *, draw_every: int = 1) -> World:
        """The world that is judged, in which no task of its own ends an episode; see `GymnasiumWorld`."""
        if not is_environment_id(self.id):
            return make_world(self.id, num_envs)
        shown: dict[str, Any] = {"image_size": self.size, "can_end": False, "draw_every": draw_every}
        world = make_world(self.id, num_envs, env_options=dict(self.options), **shown)
        assert isinstance(world, GymnasiumWorld)
        if self.radius is not None:
            world.success_distance = self.radius
        return world


WORLDS = {
    "four-rooms": Far(
        "four-rooms-distractors",
        ("--frameskip", "4", "--reach", "3", "--train.steps", "900"),  # found on development pairs of one seed
        {"near": ((8, 30), 60), "far": ((60, 140), 210)},
        play=("--policy", "directed", "--episode-steps", "200", "--episodes", "600"),
        ways=four_rooms,
    ),
    "two-rooms": Far(
        "foreign_two_rooms:ForeignTwoRooms-v0",
        (),
        {"offset 100": (100, 100), "far": ((25, 60), 100)},
        play=("--episodes", "1000"),
        options=(("hidden_target", False),),
        radius=10.5,
        ways=foreign_rooms,
    ),
    "push-t": Far("push-t", (), {"offset 50": (50, 100), "offset 100": (100, 200)}, policy="push"),  # a recipe; no map
    "pointmaze-large": Far(
        "PointMaze_Large-v3",
        (),
        {"far": ((100, 1000), 600)},
        ways=point_maze,
    ),
}


def main() -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--players", nargs="+", choices=PLAYERS, default=list(PLAYERS))
    parser.add_argument("--bins", nargs="+", help="names of bins; all by default")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--pairs-seed", type=int, default=0, help="of the drawing; tune on another one")
    parser.add_argument(
        "--data", type=Path, help="recorded play that all seeds learn from; each plays itself by default"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/far-worlds"))
    options = parser.parse_args()
    sys.path.insert(0, str(HERE / "worlds"))
    table: dict[str, Any] = {}
    for name in options.worlds:
        world = WORLDS[name]
        bins = {key: frozen(world, name, key, options) for key in world.bins if key in (options.bins or world.bins)}
        cells = [cell(world, name, seed, bins, options) for seed in options.seeds]
        for key, pairs in bins.items():
            rows = {
                player: together([one[key][player] for one in cells])
                for player in options.players
                if player in cells[0][key]
            }
            about = {"budget": world.bins[key][1], "manifest": pairs.sha256[:12], "seeds": options.seeds}
            table[f"{name}/{key}"] = {**rows, **about, "cpu_seconds": [one["cpu_seconds"] for one in cells]}
    print(json.dumps(table))


def frozen(world: Far, name: str, key: str, options: argparse.Namespace) -> Manifest:
    """The pairs of a bin, drawn once and kept."""
    path = options.out / f"{name}-{key.replace(' ', '-')}-{options.pairs}-{options.pairs_seed}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rule, _ = world.bins[key]
        draw = recorded_pairs if isinstance(rule, int) else distant_pairs
        draw(world, rule, options).save(path)
    return Manifest.load(path)


def recorded_pairs(world: Far, offset: int, options: argparse.Namespace) -> Manifest:
    """Pairs that lie so many steps apart in play that no agent learns from."""
    stage = world.make(options.pairs)
    name = f"play-{Path(world.id).name}-{offset}-{options.pairs}-{options.pairs_seed}"
    with EpisodeStore.create(options.out / name) as store:
        policy = make_policy(world.policy, stage.bounds)
        collect(stage, policy, store, 2 * options.pairs, offset + 1, keyed_seed(STREAM, options.pairs_seed) % 2**31)
        states = {i: np.asarray(store.rows_of("states", i)) for i in range(len(store))}
        found = draw_recorded_pairs(stage, states, options.pairs, offset=offset, seed=options.pairs_seed, task=world.id)
    stage.close()
    return found


def distant_pairs(world: Far, steps: tuple[float, float], options: argparse.Namespace) -> Manifest:
    """Pairs that the world itself draws, by the steps of the shortest way at full speed between them."""
    assert world.ways is not None
    stage, pairs = world.make(1), []
    tried = 0
    while len(pairs) < options.pairs:
        ends = []
        for _ in range(2):
            stage.reset([keyed_seed(STREAM, options.pairs_seed, tried) % 2**31])
            ends.append(stage.states()[0].copy())
            tried += 1
        ways = world.ways(stage, ends[0])
        start, goal = ends[0], ways.in_scene_of(ends[0], ends[1])
        away = ways.steps(start[:2], goal[:2])
        if steps[0] <= away <= steps[1] and not stage.is_success(start[None], goal[None])[0]:
            first, last = (tuple(float(x) for x in end) for end in (start, goal))
            pairs.append(Pair(len(pairs), first, last, float(away)))
    stage.close()
    return Manifest(
        world.id, {"pairs": "drawn", "shortest_steps": list(steps)}, options.pairs_seed, {"tried": tried}, tuple(pairs)
    )


def cell(world: Far, name: str, seed: int, bins: dict[str, Manifest], options: argparse.Namespace) -> dict[str, Any]:
    """Trains one world with one seed, where that is not done, and judges all players; a row at a time is kept."""
    run = options.out / f"{name}-{seed}"
    kept = options.out / f"{name}-{seed}.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if "cpu_seconds" not in found:
        found["cpu_seconds"] = train(world, seed, run, options.data)
        kept.write_text(json.dumps(found))
    players = {}
    for key, pairs in bins.items():
        rows = found.setdefault(key, {})
        for player in options.players:
            about = f"{player}, {pairs.sha256[:12]}"
            if about not in rows and (player != "oracle" or world.ways is not None):
                players = players or make_players(world, run, seed)
                rows[about] = judged(players[player], world, pairs, world.bins[key][1], player)
                print(
                    f"{name} seed {seed} {key:12s} {player:24s} {json.dumps(rows[about])}", file=sys.stderr, flush=True
                )
                kept.write_text(json.dumps(found))
        found[key] = rows
    return {
        "cpu_seconds": found["cpu_seconds"],
        **{
            key: {
                p: found[key][f"{p}, {bins[key].sha256[:12]}"]
                for p in options.players
                if f"{p}, {bins[key].sha256[:12]}" in found[key]
            }
            for key in bins
        },
    }


def train(world: Far, seed: int, run: Path, data: Path | None) -> int:
    """The command as a user types it; CPU seconds of it, of play that it recorded too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    play = world.play if data is None else ("--data", str(data))
    words = ("train", world.id, "--seed", str(seed), "--run-dir", str(run), *play, *world.train)
    print("openjepa", *words, file=sys.stderr, flush=True)
    paths = [str(HERE / "worlds"), os.environ.get("PYTHONPATH", "")]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-m", "openjepa.cli", *words], check=True, env=environment, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def make_players(world: Far, run: Path, seed: int) -> dict[str, Player]:
    """Everyone who is judged; the flat ones are the saved agent without its map and configurator."""
    agent = load_agent(run)
    assert isinstance(agent.cost, PathCost)
    simple = replace(agent.config, configurator=None, edge_patience=None)
    parts = agent.bounds, simple, agent.perception.frame_shape
    raw = replace(agent.cost, distance=squared_l2)
    search = agent.planner.repair if isinstance(agent.planner, ProposeVerifyRepair) else agent.planner
    bounds = agent.bounds
    return {
        "configured": agent,
        "flat, within episodes": Agent(agent.model, agent.planner, agent.cost, *parts),
        "flat, raw": Agent(agent.model, search, raw, *parts),
        "random": PolicyPlayer(make_policy("uniform", bounds), seed),
        "standing still": Still(bounds.dim),
        "oracle": Guide(partial(world.ways, world.make(1)), bounds) if world.ways is not None else Still(bounds.dim),
    }


class Still:
    """Does nothing."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def start(self, goal_frames: np.ndarray, env_ids: Any = None, goal_proprio: Any = None) -> None:
        """Begins an episode."""

    def act(self, frames: np.ndarray, proprio: Any = None, active: Any = None) -> np.ndarray:
        """Zeros [B, A]."""
        return np.zeros((len(frames), self.dim), np.float32)


def judged(player: Player, world: Far, pairs: Manifest, budget: int, name: str) -> dict[str, Any]:
    """How often the goal's rule holds at the last step, and ever."""
    is_agent = isinstance(player, Agent)
    rule = JudgeConfig(budget=budget, stop_at_goal=False, batch_size=50, latency_pairs=2 if is_agent else 0)
    # Who decides at every second step looks at every second picture; who plans from two looks more often.
    looks = (
        player.config.frameskip * (player.config.replan_every if player.config.history == 1 else 1) if is_agent else 0
    )
    make = partial(world.make, draw_every=looks)
    shown = (lambda n: StateView(make(n))) if name == "oracle" else make
    report = evaluate(player, shown, pairs, rule, name=name)
    assert report.success_at_end is not None
    return {
        "success": report.success_at_end.estimate,
        "first_hit": report.success.estimate,
        "pairs": len(pairs),
        "ms": report.times.median_ms if is_agent else None,
    }


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of all seeds."""
    count = sum(row["pairs"] for row in rows)
    rate = wilson(round(sum(row["success"] * row["pairs"] for row in rows)), count)
    times = [row["ms"] for row in rows if row["ms"] is not None]
    return {
        "success": rate.estimate,
        "ci95": [rate.low, rate.high],
        "by_seed": [row["success"] for row in rows],
        "first_hit": float(np.mean([row["first_hit"] for row in rows])),
        "ms": round(float(np.median(times)), 1) if times else None,
    }


if __name__ == "__main__":
    main()
