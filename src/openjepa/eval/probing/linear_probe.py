"""Linear classification of frozen features: logistic regression to the optimum, by few or many labels.

The problem is convex, so it is solved by L-BFGS on all rows at once and has no learning rate to tune; the one
free number, the penalty, is chosen on rows held out of the training set. The best penalty on the test set is
reported beside it, for comparison with papers that choose it there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, DataError, check_shape
from openjepa.eval.probing.probes import Scaler


@dataclass(frozen=True)
class LinearProbeConfig:
    """How much data, and which penalties.

    Attributes:
        shots: training rows per class, >= 1; None for all.
        share: share of the training rows of every class, in (0, 1], at least one; only without `shots`.
        penalties: weights of the squared norm, per row, > 0.
        held_out: share of the training rows that choose the penalty, in (0, 1).
        max_iterations: of L-BFGS, >= 1.
        seed: of the choice of rows.
    """

    shots: int | None = None
    share: float | None = None
    penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    held_out: float = 0.2
    max_iterations: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.shots, self.share)
        if not self.penalties or min(self.penalties) <= 0:
            raise ConfigError(f"`penalties` must be positive numbers; got {self.penalties}.")
        if not 0 < self.held_out < 1 or self.max_iterations < 1:
            raise ConfigError(
                f"`held_out` must lie in (0, 1), `max_iterations` be >= 1; got {self.held_out}, {self.max_iterations}."
            )


@dataclass(frozen=True)
class LinearScores:
    """Accuracies on the test set, 0 to 1.

    Attributes:
        accuracy: with the penalty chosen on held-out training rows.
        best_on_test: with the penalty that is best on the test set, as many papers report it.
        penalty: the chosen one.
        rows: training rows used.
    """

    accuracy: float
    best_on_test: float
    penalty: float
    rows: int


class LogisticProbe:
    """Multinomial logistic regression on standardised features, solved to the optimum in float64.

    Args:
        x: [N, D] features.
        labels: [N] int64 classes from 0.
        classes: number of classes; None for those that occur.
        penalty: weight of the squared norm of the weights, per row; the offsets are free.
        max_iterations: of L-BFGS.
    """

    def __init__(
        self,
        x: Tensor,
        labels: Tensor,
        *,
        classes: int | None = None,
        penalty: float = 1e-3,
        max_iterations: int = 200,
    ) -> None:
        sizes = check_shape(x, "N D", name="x")
        check_shape(labels, "N", name="labels", sizes=sizes)
        self.scaler = Scaler(x)
        features = self.scaler(x)
        count = int(labels.max()) + 1 if classes is None else classes
        self.weight = torch.zeros(sizes["D"], count, dtype=torch.float64, device=x.device)
        self.bias = torch.zeros(count, dtype=torch.float64, device=x.device)
        variables = [self.weight.requires_grad_(), self.bias.requires_grad_()]
        optimizer = torch.optim.LBFGS(
            variables,
            max_iter=max_iterations,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            fit = torch.nn.functional.cross_entropy(features @ self.weight + self.bias, labels)
            loss = fit + penalty * self.weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        for variable in variables:
            variable.requires_grad_(False)

    def scores(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of features [N, D]."""
        return self.scaler(x) @ self.weight + self.bias

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Share of rows [N, D] whose class [N] has the highest score."""
        return float((self.scores(x).argmax(1) == labels).double().mean())


def linear_probe(
    x: Tensor,
    labels: Tensor,
    test_x: Tensor,
    test_labels: Tensor,
    config: LinearProbeConfig | None = None,
) -> LinearScores:
    """Chooses the penalty on held-out training rows, fits all training rows, and scores the test set.

    Args:
        x: [N, D] training features.
        labels: [N] int64 classes, any numbers.
        test_x: [M, D].
        test_labels: [M].
        config: how many rows, and which penalties.
    """
    config = config or LinearProbeConfig()
    generator = torch.Generator().manual_seed(config.seed)
    rows = choose_rows(labels, shots=config.shots, share=config.share, generator=generator)
    x = x[rows]
    labels, test_labels, classes = dense_labels(labels[rows], test_labels)

    def fit(x: Tensor, labels: Tensor, penalty: float) -> LogisticProbe:
        return LogisticProbe(x, labels, classes=classes, penalty=penalty, max_iterations=config.max_iterations)

    order = torch.randperm(len(x), generator=generator)
    cut = max(1, round(config.held_out * len(x)))
    kept, held_out = order[cut:], order[:cut]
    if not len(kept):
        raise DataError(f"a linear probe needs at least 2 training rows; got {len(x)}.")
    checks = [fit(x[kept], labels[kept], p).accuracy(x[held_out], labels[held_out]) for p in config.penalties]
    on_test = [fit(x, labels, p).accuracy(test_x, test_labels) for p in config.penalties]
    # The middle of the penalties that tie: with few labels many do.
    tied = [i for i, c in enumerate(checks) if c == max(checks)]
    chosen = tied[len(tied) // 2]
    return LinearScores(on_test[chosen], max(on_test), config.penalties[chosen], len(x))


def dense_labels(labels: Tensor, test_labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Numbers classes from 0, the same in both sets, whatever numbers they had.

    Args:
        labels: [N] int64 classes of the training rows.
        test_labels: [M].

    Returns:
        Both anew, a class without training rows as -1, which no row is taken for; and the number of classes.
    """
    names, own = labels.unique(return_inverse=True)
    place = torch.searchsorted(names, test_labels).clamp_max(len(names) - 1)
    return own, torch.where(names[place] == test_labels, place, -1), len(names)


def check_choice(shots: int | None, share: float | None) -> None:
    """Checks how many labels are chosen.

    Raises:
        ConfigError: for none of them, more than all, or both ways of saying it at once.
    """
    if shots is not None and (shots < 1 or share is not None):
        raise ConfigError(f"`shots` must be >= 1, and `share` None beside it; got {shots} and {share}.")
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"`share` must lie in (0, 1]; got {share}.")


def choose_rows(
    labels: Tensor,
    *,
    shots: int | None = None,
    share: float | None = None,
    generator: torch.Generator,
) -> Tensor:
    """Draws the same number, or the same share, of rows from every class.

    Args:
        labels: [N] int64.
        shots: rows per class.
        share: of the rows of a class, at least one; all rows where both are None.
        generator: on the CPU.

    Returns:
        Row numbers, ascending.

    Raises:
        DataError: where a class has fewer rows than `shots`.
    """
    if shots is None and share is None:
        return torch.arange(len(labels))
    chosen = []
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0].cpu()
        count = shots if shots is not None else max(1, round((1.0 if share is None else share) * len(members)))
        if count > len(members):
            raise DataError(f"`shots` must be at most the {len(members)} rows of class {int(label)}; got {count}.")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(chosen).sort().values
