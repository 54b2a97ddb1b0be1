r"""A scripted client without a language model solves far goals over MCP: it imagines, compares and acts.

    openjepa train object-rooms
    openjepa train language runs/object-rooms          # for goals in words; without it there are pictures alone
    python benchmarks/mcp_far_goals.py runs/object-rooms

The server has the learned agent and its world; the client sees the protocol alone. It compares 64 imagined futures of
two straight legs drawn at random, takes the first steps of the best one, and looks again; where it hardly moved, it
does not try that way again until it has. It never calls `plan`. Goals are states seen in the other room (within 3 px
counts, at any time), and the other room in words (it must be there when the budget is spent). The judge is the
simulator's state. The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from mcp import Client

from openjepa import load_agent
from openjepa.agent import read_card
from openjepa.envs import make_world
from openjepa.envs.facts import spoken
from openjepa.envs.two_rooms import REACHED, TwoRooms
from openjepa.eval.intervals import wilson
from openjepa.language import load
from openjepa.serve.mcp.agent_tools import AgentTools
from openjepa.serve.mcp.handles import Shelf
from openjepa.serve.mcp.limits import Limits
from openjepa.serve.mcp.server import make_server

FUTURES = 64  # that are compared at a time
STEPS = 12  # of a future
BUDGET = 60  # steps
ACTED = 3  # steps that are taken of the best future before it looks again
MOVED = 0.4  # share of the way that it meant to go, from which on it moved
LIKE = 0.7  # cosine from which on a way is like one that failed
WORDS = {"left room": "go into the left room", "right room": "go into the right room"}


def draw_futures(rng: np.random.Generator, failed: list[np.ndarray]) -> list[list[list[float]]]:
    """Futures of two straight legs, none of which begins as one that failed."""
    found: list[list[list[float]]] = []
    while len(found) < FUTURES:
        angles, speeds, turn = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.3, 1, 2), int(rng.integers(1, STEPS))
        ways = np.stack([np.cos(angles), np.sin(angles)], 1)
        if all(ways[0] @ way < LIKE for way in failed):
            first, then = (speeds[:, None] * ways).tolist()
            found.append([first] * turn + [then] * (STEPS - turn))
    return found


class Judge:
    """Sees the worlds that the server makes, which the client does not.

    Args:
        name: of the world.
        options: of the world.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name, self.options, self.made = name, options, list[TwoRooms]()

    def __call__(self, count: int) -> TwoRooms:
        """Makes a world and remembers it."""
        world = make_world(self.name, count, **self.options)
        assert isinstance(world, TwoRooms)
        self.made.append(world)
        return world

    def state(self) -> np.ndarray:
        """Of the episode that began last [P]."""
        return self.made[-1].states()[0]


async def solve(client: Client, judge: Judge, seed: int, words: str | None) -> dict[str, Any]:
    """One far goal: begins an episode, thinks and acts until it arrives or the budget is spent."""

    async def call(name: str, **arguments: object) -> dict[str, Any]:
        result = await client.call_tool(name, arguments)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    aim: dict[str, Any] = {"goal": words}
    if words is None:
        seen = await call("observe", seed=2 * seed + 1)
        aim, wanted = {"goal_state": seen["state"]}, judge.state().copy()
    seen = await call("observe", seed=2 * seed)
    (_, facts), calls = spoken(judge.made[-1]), 2

    def arrived() -> bool:
        now = judge.state()
        if words is None:
            return float(np.linalg.norm(now[:2] - wanted[:2])) <= REACHED
        relation = next(name for name, text in WORDS.items() if text == words)
        holds = facts.holds(now[None])[:, 0]
        return any(holds[i] for i, fact in enumerate(facts.all) if fact.relation == relation)

    ever, failed, rng = False, list[np.ndarray](), np.random.default_rng(seed)
    while seen["step"] < BUDGET:
        futures = draw_futures(rng, failed)
        found = await call("compare_futures", state=seen["state"], futures=futures, **aim)
        best, before = found["futures"][0], seen
        steps = max(1, min(ACTED, best["nearest_step"] - seen["step"], BUDGET - seen["step"]))
        acted = np.array(futures[best["number"]][:steps])
        seen = await call("act", state=seen["state"], actions=acted.tolist())
        moved = (await call("distance", first=before["state"], second=seen["state"]))["distance"]
        meant = np.linalg.norm(acted, axis=1)  # steps, of which one is an action of length 1
        failed = [] if moved >= MOVED * meant.sum() else [*failed[-2:], acted[0] / meant[0]]
        ever, calls = ever or arrived(), calls + 3
        if words is None and ever:
            break
    return {"solved": ever if words is None else arrived(), "steps": seen["step"], "calls": calls}


def seeds_of(judge: Judge, count: int) -> tuple[list[int], list[str]]:
    """Pairs of seeds whose starts lie in different rooms, and for each start the words for the other room."""
    world, found, words, seed = judge(1), [], [], 600_000
    while len(found) < count:
        places = []
        for one in (2 * seed, 2 * seed + 1):
            world.reset([one])
            places.append(world.states()[0])
        if (places[0][0] < places[0][2]) != (places[1][0] < places[1][2]):
            found.append(seed)
            words.append(WORDS["right room" if places[0][0] < places[0][2] else "left room"])
        seed += 1
    return found, words


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    agent, card, limits = load_agent(options.run), read_card(options.run), Limits()
    judge = Judge(card.world, dict(card.world_options))
    spoken = (options.run / "language").is_dir()
    tools = AgentTools(
        agent,
        card,
        Shelf(limits.episodes, limits.states, limits.idle_seconds),
        limits,
        make_world=judge,
        may_act=True,
        words=load(options.run) if spoken else "",
        remembered=0,
    )
    seeds, words = seeds_of(judge, options.count)
    found: dict[str, Any] = {"count": options.count}
    async with Client(make_server(tools)) as client:
        for kind in ("picture", "words") if spoken else ("picture",):
            played = []
            for seed, text in zip(seeds, words, strict=True):
                played.append(await solve(client, judge, seed, text if kind == "words" else None))
            rate = wilson(sum(one["solved"] for one in played), len(played))
            found[kind] = {
                "solved": sum(one["solved"] for one in played),
                "ci95": [rate.low, rate.high],
                "median_steps": float(np.median([one["steps"] for one in played])),
                "median_calls": float(np.median([one["calls"] for one in played])),
            }
            print(f"{kind}: {json.dumps(found[kind])}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=20, help="far goals of each kind")
    print(json.dumps(anyio.run(measure, parser.parse_args())))


if __name__ == "__main__":
    main()
