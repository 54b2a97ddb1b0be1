"""Are the futures right? Coverage, probabilities, validity and sharpness of predictions with several outcomes.

Everything is judged in latent space against *real* latents: what the simulator shows when the same state goes each
of its ways. A probe is not asked whether a prediction is possible: trained on real latents, it reads the average of
two roads as a definite place on one of them (the average of up and down is off the manifold, and probes
extrapolate).

Coverage and radius: a way is covered where a future lies within `radius` of one of its real outcomes; the radius is
three times the median error on unambiguous states. A future is *in the middle* where no real outcome of its own case is
that near. It is *impossible* where its k-th nearest training latent is farther away than those of 99 % of predictions
that nothing is ambiguous about: a prediction is never exact, so the yardstick is its ordinary error, not zero.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.scoring import energy_score
from openjepa.planning.support import NearestNeighbours


@dataclass(frozen=True)
class Outcomes:
    """What really follows each judged state.

    Attributes:
        z: [R, W, S, D], S real outcomes of each of W ways.
        probs: [R, W], true probabilities of the ways.
        z_true: [R, D], the outcome that happened.
        way: [R], its way.
    """

    z: Tensor
    probs: Tensor
    z_true: Tensor
    way: Tensor


@dataclass(frozen=True)
class Calibration:
    """Stated probabilities against what happened.

    Attributes:
        brier: mean squared error of the stated probabilities, summed over the ways (0 is perfect).
        ece: expected calibration error: mean gap between stated and realised share, over bins of equal mass.
        stated: mean stated probability of each bin.
        realised: share of cases of the bin in which it happened.
        count: cases of each bin.
    """

    brier: float
    ece: float
    stated: tuple[float, ...]
    realised: tuple[float, ...]
    count: tuple[int, ...]


@dataclass(frozen=True)
class FuturesReport:
    """How good the futures of R judged states are.

    Attributes:
        cases: R.
        coverage: share of cases whose ways are all covered by a future.
        stated_first: mean stated probability of the first way, among futures that lie on a way.
        prob_error: mean over cases and ways of |stated - true|.
        prob_within: share of cases where no way's probability is wrong by more than .05.
        middle: probability of futures within `radius` of no real outcome of their own case.
        impossible: probability of futures farther from all real latents than the support's threshold.
        distance: mean distance of the futures to their nearest real outcomes.
        best_error: mean distance of the truth to the nearest future.
        single_error: mean distance of the truth to a future that is drawn.
        energy: mean energy score, lower is better.
        skill: 1 - energy / energy of the reference, or None.
        sharpness: mean distance of the futures to the middle of their own way's futures.
        calibration: of the ways' probabilities.
    """

    cases: int
    coverage: float
    stated_first: float
    prob_error: float
    prob_within: float
    middle: float
    impossible: float
    distance: float
    best_error: float
    single_error: float
    energy: float
    skill: float | None
    sharpness: float
    calibration: Calibration

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def judge_futures(
    z: Tensor,
    log_weights: Tensor,
    outcomes: Outcomes,
    support: NearestNeighbours,
    radius: float,
    *,
    reference_energy: float | None = None,
) -> FuturesReport:
    """Judges the last states of predicted futures.

    Args:
        z: [R, F, D] states.
        log_weights: [R, F], normalised.
        outcomes: what really follows.
        support: training latents, with the distance beyond which nothing is possible.
        radius: within which a future counts as a real outcome.
        reference_energy: mean energy score of another predictor, for the skill.
    """
    sizes = check_shape(z, "R F D", name="z")
    check_shape(log_weights, "R F", name="log_weights", sizes={"R": sizes["R"], "F": sizes["F"]})
    if radius <= 0:
        raise ConfigError(f"`radius` must be > 0; got {radius}.")
    weights = log_weights.exp()  # [R, F]
    distance = distances_to_ways(z, outcomes.z)  # [R, F, W]
    nearest, way = distance.min(-1)  # [R, F]
    on_way = nearest <= radius
    reached = ((distance <= radius) & (weights > 0)[..., None]).any(1)  # [R, W]
    stated = stated_probabilities(weights, way, outcomes.z.shape[1])  # [R, W]
    gap = (stated - outcomes.probs).abs()
    to_truth = (z - outcomes.z_true.unsqueeze(1)).norm(dim=-1)  # [R, F]
    energy = float(energy_score(z, log_weights, outcomes.z_true).mean())
    away = support.distance(z.unsqueeze(-2))  # [R, F]
    return FuturesReport(
        cases=sizes["R"],
        coverage=float(reached.all(-1).float().mean()),
        stated_first=float(stated[:, 0].mean()),
        prob_error=float(gap.mean()),
        prob_within=float((gap.amax(-1) <= 0.05).float().mean()),
        middle=_expected(~on_way, weights),
        impossible=_expected(away > support.threshold, weights),
        distance=_expected(nearest, weights),
        best_error=float(to_truth.masked_fill(weights <= 0, torch.inf).amin(-1).mean()),
        single_error=_expected(to_truth, weights),
        energy=energy,
        skill=None if reference_energy is None else 1 - energy / reference_energy,
        sharpness=_sharpness(z, weights, way, outcomes.z.shape[1]),
        calibration=calibration(stated, outcomes.way),
    )


def distances_to_ways(z: Tensor, outcomes: Tensor) -> Tensor:
    """Distance of futures [R, F, D] to the nearest of each way's real outcomes [R, W, S, D]; [R, F, W]."""
    gaps = torch.cdist(z, outcomes.flatten(1, 2))  # [R, F, W * S]
    return gaps.unflatten(-1, outcomes.shape[1:3]).amin(-1)


def stated_probabilities(weights: Tensor, way: Tensor, ways: int) -> Tensor:
    """Probability of each way: the weights [R, F] of the futures that are nearest to it, [R, F] indices; [R, W]."""
    return torch.zeros(len(weights), ways).to(weights).scatter_add(1, way, weights)


def calibration(stated: Tensor, way: Tensor, *, bins: int = 10) -> Calibration:
    """Brier score, expected calibration error and the points of a reliability plot.

    Args:
        stated: [R, W] probabilities.
        way: [R], what happened.
        bins: of equal mass, over all probabilities of all ways.
    """
    check_shape(stated, f"R={len(way)} W", name="stated")
    happened = torch.nn.functional.one_hot(way, stated.shape[1]).double()
    brier = float((stated.double() - happened).square().sum(-1).mean())
    probability, outcome = stated.double().flatten().numpy(), happened.flatten().numpy()
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if len(part)]
    means = [float(probability[part].mean()) for part in parts]
    shares = [float(outcome[part].mean()) for part in parts]
    counts = [len(part) for part in parts]
    ece = float(np.average(np.abs(np.subtract(means, shares)), weights=counts))
    return Calibration(brier, ece, tuple(means), tuple(shares), tuple(counts))


def _expected(values: Tensor, weights: Tensor) -> float:
    return float((values.float() * weights).sum(-1).mean())


def _sharpness(z: Tensor, weights: Tensor, way: Tensor, ways: int) -> float:
    share = torch.nn.functional.one_hot(way, ways).to(weights) * weights[..., None]  # [R, F, W]
    mass = share.sum(1)  # [R, W]
    middle = torch.einsum("rfw,rfd->rwd", share, z) / mass[..., None].clamp_min(1e-9)
    own = middle.gather(1, way[..., None].expand(-1, -1, z.shape[-1]))  # [R, F, D]
    return _expected((z - own).norm(dim=-1), weights)
