"""What goals in words are measured against: a point head's goal, and a parser of regular expressions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from openjepa.envs.facts import Facts
from openjepa.heads.language import PointHead
from openjepa.language.costs import NEAREST, Places
from openjepa.language.phrases import TRAINED
from openjepa.planning.costs import BoundCost, PathCost, bind
from openjepa.planning.set_cost import SetCost, nearest_of


@dataclass(frozen=True)
class PointCost:
    """The goal state that a point head regresses from text and scene (`planning.costs.SelfAimed`).

    Attributes:
        head: trained.
        tokens: [B, L, E] of one text for each environment.
        mask: [B, L] bool.
        distance: the agent's cost of a goal.
    """

    head: PointHead
    tokens: Tensor
    mask: Tensor
    distance: PathCost

    @torch.no_grad()
    def aim(self, z: Tensor) -> BoundCost:
        """See `SelfAimed.aim`."""
        return bind(self.distance, self.head(self.tokens, self.mask, z), z)

    def select(self, environments: Tensor) -> "PointCost":
        """See `SelfAimed.select`."""
        return replace(self, tokens=self.tokens[environments], mask=self.mask[environments])


class Parser:
    """Regular expressions made of the trained stock of phrases: perfect where it knows the words, blind elsewhere.

    Args:
        facts: of the world.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        colours = {word: colour for colour, words in TRAINED.colours.items() for word in words}
        nouns = {word: noun for noun, words in TRAINED.nouns.items() for word in words}
        self._colours, self._nouns = colours, nouns
        names = _any_of([*nouns, *TRAINED.anything])
        thing = rf"the (?:(?P<{{0}}c>{_any_of(colours)}) )?(?P<{{0}}n>{names})"
        self._patterns = []
        for relation in dict.fromkeys(fact.relation for fact in facts.all):
            for template in sorted(TRAINED.places[relation], key=len, reverse=True):
                pattern = re.escape(template).replace(r"\{o\}", thing.format("o")).replace(r"\{p\}", thing.format("p"))
                self._patterns.append((len(template), relation, re.compile(rf"\b{pattern}\b".replace(r"\ ", r"\s+"))))
        self._patterns.sort(key=lambda entry: -entry[0])

    def parse(self, text: str) -> tuple[int, ...]:
        """The facts that a text names; none where nothing was understood. The longest phrases are read first."""
        left, found = text.lower(), []
        for _, relation, pattern in self._patterns:
            while match := pattern.search(left):
                things = tuple(name for name in (self._name(match, "o"), self._name(match, "p")) if name)
                candidates = [f for f in self.facts.all if f.relation == relation and set(f.things) == set(things)]
                found += [self.facts.index[fact] for fact in candidates[:1]]
                left = f"{left[: match.start()]} ; {left[match.end() :]}"
        return tuple(dict.fromkeys(found))

    def _name(self, match: re.Match[str], slot: str) -> str | None:
        groups = match.groupdict()
        colour, noun = self._colours.get(groups.get(f"{slot}c") or ""), self._nouns.get(groups.get(f"{slot}n") or "")
        known = [name for name in self.facts.things if name.split()[0] == colour or name.split()[-1] == noun]
        return known[0] if known else None


@dataclass(frozen=True)
class ParsedCost:
    """The places at which a linear probe of the state says that parsed facts hold (`planning.costs.SelfAimed`).

    Attributes:
        facts: of the world.
        parsed: numbers of the facts of each environment; where there are none, it stays where it is.
        probe: [N * D + 1, P], from a state and 1 to the simulator's state.
        places: where goals are looked for.
        distance: the agent's cost of a goal.
    """

    facts: Facts
    parsed: tuple[tuple[int, ...], ...]
    probe: Tensor
    places: Places
    distance: PathCost

    @torch.no_grad()
    def aim(self, z: Tensor) -> SetCost:
        """See `SelfAimed.aim`."""
        around = self.places.around(z)
        flat = around.flatten(2)
        states = torch.cat([flat, torch.ones_like(flat[..., :1])], -1) @ self.probe  # [B, M, P]
        fits = np.stack([self._fit(row, wanted) for row, wanted in zip(states.numpy(), self.parsed, strict=True)])
        goals, embedded = nearest_of(self.distance, z, around, torch.from_numpy(fits), NEAREST)
        return SetCost(self.distance, goals, Everywhere(), embedded)

    def _fit(self, states: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
        fits = np.zeros(len(states), bool)
        if wanted:
            fits |= self.facts.holds(states)[list(wanted)].all(0)
        return fits if fits.any() else ~fits

    def select(self, environments: Tensor) -> "ParsedCost":
        """See `SelfAimed.select`."""
        rows = torch.arange(len(self.parsed))[environments].tolist()
        return replace(self, parsed=tuple(self.parsed[i] for i in rows))


class Everywhere:
    """No state counts as within the set (`planning.set_cost.Miss`)."""

    def __call__(self, z: Tensor) -> Tensor:
        """States [B, P, N, D] to ones [B, P]."""
        return torch.ones(z.shape[:2])

    def select(self, environments: Tensor) -> "Everywhere":
        """Itself."""
        return self


def fit_probe(latents: Tensor, states: Tensor) -> Tensor:
    """Least squares from states [S, N, D] and 1 to the simulator's [S, P]; [N * D + 1, P]."""
    flat = latents.flatten(1)
    return torch.linalg.lstsq(torch.cat([flat, torch.ones(len(flat), 1)], 1), states.float()).solution


def _any_of(words: Sequence[str] | dict[str, str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))
