"""Encoding with our networks and with `transformers`: the same weights, input and threads, side by side in one run.

    python benchmarks/encoder_inference.py [--threads 2] [--repeats 7] [--large-frames 16]

Calls alternate, and each side counts its fastest one, so that a busy machine disturbs both alike. `transformers` is
asked for its encoder only (`skip_predictor`). The default precision is bfloat16 where the processor multiplies it,
against `transformers` in its own default, float32. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from openjepa.interop import huggingface
from openjepa.models.vit import VisionTransformer


def fastest(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest of several calls, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


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
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large-frames", type=int, default=16, help="frames of the ViT-L clip, even")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    dtype, found = default_precision(), {}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {options.threads} threads, {dtype}")

    theirs = vjepa2((384, 12, 6), 16)
    ours, clip = our_copy(theirs), torch.randn(1, 16, 3, 128, 128)

    def low() -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return ours(clip)

    reference = ours(clip)
    gap = float((theirs(clip, skip_predictor=True).last_hidden_state - reference).abs().max())
    cosine = torch.nn.functional.cosine_similarity(low().float(), reference, dim=-1).mean()
    times = fastest(
        {"theirs": lambda: theirs(clip, skip_predictor=True), "ours": lambda: ours(clip), "low": low},
        options.repeats,
    )
    report("V-JEPA 2 ViT-S, 512 tokens", times, gap)
    found["vjepa2_small_speedup_fp32"] = times["theirs"] / times["ours"]
    found["vjepa2_speedup_default_precision"] = times["theirs"] / times["low"]
    found["cosine_default_precision"] = float(cosine)

    theirs = vjepa2((1024, 24, 16), options.large_frames)
    ours, clip = our_copy(theirs), torch.randn(1, options.large_frames, 3, 128, 128)
    gap = float((theirs(clip, skip_predictor=True).last_hidden_state - ours(clip)).abs().max())
    times = fastest(
        {"theirs": lambda: theirs(clip, skip_predictor=True), "ours": lambda: ours(clip)},
        max(3, options.repeats // 2),
    )
    report(f"V-JEPA 2 ViT-L, {options.large_frames * 32} tokens", times, gap)
    found["vjepa2_large_speedup_fp32"] = times["theirs"] / times["ours"]

    theirs = ijepa()
    ours, images = our_copy(theirs), torch.randn(2, 3, 224, 224)
    gap = float((theirs(images).last_hidden_state - ours(images)).abs().max())
    times = fastest({"theirs": lambda: theirs(images), "ours": lambda: ours(images)}, options.repeats)
    report("I-JEPA ViT-B/16, 2 x 196 tokens", times, gap)
    found["ijepa_speedup_fp32"] = times["theirs"] / times["ours"]
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


def report(name: str, times: dict[str, float], gap: float) -> None:
    """Prints one line."""
    shown = ", ".join(f"{side} {seconds * 1e3:.0f} ms" for side, seconds in times.items())
    print(f"{name}: {shown}; largest difference in float32 {gap:.1e}", file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
