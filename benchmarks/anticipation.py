"""What a predictor adds to anticipation: pre-train V-JEPA 2 on drawn clips, then probe what comes after a clip.

    python benchmarks/anticipation.py [--steps 600] [--model RUN] [--seeds 0 1 2]

An object moves and bounces before a background of two colours. The encoder sees 8 frames; the label is the quarter
of the picture where the object will be 7 frames later. Attentive probes read the encoder's tokens, the predicted
ones, and both, beside random weights of both networks, on held-out clips. Beside the published masks, which hide the
same places in every frame, a third one hides half of the frames. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from openjepa.envs.shapes import TEST_OFFSET, ShapeSource, draw_clips
from openjepa.eval.intervals import wilson
from openjepa.eval.probing.anticipation import AnticipationConfig, Forecaster, anticipate_arrays
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig
from openjepa.eval.probing.frozen_encoder import frozen
from openjepa.eval.probing.frozen_probes import LabelledSet
from openjepa.interop.networks import read_networks
from openjepa.masking import LONG_TUBES, SHORT_TUBES, TubeMaskConfig
from openjepa.methods.vjepa2 import VJEPA2
from openjepa.recipes.clips import VJEPA2Recipe, vjepa2
from openjepa.recipes.pictures import small_training
from openjepa.train import train

SEEN, AHEAD = 8, 4  # frames; with 4 frames to a token the predicted latent frame holds frames 12 to 15
WHEN = 14  # the labelled frame
HALF_OF_THE_FRAMES = TubeMaskConfig(
    num_blocks=1, spatial_scale=(1.0, 1.0), temporal_scale=(0.5, 0.5), aspect=(1.0, 1.0)
)


def recipe(steps: int, seed: int) -> VJEPA2Recipe:
    """The small recipe for clips of 16 frames."""
    small = vjepa2()
    # A table of positions: rotary ones leave no trace of the place in the features, which a probe could read.
    encoder = replace(small.method.encoder, num_frames=16, positions="sincos")
    method = replace(
        small.method, encoder=encoder, masks=(SHORT_TUBES, LONG_TUBES, HALF_OF_THE_FRAMES), ema_steps=steps, seed=seed
    )
    options = replace(small_training(steps), diagnose_every=None, checkpoint_every=steps, seed=seed)
    return replace(small, method=method, train=options)


def pretrain(steps: int, seed: int, folder: Path) -> VJEPA2:
    """Trains on clips that are drawn once and kept."""
    config = recipe(steps, seed)
    shapes = config.draw.shapes(config.method.encoder, batch_size=config.batch_size, seed=seed)
    method = VJEPA2(config.method)
    train(method, ShapeSource(shapes), config.train, folder)
    return method.eval()


def labelled(count: int, seed: int, *, held_out: bool) -> LabelledSet:
    """Clips of the seen frames, and the quarter where the object will be."""
    config = recipe(10, seed)
    numbers = np.arange(count) + 10_000_000 + (TEST_OFFSET if held_out else 0)
    drawn = draw_clips(config.draw.shapes(config.method.encoder, seed=seed), numbers)
    right, low = (drawn.positions[:, WHEN] > 0.5).T
    return LabelledSet(torch.from_numpy(drawn.frames[:, :SEEN]), torch.from_numpy(right + 2 * low).long())


def main() -> None:
    """Prints a table for each seed, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
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
        heads = AttentiveTrainConfig((3e-3, 1e-3), (0.01,), epochs=30, batch_size=64, depth=1, num_heads=4)
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
