"""Abuses an MCP server: thousands of calls over HTTP, many of them wrong, oversized, cancelled, all at the same time.

    python benchmarks/mcp_server.py [--calls 2000] [--clients 6] [--run RUN]

`openjepa mcp --http` runs in a process of its own, with the agent of a run, or a small untrained one. Honest clients
(the official one) open episodes, imagine, compare, plan and act, and compare every answer with what the same tools say
when they are called alone, in this process. Beside them others send malformed and oversized calls, handles of nobody,
and give up in the middle. The last line is JSON: `crashes` (the server ended, or failed inside), `cross_talk` (answers
that differ), calls by kind, latency of the honest ones, memory from beginning to end, and what the protocol adds to a
call: processor time of `imagine` in the server, relative to that of the same tools called directly, in the same run.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import anyio
import httpx2
import numpy as np
from mcp import Client
from server_process import memory, save_agent_of_noise, start

LINES = [[[math.cos(a), math.sin(a)]] * 4 for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
ROUNDS = 3  # of an episode


def plain(name: str, answer: dict) -> dict:
    """An answer without its handles, which are new every time."""
    if name == "compare_futures":
        answer = {**answer, "futures": [{k: v for k, v in one.items() if k != "state"} for one in answer["futures"]]}
    return {k: v for k, v in answer.items() if k not in ("state", "path", "plan", "episode")}


async def play(call, seed: int) -> list[tuple[str, dict]]:
    """One episode: the calls and their answers, without handles."""
    said = []

    async def ask(name: str, **arguments: object) -> dict:
        answer = await call(name, arguments)
        said.append((name, plain(name, answer)))
        return answer

    goal = await ask("observe", seed=seed + 1000)
    seen = await ask("observe", seed=seed)
    for number in range(ROUNDS):
        await ask("imagine", state=seen["state"], actions=LINES[(seed + number) % 8])
        await ask("compare_futures", state=seen["state"], futures=LINES, goal_state=goal["state"])
        plan = await ask("plan", state=seen["state"], goal_state=goal["state"])
        seen = await ask("act", state=seen["state"], plan=plan["plan"])
        await ask("distance", first=seen["state"], second=goal["state"])
    await ask("surprise", state=seen["state"])
    for one in (seen, goal):
        await ask("forget", handle=one["state"])
    return said


def make_alone(run: Path):
    """The same tools in this process, without the protocol; they are called as `play` calls."""
    from dataclasses import asdict

    from openjepa.agent.saved import load_agent, read_card
    from openjepa.envs import make_world
    from openjepa.serve.mcp.agent_tools import AgentTools
    from openjepa.serve.mcp.answers import Forgotten
    from openjepa.serve.mcp.handles import Shelf
    from openjepa.serve.mcp.limits import Limits
    from openjepa.serve.mcp.work import Job

    limits, card = Limits(), read_card(run)
    shelf = Shelf(limits.episodes, limits.states, limits.idle_seconds)

    def world(count: int):
        return make_world(card.world, count, env_options=dict(card.world_options))

    tools = AgentTools(load_agent(run), card, shelf, limits, make_world=world, may_act=True)

    async def call(name: str, arguments: dict) -> dict:
        if name == "forget":
            return asdict(Forgotten(shelf.forget(arguments["handle"])))
        return asdict(getattr(tools, name)(Job(), **arguments).answer)

    return call


class Tally:
    """What all clients found; of one thread."""

    def __init__(self, calls: int) -> None:
        self.left, self.counts, self.cross_talk = calls, Counter(), 0
        self.latency: dict[str, list[float]] = {}

    def take(self, kind: str) -> bool:
        """Counts a call, if one more may be sent."""
        self.left -= 1
        if self.left >= 0:
            self.counts[kind] += 1
        return self.left >= 0


async def honest(address: str, tally: Tally, known: dict[int, list], number: int) -> None:
    """Plays episodes until there are no calls left, the last one to its end."""
    seeds = list(known)
    async with Client(address) as client:

        async def call(name: str, arguments: dict) -> dict:
            tally.take("honest")
            begin = time.perf_counter()
            result = await client.call_tool(name, arguments)
            tally.latency.setdefault(name, []).append(1000 * (time.perf_counter() - begin))
            if result.is_error:
                raise RuntimeError(result.content[0].text)
            return result.structured_content

        while tally.left > 0:
            seed = seeds[number % len(seeds)]
            number += 1
            said = await play(call, seed)
            tally.cross_talk += sum(not same(one, other) for one, other in zip(said, known[seed], strict=True))


def same(one: object, other: object) -> bool:
    """Whether two answers agree, numbers up to rounding."""
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


async def rude(address: str, tally: Tally, number: int) -> None:
    """Sends what is wrong, and expects a line for it."""
    draws = np.random.default_rng(number)
    async with Client(address) as client:
        state = (await client.call_tool("observe", {"seed": 5})).structured_content["state"]
        wrong = [
            ("imagin", {}),
            ("imagine", {"state": state, "actions": [["x"]]}),
            ("imagine", {"state": state, "actions": [[9.0, 9.0]]}),
            ("imagine", {"state": state, "actions": [[0.0, 0.0]] * 300}),
            ("imagine", {"state": "state-0123456789abcdef01234567", "actions": [[0.0, 0.0]]}),
            ("imagine", {"state": state, "action": [[0.0, 0.0]]}),
            ("plan", {"state": state, "goal": "the moon"}),
            ("plan", {"state": state, "goal_picture": "A" * 100_000}),
            ("plan", {"state": state, "goal_picture": "A" * 4_000_000}),
            ("act", {"state": state}),
            ("describe", {"state": state * 100}),
            ("surprise", {"state": state}),
        ]
        while tally.take("wrong"):
            name, arguments = wrong[draws.integers(len(wrong))]
            result = await client.call_tool(name, arguments)
            if not result.is_error or "\n" in result.content[0].text:
                tally.counts["not refused in one line"] += 1


async def noisy(address: str, tally: Tally, number: int) -> None:
    """Sends what is no protocol at all."""
    draws = np.random.default_rng(number)
    bodies = [b"", b"{", b"[1, 2]", b"\xff" * 100, b"[" * 10_000, b"x" * 20_000_000]
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(timeout=60) as http:
        while tally.take("no protocol"):
            answer = await http.post(address, content=bodies[draws.integers(len(bodies))], headers=headers)
            if not 400 <= answer.status_code < 500:
                tally.counts[f"status {answer.status_code}"] += 1
            await anyio.sleep(0.02)


async def fickle(address: str, tally: Tally, number: int) -> None:
    """Gives up on every call."""
    draws = np.random.default_rng(number)
    async with Client(address) as client:
        state = (await client.call_tool("observe", {"seed": 6})).structured_content["state"]
        while tally.take("given up"):
            with anyio.move_on_after(float(draws.uniform(0, 0.02))):
                await client.call_tool("compare_futures", {"state": state, "futures": LINES * 8, "goal_state": state})
            await anyio.sleep(0.3)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def overhead(address: str, alone, process: subprocess.Popen, repeats: int) -> float:
    """Processor time of `imagine` in the server, relative to the same call without the protocol in this process."""
    spent: dict[str, float] = {}
    async with Client(address) as client:

        async def wire(name: str, arguments: dict) -> dict:
            return (await client.call_tool(name, arguments)).structured_content

        for name, call, pid in (("wire", wire, process.pid), ("alone", alone, os.getpid())):
            state = (await call("observe", {"seed": 7}))["state"]
            await call("imagine", {"state": state, "actions": LINES[0]})  # the pictures of the episode are made
            begin = cpu_seconds(pid)
            for _ in range(repeats):
                await call("imagine", {"state": state, "actions": LINES[0]})
            spent[name] = cpu_seconds(pid) - begin
            await call("forget", {"handle": state})
    return spent["wire"] / max(spent["alone"], 0.01)


async def abuse(address: str, options: argparse.Namespace, alone, known: dict) -> Tally:
    """All clients at the same time."""
    tally = Tally(options.calls)
    async with anyio.create_task_group() as group:
        for number in range(options.clients):
            group.start_soon(honest, address, tally, known, number)
        for number, kind in enumerate((rude, rude, noisy, fickle)):
            group.start_soon(kind, address, tally, number)
    return tally


async def measure(address: str, options: argparse.Namespace, run: Path, process: subprocess.Popen) -> dict:
    alone = make_alone(run)
    known = {seed: await play(alone, seed) for seed in range(8)}
    ratio = await overhead(address, alone, process, options.repeats)
    before, begin = memory(process), time.perf_counter()
    tally = await abuse(address, options, alone, known)
    times = np.concatenate([np.array(one) for one in tally.latency.values()])
    return {
        "calls": sum(tally.counts[kind] for kind in ("honest", "wrong", "no protocol", "given up")),
        "kinds": dict(tally.counts),
        "cross_talk": tally.cross_talk,
        "seconds": round(time.perf_counter() - begin, 1),
        "latency_ms": {f"p{q}": round(float(np.percentile(times, q)), 1) for q in (50, 95, 99)},
        "median_ms": {name: round(float(np.median(one)), 1) for name, one in tally.latency.items()},
        "imagine_cpu_with_protocol": round(ratio, 2),
        "memory_mb": [round(before), round(memory(process))],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, log = options.run or Path(folder) / "agent", Path(folder) / "log"
        if options.run is None:
            save_agent_of_noise(run, 3, moves=0.02)
        words = ["mcp", str(run), "--http", "--port", "0", "--allow-act", "--call-seconds", "60"]
        process, address = start(words, "http://", log)
        try:
            found = anyio.run(measure, address, options, run, process)
            found["crashes"] = int(process.poll() is not None) + log.read_text().count("Traceback")
        finally:
            process.terminate()
            process.wait()
        if found["crashes"]:
            print(log.read_text()[-4000:])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
