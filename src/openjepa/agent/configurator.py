"""The configurator: how a decision is thought about, chosen from what is known before it (LeCun 2022, section 3.1).

    a distilled policy         reflex: no search, as long as the goal comes nearer
    a goal within reach        direct: one level, the goal itself, nothing is paid for the map
    a known way                retrieval: one level, towards landmarks of the map
    no known way, or no map    search: with the upper levels where the world model has some, else with more samples
    standing still             wander: a random heading for one plan

It is a pure function of the situation, the agent's means and its options; it learns nothing, and says why in one line.
"""

import math
from dataclasses import dataclass
from typing import Literal

from openjepa.errors import ConfigError

Mode = Literal["reflex", "direct", "retrieval", "search", "wander"]


@dataclass(frozen=True)
class Situation:
    """What is known before a decision of one environment.

    Attributes:
        distance: steps to the goal by the agent's memory, >= 0; infinity where it knows no way; None without a memory.
        idle: decisions in a row at which the environment stood still, >= 0.
        failed_edges: ways between landmarks that failed in this episode, >= 0.
        time_ms: milliseconds that the decision may take, > 0; None for no limit.
        stalled: decisions in a row that brought the goal no nearer by the agent's memory, or moved nothing, >= 0.
    """

    distance: float | None = None
    idle: int = 0
    failed_edges: int = 0
    time_ms: float | None = None
    stalled: int = 0

    def __post_init__(self) -> None:
        counts = (self.idle, self.failed_edges, self.stalled)
        if (self.distance is not None and not self.distance >= 0) or min(counts) < 0:
            raise ConfigError("`distance`, `idle`, `failed_edges` and `stalled` must be 0 or more.")
        if self.time_ms is not None and self.time_ms <= 0:
            raise ConfigError(f"`time_ms` must be above 0, or None for no limit; got {self.time_ms}.")


@dataclass(frozen=True)
class Means:
    """What an agent can think with.

    Attributes:
        horizon: model steps of a plan.
        num_samples: candidates of a round of its search.
        num_iterations: rounds.
        levels: of its world model and planner, 1 for a flat one.
        remembers_failures: whether failed plans change its cost.
        reflex: whether a policy was distilled from its plans.
    """

    horizon: int
    num_samples: int
    num_iterations: int
    levels: int = 1
    remembers_failures: bool = False
    reflex: bool = False


@dataclass(frozen=True)
class ConfiguratorConfig:
    """Options of the configurator.

    Attributes:
        search_factor: how many times as many samples a search takes where no way is known, >= 1.
        patience: decisions at which nothing moved, after which the agent wanders for one plan, and again after as many
            more, >= 1; None is never.
        time_ms: that a decision may take, > 0; None for no limit.
        step_us: microseconds that an imagined step takes, > 0; read where there is a limit of time.
        fewest_samples: that a hurried search keeps, >= 4.
    """

    search_factor: float = 4.0
    patience: int | None = 2
    time_ms: float | None = None
    step_us: float = 1.5
    fewest_samples: int = 16

    def __post_init__(self) -> None:
        if self.search_factor < 1 or self.fewest_samples < 4 or self.step_us <= 0:
            raise ConfigError("`search_factor` must be >= 1, `fewest_samples` >= 4 and `step_us` > 0.")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"`patience` must be at least 1, or None for never; got {self.patience}.")
        if self.time_ms is not None and self.time_ms <= 0:
            raise ConfigError(f"`time_ms` must be above 0, or None for no limit; got {self.time_ms}.")


@dataclass(frozen=True)
class Setup:
    """How a decision is thought about; two that differ in their words alone are equal.

    Attributes:
        mode: what the plan heads for.
        levels: that take part, from the lowest.
        horizon: model steps of the plan.
        num_samples: candidates of a round of the search.
        num_iterations: rounds.
        weights: of the parts of the cost, by name.
        constraints: what a plan must keep to, by name.
    """

    mode: Mode
    levels: int
    horizon: int
    num_samples: int
    num_iterations: int
    weights: tuple[tuple[str, float], ...] = (("goal", 1.0),)
    constraints: tuple[str, ...] = ("bounds",)

    @property
    def steps(self) -> int:
        """Predictor steps of the lowest level's search."""
        return self.horizon * self.num_samples * self.num_iterations


def configure(situation: Situation, means: Means, config: ConfiguratorConfig, reach: float) -> tuple[Setup, str]:
    """Chooses how to think; a pure function.

    Args:
        situation: of one environment.
        means: of the agent.
        config: the options.
        reach: model steps within which a goal is headed for directly.

    Returns:
        the setup, and why it was chosen, in one line.
    """
    mode, levels, why = _mode(situation, means, config, reach)
    samples = means.num_samples
    if mode == "search" and levels == 1 and situation.distance is not None:
        samples = math.ceil(config.search_factor * samples)
    if mode == "wander":
        samples, why = 1, f"{why}; one heading is drawn"
    iterations = 1 if mode == "wander" else means.num_iterations
    limit = situation.time_ms if situation.time_ms is not None else config.time_ms
    if mode == "reflex":
        samples, iterations = 1, 1
    elif limit is not None and mode != "wander":
        samples, iterations, hurry = _within(limit, means.horizon, samples, iterations, config)
        why += hurry
    weights: tuple[tuple[str, float], ...] = (("goal", 1.0),)
    if means.remembers_failures:
        weights = (*weights, ("failed_plans", 1.0))
    constraints = ("bounds", "failed_edges") if situation.failed_edges else ("bounds",)
    return Setup(mode, levels, means.horizon, samples, iterations, weights, constraints), why


def _mode(situation: Situation, means: Means, config: ConfiguratorConfig, reach: float) -> tuple[Mode, int, str]:
    """Mode, levels and the first words of the reason."""
    distance = situation.distance
    if config.patience is not None and distance != 0 and situation.idle and situation.idle % config.patience == 0:
        return "wander", 1, f"nothing moved for {situation.idle} decisions: wander"
    if means.reflex and not situation.stalled and (distance is None or math.isfinite(distance)):
        return "reflex", 1, "it comes nearer without a search: by reflex, which the world model verifies"
    if distance is None:
        if means.levels > 1:
            return "search", means.levels, f"no map: search with {means.levels} levels"
        return "direct", 1, "no map: straight for the goal"
    if distance <= reach:
        return "direct", 1, f"{distance:g} steps away, within reach of {reach:g}: straight for the goal"
    if math.isinf(distance):
        how = f"with {means.levels} levels" if means.levels > 1 else f"with {config.search_factor:g} times the samples"
        return "search", means.levels, f"no known way: search {how}"
    failed = f", {situation.failed_edges} edges failed" if situation.failed_edges else ""
    return "retrieval", 1, f"a known way of {distance:g} steps{failed}: by landmarks within {reach:g} steps"


def _within(
    limit: float, horizon: int, samples: int, iterations: int, config: ConfiguratorConfig
) -> tuple[int, int, str]:
    """Samples and rounds that a limit of time in ms allows, and what was cut, in words."""
    allowed = int(1000 * limit / config.step_us) // horizon  # candidates of all rounds
    fewest = min(samples, config.fewest_samples)
    if samples * iterations <= allowed:
        return samples, iterations, ""
    rounds = max(1, min(iterations, allowed // fewest))
    kept = max(fewest, min(samples, allowed // rounds))
    return kept, rounds, f"; {limit:g} ms allow {rounds} rounds of {kept} samples"
