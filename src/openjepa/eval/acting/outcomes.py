"""What a player achieved on the pairs of a manifest: outcomes, rates with intervals, times, comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.eval.intervals import Interval, cluster_bootstrap, paired_bootstrap, wilson

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Outcome:
    """How one pair went.

    Attributes:
        pair_id: of the manifest.
        episode_id: recorded episode of the pair, or None.
        group: of the pair, or None.
        steps: after which the goal was reached first, or None.
        success_at_end: whether the goal held at the last step; None where episodes stop at the goal.
        first_distance: true distance before the first step, in the world's unit.
        closest_distance: smallest distance on the way.
        last_distance: at the last step that was played.
    """

    pair_id: int
    episode_id: int | None
    group: str | None
    steps: int | None
    success_at_end: bool | None
    first_distance: float
    closest_distance: float
    last_distance: float

    @property
    def success(self) -> bool:
        """Whether the goal was ever reached."""
        return self.steps is not None


@dataclass(frozen=True)
class DecisionTimes:
    """What decisions cost; a decision is a plan, or an action of a player that does not plan.

    Attributes:
        median_ms: wall-clock of one decision with one environment, or None if it was not measured.
        p95_ms: its 95 % quantile.
        timed_decisions: behind these two numbers; the first one of all is left out.
        batch_size: environments played at once in the numbers below.
        actions_per_second: of all environments together, planning included, the world not.
        seconds: spent in the player for all pairs.
        model_steps: predictor steps of one decision of one environment, on average; 0 without a plan.
        decisions: plans of all environments.
    """

    median_ms: float | None
    p95_ms: float | None
    timed_decisions: int
    batch_size: int
    actions_per_second: float
    seconds: float
    model_steps: float
    decisions: int


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode kept for pictures.

    Attributes:
        pair_id: of the manifest.
        goal_frame: [C, H, W] uint8.
        goal_state: [P].
        frames: [T + 1, C, H, W] uint8.
        states: [T + 1, P] the truth.
        z_paths: for each frame the imagined states [H, N, D] of the plan in force, or None.
        success: whether the goal was reached.
    """

    pair_id: int
    goal_frame: np.ndarray
    goal_state: np.ndarray
    frames: np.ndarray
    states: np.ndarray
    z_paths: tuple[Tensor | None, ...]
    success: bool


@dataclass(frozen=True)
class SuccessReport:
    """Everything that one evaluation found.

    Attributes:
        name: of the player.
        task: of the manifest.
        manifest_sha256: fingerprint of the pairs.
        budget: steps that the player had.
        stop_at_goal: whether episodes ended at the first hit.
        outcomes: of every pair, in the manifest's order.
        times: what decisions cost.
        seeds: by name.
        versions: of the software.
        kept: episodes for pictures; not part of the JSON.
    """

    name: str
    task: str
    manifest_sha256: str
    budget: int
    stop_at_goal: bool
    outcomes: tuple[Outcome, ...] = field(repr=False)
    times: DecisionTimes
    seeds: Mapping[str, int]
    versions: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[PlayedEpisode, ...] = field(default=(), repr=False)

    @property
    def success(self) -> Interval:
        """First-hit rate of all pairs, with Wilson's 95 % interval."""
        return _rate([outcome.success for outcome in self.outcomes])

    @property
    def success_by_group(self) -> dict[str, Interval]:
        """First-hit rate of every group of pairs that there is, by its name in alphabetical order."""
        names = sorted({o.group for o in self.outcomes if o.group is not None})
        return {name: _rate([o.success for o in self.outcomes if o.group == name]) for name in names}

    @property
    def success_at_end(self) -> Interval | None:
        """Share of pairs whose goal held at the last step; None where episodes stop at the goal."""
        if self.stop_at_goal:
            return None
        return _rate([bool(outcome.success_at_end) for outcome in self.outcomes])

    @property
    def steps_to_goal(self) -> dict[str, float]:
        """Quantiles of the steps to the first hit, of the successful pairs; empty without any."""
        return _quantiles([o.steps for o in self.outcomes if o.steps is not None])

    def as_json(self) -> dict[str, Any]:
        """Plain values: the summary first, every outcome last."""
        rates = {
            "success": _plain_rate(self.success),
            "success_by_group": {name: _plain_rate(rate) for name, rate in self.success_by_group.items()},
            "success_at_end": None if self.success_at_end is None else _plain_rate(self.success_at_end),
        }
        distances = {
            which: _quantiles([getattr(o, f"{which}_distance") for o in self.outcomes])
            for which in ("first", "closest", "last")
        }
        return {
            "name": self.name,
            "task": self.task,
            "manifest_sha256": self.manifest_sha256,
            "pairs": len(self.outcomes),
            "budget": self.budget,
            "stop_at_goal": self.stop_at_goal,
            **rates,
            "steps_to_goal": self.steps_to_goal,
            "distance": distances,
            "times": asdict(self.times),
            "seeds": dict(self.seeds),
            "versions": dict(self.versions),
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }


def success_difference(first: SuccessReport, second: SuccessReport, *, seed: int = 0) -> Interval:
    """First-hit rate of one player minus that of another on the same pairs, by a paired bootstrap.

    Pairs that come from one recorded episode are resampled together.

    Raises:
        ConfigError: where pairs or budgets differ, so that there is nothing to compare.
    """
    if first.manifest_sha256 != second.manifest_sha256 or first.budget != second.budget:
        raise ConfigError(
            f"`{first.name}` and `{second.name}` must be judged on the same pairs with the same budget; got "
            f"{first.manifest_sha256[:12]} with {first.budget} steps and {second.manifest_sha256[:12]} with "
            f"{second.budget}. Judge both on one manifest."
        )
    a, b = ([float(o.success) for o in report.outcomes] for report in (first, second))
    episodes = [outcome.episode_id for outcome in first.outcomes]
    known = [episode for episode in episodes if episode is not None]
    if len(known) < len(episodes):
        return paired_bootstrap(a, b, seed=seed)
    return cluster_bootstrap(np.subtract(a, b), known, seed=seed)


def _rate(flags: Sequence[bool]) -> Interval:
    return wilson(sum(flags), len(flags))


def _plain_rate(rate: Interval) -> dict[str, Any]:
    return {"rate": rate.estimate, "ci95": [rate.low, rate.high]}


def _quantiles(values: Sequence[float | int]) -> dict[str, float]:
    if not values:
        return {}
    return {str(q): float(x) for q, x in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
