"""Says in plain words whether a run has collapsed, how, and what to change.

Checks go from the bottom up: data, then scale, then what varies in time, then rank. They stop at the first collapse,
because later readings are meaningless on a latent that holds nothing. What a living latent can lack (actions, velocity,
things that are touched, data) is then checked and listed in full.

No verdict reads the simulator's states: an angle may be written in degrees, unwrapped, or as sine and cosine, and a
model is as sick as before. Evidence are actions, and the places of moving things in the pictures (`sight.py`). The
thresholds stand beside their reasons in `Thresholds`. Low rank alone is never called collapse: a world in which one
disc moves has a healthy latent with a participation ratio of 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

from openjepa.data.data_use import DataUse
from openjepa.eval.health.collapse import LatentDiagnostics
from openjepa.eval.health.remedies import Kind, remedies_of
from openjepa.eval.health.sight import SeenThing, Sight
from openjepa.eval.probing.probes import ProbeScores


@dataclass(frozen=True)
class Thresholds:
    """Limits of the verdicts, calibrated on runs and on drawn worlds that were made sick on purpose.

    Attributes:
        dead_std: a latent below this standard deviation is constant whatever else holds. Anti-collapse terms
            aim at 1, so this is a thousandth of what was asked for; collapsed runs measured 0 to 2e-4.
        small_std: below this scale, a latent that reads out no better than an untrained one is collapsed,
            too: a run caught on its way down. Healthy runs without any term that fixes the scale measured
                0.11 and more.
        informed: R2 of actions, or of the place of what moves, from which on something is encoded.
            Collapsed and slow runs measured at most 0.05, the weakest healthy ones 0.34.
        margin: by which a read-out must beat the one on an untrained encoder to count as learnt.
        slow_ratio: an uninformed latent whose temporal variance ratio is below this share of that of what moves
            is slow. Slow runs measured 0.004 of it, healthy ones 1.3 and more.
        slow_ratio_alone: the limit of the temporal variance ratio itself where nothing is known to move.
        white: slowness above which a latent has no memory from one frame to the next; smooth motion measured
            at most 0.04, independent noise is 1.
        rank_share: an uninformed latent with a participation ratio below this share of the world's degrees of
            freedom is dimensionally collapsed. Healthy ones have at least one direction for each of them.
        lone_rank: the participation ratio below which features of pictures without actions or states are
            collapsed.
        blind: action sensitivity below which a predictor does not listen; blind ones measured 0, healthy
            ones 0.56.
        indifferent: a predictor is blind only if shuffled actions raise its error by less than this share,
            too; the same holds for a fresh read-out, to which the actions of the data are dead.
        velocity: what the state before adds to the R2 of the next change of the latent from which on it is missed.
            Drawn worlds without inertia measured at most 0.07, with it 0.18 to 0.61.
        velocity_share: and the share of the unforetold that it must take away. Encoders with noise of a tenth
            measured at most 0.1 in worlds without inertia.
        unread: R2 of the place of a thing, as a share of what the pictures foretell of it, below which the latent
            does not hold it. Latents without a pushed block measured below 0, complete ones 0.8 and more with
            noise of a tenth.
        lost: share of the steps that no training window holds from which on data are lost. A few per cent are what
            any window leaves of episodes that ended early.
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
    velocity: float = 0.15
    velocity_share: float = 0.3
    unread: float = 0.3
    lost: float = 0.03


