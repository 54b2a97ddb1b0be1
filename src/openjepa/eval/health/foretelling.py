"""What fresh read-outs foretell of a latent's next change: what its state misses, and what its actions do.

A predictor may be blind because it was trained too briefly, or because nothing can be known. Small read-outs that are
fitted here tell the two apart: with and without the state before (a gap says that one state misses velocity, heading
or another thing that two neighbouring ones tell), and with shuffled actions (no loss says that actions do nothing to
this latent). A linear one asks whether a picture shows the action that led to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import check_shape
from openjepa.eval.probing.probes import MLPProbe, ProbeConfig, RidgeProbe, r2, split_episodes

FEWEST_EPISODES = 8  # below either number nothing is said: a read-out would judge its own noise
FEWEST_STEPS = 100
WIDEST = 64  # directions of the latent that are foretold; a wider one is reduced to its principal ones


@dataclass(frozen=True)
class Foretelling:
    """R2 of the next change of the latent on held-out episodes, over all its directions together.

    Attributes:
        from_state: foretold from (z_t, a_t).
        with_past: foretold from (z_t-1, z_t, a_t).
        permutation_ratio: squared error of the first under shuffled actions / under the true ones; 1 means that the
            actions of the data make no difference to this latent.
    """

    from_state: float
    with_past: float
    permutation_ratio: float


def foretell(z: Tensor, actions: Tensor, valid: Tensor, config: ProbeConfig | None = None) -> Foretelling | None:
    """Fits read-outs on some episodes and scores them on the others; None where there are too few.

    Args:
        z: [E, T, D] latents of held-out episodes.
        actions: [E, T - 1, A].
        valid: [E, T] bool, the states that count.
        config: split, sizes and seed.
    """
    config = config or ProbeConfig()
    sizes = check_shape(z, "E T D", name="z")
    known = valid[:, 2:]
    if not is_enough(valid):
        return None
    z = _narrow(z.detach().double(), valid)
    now, moves = z[:, 1:-1], actions[:, 1:].double()
    step, change = now - z[:, :-2], z[:, 2:] - now  # [E, T - 2, D]
    train, test = split_episodes(sizes["E"], config)
    rows_train, rows_test = known[train], known[test]
    target, truth = change[train][rows_train], change[test][rows_test]
    spread = (truth - target.mean(0)).square().sum().clamp_min(1e-12)

    def errors(parts: list[Tensor], shuffled: Tensor | None = None) -> list[float]:
        """Squared error on the test rows over their spread; then the same with the last part shuffled."""
        fitted = _Foreteller(torch.cat([part[train][rows_train] for part in parts], -1), target, config)
        inputs = [part[test][rows_test] for part in parts]
        found = float((fitted(torch.cat(inputs, -1)) - truth).square().sum() / spread)
        if shuffled is None:
            return [found]
        mixed = torch.cat([*inputs[:-1], inputs[-1][shuffled]], -1)
        return [found, float((fitted(mixed) - truth).square().sum() / spread)]

    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(config.seed))
    state, mixed = errors([now, moves], order)
    (past,) = errors([now, step, moves])
    return Foretelling(1 - state, 1 - past, mixed / max(state, 1e-12))


def shown_action(z: Tensor, actions: Tensor, valid: Tensor, config: ProbeConfig | None = None) -> float | None:
    """How well one latent tells the action that led to it: R2 of the best-told part of an action, by a linear read-out.

    A picture that shows the last action (an arrow for a torque) differs from the same place in a goal picture, and in
    play that holds its actions it tells what is near in time. None where there are too few episodes.

    Args:
        z: [E, T, D] latents, each of one picture.
        actions: [E, T - 1, A].
        valid: [E, T] bool, the latents that count.
        config: split, penalty and seed.
    """
    config, known = config or ProbeConfig(), valid[:, 1:]
    if not is_enough(valid):
        return None
    after, led = z[:, 1:].detach(), actions.detach().float()
    train, test = split_episodes(len(z), config)
    told = RidgeProbe(after[train][known[train]], led[train][known[train]], ridge=config.ridge)
    scores = r2(told(after[test][known[test]]), led[test][known[test]])
    return max((score for score in scores if score is not None), default=None)


def is_enough(valid: Tensor) -> bool:
    """Whether there are episodes and steps enough in [E, T] frames that count, for a read-out to say something."""
    return len(valid) >= FEWEST_EPISODES and int(valid[:, 2:].sum()) >= FEWEST_STEPS


class _Foreteller:
    """A ridge read-out and an MLP for what it leaves, where that helps on rows that neither was fitted on.

    Args:
        x: [N, D] inputs.
        y: [N, P] targets.
        config: sizes and steps.
    """

    def __init__(self, x: Tensor, y: Tensor, config: ProbeConfig) -> None:
        self.linear = RidgeProbe(x, y, ridge=config.ridge)
        self.rest = None
        if config.mlp_steps:
            cut = max(1, round(0.85 * len(x)))  # rows are in the order of episodes: the last ones are checked
            left = y - self.linear(x)
            rest = MLPProbe(x[:cut], left[:cut], config)
            helps = (rest(x[cut:]) - left[cut:]).square().sum() < left[cut:].square().sum()
            self.rest = rest if bool(helps) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the read-out [N, P] of inputs [N, D]."""
        found = self.linear(x)
        return found if self.rest is None else found + self.rest(x)


def _narrow(z: Tensor, valid: Tensor) -> Tensor:
    """Latents [E, T, D] in at most `WIDEST` directions: those in which the valid rows vary most."""
    if z.shape[-1] <= WIDEST:
        return z
    rows = z[valid] - z[valid].mean(0)
    directions = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -WIDEST:]
    return z @ directions
