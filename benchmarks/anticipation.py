"""What a predictor adds to anticipation: pre-train V-JEPA 2 on drawn clips, then probe what comes after a clip.

    python benchmarks/anticipation.py [--steps 1500] [--model RUN] [--seeds 0 1 2]

An object moves and bounces before a textured background. The encoder sees 8 frames; the label is the cell of a
3 x 3 grid where the object will be 7 frames later. Attentive probes read the encoder's tokens, the predicted
ones, and both, beside random weights of both networks, on held-out clips. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from openjepa.envs.shapes import TEST_OFFSET, ShapesConfig, ShapeSource, draw_clips
from openjepa.eval.anticipation import AnticipationConfig, Forecaster, anticipate_arrays
from openjepa.eval.attentive_probe import AttentiveTrainConfig
from openjepa.eval.frozen_encoder import frozen
from openjepa.eval.frozen_probes import LabelledSet
from openjepa.eval.intervals import wilson
from openjepa.interop.networks import read_networks
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.vit import ViTConfig
from openjepa.train import TrainConfig, train

SEEN, AHEAD = 8, 6  # frames; with tubelets of 2 the predicted latent frame holds frames 14 and 15
CLIPS = ShapesConfig(size=32, num_frames=16, speed=(0.01, 0.06), batch_size=32)


def pretrain(steps: int, seed: int, folder: Path) -> VJEPA2:
    """A small V-JEPA 2 on 16 frames of 32 pixels."""
    encoder = ViTConfig(
        img_size=(32, 32), patch_size=8, num_frames=16, tubelet_size=2, embed_dim=96, depth=4, num_heads=3
    )
    config = VJEPA2Config(
        encoder=encoder,
        predictor_dim=64,
        predictor_depth=2,
        predictor_heads=2,
        ema_decay=(0.99, 0.999),
        ema_steps=steps,
        seed=seed,
    )
    options = TrainConfig(steps=steps, lr=1e-3, warmup_steps=steps // 10, weight_decay=0.04, seed=seed)
    method = VJEPA2(config)
    train(method, ShapeSource(replace(CLIPS, seed=seed)), options, folder)
    return method.eval()


def labelled(count: int, seed: int, *, held_out: bool) -> LabelledSet:
    """Clips of the seen frames, and the cell where the object is in frame 14."""
    numbers = np.arange(count) + 10_000_000 + (TEST_OFFSET if held_out else 0)
    drawn = draw_clips(replace(CLIPS, seed=seed), numbers)
    cell = np.minimum((drawn.positions[:, SEEN + AHEAD] * 3).astype(np.int64), 2)
    return LabelledSet(torch.from_numpy(drawn.frames[:, :SEEN]), torch.from_numpy(3 * cell[:, 1] + cell[:, 0]))


def main() -> None:
    """Prints a table for each seed, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--model", type=Path, help="a run to probe instead of pre-training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            if options.model is None:
                method = pretrain(options.steps, seed, Path(folder))
                forecaster = Forecaster(frozen(method.target_encoder), method.predictor)
            else:
                networks = read_networks(options.model)
                forecaster = Forecaster(frozen(networks.target_encoder), networks.predictor)
        trained = time.process_time()
        sets = labelled(options.train, seed, held_out=False), labelled(options.test, seed, held_out=True)
        heads = AttentiveTrainConfig((1e-3, 3e-4), (0.01,), epochs=12, batch_size=64, depth=1, num_heads=4)
        report = anticipate_arrays(forecaster, *sets, AnticipationConfig(AHEAD, 50, heads, seed=seed))
        print(report.text(), flush=True)
        rows = {}
        for row in report.rows:
            interval = wilson(round(row.accuracy * options.test), options.test)
            ci95 = [interval.low, interval.high]
            rows[row.probe] = {"accuracy": row.accuracy, "ci95": ci95, "random_init": row.control}
        cpu = {"pretraining": trained - began, "probing": time.process_time() - trained}
        results.append({"seed": seed, "chance": report.chance, **rows, "cpu_seconds": cpu})
    print(json.dumps({"steps": options.steps, "ahead": AHEAD, "results": results}))


if __name__ == "__main__":
    main()
