"""Fits the heads that read a text on frozen latents, in a minute or two of one core."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.config import check_counts
from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import fit, seeded
from openjepa.heads.language import Choice, PointHead, SetEnergy, TextHeadConfig

# (texts [B], states [P]) -> whether each text is true of each state, [B, P] bool
Truth = Callable[[Tensor, Tensor], Tensor]
SCARCE = 0.3  # share of its usual number from which on a pair of subject and predicate, or of predicates, is not scarce
Text = TypeVar("Text", bound=SetEnergy | PointHead)


@dataclass(frozen=True)
class TextFitConfig:
    """Options of the fit of the set energy, and of the point head.

    Attributes:
        steps: optimiser steps.
        lr: learning rate of AdamW, decayed to 0 along a cosine.
        weight_decay: of all weights.
        num_texts: texts of a step.
        num_states: states of a step; every text meets all of them.
        max_weight: of a true pair where few are true, >= 1, where nobody knows what texts say.
        said_steps: steps of what can be said, where that is known.
        said_lr: learning rate of that.
    """

    steps: int = 2100
    lr: float = 2e-3
    weight_decay: float = 1e-2
    num_texts: int = 48
    num_states: int = 192
    max_weight: float = 3.0
    said_steps: int = 1000
    said_lr: float = 5e-3

    def __post_init__(self) -> None:
        check_counts(self, "steps", "num_texts", "num_states", "said_steps")
        if min(self.lr, self.said_lr) <= 0 or self.weight_decay < 0 or self.max_weight < 1:
            raise ConfigError("`lr` and `said_lr` must be > 0, `weight_decay` >= 0 and `max_weight` >= 1.")


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as a frozen encoder read them.

    Attributes:
        tokens: [K, L, E].
        mask: [K, L] bool, which of them are words.
    """

    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask of some texts, no longer than the longest of them."""
        mask = self.mask[index]
        length = int(mask.any(0).sum())
        return self.tokens[index, :length].float(), mask[:, :length]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws texts of like length [count], so that little of a batch is padding."""
        order = self.mask.sum(1).argsort(stable=True)
        band = max(1, len(self) // 4)
        first = int(torch.randint(-band // 2, len(self) - band // 2 + 1, (), generator=generator))
        first = min(max(first, 0), len(self) - band)
        return order[first + torch.randint(band, (count,), generator=generator)]


@dataclass(frozen=True)
class Lesson:
    """What a head learns from.

    Attributes:
        texts: to learn from.
        latents: states [S, N, D].
        truth: which texts are true of which states.
        said: [K, C, 2], numbers of subject and predicate of each clause of each text, or None where nobody knows them.
            Some texts must have all clauses the same.
        denied: [K] bool, whether a text denies what it says, known where `said` is.

    Raises:
        ConfigError: where no text is plain, with all clauses the same and not denied.
    """

    texts: EncodedTexts
    latents: Tensor
    truth: Truth
    said: Tensor | None = None
    denied: Tensor | None = None

    def __post_init__(self) -> None:
        check_shape(self.latents, "S N D", name="latents")
        if self.said is not None:
            check_shape(self.said, f"K={len(self.texts)} C 2", name="said")
            if not len(self.plain):
                raise ConfigError("`said` must have texts that say one thing alone, and do not deny it; got none.")

    @cached_property
    def plain(self) -> Tensor:
        """Numbers of texts that say one thing alone, one of each pair of subject and predicate [P]."""
        assert self.said is not None
        assert self.denied is not None
        rows = ((self.said == self.said[:, :1]).flatten(1).all(1) & ~self.denied).nonzero().flatten()
        pairs, which = self.said[rows, 0].unique(dim=0, return_inverse=True)
        return rows.new_zeros(len(pairs)).scatter(0, which, rows)

    @cached_property
    def scarce(self) -> tuple[Tensor, Tensor]:
        """What texts hardly join though they could: [K, P] predicates of subjects, [P, P] predicates of two clauses.

        That it is hardly said is no evidence that an unknown text does not say it. How often a subject could have a
        predicate is how often others like it have it, which share most of its predicates with it.
        """
        assert self.said is not None
        subjects, predicates = self.said.flatten(0, 1).unbind(1)
        first, last = self.said[:, 0, 1], self.said[:, -1, 1]
        of = _counted(subjects, predicates, int(subjects.max()) + 1, int(predicates.max()) + 1)
        both = _counted(torch.cat([first, last]), torch.cat([last, first]), of.shape[1], of.shape[1])
        has = (of > 0).float()
        shared, sizes = has @ has.T, has.sum(1)
        alike = (shared > 0.5 * (sizes[:, None] + sizes - shared)).float()  # more than half of what either has
        usual = alike @ of / alike.sum(1, keepdim=True)
        return of < SCARCE * usual, both < SCARCE * both.median()


def fit_set_energy(
    lesson: Lesson,
    shape: TextHeadConfig | None = None,
    config: TextFitConfig | None = None,
    *,
    generator: torch.Generator,
) -> SetEnergy:
    """Trains the compatibility of texts and states: binary cross-entropy of whether a text is true of a state.

    Where it is known what texts say, both sides are learned apart, which is quicker and more exact: first the maps and
    codes, each by itself, by the truth of what is said of one thing; then how to choose among them.

    Args:
        lesson: what is learned from.
        shape: of the head.
        config: of the fit.
        generator: for initial weights and batches.
    """
    c = config or TextFitConfig()
    texts, latents = lesson.texts, lesson.latents
    head = _made(lambda: SetEnergy(texts.tokens.shape[-1], latents[0].numel(), shape), latents, generator)

    def loss() -> Tensor:
        rows = texts.draw(c.num_texts, generator)
        states = torch.randint(len(latents), (c.num_states,), generator=generator)
        is_true = lesson.truth(rows, states).float()
        energy = head(head.read(*texts.rows(rows)), latents[states].unsqueeze(0))
        share = is_true.mean(1, keepdim=True).clamp(1e-3, 0.5)
        weight = 1 + is_true * (((1 - share) / share).sqrt().clamp(max=c.max_weight) - 1)
        return functional.binary_cross_entropy_with_logits(energy, is_true, weight)

    def misread() -> Tensor:
        rows = texts.draw(c.num_texts, generator)
        return _misread(head.choose(*texts.rows(rows)), lesson, rows)

    with seeded(generator):  # dropout
        if lesson.said is None:
            return fit(head, loss, steps=c.steps, lr=c.lr, weight_decay=c.weight_decay)
        _fit_said(head, lesson, c, generator)
        fit(head.chooser.requires_grad_(True), misread, steps=c.steps, lr=c.lr, weight_decay=c.weight_decay)
        return head.eval().requires_grad_(False)


def _fit_said(head: SetEnergy, lesson: Lesson, c: TextFitConfig, generator: torch.Generator) -> None:
    """Trains maps, codes and what compares them on what texts say of one thing, without reading the texts."""
    assert lesson.said is not None
    said = lesson.said[:, :1]

    def loss() -> Tensor:
        rows = lesson.plain[torch.randperm(len(lesson.plain), generator=generator)[: c.num_texts]]
        states = torch.randint(len(lesson.latents), (c.num_states,), generator=generator)
        energy = head(head.told(said[rows]), lesson.latents[states].unsqueeze(0))
        return functional.binary_cross_entropy_with_logits(energy, lesson.truth(rows, states).float())

    fit(head, loss, steps=c.said_steps, lr=c.said_lr)


def fit_point_head(
    lesson: Lesson,
    shape: TextHeadConfig | None = None,
    config: TextFitConfig | None = None,
    *,
    scene_dim: int = 0,
    generator: torch.Generator,
) -> PointHead:
    """Trains the rival: from a text and the scene of a state to that state, by squared error, where the text is true.

    Args:
        lesson: what is learned from.
        shape: of the head.
        config: of the fit.
        scene_dim: leading numbers of a state that are given.
        generator: for initial weights and batches.
    """
    c = config or TextFitConfig()
    texts, latents = lesson.texts, lesson.latents
    head = _made(lambda: PointHead(texts.tokens.shape[-1], latents[0].numel(), scene_dim, shape), latents, generator)

    def loss() -> Tensor:
        rows = texts.draw(c.num_texts, generator)
        states = torch.randint(len(latents), (c.num_states,), generator=generator)
        text, state = lesson.truth(rows, states).nonzero(as_tuple=True)
        keep = torch.randperm(len(text), generator=generator)[: c.num_states]
        text, z = text[keep], latents[states[state[keep]]]
        found = head(*texts.rows(rows[text]), z)
        gap = (head.standardize(found.flatten(1)) - head.standardize(z.flatten(1))).square()
        return gap[:, head.scene_dim :].mean() if len(z) else found.sum() * 0

    with seeded(generator):
        return fit(head, loss, steps=c.steps, lr=c.lr, weight_decay=c.weight_decay)


def _made(make: Callable[[], Text], latents: Tensor, generator: torch.Generator) -> Text:
    """A head with fresh weights that knows how latents are spread."""
    with seeded(generator):
        head = make()
    head.standardize.measure(latents.flatten(1))
    return head


def _misread(choice: Choice, lesson: Lesson, rows: Tensor) -> Tensor:
    """Cross-entropy of what texts are known to say; a scalar, 0 where nobody knows."""
    if lesson.said is None or lesson.denied is None:
        return choice.sign.new_zeros(())
    subjects, predicates = lesson.said[rows].unbind(-1)  # each [B, C]
    things, pairs = lesson.scarce
    beside = pairs[predicates].any(1, keepdim=True)  # [B, 1, P]
    wrong = _choice_loss(choice.subjects, subjects, things.T[predicates])
    wrong = wrong + _choice_loss(choice.predicates, predicates, things[subjects] | beside)
    return wrong + functional.binary_cross_entropy_with_logits(choice.sign, (~lesson.denied[rows]).float())


def _choice_loss(odds: Tensor, chosen: Tensor, ignored: Tensor) -> Tensor:
    """Cross-entropy of log-odds [B, C, K] with what is chosen [B, C]; the ignored ones [B, C, <= K] are no mistakes."""
    ignored = functional.pad(ignored, (0, odds.shape[-1] - ignored.shape[-1])).scatter(-1, chosen.unsqueeze(-1), False)
    return functional.cross_entropy(odds.masked_fill(ignored, -torch.inf).flatten(0, 1), chosen.flatten())


def _counted(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """How often each pair of numbers occurs, [height, width]."""
    return torch.bincount(rows * width + columns, minlength=height * width).view(height, width).float()
