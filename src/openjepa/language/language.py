"""Words in and out of a saved agent: goals, captions, answers, search, and a refusal where nothing fits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.language import Reading, SetEnergy
from openjepa.language.costs import Places, TextCost
from openjepa.language.encoders import TextEncoder, check_text
from openjepa.language.stream import moments
from openjepa.planning.costs import PathCost

SAID = 0.5  # probability from which a caption is said
TRIED = 256  # remembered states that a text is tried on


@dataclass(frozen=True)
class Description:
    """A text and how probable it is.

    Attributes:
        text: words.
        score: probability, 0 to 1, as the head learned it; of an answer, its share among the answers.
    """

    text: str
    score: float


@dataclass(frozen=True)
class Refusal:
    """When a text is refused; two scores of each text that is known to be sound.

    Attributes:
        known: likeness of a sound text to the nearest trained one [K].
        fitting: highest energy of that text among remembered states [K].
        level: rate at which a sound text is refused, 0 to 1.
    """

    known: Tensor
    fitting: Tensor
    level: float = 0.05

    def p_value(self, known: float, fitting: float) -> tuple[float, bool]:
        """Share of sound texts (with this one) whose worse score is no better, and whether that of this is `known`.

        Each score is ranked among those of the sound texts; the lower rank is compared with the lower ranks of them.
        """
        scores = torch.stack([self.known, self.fitting])
        ranks = torch.searchsorted(scores.sort(1).values, scores, right=True)  # [2, K], of themselves from 1
        by_known, by_fitting = (int((s <= v).sum()) for s, v in zip(scores, (known, fitting), strict=True))
        as_low = int((ranks.amin(0) <= min(by_known, by_fitting)).sum())
        return (1 + as_low) / (1 + scores.shape[1]), by_known <= by_fitting


@dataclass(frozen=True)
class Language:
    """What a saved agent can do with words; made by `openjepa.language.load`.

    Attributes:
        head: the compatibility of texts and states.
        encoder: reads words.
        places: remembered states that a text can mean.
        distance: the agent's own cost of a goal.
        captions: plain statements that `describe` chooses from.
        trained: features [K, E] of the trained texts, each of length 1.
        refusal: when a text is refused.
        change: change of what can be said, in captions, from which a stream is described anew; see `stream`.
        facts: what is known of the training, plain values.
        said: [K, C, 2], numbers of subject and predicate of each clause of the captions; None where they must be read.
    """

    head: SetEnergy
    encoder: TextEncoder
    places: Places
    distance: PathCost
    captions: tuple[str, ...]
    trained: Tensor
    refusal: Refusal
    change: float = 0.3
    facts: dict[str, Any] = field(default_factory=dict)
    said: Tensor | None = None

    def cost(self, text: str | Sequence[str]) -> TextCost:
        """What a text asks for, as an intrinsic cost that any planner takes (see `TextCost`).

        Args:
            text: one for all environments, or one for each. Whether it makes sense is not asked: see `refuses`.

        Raises:
            ConfigError: for anything but words.
        """
        texts = [text] if isinstance(text, str) else list(text)
        return TextCost(self.head, self.read(texts), self.places, self.distance)

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Reading:
        """Reads texts, once for all states.

        Raises:
            ConfigError: for anything but words, or none.
        """
        if not texts:
            raise ConfigError("there must be at least one text; got none.")
        return self.head.read(*self.encoder([check_text(text) for text in texts]))

    @torch.no_grad()
    def scores(self, reading: Reading, latents: Tensor) -> Tensor:
        """Probabilities [K, S] that K texts hold in states [S, N, D]."""
        check_shape(latents, "S N D", name="latents")
        return self.head(reading, latents[None, ..., : self.distance.pose_dim]).sigmoid()

    def describe(self, latents: Tensor, top: int | None = None) -> list[Description]:
        """What can be said of a state, seen or imagined, most probable first.

        Args:
            latents: a state [N, D], or states [T, N, D] of which the last one is described.
            top: descriptions at most; at least one is given, however improbable.
        """
        score = self.scores(self._captions, _states(latents)[-1:])[:, 0]
        order = score.argsort(descending=True)
        count = max(1, int((score >= SAID).sum()))
        return [Description(self.captions[i], float(score[i])) for i in order[: min(count, top or count)].tolist()]

    def ask(self, latents: Tensor, question: str, answers: Sequence[str] | None = None) -> list[Description]:
        """Answers of a question about a state, best first.

        Args:
            latents: a state [N, D], or those of a clip [T, N, D], of which the last one counts.
            question: words.
            answers: to choose from; None is yes or no.
        """
        question = check_text(question, "question")
        known = ["yes", "no"] if answers is None else [check_text(answer, "answer") for answer in answers]
        if len(known) < 2:
            raise ConfigError(f"`answers` must be at least two to choose from; got {len(known)}.")
        reading = self.read([f"{question} {answer}" for answer in known])
        with torch.no_grad():
            share = self.head(reading, _states(latents)[None, -1:, ..., : self.distance.pose_dim])[:, 0].softmax(0)
        order = share.argsort(descending=True).tolist()
        return [Description(known[i], float(share[i])) for i in order]

    def find(self, text: str, latents: Tensor, top: int = 5) -> list[tuple[int, float]]:
        """The states [S, N, D] that a text fits best: their numbers and probabilities, best first."""
        score = self.scores(self.read([text]), _states(latents))[0]
        return [(i, float(score[i])) for i in score.argsort(descending=True)[:top].tolist()]

    def refuses(self, text: str) -> str | None:
        """Why a text is refused, in words, or None where it makes sense.

        A text is refused where it is unlike all that was learned (another tongue, another matter), or where no
        remembered state fits it (it contradicts itself). Sound texts are refused at `refusal.level`.
        """
        try:
            text = check_text(text)
        except ConfigError as error:
            return str(error)
        p, is_unlike = self.refusal.p_value(*self.soundness([text])[0])
        if p > self.refusal.level:
            return None
        if is_unlike:
            return f"`{text}` is unlike anything that was learned here (p = {p:.3g})"
        return f"nothing that was ever seen fits `{text}` (p = {p:.3g})"

    @torch.no_grad()
    def soundness(self, texts: Sequence[str]) -> list[tuple[float, float]]:
        """Likeness to the nearest trained text, and the highest energy among remembered states, of each text."""
        likeness = (self.encoder.pooled(texts) @ self.trained.T).amax(1)
        seen = self.places.z[:TRIED, ..., : self.distance.pose_dim]
        energy = self.head(self.read(texts), seen[None]).amax(1)
        return list(zip(likeness.tolist(), energy.tolist(), strict=True))

    def probabilities(self, latents: Tensor) -> Tensor:
        """Probabilities [T, K] of all captions in states [T, N, D]: what can be said of each."""
        return self.scores(self._captions, _states(latents)).T

    def stream(self, latents: Tensor, change: float | None = None) -> list[int]:
        """Moments of a stream [T, N, D] at which it is worth speaking: the first, and where the meaning changes.

        Args:
            latents: states, in time order.
            change: in captions, from which on; None is the calibrated one. See `openjepa.language.stream`.
        """
        return moments(self.probabilities(latents), self.change if change is None else change)

    @cached_property
    def _captions(self) -> Reading:
        return self.read(self.captions) if self.said is None else self.head.told(self.said)


def _states(latents: Tensor) -> Tensor:
    """One state [N, D] or several [T, N, D] as [T, N, D]."""
    if latents.ndim == 2:
        latents = latents[None]
    check_shape(latents, "T N D", name="latents")
    return latents
