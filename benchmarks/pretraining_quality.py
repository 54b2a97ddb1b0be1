"""What small-data pre-training is worth: latent prediction, and masked autoencoding of the same cost.

    python benchmarks/pretraining_quality.py                             all cells, then the table
    python benchmarks/pretraining_quality.py --method ijepa --seed 0     one cell, and the table of those there are
    python benchmarks/pretraining_quality.py --probe                     the probes of trained cells again
    python benchmarks/pretraining_quality.py --merge                     the table alone

A cell pre-trains the small recipe of one method (`openjepa list`) on shapes that are drawn from its seed, for as many
CPU-seconds of this process as every other method of its kind, pictures or clips: the learning rate follows the share
of the seconds that are spent. The encoder is then frozen and read out on shapes that were never trained on: the class
of the object (accuracy) by an attentive probe of one cross-attention, as V-JEPA does, and linearly from the mean of
the tokens; its position and, of clips, its velocity (R2) linearly from a coarse grid of tokens. Free choices are made
on the training rows of the probe. The same read-out of networks with random weights stands beside it. Seeds from 100
on are for development, those below for judging. Every cell uses one thread. The last line is one JSON object.

Intervals (95 %) resample the test samples of each seed; those of the gain pair every sample with the same sample
under random weights.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.envs.shapes import ShapeSource
from openjepa.eval.health.collapse import covariance_spectrum, effective_rank
from openjepa.eval.health.read_out import ProbedSet, features_of, read_numbers
from openjepa.eval.intervals import cluster_bootstrap, paired_bootstrap
from openjepa.eval.probing.attentive_probe import AttentiveTrainConfig, attentive_probe
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, encoder_of, frozen
from openjepa.eval.probing.linear_probe import LogisticProbe
from openjepa.protocols import ImageBatch, VideoBatch
from openjepa.recipes import load_recipe
from openjepa.recipes.pretraining import labelled_shapes
from openjepa.train import load_method, save_checkpoint
from openjepa.train.optimizer import build_optimizer, clip_gradient, set_schedule

PICTURES, CLIPS = ("ijepa", "lejepa", "mae"), ("vjepa2", "vjepa2_1", "levjepa", "mae-video")
RIVALS = dict.fromkeys(PICTURES[:-1], "mae") | dict.fromkeys(CLIPS[:-1], "mae-video")
SECONDS = {True: 100.0, False: 60.0}  # of clips and pictures
SEEDS, CONTROLS = (5, 6, 7), 2
PENALTIES = (1e-4, 1e-3, 1e-2)
PROBED = {True: (2000, 1000), False: (3000, 1000)}  # training and test samples of the probes, of clips and pictures
ATTENTIVE = AttentiveTrainConfig(
    learning_rates=(2e-3,), weight_decays=(0.01,), epochs=30, batch_size=64, depth=1, num_heads=2
)
WHATS = {  # heading, scale and digits in the table
    "class": ("class, %", 100, 1),
    "class_linear": ("class, linear, %", 100, 1),
    "position": ("position, R2", 1, 2),
    "velocity": ("velocity, R2", 1, 2),
}
WARMUP = 0.1  # share of the seconds


def pretrain(config: Any, method: torch.nn.Module, seconds: float) -> tuple[int, float]:
    """Trains for a number of CPU-seconds; returns the steps and the seconds that they took."""
    encoder, train = config.method.encoder, config.train
    source = ShapeSource(config.draw.shapes(encoder, seed=config.seed), "clips" if encoder.is_video else "pictures")
    frames = torch.from_numpy(source.kept.frames)
    optimizer = build_optimizer(method, lr=train.lr, weight_decay=train.weight_decay, betas=train.betas, eps=train.eps)
    generator = torch.Generator().manual_seed(config.seed)
    method.train()
    step, spent, began = 0, 0.0, time.process_time()
    while spent < seconds:
        share = spent / seconds
        rise, fall = share / WARMUP, 0.5 * (1 + np.cos(np.pi * max(0.0, share - WARMUP) / (1 - WARMUP)))
        set_schedule(optimizer, lr=train.lr * max(0.01, min(rise, fall)), weight_decay=train.weight_decay)
        rows = frames[torch.randint(len(frames), (config.batch_size,), generator=generator)]
        loss = method.loss(VideoBatch(rows) if encoder.is_video else ImageBatch(rows[:, 0]), step).loss
        loss.backward()
        clip_gradient(optimizer, train.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        method.after_step(step)
        step, spent = step + 1, time.process_time() - began
    return step, spent


def read_out(encoder: FrozenEncoder, fit: ProbedSet, test: ProbedSet) -> dict[str, list[float]]:
    """What the read-outs get right, test sample by test sample: their mean is accuracy, or R2."""
    x, test_x = (features_of(encoder, s.pixels) for s in (fit, test))
    found = {
        "class": (attend_classes(encoder, fit, test) == test.labels).double().tolist(),
        "class_linear": (read_classes(x.summary, fit.labels, test_x.summary) == test.labels).double().tolist(),
    }
    for name, truth in test.targets.items():
        error = (read_numbers(x.cells, fit.targets[name], test_x.cells) - truth).square()
        spread = (truth - truth.mean(0)).square().mean(0)
        found[name] = (1 - (error / spread).mean(1)).tolist()
    return found


def attend_classes(encoder: FrozenEncoder, fit: ProbedSet, test: ProbedSet) -> torch.Tensor:
    """Classes by a query that attends to all tokens."""
    x, test_x = (torch.cat([encoder.tokens(p).flatten(1, 3) for p in s.pixels.split(64)]) for s in (fit, test))
    return attentive_probe(x, fit.labels, test_x, test.labels, ATTENTIVE).probe(test_x)[0].argmax(1)


def read_classes(x: torch.Tensor, labels: torch.Tensor, test_x: torch.Tensor) -> torch.Tensor:
    """Logistic regression whose penalty is chosen on the last fifth of the training rows."""
    cut = len(x) * 4 // 5

    def fit(rows: int, penalty: float) -> LogisticProbe:
        return LogisticProbe(x[:rows], labels[:rows], classes=8, penalty=penalty, max_iterations=100)

    chosen = max(PENALTIES, key=lambda penalty: fit(cut, penalty).accuracy(x[cut:], labels[cut:]))
    return fit(len(x), chosen).scores(test_x).argmax(1)


def train_cell(name: str, seed: int, seconds: float, folder: Path) -> None:
    """Pre-trains one method with one seed; leaves a checkpoint and what it cost in a folder."""
    torch.set_num_threads(1)
    recipe = load_recipe(name)
    config = replace(recipe.config, seed=seed)
    method = recipe.build(replace(config, probing=replace(config.probing, items=(2, 2)))).method
    steps, spent = pretrain(config, method, seconds)
    save_checkpoint(folder / "checkpoints", steps, method)
    cost = {
        "method": name,
        "seed": seed,
        "steps": steps,
        "cpu_seconds": round(spent, 2),
        "samples_per_step": config.batch_size,
        "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
    }
    (folder / "cost.json").write_text(json.dumps(cost))


def probe_cell(folder: Path) -> dict[str, Any]:
    """Reads the encoder of a trained cell out, beside random weights."""
    torch.set_num_threads(1)
    cost = json.loads((folder / "cost.json").read_text())
    config = load_recipe(cost["method"]).config
    trained = frozen(encoder_of(load_method(folder)))
    network: Any = trained.network
    shapes = config.draw.shapes(network.config, seed=cost["seed"])
    counts = PROBED[network.config.is_video]
    fit, test = labelled_shapes(shapes, counts[0]), labelled_shapes(shapes, counts[1], held_out=True)
    untrained = (trained.untrained(1000 * cost["seed"] + i) for i in range(CONTROLS))
    controls = [read_out(e, fit, test) for e in untrained]
    spectrum = covariance_spectrum(features_of(trained, test.pixels).summary)
    return {
        **cost,
        "encoder_parameters": sum(p.numel() for p in network.parameters()),
        "effective_rank": round(effective_rank(spectrum), 2),
        "feature_std": round(float(spectrum.mean().sqrt()), 3),
        "trained": rounded(read_out(trained, fit, test)),
        "untrained": rounded({key: np.mean([c[key] for c in controls], 0).tolist() for key in controls[0]}),
    }


def rounded(values: dict[str, list[float]]) -> dict[str, list[float]]:
    """Four digits are enough for a mean of hundreds of samples."""
    return {name: [round(v, 4) for v in column] for name, column in values.items()}


# ------------------------------------------------------------------------------------------------------------
# The table


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and intervals of one method over its seeds."""
    found: dict[str, Any] = {
        "seeds": [c["seed"] for c in cells],
        "cpu_seconds": [c["cpu_seconds"] for c in cells],
        "steps": [c["steps"] for c in cells],
        "effective_rank": [c["effective_rank"] for c in cells],
    }
    for what in cells[0]["trained"]:
        trained, untrained = (np.concatenate([c[side][what] for c in cells]) for side in ("trained", "untrained"))
        own, control = (cluster_bootstrap(x, np.arange(len(x)), resamples=2000) for x in (trained, untrained))
        gain = paired_bootstrap(trained, untrained, resamples=2000)
        found[what] = {
            **{
                key: [round(v.estimate, 4), round(v.low, 4), round(v.high, 4)]
                for key, v in (("trained", own), ("untrained", control), ("gain", gain))
            },
            "by_seed": [round(float(np.mean(c["trained"][what])), 4) for c in cells],
            "gain_by_seed": [
                round(float(np.mean(c["trained"][what]) - np.mean(c["untrained"][what])), 4) for c in cells
            ],
        }
    return found


