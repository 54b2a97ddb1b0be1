"""How much a planner searches, in numbers that every sampling planner shares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchSize:
    """The size of a search.

    Attributes:
        horizon: model steps of a plan.
        num_samples: candidates of a round.
        num_iterations: rounds.
        levels: of the world model that take part.
    """

    horizon: int
    num_samples: int
    num_iterations: int
    levels: int = 1
