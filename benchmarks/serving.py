"""Abuses a policy server: thousands of requests, many of them wrong, from clients that come, go, stall and shout.

    python benchmarks/serving.py [--requests 10000] [--clients 6] [--run RUN]
    python benchmarks/serving.py --requests 2000 --clients 1 --iterations 200 --budget-ms 100

`openjepa serve` runs in a process of its own, with the agent of a run, or a small untrained one. Honest clients play
episodes, each in sessions of its own, and compare every answer with what the same agent does alone; beside them others
send damaged messages, oversized frames and broken HTTP, disconnect in the middle, and never read (these are not
counted). The last line is JSON: `crashes` (the server ended, or failed inside), `cross_talk` (answers that differ from
the agent alone), latency, memory from beginning to end, and the share of answers within the budget. A plan that was
cut short is another start for the next one, so an episode is compared up to there.
"""

import argparse
import json
import os
import random
import socket
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
from server_process import memory, save_agent_of_noise, start

os.environ.setdefault("OMP_NUM_THREADS", "1")


class Tally:
    """What all clients found, under one lock."""

    def __init__(self, requests: int) -> None:
        self.lock, self.left = threading.Lock(), requests
        self.counts: Counter[str] = Counter()
        self.latency: list[float] = []
        self.server_ms: list[float] = []
        self.decision_ms: list[float] = []

    def take(self) -> bool:
        """Whether one more request may be sent."""
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def add(self, kind: str) -> None:
        """Counts one."""
        with self.lock:
            self.counts[kind] += 1


def episodes(run: Path, count: int, length: int) -> list[dict]:
    """Pictures and goals, and what the agent answers to them when it is alone and may search to the end."""
    from openjepa.agent.saved import load_agent
    from openjepa.serve.sessions import Session

    session, found = Session(load_agent(run)), []
    channels, height, width = session.frame_shape
    for number in range(count):
        generator = np.random.default_rng(number)
        pictures = generator.integers(0, 256, (length + 1, height, width, channels), dtype=np.uint8)
        observations = [{"observation/image": p} for p in pictures[1:]]
        observations[0]["goal"] = pictures[0]
        session.reset()
        found.append({"observations": observations, "actions": [session.infer(o).actions for o in observations]})
    return found


def honest(uri: str, tally: Tally, known: list[dict], number: int) -> None:
    """Plays episodes in two sessions at once."""
    from openjepa.serve.client import Client

    generator = random.Random(number)
    while True:
        with Client(uri) as client:
            pair = [generator.randrange(len(known)) for _ in range(2)]
            comparable = dict.fromkeys("ab", True)
            for name in "ab":
                client.reset(name)
            for step in range(len(known[0]["observations"])):
                for name, episode in zip("ab", pair, strict=True):
                    if not tally.take():
                        return
                    began = time.perf_counter()
                    answer = client.infer(known[episode]["observations"][step], name)
                    took = (time.perf_counter() - began) * 1e3
                    cut_short = answer["server_timing"]["cut_short"]
                    comparable[name] &= not cut_short
                    same = np.array_equal(answer["actions"], known[episode]["actions"][step])
                    with tally.lock:
                        tally.counts["ok"] += 1
                        tally.counts["cut_short"] += cut_short
                        tally.counts["compared"] += comparable[name]
                        tally.counts["cross_talk"] += comparable[name] and not same
                        tally.latency.append(took)
                        tally.server_ms.append(answer["server_timing"]["total_ms"])
                        tally.decision_ms.append(answer["server_timing"]["infer_ms"])