def table(methods: dict[str, Any]) -> str:
    """Markdown: a line for each method and target, with the gain over random weights and the mean of every seed."""
    lines = ["| method | read out | trained | untrained | gain | gain by seed |", "|---|---|---|---|---|---|"]
    for name, found in methods.items():
        for what, (heading, scale, digits) in WHATS.items():
            if what in found:
                own, gain = found[what]["trained"][0], found[what]["gain"]
                value, control, plus, low, high, *seeds = (
                    f"{scale * v:.{digits}f}"
                    for v in (own, found[what]["untrained"][0], *gain, *found[what]["gain_by_seed"])
                )
                lines.append(
                    f"| `{name}` | {heading} | {value} | {control} | {plus} [{low}, {high}] | {', '.join(seeds)} |"
                )
    return "\n".join(lines)


def merge(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """All methods and the verdicts: matched cost, gains over random weights, the duel with the autoencoder."""
    order = [n for n in (*PICTURES, *CLIPS) if any(c["method"] == n for c in cells)]
    methods = {n: summarise(sorted((c for c in cells if c["method"] == n), key=lambda c: c["seed"])) for n in order}
    kinds = [[c["cpu_seconds"] for c in cells if c["method"] in names] for names in (PICTURES, CLIPS)]
    return {
        "methods": methods,
        "cpu_seconds_spread": max(round(max(k) / min(k) - 1, 4) for k in kinds if k),
        "gains_certain": {n: certain(methods[n]) for n in order},
        "ahead_of_mae": {n: ahead(cells, n) for n in order if n in RIVALS},
    }


def certain(found: dict[str, Any]) -> list[str]:
    """What a method gains over random weights with every seed, with an interval above 0."""
    return [w for w in WHATS if w in found and found[w]["gain"][1] > 0 and min(found[w]["gain_by_seed"]) > 0]


def ahead(cells: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    """How far a method is ahead of the autoencoder of the same kind of input, on the same samples; with intervals."""
    own, rival = ({c["seed"]: c for c in cells if c["method"] == n} for n in (name, RIVALS[name]))
    seeds = sorted(own.keys() & rival.keys())
    found = {}
    for what in WHATS if seeds else ():
        if what in own[seeds[0]]["trained"]:
            first, second = (np.concatenate([side[s]["trained"][what] for s in seeds]) for side in (own, rival))
            lead = paired_bootstrap(first, second, resamples=2000)
            found[what] = [round(v, 4) for v in (lead.estimate, lead.low, lead.high)]
    return found


def main() -> None:
    """Runs cells, merges them, and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=(*PICTURES, *CLIPS))
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--seconds", type=float, help=f"default {SECONDS[False]:g} of pictures, {SECONDS[True]:g} of clips"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining-quality"), help="folder of the cells")
    parser.add_argument("--probe", action="store_true", help="probe the trained cells in --out again")
    parser.add_argument("--merge", action="store_true", help="only print the table of the cells in --out")
    options = parser.parse_args()
    if options.probe:
        for path in sorted(options.out.glob("*/cost.json")):
            write_probes(path.parent)
    elif not options.merge:
        names = (options.method,) if options.method else (*PICTURES, *CLIPS)
        seeds = SEEDS if options.seed is None else (options.seed,)
        for name, seed in ((n, s) for s in seeds for n in names):
            folder = options.out / f"{name}-{seed}"
            train_cell(name, seed, options.seconds or SECONDS[name in CLIPS], folder)
            write_probes(folder)
    merged = merge([json.loads(p.read_text()) for p in sorted(options.out.glob("*.json"))])
    print(table(merged["methods"]))
    print(json.dumps(merged))


def write_probes(folder: Path) -> None:
    """Probes a cell, writes what was found beside its folder, and says it."""
    found = probe_cell(folder)
    folder.with_suffix(".json").write_text(json.dumps(found))
    means = {key: round(float(np.mean(values)), 3) for key, values in found["trained"].items()}
    print(folder.name, means, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
