"""How fast a memory of a million latents says which of them is nearest, beside `torch.cdist` in the same run.

    python benchmarks/memory.py

The memory is the map of an agent (`agent/landmarks.py`), with as many landmarks; latents lie in sixteen dimensions, in
clusters as those of a world do. One query at a time, one thread, CPU milliseconds: medians. The last line is JSON.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from openjepa.agent.landmarks import Landmarks


def milliseconds(ask: Callable[[torch.Tensor], object], queries: torch.Tensor) -> tuple[float, float]:
    """Median and largest time of one query."""
    found = []
    for query in queries:
        began = time.thread_time()
        ask(query)
        found.append(1000 * (time.thread_time() - began))
    return sorted(found)[len(found) // 2], max(found)


@torch.no_grad()
def main() -> None:
    """Measures both and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    centres = torch.randn(500, 16, generator=drawn)
    owner = torch.randint(500, (options.latents + options.queries,), generator=drawn)
    latents = (centres[owner] + 0.1 * torch.randn(len(owner), 16, generator=drawn)).unsqueeze(1)
    memory = Landmarks(options.latents, 0, (1, 16))
    memory.places.copy_(latents[: options.latents])
    queries, places = latents[options.latents :], memory.places.flatten(1)
    answers = [(int(memory.nearest(query)), int(torch.cdist(query, places).argmin())) for query in queries[:10]]
    ours, slowest = milliseconds(memory.nearest, queries)
    peer, _ = milliseconds(lambda query: torch.cdist(query, places).argmin(), queries)
    agree = sum(one == other for one, other in answers) / len(answers)
    row = {"latents": options.latents, "ms": ours, "slowest_ms": slowest, "cdist_ms": peer, "ratio": peer / ours}
    print(json.dumps({**row, "agreement": agree, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
