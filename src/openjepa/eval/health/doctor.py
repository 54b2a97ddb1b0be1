"""Says in plain words whether a run has collapsed, how, and what to change.

Checks go from the bottom up and stop at the first sick layer, because later readings are meaningless on a
latent that holds nothing: data, then scale, then what varies in time, then rank, then the predictor. The
thresholds stand beside their reasons in `THRESHOLDS`. Low rank alone is never called collapse: a world in
which one disc moves has a healthy latent with a participation ratio of 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from openjepa.eval.health.collapse import LatentDiagnostics
from openjepa.eval.probing.probes import ProbeScores

Kind = Literal[
    "constant actions",
    "complete collapse",
    "slow features",
    "nuisance features",
    "dimensional collapse",
    "dead actions",
    "healthy",
]


@dataclass(frozen=True)
class Thresholds:
    """Limits of the verdicts, calibrated on runs of Two-Rooms that were made sick on purpose.

    Attributes:
        dead_std: a latent below this standard deviation is constant whatever else holds. Anti-collapse terms
            aim at 1, so this is a thousandth of what was asked for; collapsed runs measured 0 to 2e-4.
        small_std: below this scale, a latent that reads out no better than an untrained one is collapsed,
            too: a run caught on its way down. Healthy runs without any term that fixes the scale measured
                0.11 and more.
        informed: R2 of actions, or of the moving state within episodes, from which on something is encoded.
            Collapsed and slow runs measured at most 0.05, the weakest healthy ones 0.34.
        margin: by which a read-out must beat the one on an untrained encoder to count as learnt.
        slow_ratio: an uninformed latent whose temporal variance ratio is below this share of the moving
            state's own ratio is slow. Slow runs measured 0.004 of it, healthy ones 1.3 and more.
        slow_ratio_alone: the limit of the temporal variance ratio itself where the state is not known.
        white: slowness above which a latent has no memory from one frame to the next; smooth motion measured
            at most 0.04, independent noise is 1.
        rank_share: an uninformed latent with a participation ratio below this share of the world's degrees of
            freedom is dimensionally collapsed. Healthy ones have at least one direction for each of them.
        lone_rank: the participation ratio below which features of pictures without actions or states are
            collapsed.
        blind: action sensitivity below which a predictor does not listen; blind ones measured 0, healthy
            ones 0.56.
        indifferent: a predictor is blind only if shuffled actions raise its error by less than this share,
            too.
    """

    dead_std: float = 1e-3
    small_std: float = 0.05
    informed: float = 0.2
    margin: float = 0.1
    slow_ratio: float = 0.25
    slow_ratio_alone: float = 0.02
    white: float = 0.8
    rank_share: float = 0.75
    lone_rank: float = 1.2
    blind: float = 0.1
    indifferent: float = 0.05


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a run.

    Attributes:
        kind: the sickness by name, or `healthy`.
        healthy: whether nothing was found.
        findings: sentences with the numbers that led to the verdict.
        remedies: sentences that say what to change, most likely first; empty for a healthy run.
    """

    kind: Kind
    healthy: bool
    findings: tuple[str, ...]
    remedies: tuple[str, ...]

    def text(self) -> str:
        """Returns the verdict as lines for a terminal."""
        head = "healthy: no sign of collapse" if self.healthy else f"sick: {self.kind}"
        lines = [head, "", "What was found", *(f"  - {line}" for line in self.findings)]
        if self.remedies:
            lines += ["", "What to change", *(f"  {i}. {line}" for i, line in enumerate(self.remedies, 1))]
        return "\n".join(lines)


REMEDIES: dict[Kind, tuple[str, ...]] = {
    "constant actions": (
        "Collect again with a policy that varies its actions: no model can learn what actions do from one action.",
    ),
    "complete collapse": (
        "Turn an anti-collapse term on or raise its weight: SIGReg (0.1 is a good start) or VICReg's variance (1).",
        "Turn on inverse dynamics (weight 1): an EMA target with stop-gradient alone does not keep a small "
        "world model from collapsing.",
        "Lower the learning rate, if it was raised above the recipe's.",
    ),
    "slow features": (
        "Raise the weight of inverse dynamics (to 10): variance terms and SIGReg are content with what "
        "differs between episodes, inverse dynamics is not.",
        "Set the weight of time similarity to 0: it rewards a latent that never changes.",
        "Collect more movement within each episode: longer and more directed ones.",
    ),
    "nuisance features": (
        "Raise the weight of inverse dynamics: the latent follows something that actions do not control, "
        "such as a noisy background.",
        "Train for more steps, if the loss was still falling.",
        "Lower the latent width, so that less room is left for noise.",
    ),
    "dimensional collapse": (
        "Raise the covariance weight, or use SIGReg (weight 0.1), which asks every direction for variance.",
        "Raise the weight of inverse dynamics, so that the directions in use are those that matter.",
    ),
    "dead actions": (
        "Check that `actions[:, t]` leads from frame t to frame t + 1; shifted actions are noise to a predictor.",
        "Bring the actions to a standard deviation near 1.",
        "Train for more steps, with a rollout of several: a predictor with AdaLN-zero starts blind to actions.",
    ),
    "healthy": (),
}


