"""Embeds generated videos on a Ray cluster, kills a worker (SIGKILL) on the way, compares with one process.

    python benchmarks/scale_embedding.py [--videos 2000] [--damaged 0.01] [--workers 2]

Three times the same `openjepa embed`: in one process; on a cluster that the command starts itself; on one that
`ray start --head` has started, given by `--address`. On both clusters one worker is killed after a third of the parts.
The last line is JSON: whether every row is equal to that of one process and there once, whether the damaged files have
the same names and reasons, how many workers were replaced, and seconds.
"""

import argparse
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
SIZE, FRAMES, PART = 32, 4, 40


def make_video(job: tuple[Path, int]) -> None:
    from openjepa.data.video_file import write_video
    from openjepa.envs.shapes import ShapesConfig, draw_clips

    path, number = job
    clip = draw_clips(ShapesConfig(size=64, num_frames=FRAMES, background="gradient"), np.array([number]))
    write_video(path, clip.frames[0], fps=8)


def make_folder(folder: Path, videos: int, damaged: float) -> list[Path]:
    paths = [folder / f"{i // 100:02d}" / f"{i:05d}.mp4" for i in range(videos)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(make_video, [(p, i) for i, p in enumerate(paths)], chunksize=20))
    broken = sorted(random.Random(0).sample(paths, round(damaged * videos)))
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    return broken


def save_model(folder: Path) -> None:
    """A small video transformer with random weights."""
    import torch

    from openjepa.interop.pretrained import save_pretrained
    from openjepa.models.vit import VisionTransformer, ViTConfig

    shape = ViTConfig((SIZE, SIZE), 8, num_frames=FRAMES, tubelet_size=2, embed_dim=192, depth=4, num_heads=3)
    save_pretrained(VisionTransformer(shape, generator=torch.Generator().manual_seed(0)), folder)


def command(root: Path, out: str, *options: str) -> list[str]:
    fixed = ["--kind", "videos", "--num-frames", FRAMES, "--batch-size", 16, "--part-size", PART, "--num-threads", 1]
    words = ["embed", root / "videos", "--model", root / "model", "--out", root / out, *fixed, *options]
    return [sys.executable, "-m", "openjepa.cli", *map(str, words)]


def committed(output: Path) -> int:
    log = output / "_commits.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def workers_below(ancestor: int) -> list[int]:
    """Process numbers of the workers that a process, or one that it started, has started."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                found.append(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue

    def belongs(process: int) -> bool:
        while process in parents:
            if process == ancestor:
                return True
            process = parents[process]
        return False

    return [process for process in found if belongs(process)]


def embed_and_kill(words: list[str], output: Path, parts: int, cluster: int | None) -> tuple[float, bool, str]:
    """Runs a command and kills one of its workers after a third of the parts; seconds, whether, and what was said."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    while committed(output) < parts // 3 and process.poll() is None:
        time.sleep(0.01)
    victims = workers_below(cluster or process.pid)
    if victims:
        os.kill(victims[0], signal.SIGKILL)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{words} ended with status {process.returncode}: {said}")
    return time.perf_counter() - began, bool(victims) and committed(output) > parts // 3, said


@contextmanager
def started_cluster(root: Path, workers: int):
    """A cluster by `ray start --head`; its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["start", "--head", "--block", f"--port={port}", f"--num-cpus={workers}", "--include-dashboard=false"]
    words += ["--disable-usage-stats", f"--temp-dir={root / 'ray'}"]
    program = str(Path(sys.executable).with_name("ray"))
    # One secret for head, workers and command, of this run alone; whoever has it may run code on the cluster.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    head = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(5)  # the node joins its own head
        yield f"127.0.0.1:{port}", head.pid
    finally:
        head.terminate()
        head.wait()


def measure(root: Path, options: argparse.Namespace) -> dict[str, object]:
    from openjepa.eval.embedding.embedding_store import read_embeddings
    from openjepa.nn.processor import processor

    broken = make_folder(root / "videos", options.videos, options.damaged)
    save_model(root / "model")
    parts, workers = -(-options.videos // PART), str(options.workers)
    print(f"{options.videos} videos, {len(broken)} damaged, {parts} parts", flush=True)
    began = time.perf_counter()
    subprocess.run(command(root, "one"), check=True, stdout=subprocess.DEVNULL)
    seconds = {"one": time.perf_counter() - began}
    said, killed = {}, {}
    words = command(root, "local", "--engine", "ray", "--workers", workers)
    seconds["local"], killed["local"], said["local"] = embed_and_kill(words, root / "local", parts, None)
    print(said["local"].splitlines()[0], flush=True)
    with started_cluster(root, options.workers) as (address, head):
        words = command(root, "joined", "--engine", "ray", "--workers", workers, "--address", address)
        seconds["joined"], killed["joined"], said["joined"] = embed_and_kill(words, root / "joined", parts, head)
    print(said["joined"].splitlines()[0], flush=True)

    rows = {name: read_embeddings(root / name) for name in seconds}
    reports = {name: json.loads((root / name / "_report.json").read_text()) for name in seconds}
    whole = sorted({str(p) for p in (root / "videos").rglob("*.mp4")} - {str(p) for p in broken})
    equal = {
        name: all(
            np.array_equal(getattr(rows[name], key), getattr(rows["one"], key))
            for key in ("index", "frame", "time", "vectors")
        )
        for name in said
    }
    return {
        "processor": processor().text(),
        "videos": options.videos,
        "damaged": len(broken),
        "workers": options.workers,
        "rows": len(rows["one"].paths),
        "every_file_once": {name: found.paths == whole for name, found in rows.items()},
        "bits_equal_to_one_process": equal,
        "damaged_named_alike": {name: reports[name]["damaged"] == reports["one"]["damaged"] for name in said},
        "damaged_named": sorted(reports["one"]["damaged"]) == [str(p) for p in broken],
        "killed_on_the_way": killed,
        "replaced": {name: "1 workers died and were replaced" in text for name, text in said.items()},
        "seconds": {name: round(s, 1) for name, s in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--damaged", type=float, default=0.01, help="share of damaged files")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(Path(temporary), options)))


if __name__ == "__main__":
    main()
