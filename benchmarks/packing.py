"""Packed against separate passes of the encoder, on the mixtures for which packing is meant.

    python benchmarks/packing.py [--rounds 7]

Three mixtures: the two mask families of a batch of clips, clips with pictures, and pictures of many small crops.
Passes alternate in one process; the ratio is that of the medians. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from openjepa.models.vit import Tokens, VisionTransformer, ViTConfig

Parts = list[tuple[Tokens, torch.Tensor | None]]


def ids(batch: int, tokens: int, kept: int) -> torch.Tensor:
    """Random token numbers [B, K]."""
    return torch.stack([torch.randperm(tokens)[:kept].sort().values for _ in range(batch)])


def mixtures(encoder: VisionTransformer) -> dict[str, Parts]:
    """What is encoded, by name."""
    clips = encoder.tokenize(torch.randn(4, 16, 3, 128, 128))  # 8 * 8 * 8 = 512 tokens
    images = encoder.tokenize(torch.randn(8, 1, 3, 128, 128))  # 64 tokens
    crops = encoder.tokenize(torch.randn(32, 1, 3, 48, 48))  # 9 tokens
    return {
        "two_masks_of_4_clips": [(clips, ids(4, 512, 120)), (clips, ids(4, 512, 60))],
        "4_clips_and_8_pictures": [(clips, ids(4, 512, 120)), (images, None)],
        "8_pictures_and_32_crops": [(images, None), (crops, None)],
    }


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Prints a line for each mixture, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.manual_seed(0)
    config = ViTConfig(
        img_size=(128, 128), patch_size=16, num_frames=16, tubelet_size=2, embed_dim=384, depth=6, num_heads=6
    )
    encoder = VisionTransformer(config)
    figures = {}
    for name, parts in mixtures(encoder).items():
        parts = [(tokens._replace(x=tokens.x.detach()), kept) for tokens, kept in parts]

        def separate(parts: Parts = parts) -> None:
            sum(encoder.encode(*part).square().mean() for part in parts).backward()

        def packed(parts: Parts = parts) -> None:
            sum(z.square().mean() for z in encoder.encode_packed(parts)).backward()

        times: dict[str, list[float]] = {"separate": [], "packed": []}
        for _ in range(options.rounds + 1):  # the first round warms up
            times["separate"].append(seconds(separate))
            times["packed"].append(seconds(packed))
        medians = {key: statistics.median(values[1:]) for key, values in times.items()}
        figures[name] = {**medians, "speedup": medians["separate"] / medians["packed"]}
        print(name, {key: round(value, 4) for key, value in figures[name].items()}, flush=True)
    print(json.dumps({"threads": torch.get_num_threads(), "forward_and_backward_cpu_seconds": figures}))


if __name__ == "__main__":
    main()
