"""`openjepa train language`, `openjepa describe` and `openjepa ask`: words of a finished run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from openjepa.command_line.command import OK
from openjepa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from openjepa.language import Language

LANGUAGE = "language"  # the word behind `train` that means it
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class TrainLanguageOptions:
    """Options of `train language`; status 2 where the run cannot learn words."""

    what: tyro.conf.Positional[str]  # language
    run: tyro.conf.Positional[Path]  # a finished run
    encoder: str = "minilm"  # of texts: minilm, wordllama, hashed, or a sentence-transformers model
    texts: int = 5000  # drawn from the grammar to learn from, where there is one
    steps: int = 1800  # optimiser steps
    level: float = 0.05  # rate at which sound texts are refused, in (0, 1)
    seed: int = 0  # of texts, weights and batches


def train_language(options: TrainLanguageOptions) -> int:
    """Fits the heads on frozen latents and saves them beside the agent."""
    from openjepa.command_line.runs import open_run
    from openjepa.heads.language_fitting import TextFitConfig
    from openjepa.recipes.words import WordsConfig, learn_words
    from openjepa.recipes.world_model import LearnConfig

    run = open_run(options.run)
    if not isinstance(run.config, LearnConfig):
        raise ConfigError(f"the recipe `{run.name}` has no actor: words are for agents. Take `object-rooms`.")
    fit = TextFitConfig(steps=options.steps)
    words = WordsConfig(options.encoder, options.texts, level=options.level, fit=fit, seed=options.seed)
    learn_words(run.config, options.run, words)
    print(f"language: {options.run / 'language'}")
    return OK


@dataclass(frozen=True)
class DescribeOptions:
    """Options of `describe`."""

    run: tyro.conf.Positional[Path]  # a finished run with words
    frame: tyro.conf.Positional[Path]  # a picture, or a clip (its changes are described)
    top: int | None = None  # descriptions at most; None = all that hold
    json: bool = False  # print JSON


def describe(options: DescribeOptions) -> int:
    """Says what a picture shows; of a clip, at every moment at which that changes."""
    if options.top is not None and options.top < 1:
        raise ConfigError(f"`--top` must be at least 1; got {options.top}.")
    language, latents = _open(options.run, options.frame)
    moments = language.stream(latents) if len(latents) > 1 else [0]
    found = {t: language.describe(latents[: t + 1], options.top) for t in moments}
    if options.json:
        plain = {t: [{"text": one.text, "score": one.score} for one in said] for t, said in found.items()}
        print(json.dumps(plain if len(latents) > 1 else plain[0], indent=2))
        return OK
    for t, said in found.items():
        if len(latents) > 1:
            print(f"frame {t}")
        for one in said:
            print(f"{one.score:.2f}  {one.text}")
    return OK


@dataclass(frozen=True)
class AskOptions:
    """Options of `ask`."""

    run: tyro.conf.Positional[Path]  # a finished run with words
    clip: tyro.conf.Positional[Path]  # a picture, or a clip, whose last frame counts
    question: tyro.conf.Positional[str]  # such as "is it left of the red disc?"
    answers: tuple[str, ...] = ()  # to choose from; none = yes or no
    json: bool = False  # print JSON


def ask(options: AskOptions) -> int:
    """Answers a question about a picture or clip by choosing among answers."""
    from openjepa.language.encoders import check_text

    check_text(options.question, "question")
    language, latents = _open(options.run, options.clip)
    found = language.ask(latents, options.question, options.answers or None)
    if options.json:
        print(json.dumps([{"text": one.text, "score": one.score} for one in found], indent=2))
        return OK
    for one in found:
        print(f"{one.score:.2f}  {one.text}")
    return OK


def _open(run: Path, place: Path) -> "tuple[Language, Tensor]":
    """The words of a run, and the states [T, N, D] of what a file shows."""
    import torch

    from openjepa.agent import load_agent, read_card
    from openjepa.data.clips import read_clip
    from openjepa.data.images import read_image
    from openjepa.language import load

    language, agent, shape = load(run), load_agent(run), read_card(run).frame_shape
    if not place.exists():
        raise DataError(f"`{place}` must be a picture or a clip; it does not exist.")
    is_picture = place.is_file() and place.suffix.lower() in PICTURES
    frames = read_image(place)[None] if is_picture else read_clip(place)
    if frames.shape[1:] != tuple(shape):
        raise DataError(
            f"`{place}` must be {shape[1]} x {shape[2]} px like the pictures that this agent learned from; it is "
            f"{frames.shape[-2]} x {frames.shape[-1]}. Resize it, or take it at that size."
        )
    with torch.no_grad():
        return language, agent.model.encode(torch.from_numpy(frames)[None])[0]


def language_options(words: Sequence[str]) -> type:
    """The options of `train language`, for words that follow `train`."""
    if len(words) < 2 or (words[1].startswith("-") and words[1] not in ("-h", "--help")):
        raise ConfigError("`train language` needs a finished run: openjepa train language RUN.")
    if words[1] not in ("-h", "--help") and not Path(words[1]).exists():
        raise DataError(
            f"`{words[1]}` must be a finished run; it does not exist. Train one: openjepa train object-rooms."
        )
    return TrainLanguageOptions


def is_picture_name(goal: str) -> bool:
    """Whether a goal is the name of a picture: it ends like one, or is a file."""
    return Path(goal).suffix.lower() in PICTURES or Path(goal).is_file()
