"""Training attentive probes on frozen tokens: a grid of heads at once, as V-JEPA 2 does (2506.09985).

One pass of the frozen encoder serves all heads. The published score is the best head *on the validation set*;
that number is given, and beside it the honest one, of the head chosen on rows held out of the training set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.eval.probing.linear_probe import dense_labels
from openjepa.models.attentive_probe import AttentiveProbe, AttentiveProbeConfig

PUBLISHED_RATES = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
PUBLISHED_DECAYS = (0.01, 0.1, 0.4, 0.8)


@dataclass(frozen=True)
class AttentiveTrainConfig:
    """The grid of heads and its schedule; the defaults are the published 20 heads.

    Attributes:
        learning_rates: peaks of a cosine to 0, > 0.
        weight_decays: on all parameters of a probe, >= 0.
        epochs: passes over the training rows, >= 1.
        warmup_epochs: linear rise at the start, >= 0.
        batch_size: rows per step, >= 1.
        depth: blocks of a probe, the last one cross-attention.
        num_heads: attention heads; the published 16 where they divide the width.
        held_out: share of the training rows that choose the head, in (0, 1).
        seed: of weights, split and order.
    """

    learning_rates: tuple[float, ...] = PUBLISHED_RATES
    weight_decays: tuple[float, ...] = PUBLISHED_DECAYS
    epochs: int = 20
    warmup_epochs: float = 0.0
    batch_size: int = 256
    depth: int = 4
    num_heads: int = 16
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ConfigError(f"`learning_rates` must be positive numbers; got {self.learning_rates}.")
        if not self.weight_decays or min(self.weight_decays) < 0:
            raise ConfigError(f"`weight_decays` must be numbers >= 0; got {self.weight_decays}.")
        if min(self.epochs, self.batch_size, self.depth) < 1 or self.warmup_epochs < 0:
            raise ConfigError(
                f"`epochs`, `batch_size` and `depth` must be >= 1, `warmup_epochs` >= 0; got {self.epochs}, "
                f"{self.batch_size}, {self.depth}, {self.warmup_epochs}."
            )
        if not 0 < self.held_out < 1:
            raise ConfigError(f"`held_out` must lie in (0, 1); got {self.held_out}.")


@dataclass(frozen=True)
class AttentiveScores:
    """Accuracies on the test set, 0 to 1.

    Attributes:
        accuracy: of the head chosen on held-out training rows.
        best_on_test: of the head that is best on the test set, as published scores are made.
        learning_rate: of the chosen head.
        weight_decay: of the chosen head.
        heads: (learning rate, weight decay, held-out accuracy, test accuracy) of every head.
        probe: the chosen head.
    """

    accuracy: float
    best_on_test: float
    learning_rate: float
    weight_decay: float
    heads: tuple[tuple[float, float, float, float], ...]
    probe: AttentiveProbe


def attentive_probe(
    tokens: Tensor,
    labels: Tensor,
    test_tokens: Tensor,
    test_labels: Tensor,
    config: AttentiveTrainConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> AttentiveScores:
    """Trains the grid of heads on cached tokens.

    Args:
        tokens: [N, L, D], any float type, all on the device that trains.
        labels: [N] int64 classes, any numbers.
        test_tokens: [M, L', D].
        test_labels: [M].
        config: grid and schedule.
        progress: called as `progress(epochs_done, epochs)`.
    """
    config = config or AttentiveTrainConfig()
    sizes = check_shape(tokens, "N L D", name="tokens")
    check_shape(labels, "N", name="labels", sizes={"N": sizes["N"]})
    check_shape(test_tokens, f"M L D={sizes['D']}", name="test_tokens")
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(sizes["N"], generator=generator)
    cut = min(max(1, round(config.held_out * sizes["N"])), sizes["N"] - 1)
    kept, held_out = order[cut:], order[:cut]
    labels, test_labels, classes = dense_labels(labels, test_labels)
    shape = AttentiveProbeConfig(
        sizes["D"], (classes,), num_heads=math.gcd(config.num_heads, sizes["D"]), depth=config.depth
    )
    grid = list(product(config.learning_rates, config.weight_decays))
    heads = [_Head(shape, rate, decay, config, tokens.device) for rate, decay in grid]
    steps_per_epoch = -(-len(kept) // config.batch_size)
    total, warmup = config.epochs * steps_per_epoch, config.warmup_epochs * steps_per_epoch
    for epoch in range(config.epochs):
        rows = kept[torch.randperm(len(kept), generator=generator)]
        for i, batch in enumerate(rows.split(config.batch_size)):
            step = epoch * steps_per_epoch + i
            factor = 0.5 * (1 + math.cos(math.pi * max(step - warmup, 0) / max(total - warmup, 1)))
            factor *= min(1.0, (step + 1) / warmup) if warmup else 1.0
            x, y = tokens[batch].float(), labels[batch]
            for head in heads:
                head.step(x, y, factor)
        if progress is not None:
            progress(epoch + 1, config.epochs)
    checks = [_accuracy(h.probe, tokens[held_out], labels[held_out], config.batch_size) for h in heads]
    tests = [_accuracy(h.probe, test_tokens, test_labels, config.batch_size) for h in heads]
    chosen = max(range(len(heads)), key=lambda i: checks[i])
    return AttentiveScores(
        accuracy=tests[chosen],
        best_on_test=max(tests),
        learning_rate=grid[chosen][0],
        weight_decay=grid[chosen][1],
        heads=tuple((*g, c, t) for g, c, t in zip(grid, checks, tests, strict=True)),
        probe=heads[chosen].probe.eval().requires_grad_(False),
    )


class _Head:
    """One probe and its optimiser; all heads start from the same weights."""

    def __init__(
        self,
        shape: AttentiveProbeConfig,
        rate: float,
        decay: float,
        config: AttentiveTrainConfig,
        device: torch.device,
    ) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.probe = AttentiveProbe(shape, generator=generator).to(device)
        self.rate = rate
        self.optimizer = torch.optim.AdamW(self.probe.parameters(), lr=rate, weight_decay=decay)

    def step(self, x: Tensor, labels: Tensor, factor: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad():
            torch.nn.functional.cross_entropy(self.probe(x)[0], labels).backward()
        self.optimizer.step()


@torch.no_grad()
def _accuracy(probe: AttentiveProbe, tokens: Tensor, labels: Tensor, batch_size: int) -> float:
    right = 0
    for x, y in zip(tokens.split(batch_size), labels.split(batch_size), strict=True):
        right += int((probe(x.float())[0].argmax(1) == y).sum())
    return right / len(labels)
