"""Options of the acting loop."""

from dataclasses import dataclass

from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.errors import ConfigError


@dataclass(frozen=True)
class FailedPlanConfig:
    """When a plan has failed, and how far around its end it is doubted.

    Attributes:
        missing_share: of the imagined way that must be missing for a plan to have failed, > 0.
        radius_share: radius of a remembered place, as a share of the gap between what was imagined and seen, > 0.
        capacity: places that are remembered, the latest ones, >= 1.
    """

    missing_share: float = 0.5
    radius_share: float = 0.75
    capacity: int = 64

    def __post_init__(self) -> None:
        if min(self.missing_share, self.radius_share) <= 0 or self.capacity < 1:
            raise ConfigError(
                "`missing_share` and `radius_share` must be > 0 and `capacity` at least 1; got "
                f"{self.missing_share}, {self.radius_share} and {self.capacity}."
            )


@dataclass(frozen=True)
class AgentConfig:
    """Options of the acting loop.

    Attributes:
        replan_every: model steps that are executed before the next plan, from 1 to the planner's horizon.
        context_len: latest states that the model is given, >= 1; 1 for a Markov model.
        history: latest frames that a state is computed from, >= 1; more than 1 for a state with a velocity.
        frameskip: primitive actions per model step, >= 1; a model action is executed in that many parts.
        looks: times in a model step at which the agent looks and plans anew, a divisor of `frameskip`; more than 1 for
            what moves fast, where a whole model step without looking is long. It goes with `replan_every` and
            `context_len` 1 and without `stuck_steps`; what failed is then what the actions of the last model step
            were to do, as no plan is followed for so long.
        warm_start: whether a search starts from the last plan, shifted by what was executed.
        reach: model steps to a subgoal at most, > 0; for an agent with a map.
        edge_patience: decisions without progress after which the agent no longer believes, until the episode ends, the
            edge of its map that it should have taken, >= 1; None believes the map for ever.
        configurator: chooses for every decision how it is thought about, or None for always the same.
        failed_plans: when the agent remembers, until the episode ends, a plan that the world did not follow, or None
            to forget at once.
        stuck_steps: whether the agent remembers, until the episode ends, steps between landmarks that led nowhere; the
            critic must be a map of landmarks.
        seed: of all plans, >= 0.
        device: where frames are encoded and plans are made.
    """

    replan_every: int = 1
    context_len: int = 1
    history: int = 1
    frameskip: int = 1
    looks: int = 1
    warm_start: bool = True
    failed_plans: FailedPlanConfig | None = None
    reach: float = 8.0
    edge_patience: int | None = None
    configurator: ConfiguratorConfig | None = None
    stuck_steps: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.replan_every, self.context_len, self.history, self.frameskip) < 1 or self.seed < 0:
            raise ConfigError(
                "`replan_every`, `context_len`, `history`, `frameskip` must be at least 1, `seed` 0 or more."
            )
        if self.looks < 1 or self.frameskip % self.looks:
            raise ConfigError(f"`looks` must be a divisor of `frameskip` ({self.frameskip}); got {self.looks}.")
        if self.looks > 1 and (self.replan_every > 1 or self.context_len > 1 or self.stuck_steps):
            raise ConfigError(
                "`looks` above 1 must go with `replan_every` 1 and `context_len` 1, and without `stuck_steps`."
            )
        if self.reach <= 0 or (self.edge_patience is not None and self.edge_patience < 1):
            raise ConfigError(
                f"`reach` must be above 0 and `edge_patience` at least 1 or None; got {self.reach} and "
                f"{self.edge_patience}."
            )
