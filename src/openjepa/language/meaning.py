"""Where meaning comes from: the simulator's states, or the tasks that came with recorded episodes."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.facts import Facts
from openjepa.errors import DataError
from openjepa.language.sayings import Kind, Saying, Sayings, Split

DONE = 0.8  # of an episode, from which its task counts as done
MIX: tuple[tuple[Kind, float], ...] = (("goal", 0.45), ("statement", 0.3), ("question", 0.25))


class Meaning(Protocol):
    """Texts to learn from, and what they are true of.

    Attributes:
        texts: to learn from.
        captions: plain statements of everything that can be said.
        sound: further texts that make sense, phrased otherwise: what a refusal is calibrated on.
        said: [K, C, 2], numbers of subject and predicate of each clause of each text, or None where nobody knows them.
        denied: [K] bool, whether a text denies what it says, known where `said` is.
        captions_said: `said` of the captions.
    """

    texts: tuple[str, ...]
    captions: tuple[str, ...]
    sound: tuple[str, ...]
    said: Tensor | None
    denied: Tensor | None
    captions_said: Tensor | None

    def truth(self, texts: Tensor, states: Tensor) -> Tensor:
        """Whether texts [B], by their numbers, are true of states [P], by theirs; [B, P] bool."""
        ...


class FactMeaning:
    """Texts of a grammar, true where the simulator's states make them so.

    Args:
        facts: of the world.
        states: [S, P], the simulator's truth of the states that are learned from.
        count: texts.
        rng: draws them.
    """

    def __init__(self, facts: Facts, states: np.ndarray, count: int, rng: np.random.Generator) -> None:
        sayings = Sayings(facts)
        drawn: list[Saying] = []
        for kind, share in MIX:
            drawn += sayings.draw(max(1, round(share * count)), kind, "seen", rng)
        held_out: tuple[Split, ...] = ("template", "words")
        calibration = [s for split in held_out for s in sayings.draw(max(20, count // 20), "goal", split, rng)]
        self.texts = tuple(s.text for s in drawn)
        self.captions = tuple(map(sayings.caption, range(len(facts.all))))
        self.sound = tuple(s.text for s in calibration)
        self._facts = torch.tensor([[s.facts[0], s.facts[-1]] for s in drawn])
        subjects = {things: i for i, things in enumerate(dict.fromkeys(fact.things for fact in facts.all))}
        predicates = {name: i for i, name in enumerate(dict.fromkeys(fact.relation for fact in facts.all))}
        parts = torch.tensor([[subjects[fact.things], predicates[fact.relation]] for fact in facts.all])
        self.said: Tensor | None = parts[self._facts]
        self.captions_said: Tensor | None = parts[:, None]
        self._denied = torch.tensor([s.denied for s in drawn])
        self.denied: Tensor | None = self._denied
        self._holds = torch.from_numpy(facts.holds(states))  # [F, S]

    def truth(self, texts: Tensor, states: Tensor) -> Tensor:
        """See `Meaning.truth`."""
        first, second = self._facts[texts].unbind(1)
        holds = self._holds[:, states]
        return (holds[first] & holds[second]) ^ self._denied[texts, None]


class TaskMeaning:
    """Texts that came with episodes: a task is true of the states in which it is done, the last ones of its episodes.

    Args:
        tasks: of each state, "" for none.
        done: [S] bool, whether the state is among the last ones of its episode.

    Raises:
        DataError: where there are fewer than two tasks, so that none can be told from another.
    """

    def __init__(self, tasks: Sequence[str], done: np.ndarray) -> None:
        self.texts = self.captions = self.sound = tuple(sorted(set(tasks) - {""}))
        if len(self.texts) < 2:
            raise DataError(
                f"episodes must have at least 2 different tasks to learn words from; they have {len(self.texts)}. "
                "Words need states that a world names (object-rooms, arm), or LeRobot episodes with tasks."
            )
        self.said: Tensor | None = None
        self.denied: Tensor | None = None
        self.captions_said: Tensor | None = None
        number = {task: i for i, task in enumerate(self.texts)}
        task = torch.tensor([number.get(task, -1) for task in tasks])
        self._done_task = torch.where(torch.from_numpy(np.asarray(done, bool)), task, -1)

    def truth(self, texts: Tensor, states: Tensor) -> Tensor:
        """See `Meaning.truth`."""
        return self._done_task[states] == texts[:, None]


def tasks_of(info: dict, steps: int, frameskip: int) -> list[str]:
    """The task of each state of an episode of so many model steps, as its plain values say it; "" for none."""
    if isinstance(info.get("task"), str):
        return [info["task"]] * (steps + 1)
    words = [word for length, word in info.get("tasks") or () for _ in range(int(length))]
    words = (words or [""])[: steps * frameskip + 1]
    words += [words[-1]] * (steps * frameskip + 1 - len(words))
    return words[::frameskip]
