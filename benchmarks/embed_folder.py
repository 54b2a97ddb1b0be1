"""Embeds a folder of generated videos, some damaged, kills the work (SIGKILL), goes on, checks the result.

    python benchmarks/embed_folder.py --videos 2000 --damaged 0.01

The last line is JSON: seconds, videos per second, and whether every whole file has its rows exactly once,
every damaged one is named, and nothing that was committed before a kill was computed again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")


def make_video(job: tuple[Path, int]) -> None:
    from openjepa.data.video_file import write_video
    from openjepa.envs.shapes import ShapesConfig, draw_clips

    path, number = job
    clip = draw_clips(ShapesConfig(size=64, num_frames=16, background="gradient"), np.array([number]))
    write_video(path, clip.frames[0], fps=8)


def damage(path: Path, kind: int) -> None:
    """Words, nothing, the first half, or a hole in the middle of the header."""
    content = path.read_bytes()
    changed = (b"These are words, not a video.\n" * 50, b"", content[: len(content) // 2], b"\0" * 2000)
    path.write_bytes(changed[kind % 4])


def make_folder(folder: Path, videos: int, damaged: float) -> list[Path]:
    paths = [folder / f"{i // 100:02d}" / f"{i:05d}.mp4" for i in range(videos)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(make_video, [(p, i) for i, p in enumerate(paths)], chunksize=20))
    broken = sorted(random.Random(0).sample(paths, round(damaged * videos)))
    for i, path in enumerate(broken):
        damage(path, i)
    return broken


def embed(folder: Path, output: Path) -> None:
    """The work itself, in a process of its own: a small video transformer with random weights."""
    import torch

    from openjepa.eval.embedding.embed import EmbedConfig, run_embed
    from openjepa.eval.probing.frozen_encoder import frozen
    from openjepa.models.vit import VisionTransformer, ViTConfig

    torch.set_num_threads(1)
    shape = ViTConfig((64, 64), 16, num_frames=8, tubelet_size=2, embed_dim=192, depth=4, num_heads=3)
    encoder = frozen(VisionTransformer(shape, generator=torch.Generator().manual_seed(0)))
    calls = output.with_suffix(".calls")

    class Counted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = encoder.network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with calls.open("a") as file:
                file.write(f"{len(x)}\n")
            return self.network(x)

    counted = frozen_like(encoder, Counted())
    config = EmbedConfig(folder, output, kind="videos", size=64, num_frames=8, batch_size=16, part_size=50)
    report = run_embed(counted, config, progress=lambda done, total: print(f"{done}/{total}", flush=True))
    print(report.text())


def frozen_like(encoder, network):
    from dataclasses import replace

    return replace(encoder, network=network)


def committed(output: Path) -> int:
    log = output / "_commits.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--damaged", type=float, default=0.01, help="share of damaged files")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    parser.add_argument("--embed", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        embed(*options.embed)
        return
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(options.folder or Path(temporary), options)))


def measure(root: Path, options: argparse.Namespace) -> dict[str, object]:
    from openjepa.eval.embedding.embedding_store import read_embeddings

    began = time.perf_counter()
    broken = make_folder(root / "videos", options.videos, options.damaged)
    generated = time.perf_counter() - began
    print(f"{options.videos} videos, {len(broken)} damaged, in {generated:.1f} s", flush=True)

    command = [sys.executable, __file__, "--embed", str(root / "videos"), str(root / "out")]
    parts = -(-options.videos // 50)
    began, kept = time.perf_counter(), []
    for kill in range(options.kills):
        limit = parts * (kill + 1) // (options.kills + 1)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while committed(root / "out") < limit and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1 + 0.15 * kill)  # into the next part
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept.append(committed(root / "out"))
        print(f"killed after {kept[-1]} of {parts} parts", flush=True)
    before = {p.name: p.stat().st_mtime_ns for p in (root / "out").glob("part-*.parquet")}
    stray = len(before) - sum(json.loads(line)["part"] is not None for line in lines(root / "out"))
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began

    rows = read_embeddings(root / "out")
    report = json.loads((root / "out" / "_report.json").read_text())
    whole = sorted({str(p) for p in (root / "videos").rglob("*.mp4")} - {str(p) for p in broken})
    after = {p.name: p.stat().st_mtime_ns for p in (root / "out").glob("part-*.parquet")}
    encoded = sum(int(n) for n in (root / "out.calls").read_text().split())
    return {
        "videos": options.videos,
        "damaged": len(broken),
        "damaged_named": sorted(report["damaged"]) == [str(p) for p in broken],
        "rows": len(rows.paths),
        "every_file_once": rows.paths == whole,
        "finite": bool(np.isfinite(rows.vectors).all()),
        "kills": options.kills,
        "parts_kept_at_kills": kept,
        "kept_parts_untouched": sum(after.get(n) == t for n, t in before.items()) >= len(before) - stray,
        "videos_of_unfinished_parts_redone": encoded - len(whole),
        "seconds_generating": round(generated, 1),
        "seconds_embedding_with_kills": round(seconds, 1),
        "videos_per_second": round(options.videos / seconds, 1),
    }


def lines(output: Path) -> list[str]:
    return (output / "_commits.jsonl").read_text().splitlines()


if __name__ == "__main__":
    main()
