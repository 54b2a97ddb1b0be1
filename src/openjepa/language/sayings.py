"""Texts and what they mean: drawn from a stock of phrases, each with the facts that make it true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from openjepa.envs.facts import Fact, Facts
from openjepa.language.held_out_phrases import (
    HELD_OUT,
    OTHER_VERBS,
    OTHER_WORDS,
    UNJOINED,
    UNJOINED_RELATIONS,
)
from openjepa.language.phrases import CHOICES, TRAINED, Stock

Kind = Literal["goal", "statement", "question"]
Split = Literal["seen", "template", "words", "composition"]
SPLITS: tuple[Split, ...] = ("seen", "template", "words", "composition")
PAIRED = 0.35  # share of texts that speak of two places at once
DENIED = 0.08  # share of statements that say what is not so


@dataclass(frozen=True)
class Saying:
    """A text and its meaning.

    Attributes:
        text: the words.
        facts: numbers of the facts that must all hold.
        denied: whether the text says that they do not.
    """

    text: str
    facts: tuple[int, ...]
    denied: bool = False


def truth(sayings: Sequence[Saying], holds: np.ndarray) -> np.ndarray:
    """Whether texts are true of states, [B, S] bool, from the truth of all facts [F, S] bool."""
    found = np.stack([holds[list(saying.facts)].all(0) for saying in sayings])
    return found ^ np.array([saying.denied for saying in sayings])[:, None]


class Sayings:
    """Draws texts about the facts of a world.

    Args:
        facts: of the world.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.trained, self.held_out = TRAINED.about(facts.agent), HELD_OUT.about(facts.agent)
        relations = {fact.relation for fact in facts.all}
        self._questions = [question for question, answers in CHOICES.items() if relations.intersection(answers)]

    def draw(self, count: int, kind: Kind, split: Split, rng: np.random.Generator) -> list[Saying]:
        """Draws texts of one kind; a fact with many things is no likelier than one without."""
        return [self._one(kind, split, rng) for _ in range(count)]

    def say(self, facts: Sequence[int], kind: Kind, split: Split, rng: np.random.Generator) -> Saying:
        """Says that these facts hold, in the phrasing of a split."""
        stock = self.held_out if split == "template" else self.trained
        replaced = split == "words"  # at least one word that is never trained on
        verbs = replaced and kind == "goal" and rng.random() < 0.3
        places = [
            self._place(self.facts.all[i], stock, rng, replaced=replaced and not (verbs and rng.random() < 0.5))
            for i in facts
        ]
        place = places[0] if len(places) == 1 else _pick(rng, stock.joints).format(a=places[0], b=places[1])
        if kind == "question":
            is_no = bool(rng.random() < 0.5)
            text = _pick(rng, stock.questions).format(place)
            return Saying(f"{text} {'no' if is_no else 'yes'}", tuple(facts), is_no)
        denied = kind == "statement" and rng.random() < DENIED
        frames = OTHER_VERBS if verbs else stock.goals if kind == "goal" else stock.statements
        return Saying(_pick(rng, frames).format(f"not {place}" if denied else place), tuple(facts), denied)

    def caption(self, fact: int) -> str:
        """The plainest statement of a fact."""
        found = self.facts.all[fact]
        agent = (*self.facts.agent, "agent")[0]
        return f"the {agent} is {_fill(TRAINED.places[found.relation][0], [f'the {name}' for name in found.things])}"

    def choices(self, rng: np.random.Generator) -> tuple[str, list[str], list[int]]:
        """A question, its answers and the fact that makes each of them right."""
        question = _pick(rng, self._questions)
        thing = _pick(rng, self.facts.things) if self.facts.things else ""
        answers, numbers = [], []
        for i, fact in enumerate(self.facts.all):
            if fact.relation in CHOICES[question] and ("{o}" not in question or fact.things == (thing,)):
                room_or_side = not fact.things or "{o}" in question
                answers.append(
                    _fill(TRAINED.places[fact.relation][0], [f"the {name}" for name in fact.things])
                    if room_or_side
                    else f"the {fact.things[0]}"
                )
                numbers.append(i)
        return question.format(o=f"the {thing}"), answers, numbers

    def _one(self, kind: Kind, split: Split, rng: np.random.Generator) -> Saying:
        if kind == "question" and split == "seen" and rng.random() < 0.5:
            question, answers, numbers = self.choices(rng)
            i = int(rng.integers(len(answers)))
            return Saying(f"{question} {answers[i]}", (numbers[i],))
        while True:
            pair = rng.random() < PAIRED
            facts = [self._fact(rng) for _ in range(1 + pair)]
            if len(set(facts)) == len(facts) and self.is_joined(facts) == (split != "composition"):
                return self.say(facts, kind, split, rng)

    def _fact(self, rng: np.random.Generator) -> int:
        """One fact: first the relation, then its things."""
        relations = sorted({fact.relation for fact in self.facts.all})
        relation = _pick(rng, relations)
        return int(_pick(rng, [i for i, fact in enumerate(self.facts.all) if fact.relation == relation]))

    def is_joined(self, facts: Sequence[int]) -> bool:
        """Whether training may say these facts (of each alone, and of two together)."""
        said = [self.facts.all[i] for i in facts]
        apart = {fact.relation for fact in said} in UNJOINED_RELATIONS
        return not apart and not any((fact.relation, *fact.things) in UNJOINED for fact in said)

    def _place(self, fact: Fact, stock: Stock, rng: np.random.Generator, *, replaced: bool) -> str:
        """A place as a phrase; where it is `replaced`, a word of it is one that is never trained on."""
        others = OTHER_WORDS.get(fact.relation, ())
        by_relation = replaced and bool(others) and (not fact.things or rng.random() < 0.4)
        template = _pick(rng, others if by_relation else stock.places[fact.relation])
        other = replaced and not by_relation
        return _fill(template, [self._thing(name, rng, replaced=other) for name in fact.things])

    def _thing(self, name: str, rng: np.random.Generator, *, replaced: bool) -> str:
        colour, noun = name.split(" ", 1)
        chance = rng.random(2)
        names = HELD_OUT if replaced and chance[1] < 0.5 else TRAINED
        nouns = HELD_OUT if replaced and names is TRAINED else TRAINED
        if chance[0] < 0.2 and not replaced:
            return f"the {_pick(rng, nouns.nouns[noun])}"
        generic = chance[0] > 0.75
        return f"the {_pick(rng, names.colours[colour])} {_pick(rng, nouns.anything if generic else nouns.nouns[noun])}"


def _fill(template: str, things: Sequence[str]) -> str:
    return template.format(**dict(zip("op", things, strict=False)))


def _pick(rng: np.random.Generator, items: Sequence[str] | Sequence[int]):
    return items[int(rng.integers(len(items)))]
