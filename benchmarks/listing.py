"""What it costs to know a large set: files in folders, and samples in tar shards.

    python benchmarks/listing.py [--samples 100000]

Makes that many empty files, and one shard with as many small members, lists both and says how long it took and how much
memory the list holds. Everything grows in proportion. The last line is JSON: seconds and megabytes for a million.
"""

import argparse
import io
import json
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openjepa.data.items import list_files
from openjepa.data.shards import ShardItems
from openjepa.nn.processor import processor


def cost(make: Callable[[], Any], samples: int) -> dict[str, float]:
    """CPU-seconds and megabytes of a list, scaled to a million samples."""
    began = time.process_time()
    found = make()
    seconds = time.process_time() - began
    assert len(found) == samples
    del found
    tracemalloc.start()
    found = make()
    held = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    del found
    return {"seconds": round(seconds * 1e6 / samples, 1), "megabytes": round(held * 1e6 / samples)}


def make_shard(path: Path, samples: int) -> None:
    with tarfile.open(path, "w") as tar:
        for i in range(samples):
            member = tarfile.TarInfo(f"{i:09d}.mp4")
            member.size = 8
            tar.addfile(member, io.BytesIO(b"x" * 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=100_000)
    options = parser.parse_args()
    found: dict[str, Any] = {"processor": processor().text(), "samples": options.samples}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for i in range(options.samples):
            folder = root / "files" / f"{i // 1000:05d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:09d}.mp4").touch()
        make_shard(root / "shard.tar", options.samples)
        found["files"] = cost(lambda: list_files(root / "files", (".mp4",)), options.samples)
        found["shards"] = cost(lambda: ShardItems([root / "shard.tar"]), options.samples)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