THRESHOLDS = Thresholds()
SHOWN_ACTION = 0.5  # R2 from which on a picture is said to show the last action; with an arrow 0.87 to 0.98, else 0.05


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a run.

    Attributes:
        kind: the sickness by name, the lowest layer first, or `healthy`.
        healthy: whether nothing was found.
        findings: sentences with the numbers that led to the verdict.
        remedies: sentences that say what to change, most likely first; empty for a healthy run.
        also: further sicknesses that the run has.
    """

    kind: Kind
    healthy: bool
    findings: tuple[str, ...]
    remedies: tuple[str, ...]
    also: tuple[Kind, ...] = ()

    def text(self) -> str:
        """Returns the verdict as lines for a terminal."""
        head = "healthy: no sign of collapse" if self.healthy else f"sick: {', '.join((self.kind, *self.also))}"
        lines = [head, "", "What was found", *(f"  - {line}" for line in self.findings)]
        if self.remedies:
            lines += ["", "What to change", *(f"  {i}. {line}" for i, line in enumerate(self.remedies, 1))]
        return "\n".join(lines)


def diagnose(
    found: LatentDiagnostics,
    thresholds: Thresholds = THRESHOLDS,
    *,
    data: DataUse | None = None,
    frozen: bool = False,
) -> Diagnosis:
    """Names what the diagnostics show, from the data up to the predictor.

    Args:
        found: measured on held-out episodes.
        thresholds: limits, with their reasons.
        data: what of the training episodes windows can use.
        frozen: whether the encoder does not learn: nothing is advised that only changes how it is trained.
    """
    facts = (*_facts(found), *(() if data is None else (data.text(),)))
    for kind, check in COLLAPSES:
        reason = check(found, thresholds)
        if reason:
            return Diagnosis(kind, False, (reason, *facts), remedies_of(kind, frozen=frozen))
    sick = {kind: reason for kind, check in LACKS if (reason := check(found, thresholds))}
    if data is not None and data.unused_share > thresholds.lost:
        sick["lost data"] = (
            f"{100 * data.unused_share:.1f} % of the recorded steps are never trained on: their episodes are shorter "
            "than a window."
        )
    if not sick:
        return Diagnosis("healthy", True, facts, ())
    kind, *also = sick
    remedies = [line for name in sick for line in remedies_of(name, frozen=frozen)]
    remedies += [] if frozen else _patch_remedy(found)
    return Diagnosis(kind, False, (*sick.values(), *facts), tuple(remedies), tuple(also))


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
    ratio, reference = found.temporal_variance_ratio, found.sight.temporal_variance_ratio if found.sight else None
    if ratio is None or _is_informed(found, limit) is not False:
        return None
    if ratio >= (limit.slow_ratio_alone if reference is None else limit.slow_ratio * reference):
        return None
    against = "" if reference is None else f", against {100 * reference:.1f} % of what moves in the picture"
    return (
        "Only what never changes inside an episode is encoded: "
        f"{_percent(ratio)} of the latent's variance lies within episodes{against}."
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
    needed = degrees_of_freedom(found)
    bound = limit.lone_rank if informed is None else limit.rank_share * needed
    if informed or found.width <= needed or found.participation_ratio >= bound:
        return None
    return (
        f"The latent uses about {found.participation_ratio:.1f} of its {found.width} directions, and what "
        "moves cannot be read from it."
    )


def _dead_actions(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    if not _is_blind(found, limit) or _actions_matter(found, limit):
        return None
    return f"Actions do nothing to this latent, and the predictor ignores them: {_deafness(found)}."


def _blind_predictor(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    if not _is_blind(found, limit) or not _actions_matter(found, limit):
        return None
    fresh = found.foretelling
    better = (
        ""
        if fresh is None
        else f"; to a read-out fitted on the same latents they do so {fresh.permutation_ratio:.1f} fold"
    )
    return f"The predictor ignores actions: {_deafness(found)}{better}."


def _is_blind(found: LatentDiagnostics, limit: Thresholds) -> bool:
    p = found.prediction
    return p is not None and p.action_sensitivity < limit.blind and p.permutation_ratio < 1 + limit.indifferent


def _actions_matter(found: LatentDiagnostics, limit: Thresholds) -> bool:
    """Whether something fresh finds a use for the actions of the data: foretelling, or reading them from two states."""
    fresh = found.foretelling is not None and found.foretelling.permutation_ratio >= 1 + limit.indifferent
    return fresh or (found.idm_r2 is not None and found.idm_r2 >= limit.informed)


def _deafness(found: LatentDiagnostics) -> str:
    assert found.prediction is not None
    return (
        f"another action moves its prediction by {100 * found.prediction.action_sensitivity:.1f} % of a real step, and "
        f"shuffled actions make its error {found.prediction.permutation_ratio:.2f} times as large"
    )


def _no_velocity(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    fresh = found.foretelling
    if fresh is None:
        return None
    gap, unforetold = fresh.with_past - fresh.from_state, 1 - fresh.from_state
    if gap < limit.velocity or gap < limit.velocity_share * unforetold:
        return None
    return (
        "The state misses what the state before it tells, such as a velocity or a heading: with both, "
        f"{100 * max(fresh.with_past, 0):.0f} % of the next change can be foretold, with one "
        f"{100 * max(fresh.from_state, 0):.0f} %."
    )


def _agent_only(found: LatentDiagnostics, limit: Thresholds) -> str | None:
    unread = unread_things(found, limit)
    if not unread or not _is_informed(found, limit):
        return None
    names = " and ".join(f"{_described(thing)} (foretold by the pictures: {thing.foretold:.2f})" for thing in unread)
    return f"The latent does not hold all that moves. It is blind to {names}."


def unread_things(found: LatentDiagnostics, thresholds: Thresholds = THRESHOLDS) -> tuple[SeenThing, ...]:
    """The moving things whose place cannot be read from the latent although pictures foretell it."""
    things = found.sight.things if found.sight else ()
    return tuple(thing for thing in things if thing.read < thresholds.unread * thing.foretold)


COLLAPSES: tuple[tuple[Kind, Callable[[LatentDiagnostics, Thresholds], str | None]], ...] = (
    ("constant actions", _constant_actions),
    ("complete collapse", _complete_collapse),
    ("slow features", _slow_features),
    ("nuisance features", _nuisance_features),
    ("dimensional collapse", _dimensional_collapse),
)
LACKS: tuple[tuple[Kind, Callable[[LatentDiagnostics, Thresholds], str | None]], ...] = (
    ("dead actions", _dead_actions),
    ("no velocity", _no_velocity),
    ("agent-only latent", _agent_only),
    ("blind predictor", _blind_predictor),
)


def degrees_of_freedom(found: LatentDiagnostics) -> float:
    """Independent motions in the pictures, at least 1; 2 where nothing is known to move."""
    return 2.0 if found.sight is None else max(1.0, found.sight.degrees_of_freedom)


def _is_informed(found: LatentDiagnostics, limit: Thresholds, *, beat_untrained: bool = False) -> bool | None:
    """Whether actions or what moves can be read from the latent; None where neither is known."""
    sight = found.sight
    floors = {"actions": found.random_idm_r2, "places": sight.untrained if sight else None}
    scores = {"actions": found.idm_r2, "places": sight.read if sight else None}
    known = {name: score for name, score in scores.items() if score is not None}
    if not known:
        return None
    bounds = {n: (floors[n] or 0.0) + limit.margin if beat_untrained else 0.0 for n in known}
    return any(score >= max(limit.informed, bounds[name]) for name, score in known.items())


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _within(scores: ProbeScores | None) -> float | None:
    return None if scores is None else scores.best_within()


def _facts(found: LatentDiagnostics) -> tuple[str, ...]:
    lines = [
        f"The latent's standard deviation is {found.std_mean:.3g}; about {found.participation_ratio:.1f} of "
        f"{found.width} directions are used (effective rank {found.effective_rank:.1f})."
    ]
    if found.temporal_variance_ratio is not None:
        lines.append(f"{_percent(found.temporal_variance_ratio)} of its variance lies within episodes.")
    if found.idm_r2 is not None:
        score = f"R2 {found.idm_r2:.2f}{_floor(found.random_idm_r2)}"
        lines.append(f"Actions can be read from two neighbouring latents with {score}.")
    within = _within(found.probe)
    if within is not None:
        score = f"R2 {within:.2f}{_floor(_within(found.random_probe))}"
        lines.append(f"The recorded state can be read within episodes with {score}; no verdict depends on it.")
    if found.sight is not None:
        lines += [f"What moves: {_described(thing)}{_floor(thing.untrained)}." for thing in found.sight.things]
        lines += _patches(found.sight)
    if found.episodes < 2:
        lines.append("One held-out episode is too few to fit a read-out on: what the latent tells was not measured.")
    p = found.prediction
    if p is not None:
        lines.append(f"Prediction has {p.copy_ratio:.2f} times the error of copying the last state.")
        parts = ", ".join("-" if part is None else f"{part:.1f}" for part in p.permutation_by_part)
        by_part = f" (each part of the action alone: {parts})" if len(p.permutation_by_part) > 1 else ""
        lines.append(f"With shuffled actions its error is {p.permutation_ratio:.1f} times as large{by_part}.")
    if found.foretelling is not None:
        fresh = found.foretelling
        lines.append(
            f"Fresh read-outs foretell the latent's next change with R2 {fresh.from_state:.2f} from one state, "
            f"{fresh.with_past:.2f} from two."
        )
    if found.shown_action is not None and found.shown_action >= SHOWN_ACTION:
        lines.append(
            f"A picture shows the action that led to it (R2 {found.shown_action:.2f} by one latent), and a goal's does "
            "not: a distance between latents counts it, and so does a critic of play that holds its actions. "
            "`openjepa train WORLD` hides what shows it where that stays in its place (`encoder.hidden`)."
        )
    return tuple(lines)


def _described(thing: SeenThing) -> str:
    red, green, blue = thing.colour
    return (
        f"a thing of {thing.size_px:.0f} px in rgb({red}, {green}, {blue}), whose place reads with R2 {thing.read:.2f}"
    )


def _patches(sight: Sight) -> list[str]:
    """How large what moves is, in the measure of the encoder."""
    if sight.stride_px is None:
        return []
    first = min(sight.things, key=lambda thing: thing.size_px)
    jumps = "" if sight.grid_px is None else f", moves in cells of {sight.grid_px} px"
    return [f"The smallest that moves is {first.size_px:.0f} px wide{jumps}, in patches of {sight.stride_px} px."]


def _patch_remedy(found: LatentDiagnostics) -> list[str]:
    """What to change about patches that do not fit what moves."""
    sight = found.sight
    if sight is None or sight.stride_px is None:
        return []
    if sight.grid_px is not None and sight.grid_px % sight.stride_px:
        return [f"Make the encoder's patches {sight.grid_px} px wide, so that they fit the cells in which things move."]
    smallest = min(thing.size_px for thing in sight.things)
    if sight.stride_px > smallest:
        return [f"Make the encoder's patches at most {smallest:.0f} px wide: that is the size of what moves."]
    return []


def _floor(value: float | None) -> str:
    return "" if value is None else f" (untrained encoder: {value:.2f})"
