"""Goals in words, drawn with a judge: starts, what must become true, and one state in which it is.

The judge never reads the text. A task holds facts, and they must be true in the simulator at the end of the budget: to
run through the set on the way to somewhere else is no success.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from openjepa.agent import Agent
from openjepa.envs.facts import Facts, SpokenWorld, spoken
from openjepa.errors import DataError
from openjepa.language.sayings import Sayings
from openjepa.nn.random import keyed_seed

STREAM = 0x7461736B  # sets the random numbers of tasks apart from those of play
LEAST = 8  # places of the world's grid that a goal must have
TRIES = 200  # draws of facts for one scene


@dataclass(frozen=True)
class Tasks:
    """Starts and what must become true.

    Attributes:
        starts: [B, P] true states.
        goals: [B, P], one state of each goal's set, for players that need a picture.
        facts: of each task, numbers of `Facts.all` that must all hold.
    """

    starts: np.ndarray
    goals: np.ndarray
    facts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.starts)

    def holds(self, facts: Facts, states: np.ndarray) -> np.ndarray:
        """Which tasks are solved in states [B, P]; [B] bool."""
        truth = facts.holds(states)
        return np.array([truth[list(wanted), i].all() for i, wanted in enumerate(self.facts)])


def draw_tasks(
    world: SpokenWorld,
    count: int,
    seed: int = 0,
    *,
    joined: bool = True,
    wanted: Sequence[tuple[int, ...]] | None = None,
) -> Tasks:
    """Draws scenes that no play has shown, and goals that can be reached in them and do not hold at the start.

    Args:
        world: whose unseen scenes are drawn from.
        count: number of tasks.
        seed: of the drawing.
        joined: whether training may say these facts together; False for compositions that it never said.
        wanted: facts of each task; None draws them.

    Raises:
        DataError: where no scene was found in which given facts can be reached.
    """
    world, facts = spoken(world.unseen(1))
    sayings = Sayings(facts)
    starts, goals, chosen = [], [], []
    for i in range(count):
        rng = np.random.default_rng((STREAM, seed, i))
        for attempt in range(TRIES):
            if attempt % 10 == 0:
                world.reset([keyed_seed(STREAM, seed, i, attempt)])
                start = world.states()[0].astype(np.float64)
                around = world.everywhere(start)
                truth, now = facts.holds(around), facts.holds(start[None])[:, 0]
            drawn = tuple(wanted[i]) if wanted is not None else _draw(sayings, joined, rng)
            fits = truth[list(drawn)].all(0)
            if fits.sum() >= LEAST and not now[list(drawn)].all():
                break
        else:
            raise DataError(f"no scene was found in which {[facts.all[k] for k in drawn]} can be reached.")
        starts.append(start)
        goals.append(around[rng.choice(np.flatnonzero(fits))])
        chosen.append(drawn)
    return Tasks(np.array(starts, np.float32), np.array(goals, np.float32), tuple(chosen))


def _draw(sayings: Sayings, joined: bool, rng: np.random.Generator) -> tuple[int, ...]:
    return sayings.draw(1, "goal", "seen" if joined else "composition", rng)[0].facts


@dataclass(frozen=True)
class Judged:
    """What a player reached.

    Attributes:
        at_end: [B] bool, whether the goal held when the budget was spent.
        ever: [B] bool, whether it held at any time.
        decisions: plans that were made for each environment.
    """

    at_end: np.ndarray
    ever: np.ndarray
    decisions: int = 0


def play_tasks(
    tasks: Tasks,
    world: SpokenWorld,
    begin: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]],
    *,
    budget: int = 60,
) -> Judged:
    """Plays all tasks at once.

    Args:
        tasks: what is wanted.
        world: whose unseen scenes the tasks are of, and whose facts judge.
        begin: called with the frames of the starts and of the goals, both [B, 3, H, W]; returns what acts, from frames
            to actions [B, A].
        budget: steps of every task.
    """
    world, facts = spoken(world.unseen(len(tasks)))
    goal_frames = world.reset_to(tasks.goals).copy()
    frames = world.reset_to(tasks.starts)
    act = begin(frames, goal_frames)
    ever = np.zeros(len(tasks), bool)
    for _ in range(budget):
        frames = world.step(act(frames))
        ever |= tasks.holds(facts, world.states())
    return Judged(tasks.holds(facts, world.states()), ever)


def by_picture(agent: Agent) -> Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The ceiling: the agent with a picture of one state of the goal."""

    def begin(frames: np.ndarray, goal_frames: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        agent.start(goal_frames)
        return agent.act

    return begin


def by_cost(agent: Agent, cost: object) -> Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The agent with a cost that finds its goals by itself (`planning.costs.SelfAimed`), such as words."""

    def begin(frames: np.ndarray, goal_frames: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        agent.pursue(cost, frames)  # type: ignore[arg-type]
        return agent.act

    return begin
