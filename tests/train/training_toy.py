"""A toy JEPA with all that a resumed run could get wrong: dropout, BatchNorm, an EMA target, a step number.

Run as a script it trains once: `python training_toy.py RUN_DIR --options '{"steps": 20}'`.
"""

import argparse
import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from openjepa.nn.distributed import all_mean
from openjepa.nn.ema import update_ema
from openjepa.protocols import ImageBatch, JEPALoss
from openjepa.train import TrainConfig, train


@dataclass(frozen=True)
class ToyConfig:
    width: int = 8
    seed: int = 0
    dropout: float = 0.1
    ema_decay: float = 0.9
    batch_norm: bool = True


class Toy(nn.Module):
    """Predicts the target latent of an image from a noisy view; a global statistic holds the variance."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        norm = nn.BatchNorm1d(width) if config.batch_norm else nn.Identity()
        # No bias before BatchNorm: its gradient is rounding noise, which Adam would make visible.
        first = nn.Linear(12, width, bias=not config.batch_norm)
        self.context_encoder = nn.Sequential(first, norm, nn.ReLU(), nn.Linear(width, width))
        self.predictor = nn.Module()
        self.predictor.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)
        generator = torch.Generator().manual_seed(config.seed)
        with torch.no_grad():
            for p in self.parameters():
                if p.ndim > 1:
                    p.normal_(0, 0.3, generator=generator)
                elif not config.batch_norm or p is not self.context_encoder[1].weight:
                    p.zero_()
        self.target_encoder = copy.deepcopy(self.context_encoder).requires_grad_(False)

    def loss(self, batch: ImageBatch, step: int) -> JEPALoss:
        x = batch.images.flatten(1).float() / 255  # [B, 12]
        z = self.context_encoder(self.dropout(x))
        h = z
        for block in self.predictor.blocks:
            h = block(h).relu()
        with torch.no_grad():
            z_target = self.target_encoder(x)
        prediction = (h - z_target).square().mean()
        second = all_mean(z.float().square().mean(0))  # [D], over the global batch before anything non-linear
        spread = (second - 1).square().mean()
        weight = 0.1 + 0.01 * step
        return JEPALoss(prediction + weight * spread, {"prediction": prediction.detach(), "spread": spread.detach()})

    def after_step(self, step: int) -> None:
        update_ema(self.target_encoder, self.context_encoder, self.config.ema_decay)


class ToySource:
    """Batch `step` is drawn from a generator seeded by it; shares are slices of the global batch."""

    def __init__(self, batch_size: int = 8, delay: float = 0.0) -> None:
        self.batch_size, self.delay = batch_size, delay

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> ImageBatch:
        if self.delay:
            time.sleep(self.delay)
        generator = torch.Generator().manual_seed(1000 + step)
        images = torch.randint(0, 256, (self.batch_size, 3, 2, 2), generator=generator, dtype=torch.uint8)
        return ImageBatch(images.chunk(world_size)[rank].contiguous())


TOYS = {"Toy": lambda: (Toy, ToyConfig)}


def quick(**changes: object) -> TrainConfig:
    """A config for tests: float32 on one CPU thread, few steps."""
    base = {
        "steps": 12,
        "warmup_steps": 2,
        "lr": 1e-2,
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
        "log_every": 3,
        "checkpoint_every": 4,
    }
    return TrainConfig(**{**base, **changes})  # type: ignore[arg-type]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--toy", type=json.loads, default={})
    parser.add_argument("--delay", type=float, default=0.0)
    args = parser.parse_args(argv)
    print("ready", flush=True)
    train(Toy(ToyConfig(**args.toy)), ToySource(delay=args.delay), quick(**args.options), args.run_dir)


if __name__ == "__main__":
    main(sys.argv[1:])