def malformed(uri: str, tally: Tally, known: list[dict], number: int) -> None:
    """Sends what is no request, and wants one line for each."""
    from websockets.sync.client import connect

    from openjepa.serve.wire import pack

    generator = random.Random(number)
    whole = pack({**known[0]["observations"][0], "session_id": "m", "endpoint": "infer"})
    fixed = [
        b"", b"\xc1", b"\x91" * 5000, "words", pack([1, 2]), pack({"endpoint": "exec"}), pack({"image": "x"}),
        pack({"image": np.zeros((3, 3, 3), np.uint8)}), b"\x80\x04\x95cos\nsystem", whole[: len(whole) // 2],
        pack({"session_id": "s" * 5000}), b"\xdf\xff\xff\xff\xff", pack({"goal": np.zeros(4), "image": np.zeros(4)}),
    ]  # fmt: skip
    while tally.left > 0:
        with connect(uri, compression=None) as raw:
            raw.recv()
            for _ in range(50):
                if not tally.take():
                    return
                message = generator.choice(fixed)
                if generator.random() < 0.5:
                    damaged = bytearray(whole)
                    for _ in range(8):
                        damaged[generator.randrange(300)] = generator.randrange(256)
                    message = bytes(damaged)
                time.sleep(0.01)
                raw.send(message)
                answer = raw.recv()
                tally.add("refused" if isinstance(answer, str) else "damaged_yet_whole")
                if isinstance(answer, str) and "the server failed" in answer:
                    tally.add("failed")


def rude(uri: str, tally: Tally, known: list[dict], number: int) -> None:
    """Oversized frames, disconnects in the middle, broken HTTP, half a frame."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from openjepa.serve.wire import pack

    generator = random.Random(number)
    host, port = uri.removeprefix("ws://").split(":")
    message = pack(known[0]["observations"][0])
    while tally.take():
        kind = generator.choice(("oversized", "leaves", "http", "half"))
        tally.add(kind)
        time.sleep(0.02)
        try:
            if kind == "http":
                with socket.create_connection((host, int(port)), timeout=5) as raw:
                    raw.sendall(
                        generator.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"POST /x HTTP/1.0\r\n\r\n"))
                    )
                continue
            with connect(uri, compression=None, close_timeout=0.1) as raw:
                raw.recv()
                if kind == "oversized":
                    raw.send(b"\0" * 200_000)
                    raw.recv()
                elif kind == "leaves":
                    raw.send(message)
                    raw.socket.shutdown(socket.SHUT_RDWR)
                else:
                    raw.socket.sendall(b"\x82\xfe\x40\x00\x01\x02\x03\x04" + message[:100])
                    raw.socket.shutdown(socket.SHUT_RDWR)
        except (ConnectionClosed, OSError, EOFError, TimeoutError):
            continue


def deaf(uri: str, tally: Tally, known: list[dict], number: int) -> None:
    """Asks and asks, and never reads an answer."""
    from openjepa.serve.wire import pack

    host, port = uri.removeprefix("ws://").split(":")
    ask = f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    ask += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    payload = pack({"endpoint": "reset"})
    frame = b"\x82" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload
    while tally.left > 0:
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(ask.encode())
            raw.settimeout(0.5)
            try:
                for _ in range(500):
                    raw.sendall(frame)
                    tally.add("unread")
                    time.sleep(0.002)
            except OSError:
                continue


def measure(options: argparse.Namespace, root: Path) -> dict[str, object]:
    from openjepa.nn.processor import processor

    run = options.run
    if run is None:
        run = root / "agent"
        save_agent_of_noise(run, options.iterations)
    known = episodes(run, 8, 10)
    log = root / "log"
    words = ["serve", str(run), "--port", "0", "--max-connections", "64", "--max-frame-bytes", "100000"]
    if options.budget_ms:
        words += ["--budget-ms", str(options.budget_ms)]
    process, uri = start(words, "ws://", log)
    tally = Tally(options.requests)
    kinds = [honest] * options.clients + [malformed, rude, deaf]
    errors: list[str] = []

    def guarded(kind, number: int) -> None:
        try:
            kind(uri, tally, known, number)
        except Exception as error:
            errors.append(f"{kind.__name__}: {type(error).__name__}: {error}")

    began = time.perf_counter()
    threads = [threading.Thread(target=guarded, args=(kind, i)) for i, kind in enumerate(kinds)]
    for thread in threads:
        thread.start()
    sizes = [memory(process)]
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        if process.poll() is None:
            sizes.append(memory(process))
    seconds = time.perf_counter() - began
    alive = process.poll() is None
    text = urllib.request.urlopen(f"http://{uri.removeprefix('ws://')}/metrics").read().decode() if alive else ""
    process.terminate()
    status = process.wait(20)
    failures = log.read_text().count("a request failed")
    quantiles = lambda values: {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99, 100)}  # noqa: E731
    answered = np.array(tally.server_ms)  # from the arrival of a request, as the budget counts
    within = None if not options.budget_ms else float((answered <= options.budget_ms).mean())
    return {
        "processor": processor().text(),
        "requests": options.requests,
        "seconds": round(seconds, 1),
        "crashes": int(not alive) + failures + tally.counts["failed"],
        "ended_with": status,
        "client_errors": errors[:5],
        "counts": dict(sorted(tally.counts.items())),
        "cross_talk": tally.counts["cross_talk"],
        "client_ms": quantiles(tally.latency),
        "server_ms": quantiles(tally.server_ms),
        "decision_ms": quantiles(tally.decision_ms),
        "budget_ms": options.budget_ms,
        "within_budget": within,
        "memory_mb": [round(sizes[int(i * (len(sizes) - 1))], 1) for i in (0, 0.25, 0.5, 0.75, 1)],
        "metrics_lines": len(text.splitlines()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=6, help="honest ones")
    parser.add_argument("--budget-ms", type=float, default=0, help="0 for none")
    parser.add_argument("--iterations", type=int, default=2, help="rounds of the untrained agent's search")
    parser.add_argument("--run", type=Path, help="a finished run; a small untrained agent otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(options, Path(temporary))))


if __name__ == "__main__":
    main()