def diagnose(found: LatentDiagnostics, thresholds: Thresholds = THRESHOLDS) -> Diagnosis:
    """Names the first sickness that the diagnostics show, from the data up to the predictor.

    Args:
        found: measured on held-out episodes.
        thresholds: limits, with their reasons.
    """
    for kind, check in CHECKS:
        reason = check(found, thresholds)
        if reason:
            return Diagnosis(kind, False, (reason, *_facts(found)), REMEDIES[kind])
    return Diagnosis("healthy", True, _facts(found), REMEDIES["healthy"])


def _constant_actions(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    if found.action_std is not None and found.action_std < 1e-6:
        return "All actions of the held-out episodes are equal."
    return None


def _complete_collapse(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    scale = f"its standard deviation is {found.std_mean:.2g}, where about 1 is meant"
    if found.std_mean < limit.dead_std:
        return f"Every picture gets the same latent: {scale}."
    if found.std_mean < limit.small_std and _is_informed(found, limit, beat_untrained=True) is False:
        return f"The latent has shrunk and tells no more than an untrained one: {scale}."
    return None


def _slow_features(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    ratio, reference = found.temporal_variance_ratio, found.state_temporal_variance_ratio
    if ratio is None or _is_informed(found, limit) is not False:
        return None
    if ratio >= (limit.slow_ratio_alone if reference is None else limit.slow_ratio * reference):
        return None
    against = "" if reference is None else f", against {100 * reference:.1f} % of what moves in this world"
    return (
        "Only what never changes inside an episode is encoded: "
        f"{100 * ratio:.2g} % of the latent's variance lies within episodes{against}."
    )


def _nuisance_features(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    if found.slowness is None or _is_informed(found, limit) is not False:
        return None
    if found.slowness > limit.white:
        return (
            "The latent jumps from frame to frame like noise and tells nothing about actions or states: its "
            "slowness "
            f"is {found.slowness:.2f}, that of white noise is 1."
        )
    return None


def _dimensional_collapse(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    informed = _is_informed(found, limit)
    needed = intrinsic_dimension(found)
    bound = limit.lone_rank if informed is None else limit.rank_share * needed
    if informed or found.width <= needed or found.participation_ratio >= bound:
        return None
    return (
        f"The latent uses about {found.participation_ratio:.1f} of its {found.width} directions, and what "
        "moves cannot be read from it."
    )


def _dead_actions(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    p = found.prediction
    if p and p.action_sensitivity < limit.blind and p.permutation_ratio < 1 + limit.indifferent:
        return (
            "The predictor ignores actions: another action moves its prediction by "
            f"{100 * p.action_sensitivity:.1f} % of a real step, and shuffled actions make its error "
            f"{p.permutation_ratio:.2f} times as large."
        )
    return None


CHECKS: tuple[tuple[Kind, Callable[[LatentDiagnostics, Thresholds], str | None]], ...] = (
    ("constant actions", _constant_actions),
    ("complete collapse", _complete_collapse),
    ("slow features", _slow_features),
    ("nuisance features", _nuisance_features),
    ("dimensional collapse", _dimensional_collapse),
    ("dead actions", _dead_actions),
)


def intrinsic_dimension(found: LatentDiagnostics) -> int:
    """Number of state variables that move inside episodes, at least 1; 2 where the state is not known."""
    if found.probe is None:
        return 2
    return max(1, sum(score is not None for score in found.probe.linear_within))


def _is_informed(found: LatentDiagnostics, limit: Thresholds, *, beat_untrained: bool = False) -> bool | None:
    """Whether actions or the moving state can be read from the latent; None where neither is known."""
    floors = {"idm": found.random_idm_r2, "state": _within(found.random_probe)}
    scores = {"idm": found.idm_r2, "state": _within(found.probe)}
    known = {name: score for name, score in scores.items() if score is not None}
    if not known:
        return None
    bounds = {n: (floors[n] or 0.0) + limit.margin if beat_untrained else 0.0 for n in known}
    return any(score >= max(limit.informed, bounds[name]) for name, score in known.items())


def _within(scores: ProbeScores | None) -> float | None:
    return None if scores is None else scores.best_within()


def _facts(found: LatentDiagnostics) -> tuple[str, ...]:
    lines = [
        f"The latent's standard deviation is {found.std_mean:.3g}; about {found.participation_ratio:.1f} of "
        f"{found.width} directions are used (effective rank {found.effective_rank:.1f})."
    ]
    if found.temporal_variance_ratio is not None:
        lines.append(f"{100 * found.temporal_variance_ratio:.2g} % of its variance lies within episodes.")
    if found.idm_r2 is not None:
        score = f"R2 {found.idm_r2:.2f}{_floor(found.random_idm_r2)}"
        lines.append(f"Actions can be read from two neighbouring latents with {score}.")
    within = _within(found.probe)
    if within is not None:
        score = f"R2 {within:.2f}{_floor(_within(found.random_probe))}"
        lines.append(f"What moves within episodes can be read from the latent with {score}.")
    p = found.prediction
    if p is not None:
        lines.append(f"Prediction has {p.copy_ratio:.2f} times the error of copying the last state.")
        lines.append(f"With shuffled actions its error is {p.permutation_ratio:.1f} times as large.")
    return tuple(lines)


def _floor(value: float | None) -> str:
    return "" if value is None else f" (untrained encoder: {value:.2f})"
