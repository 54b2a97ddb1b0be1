"""What the tools answer: plain values, whose annotations are the schemas that clients are shown."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """What is seen now.

    Attributes:
        state: handle of the present state, for every other tool.
        episode: handle of the episode.
        step: steps of the world since it began.
        ended: whether the world ended the episode.
        words: description, where the model has words.
    """

    state: str
    episode: str
    step: int
    ended: bool
    words: str | None


@dataclass(frozen=True)
class Imagined:
    """What would be, if.

    Attributes:
        state: handle of the imagined end.
        path: handles of the imagined states, one for each step of the model.
        moved: distance from the state where it began to the end, in the unit of `distance`.
        unit: of distances.
        remembered: latent distance from the end to the picture that is shown, the most similar one that is remembered;
            None without pictures.
        spacing: the same from an ordinary picture to its neighbour: a picture much farther away shows little.
        words: description of the end, where the model has words.
    """

    state: str
    path: list[str]
    moved: float
    unit: str
    remembered: float | None
    spacing: float | None
    words: str | None


@dataclass(frozen=True)
class Future:
    """One of the compared futures.

    Attributes:
        number: of the sequence as it was given, from 0.
        rank: 1 is the best.
        cost: of the path towards the goal, lower is better.
        nearest: distance to the goal at the closest step.
        nearest_step: that step, in steps of the world.
        holds: probability that the goal in words holds at the end; None for other goals.
        state: handle of its end.
    """

    number: int
    rank: int
    cost: float
    nearest: float
    nearest_step: int
    holds: float | None
    state: str


@dataclass(frozen=True)
class Compared:
    """Futures side by side, the best first.

    Attributes:
        futures: by rank.
        standing_still: cost of doing nothing at all, for comparison.
        apart: latent distance between every two ends, by number.
        unit: of `nearest`.
    """

    futures: list[Future]
    standing_still: float
    apart: list[list[float]]
    unit: str


@dataclass(frozen=True)
class Planned:
    """What the planner found.

    Attributes:
        plan: handle, for `act`.
        actions: one list of numbers for each step of the world.
        cost: of the imagined path, lower is better.
        standing_still: cost of doing nothing at all; a plan that is not below it knows no way.
        holds: probability that the goal in words holds at the imagined end; None for other goals.
        cut_short: whether the search ran out of time and this is the best plan so far.
        state: handle of the imagined end.
        path: handles of the imagined states, one for each step of the model.
        words: description of the end, where the model has words.
    """

    plan: str
    actions: list[list[float]]
    cost: float
    standing_still: float
    holds: float | None
    cut_short: bool
    state: str
    path: list[str]
    words: str | None


@dataclass(frozen=True)
class Distance:
    """How far it is.

    Attributes:
        distance: from the first to the second.
        unit: what it counts.
        latent: Euclidean distance of the two latents, in any case.
    """

    distance: float
    unit: str
    latent: float


@dataclass(frozen=True)
class Surprise:
    """How strange something is.

    Attributes:
        p_value: share of ordinary samples that are at least as strange, counting this one; small is strange.
        surprising: whether it is at most 0.05.
        score: energy behind it.
        calibrated_on: ordinary samples.
        at_second: the strangest moment of a clip; None for a step.
        pieces: of a long video that were judged so far; p_value is corrected for their number.
        cursor: with which the next call goes on; None where all is done.
    """

    p_value: float
    surprising: bool
    score: float
    calibrated_on: int
    at_second: float | None = None
    pieces: int = 1
    cursor: str | None = None


@dataclass(frozen=True)
class Said:
    """A statement or an answer, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Words:
    """What the model says.

    Attributes:
        text: the most probable statement or answer.
        said: all that can be said, or all answers; the most probable first.
        about: what it speaks of: a state that was seen, or imagined.
    """

    text: str
    said: list[Said]
    about: str


@dataclass(frozen=True)
class Embedded:
    """A video as embeddings, which stay in the server.

    Attributes:
        embedding: handle of the video.
        moments: that are embedded so far.
        seconds: of the video that they cover.
        total: seconds of the whole video.
        cursor: with which the next call goes on; None where all is done.
    """

    embedding: str
    moments: int
    seconds: float
    total: float
    cursor: str | None


@dataclass(frozen=True)
class Hit:
    """A moment that is like what was looked for.

    Attributes:
        embedding: handle of its video.
        second: where it begins.
        score: cosine, -1 to 1.
    """

    embedding: str
    second: float
    score: float


@dataclass(frozen=True)
class Found:
    """Moments, the most similar first."""

    hits: list[Hit]


@dataclass(frozen=True)
class Forgotten:
    """How many handles were given back."""

    handles: int


@dataclass(frozen=True)
class Shown(Generic[T]):
    """An answer, and the picture beside it.

    Attributes:
        answer: plain values.
        picture: [3, H, W] uint8, or None.
        caption: what the picture shows.
    """

    answer: T
    picture: np.ndarray | None = None
    caption: str = ""
