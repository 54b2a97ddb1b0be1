"""Probes during training: what the encoder knows so far beside random weights, and whether it collapses.

An `OnlineProbe` is handed to the training loop as its diagnostics. On small data a pre-trained network can probe
below a random one, so every number comes with the same number of untrained networks of the same shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from openjepa.errors import ConfigError, DataError
from openjepa.eval.health.collapse import covariance_spectrum, effective_rank
from openjepa.eval.health.read_out import Features, ProbedSet, features_of, mean_r2, read_numbers
from openjepa.eval.probing.frozen_encoder import FrozenEncoder, encoder_of, watched
from openjepa.eval.probing.knn import KNNConfig, knn_accuracy
from openjepa.eval.probing.linear_probe import LinearProbeConfig, linear_probe


@dataclass(frozen=True)
class OnlineProbeConfig:
    """What is measured.

    Attributes:
        linear: whether to fit a linear classifier too; the k-NN vote costs nothing beyond the encoding.
        controls: untrained networks whose mean is the control, >= 1; they are measured once.
        cells: rows and columns of the grid that numbers are read from, >= 1.
        batch_size: samples encoded together, >= 1.
        knn: the vote.
        penalty: of the linear classifier, > 0.
        seed: of the untrained networks and of splits, >= 0.
    """

    linear: bool = True
    controls: int = 3
    cells: int = 3
    batch_size: int = 64
    knn: KNNConfig = field(default_factory=KNNConfig)
    penalty: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.controls, self.cells, self.batch_size) < 1 or self.penalty <= 0 or self.seed < 0:
            raise ConfigError(
                f"`controls`, `cells` and `batch_size` must be >= 1, `penalty` > 0 and `seed` >= 0; got "
                f"{self.controls}, {self.cells}, {self.batch_size}, {self.penalty} and {self.seed}."
            )


class OnlineProbe:
    """Called as `probe(method, finished_steps)`; returns numbers by name, each with its control.

    `knn` and `linear` are accuracies, `NAME_r2` is the mean R2 of the target of that name, `feature_std` the root
    of the mean variance of the features over the test set, `effective_rank` their RankMe (2210.02885). A name that
    ends in `_untrained` is the mean over networks with random weights.

    Args:
        train: what the probes are fitted on; never trained on by the method.
        test: what they are scored on.
        config: what is measured.
    """

    def __init__(self, train: ProbedSet, test: ProbedSet, config: OnlineProbeConfig | None = None) -> None:
        if min(len(train.pixels), len(test.pixels)) < 2:
            raise DataError(
                f"an online probe needs at least 2 training and 2 test samples; got {len(train.pixels)} and "
                f"{len(test.pixels)}."
            )
        self.train, self.test, self.config = train, test, config or OnlineProbeConfig()
        self._control: dict[str, float] = {}

    @torch.no_grad()
    def __call__(self, method: Any, step: int) -> Mapping[str, float]:
        """Measures the encoder of a method that is in evaluation mode."""
        network = encoder_of(method)
        encoder = watched(network, device=str(next(network.parameters()).device))
        found = self.measure(encoder)
        if not self._control:
            self._control = self._measure_controls(encoder)
        paired = ((name, value, self._control[name]) for name, value in found.items())
        return {key: x for name, value, floor in paired for key, x in ((name, value), (f"{name}_untrained", floor))}

    def measure(self, encoder: FrozenEncoder) -> dict[str, float]:
        """The same numbers of any encoder, without the control."""
        sets = (self.train, self.test)
        options = {"cells": self.config.cells, "batch_size": self.config.batch_size}
        x, test_x = (features_of(encoder, s.pixels, **options) for s in sets)
        spectrum = covariance_spectrum(test_x.summary)
        return {
            **self._classes(x, test_x),
            **self._numbers(x, test_x),
            "feature_std": float(spectrum.mean().sqrt()),
            "effective_rank": effective_rank(spectrum),
        }

    def _classes(self, x: Features, test_x: Features) -> dict[str, float]:
        labels, test_labels, config = self.train.labels, self.test.labels, self.config
        if labels is None or test_labels is None:
            return {}
        rows = x.summary, labels, test_x.summary, test_labels
        found = {"knn": knn_accuracy(*rows, config.knn)}
        if config.linear:
            found["linear"] = linear_probe(
                *rows, LinearProbeConfig(penalties=(config.penalty,), seed=config.seed)
            ).accuracy
        return found

    def _numbers(self, x: Features, test_x: Features) -> dict[str, float]:
        pairs = ((name, y, self.test.targets[name]) for name, y in self.train.targets.items())
        return {
            f"{name}_r2": mean_r2(read_numbers(x.cells, y, test_x.cells, seed=self.config.seed), truth)
            for name, y, truth in pairs
        }

    def _measure_controls(self, encoder: FrozenEncoder) -> dict[str, float]:
        seeds = range(self.config.seed, self.config.seed + self.config.controls)
        found = [self.measure(encoder.untrained(seed)) for seed in seeds]
        return {name: sum(f[name] for f in found) / len(found) for name in found[0]}
