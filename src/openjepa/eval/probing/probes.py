"""Read-outs on frozen latents: a closed-form ridge probe and a small MLP, scored on episodes they never saw.

Two scores are given for every state variable. *Overall* R2 is the usual one. *Within-episode* R2 first
removes each episode's mean from target and read-out, so that a latent which only tells episodes apart scores
0: it is the one that a slow-feature collapse cannot fool. A probe says something only beside the same probe
on an untrained encoder.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.errors import ConfigError, check_shape

SMALLEST_STD = 1e-6  # below it a latent dimension is constant in float32, and scaling it up would decode rounding


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained.

    Attributes:
        test_share: share of the episodes that score the probe, in (0, 1).
        ridge: penalty per sample on weights of standardised inputs, > 0.
        mlp_width: hidden units of each of two layers.
        mlp_steps: Adam steps on batches of `mlp_batch`; 0 leaves the MLP out.
        mlp_batch: rows per step.
        learning_rate: peak of a cosine.
        seed: of the split, the weights and the batches.
    """

    test_share: float = 0.3
    ridge: float = 1e-3
    mlp_width: int = 96
    mlp_steps: int = 400
    mlp_batch: int = 512
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise ConfigError(f"`test_share` must lie in (0, 1); got {self.test_share}.")
        if self.ridge <= 0:
            raise ConfigError(f"`ridge` must be > 0; got {self.ridge}.")
        if min(self.mlp_width, self.mlp_batch) < 1 or self.mlp_steps < 0:
            raise ConfigError("`mlp_width` and `mlp_batch` must be >= 1, and `mlp_steps` >= 0.")


@dataclass(frozen=True)
class ProbeScores:
    """R2 of each target on held-out episodes; None where the target does not vary.

    Attributes:
        linear: overall R2 of the ridge probe, one entry per target.
        linear_within: the same within episodes.
        mlp: overall R2 of the MLP probe; empty when it was left out.
        mlp_within: the same within episodes.
    """

    linear: tuple[float | None, ...]
    linear_within: tuple[float | None, ...]
    mlp: tuple[float | None, ...] = ()
    mlp_within: tuple[float | None, ...] = ()

    def best(self) -> float | None:
        """Mean over the targets of the better probe's overall R2."""
        return _best_mean(self.linear, self.mlp)

    def best_within(self) -> float | None:
        """Mean over the targets that vary within episodes of the better probe's within-episode R2."""
        return _best_mean(self.linear_within, self.mlp_within)


class RidgeProbe:
    """Least squares with a quadratic penalty, in closed form, on standardised inputs (float64).

    Args:
        x: [N, D] inputs.
        y: [N, P] targets.
        ridge: penalty per sample.
    """

    def __init__(self, x: Tensor, y: Tensor, *, ridge: float = 1e-3) -> None:
        n = check_shape(x, "N D", name="x")["N"]
        check_shape(y, f"N={n} P", name="y")
        self.scaler = Scaler(x)
        self.y_mean = y.double().mean(0)
        features, wanted = self.scaler(x), y.double() - self.y_mean
        # The same weights from the smaller of two systems: one in the columns, one in the rows.
        rows = n < x.shape[1]
        gram = features @ features.T if rows else features.T @ features
        gram.diagonal().add_(ridge * n)
        if rows:
            self.weight = features.T @ torch.linalg.solve(gram, wanted)  # [D, P]
        else:
            self.weight = torch.linalg.solve(gram, features.T @ wanted)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the read-out [N, P] of inputs [N, D]."""
        return (self.scaler(x) @ self.weight + self.y_mean).to(x.dtype)


class MLPProbe:
    """Two hidden ReLU layers, trained by Adam on standardised inputs and targets; all randomness is seeded.

    Args:
        x: [N, D] inputs.
        y: [N, P] targets.
        config: sizes and steps.
    """

    def __init__(self, x: Tensor, y: Tensor, config: ProbeConfig | None = None) -> None:
        config = config or ProbeConfig()
        check_shape(y, f"N={len(x)} P", name="y")
        self.scaler, self.y_scaler = Scaler(x), Scaler(y)
        generator = torch.Generator().manual_seed(config.seed)
        sizes = [x.shape[1], config.mlp_width, config.mlp_width, y.shape[1]]
        self.layers = [
            (torch.randn(n, m, generator=generator) * (2 / n) ** 0.5, torch.zeros(m)) for n, m in pairwise(sizes)
        ]
        self._fit(self.scaler(x).float(), self.y_scaler(y).float(), config, generator)

    def _fit(self, x: Tensor, y: Tensor, config: ProbeConfig, generator: torch.Generator) -> None:
        parameters = [p.requires_grad_() for layer in self.layers for p in layer]
        optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(config.mlp_steps, 1))
        with torch.enable_grad():
            for _ in range(config.mlp_steps):
                rows = torch.randint(len(x), (min(config.mlp_batch, len(x)),), generator=generator)
                optimizer.zero_grad()
                (self._forward(x[rows]) - y[rows]).square().mean().backward()
                optimizer.step()
                schedule.step()
        for p in parameters:
            p.requires_grad_(False)

    def _forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(self.layers):
            x = x @ weight + bias
            if i + 1 < len(self.layers):
                x = x.relu()
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the read-out [N, P] of inputs [N, D]."""
        y = self._forward(self.scaler(x).float())
        spread = self.y_scaler.std.nan_to_num(posinf=0.0)  # a constant target is read out as its mean
        return (y * spread + self.y_scaler.mean).to(x.dtype)


