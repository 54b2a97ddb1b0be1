"""Encoding with our networks and with `transformers`: the same weights, input and threads, side by side in one run.

    python benchmarks/encoder_inference.py [--threads 2] [--repeats 5] [--large-frames 16] [--clock wall|cpu]

Calls alternate, and each side counts its fastest one, so that a busy machine disturbs both alike; there, take one
thread and `--clock cpu`. `transformers` is asked for its encoder only (`skip_predictor`). The default precision is
bfloat16 where the processor multiplies it, against `transformers` in its own default, float32. `share_of_products` is
what our matrix products save of our own time: [least, median, largest] of the repeats. What they are worth depends on
the core, so the processor is part of the result. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

import openjepa.nn.linear as products
from openjepa.interop import huggingface
from openjepa.models.vit import VisionTransformer
from openjepa.nn.processor import processor

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Times = dict[str, list[float]]


def timed(calls: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> Times:
    """Seconds of several calls, the sides taking turns."""
    times: Times = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return times


def speedup(times: Times, ours: str = "ours") -> float:
    """How much faster the fastest call of ours is."""
    return min(times["theirs"]) / min(times[ours])


def fastest(times: Times) -> dict[str, float]:
    """Milliseconds of the fastest call of each side."""
    return {side: round(min(seconds) * 1e3, 1) for side, seconds in times.items()}


def share_of_products(times: Times) -> list[float]:
    """What oneDNN's products save of the time without them: least, median, largest."""
    saved = sorted(1 - own / without for own, without in zip(times["ours"], times["plain"], strict=True))
    return [round(x, 4) for x in (saved[0], statistics.median(saved), saved[-1])]


@contextmanager
def plain_products():
    """Every product as PyTorch does it."""
    chosen = products.onednn_pays
    products.onednn_pays = frozenset  # an empty one
    try:
        yield
    finally:
        products.onednn_pays = chosen


def plainly(network: VisionTransformer, x: torch.Tensor) -> torch.Tensor:
    with plain_products():
        return network(x)


def our_copy(theirs: Any) -> VisionTransformer:
    """The same weights in our network, by way of the files."""
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return huggingface.load_folder(Path(folder)).encoder


def vjepa2(size: tuple[int, int, int], frames: int) -> Any:
    """V-JEPA 2 of `transformers`, random weights, 128 pixels: 32 tokens for each frame."""
    width, depth, heads = size
    config = transformers.VJEPA2Config(
        crop_size=128,
        frames_per_clip=frames,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        pred_num_hidden_layers=1,
    )
    torch.manual_seed(0)
    return transformers.VJEPA2Model(config).eval()


def ijepa() -> Any:
    """I-JEPA of `transformers`, ViT-B/16 at 224 pixels, random weights."""
    config = transformers.IJepaConfig(
        image_size=224,
        patch_size=16,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        layer_norm_eps=1e-6,
    )
    torch.manual_seed(0)
    return transformers.IJepaModel(config, add_pooling_layer=False).eval()


def default_precision() -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


@torch.inference_mode()
def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large-frames", type=int, default=16, help="frames of the ViT-L clip, even")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is counted")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    dtype, repeats, clock = default_precision(), options.repeats, CLOCKS[options.clock]
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    found: dict[str, Any] = {"processor": processor().text(), "versions": versions, **vars(options)}
    print(f"{found['processor']}, {versions}, {options.threads} threads, {options.clock} clock, {dtype}", flush=True)
    shares, milliseconds = {}, {}

    theirs = vjepa2((384, 12, 6), 16)
    ours, clip = our_copy(theirs), torch.randn(1, 16, 3, 128, 128)

    def low() -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return ours(clip)

    reference = ours(clip)
    gap = float((theirs(clip, skip_predictor=True).last_hidden_state - reference).abs().max())
    cosine = torch.nn.functional.cosine_similarity(low().float(), reference, dim=-1).mean()
    calls = {
        "theirs": lambda: theirs(clip, skip_predictor=True),
        "ours": lambda: ours(clip),
        "plain": lambda: plainly(ours, clip),
    }
    times = timed({**calls, "low": low}, repeats, clock)
    report("V-JEPA 2 ViT-S, 512 tokens", times, gap)
    found["vjepa2_small_speedup_fp32"] = speedup(times)
    found["vjepa2_speedup_default_precision"] = speedup(times, "low")
    found["cosine_default_precision"] = float(cosine)
    shares["vjepa2_small"], milliseconds["vjepa2_small"] = share_of_products(times), fastest(times)

    theirs = vjepa2((1024, 24, 16), options.large_frames)
    ours, clip = our_copy(theirs), torch.randn(1, options.large_frames, 3, 128, 128)
    gap = float((theirs(clip, skip_predictor=True).last_hidden_state - ours(clip)).abs().max())
    times = timed(calls, repeats, clock)
    report(f"V-JEPA 2 ViT-L, {options.large_frames * 32} tokens", times, gap)
    found["vjepa2_large_speedup_fp32"] = speedup(times)
    shares["vjepa2_large"], milliseconds["vjepa2_large"] = share_of_products(times), fastest(times)

    theirs = ijepa()
    ours, images = our_copy(theirs), torch.randn(2, 3, 224, 224)
    gap = float((theirs(images).last_hidden_state - ours(images)).abs().max())
    calls = {"theirs": lambda: theirs(images), "ours": lambda: ours(images), "plain": lambda: plainly(ours, images)}
    times = timed(calls, repeats, clock)
    report("I-JEPA ViT-B/16, 2 x 196 tokens", times, gap)
    found["ijepa_speedup_fp32"] = speedup(times)
    shares["ijepa"], milliseconds["ijepa"] = share_of_products(times), fastest(times)
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
    print(json.dumps({**rounded, "share_of_products": shares, "milliseconds": milliseconds}))


def report(name: str, times: Times, gap: float) -> None:
    """Prints one line."""
    shown = ", ".join(f"{side} {ms:.0f} ms" for side, ms in fastest(times).items())
    print(f"{name}: {shown}; largest difference in float32 {gap:.1e}", file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
