"""What can be said of a state, and whether it is true: the judge of all words.

A *fact* is a relation of the agent to things: `left of (red disc)`, or of the agent alone: `doorway`. A world of which
something can be said has `facts`, made of its own relations; grammar, heads, tasks and judges take them as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol, runtime_checkable

import numpy as np

from openjepa.errors import ConfigError, DataError
from openjepa.protocols import World

# relation: how many things it takes, and whether it holds of what `Facts` reads in states and of things, [S] bool
Relations = Mapping[str, tuple[int, Callable[..., np.ndarray]]]


@dataclass(frozen=True)
class Fact:
    """A relation of the agent to things.

    Attributes:
        relation: its name.
        things: names of what it relates to, as many as the relation takes.
    """

    relation: str
    things: tuple[str, ...] = ()


class Facts:
    """All facts of a world, and their truth.

    Args:
        relations: of the agent.
        things: names, each a colour and a shape.
        read: from states [S, P] to what the relations take.
        width: P.
        agent: what the agent is called; none where it is what the phrases mean anyway, a violet disc.
    """

    def __init__(
        self,
        relations: Relations,
        things: Sequence[str],
        read: Callable[[np.ndarray], Any],
        width: int,
        agent: Sequence[str] = (),
    ) -> None:
        self._relations, self._read, self._width = relations, read, width
        self.things, self.agent = tuple(things), tuple(agent)
        self.all = tuple(
            Fact(relation, chosen)
            for relation, (count, _) in relations.items()
            for chosen in combinations(self.things, count)
        )
        self.index = {fact: i for i, fact in enumerate(self.all)}

    def holds(self, states: np.ndarray) -> np.ndarray:
        """The truth of every fact in states [S, P]; [F, S] bool.

        Raises:
            DataError: for states of another width.
        """
        if states.ndim != 2 or states.shape[1] != self._width:
            raise DataError(f"`states` must be [S, {self._width}]; got {list(states.shape)}.")
        scene = self._read(states.astype(np.float64))
        return np.stack([self._relations[fact.relation][1](scene, *fact.things) for fact in self.all])


@runtime_checkable
class SpokenWorld(World, Protocol):
    """A world of which something can be said, and in which goals in words can be judged."""

    @property
    def facts(self) -> Facts | None:
        """What can be said of its states; None where its options leave nothing."""
        ...

    def everywhere(self, state: np.ndarray) -> np.ndarray:
        """A state [P] with the agent at every free place of a grid instead, [G, P]."""
        ...

    def unseen(self, num_envs: int) -> "SpokenWorld":
        """The same world with so many environments, in scenes that its play does not show."""
        ...


def spoken(world: World) -> tuple[SpokenWorld, Facts]:
    """A world of which something can be said, and what that is.

    Raises:
        ConfigError: where nothing can be said of it.
    """
    if isinstance(world, SpokenWorld) and (facts := world.facts) is not None:
        return world, facts
    raise ConfigError(
        f"words must be about a world that says which facts hold in its states; `{world.name}` says none. "
        "Take `object-rooms` or `arm`, or episodes with tasks in words."
    )