class Scaler:
    """Brings columns to mean 0 and standard deviation 1; a constant column stays 0.

    Args:
        x: [N, D] rows that give mean and deviation.
    """

    def __init__(self, x: Tensor) -> None:
        x = x.double()
        self.mean = x.mean(0)
        std = x.std(0, correction=0)
        # A column far below the widest one is rounding, not signal; it must not be blown up to the same size.
        floor = max(SMALLEST_STD, 1e-4 * float(std.max()))
        self.std = torch.where(std > floor, std, torch.full_like(std, torch.inf))

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the scaled rows [N, D] in float64."""
        return (x.double() - self.mean) / self.std


def r2(prediction: Tensor, target: Tensor) -> tuple[float | None, ...]:
    """Coefficient of determination per target, 1 for perfect, 0 for the mean, None for a constant target.

    Args:
        prediction: [..., P].
        target: [..., P].
    """
    prediction, target = prediction.double().flatten(0, -2), target.double().flatten(0, -2)
    error = (prediction - target).square().sum(0)
    return _shares(error, (target - target.mean(0)).square().sum(0), target)


def r2_within(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> tuple[float | None, ...]:
    """R2 after each episode's mean is removed from both sides; None for a target constant within episodes.

    Args:
        prediction: [E, T, P].
        target: [E, T, P].
        valid: [E, T] bool, the rows that count; all if None.
    """
    sizes = check_shape(prediction, "E T P", name="prediction")
    check_shape(target, "E T P", name="target", sizes=sizes)
    valid = recorded(None, *prediction.shape[:2]) if valid is None else valid
    varying = centred(target, valid)
    error = (centred(prediction, valid) - varying).square().sum((0, 1))
    return _shares(error, varying.square().sum((0, 1)), target.double()[valid])


def centred(x: Tensor, valid: Tensor) -> Tensor:
    """Deviations of x [E, T, P] from each episode's mean over its valid rows [E, T], in float64; 0 elsewhere."""
    x, counts = x.double() * valid[..., None], valid.sum(1).clamp_min(1)
    return (x - (x.sum(1) / counts[:, None])[:, None]) * valid[..., None]


def split_episodes(episodes: int, config: ProbeConfig) -> tuple[Tensor, Tensor]:
    """Returns the indices of training and test episodes, disjoint, at least one each."""
    if episodes < 2:
        raise ConfigError(f"a probe must have at least 2 episodes to split; got {episodes}. Give it more data.")
    order = torch.randperm(episodes, generator=torch.Generator().manual_seed(config.seed))
    test = min(max(1, round(episodes * config.test_share)), episodes - 1)
    return order[test:], order[:test]


def score_probes(
    z: Tensor, targets: Tensor, config: ProbeConfig | None = None, *, valid: Tensor | None = None
) -> ProbeScores:
    """Trains both probes on some episodes and scores them on the others.

    Args:
        z: [E, T, D] frozen inputs.
        targets: [E, T, P] what to read out.
        config: split, sizes and seed.
        valid: [E, T] bool, the rows that count, for episodes of several lengths; all if None.
    """
    config = config or ProbeConfig()
    sizes = check_shape(z, "E T D", name="z")
    check_shape(targets, "E T P", name="targets", sizes={"E": sizes["E"], "T": sizes["T"]})
    z, targets = z.detach().float().cpu(), targets.detach().float().cpu()
    train, test = split_episodes(len(z), config)
    valid = recorded(None, *z.shape[:2]) if valid is None else valid
    x, y, judged = z[train][valid[train]], targets[train][valid[train]], valid[test]

    def scores(probe: RidgeProbe | MLPProbe) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        prediction = probe(z[test].flatten(0, 1)).unflatten(0, (len(test), -1))
        overall = r2(prediction[judged], targets[test][judged])
        return overall, r2_within(prediction, targets[test], judged)

    linear, linear_within = scores(RidgeProbe(x, y, ridge=config.ridge))
    if config.mlp_steps == 0:
        return ProbeScores(linear, linear_within)
    return ProbeScores(linear, linear_within, *scores(MLPProbe(x, y, config)))


def _shares(error: Tensor, spread: Tensor, target: Tensor) -> tuple[float | None, ...]:
    scale = target.square().sum(0).clamp_min(1e-12)
    return tuple(float(1 - e / s) if s > 1e-9 * n else None for e, s, n in zip(error, spread, scale, strict=True))


def _best_mean(first: tuple[float | None, ...], second: tuple[float | None, ...]) -> float | None:
    means = []
    for scores in (first, second):
        known = [s for s in scores if s is not None]
        if known:
            means.append(sum(known) / len(known))
    return max(means) if means else None
