"""Gives a saved agent its words: heads on the frozen latents of the play that it learned from, in a few CPU-minutes.

    openjepa train language RUN

What texts mean comes from the states of a world that says what holds in them (`object-rooms`, `arm`), else from
the tasks of recorded episodes (LeRobot). The world model is not touched.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Agent, load_agent
from openjepa.config import check_counts
from openjepa.data import EpisodeStore, split
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs.facts import spoken
from openjepa.errors import ConfigError
from openjepa.eval.health.collapse import encode_episodes
from openjepa.heads.language import TextHeadConfig
from openjepa.heads.language_fitting import EncodedTexts, Lesson, TextFitConfig, fit_set_energy
from openjepa.language import Language, load, save
from openjepa.language.costs import Places
from openjepa.language.encoders import DEFAULT, TextEncoder
from openjepa.language.language import TRIED, Refusal
from openjepa.language.meaning import DONE, FactMeaning, Meaning, TaskMeaning, tasks_of
from openjepa.language.stream import calibrate_change
from openjepa.nn.random import keyed_generator
from openjepa.planning.costs import PathCost
from openjepa.recipes.world_model import LearnConfig, open_store, world_of

STREAM = 0x776F7264  # sets the random numbers of words apart
CLIPS = 24  # episodes that the change point is calibrated on


@dataclass(frozen=True)
class WordsConfig:
    """Options of `openjepa train language`.

    Attributes:
        encoder: of texts: minilm, wordllama, hashed, or a sentence-transformers model.
        texts: drawn from the grammar to learn from.
        episodes: of play that are looked at, at most.
        frames: of each of them.
        places: remembered states that an instruction can mean.
        level: rate at which sound texts are refused, in (0, 1).
        shape: of the head.
        fit: of the head.
        seed: of everything.
    """

    encoder: str = DEFAULT
    texts: int = 6000
    episodes: int = 1500
    frames: int = 6
    places: int = 768
    level: float = 0.05
    shape: TextHeadConfig = field(default_factory=TextHeadConfig)
    fit: TextFitConfig = field(default_factory=TextFitConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "texts", "episodes", "frames", "places")
        if not 0 < self.level < 1:
            raise ConfigError(f"`level` must be in (0, 1); got {self.level}.")


@dataclass(frozen=True)
class Seen:
    """States that words are learned from.

    Attributes:
        latents: [S, N, D].
        states: [S, P], the simulator's truth, or None.
        tasks: of each state, "" for none.
        done: [S] bool, whether a state is among the last of its episode.
        clips: [C, T, N, D], whole episodes, for the change point.
    """

    latents: Tensor
    states: np.ndarray | None
    tasks: list[str]
    done: np.ndarray
    clips: Tensor


def learn_words(
    config: LearnConfig, run: Path, words: WordsConfig | None = None, *, say: Callable[[str], Any] = print
) -> Language:
    """Fits the language of a run's agent and saves it there.

    Args:
        config: that made the run.
        run: its folder, with a finished agent.
        words: the options.
        say: takes one line about each thing that was done.

    Raises:
        ConfigError: where neither states nor tasks say what words mean.
    """
    words = words or WordsConfig()
    agent = load_agent(run)
    if not isinstance(agent.cost, PathCost):
        raise ConfigError("the agent's cost must be a `PathCost` to take goals in words.")
    encoder = TextEncoder(words.encoder)
    seen = look(agent, config, words)
    meaning = meaning_of(config, seen, words)
    say(f"{len(meaning.texts)} texts about {len(seen.latents)} states; text encoder {words.encoder}")
    language = fit_language(agent.cost, seen, meaning, encoder, words, scene_dim=scene_dim(agent.model))
    save(run, language)
    say(f"refuses sound texts at a rate of {words.level:.0%}; speaks again at a change of {language.change:.2f}")
    return load(run, encoder=encoder)


def fit_language(
    distance: PathCost,
    seen: Seen,
    meaning: Meaning,
    encoder: TextEncoder,
    words: WordsConfig,
    *,
    scene_dim: int = 0,
) -> Language:
    """Fits the set energy and calibrates refusals and change point.

    Args:
        distance: the agent's cost of a goal.
        seen: states to learn from.
        meaning: of texts.
        encoder: of texts.
        words: the options.
        scene_dim: leading numbers of a state that stay in an episode.
    """
    pose = seen.latents[..., : distance.pose_dim]
    generator = keyed_generator(words.seed, STREAM)
    head = fit_set_energy(lesson_of(encoder, meaning, pose), words.shape, words.fit, generator=generator)
    some = torch.randperm(len(seen.latents), generator=generator)[: max(words.places, TRIED)]
    none = torch.zeros(0)
    language = Language(
        head,
        encoder,
        Places(seen.latents[some].clone(), scene_dim),
        distance,
        meaning.captions,
        encoder.pooled(meaning.texts),
        Refusal(none, none, words.level),
        facts={"texts": len(meaning.texts), "states": len(seen.latents), "seed": words.seed},
        said=meaning.captions_said,
    )
    scores = torch.tensor(language.soundness(meaning.sound))
    refusal = Refusal(scores[:, 0].contiguous(), scores[:, 1].contiguous(), words.level)
    change = calibrate_change([language.probabilities(clip) for clip in seen.clips])
    return replace(language, refusal=refusal, change=change)


def lesson_of(encoder: TextEncoder, meaning: Meaning, latents: Tensor) -> Lesson:
    """What heads learn from; texts are read by the frozen encoder once for the whole fit."""
    tokens, mask = encoder(meaning.texts)
    texts = EncodedTexts(tokens.half(), mask)
    return Lesson(texts, latents, meaning.truth, meaning.said, meaning.denied)


def scene_dim(model: Any) -> int:
    """Leading numbers of a state that stay in an episode; 0 for models that make no such difference."""
    from openjepa.methods.lewm import LeWM

    return model.scene_dim if isinstance(model, LeWM) else 0


def meaning_of(config: LearnConfig, seen: Seen, words: WordsConfig) -> Meaning:
    """What texts mean here: by the states of a world that says what holds in them, else by tasks of episodes."""
    if any(seen.tasks):
        return TaskMeaning(seen.tasks, seen.done)
    if not config.play.world or seen.states is None:
        raise ConfigError(
            "words must come from the states of a world that says what holds in them, or from tasks of episodes; these "
            "episodes have neither. Take `object-rooms` or `arm`, or episodes with tasks in words."
        )
    world = world_of(config.play)
    _, facts = spoken(world)
    world.close()
    rng = np.random.default_rng((STREAM, words.seed))
    return FactMeaning(facts, seen.states, words.texts, rng)


def look(agent: Agent, config: LearnConfig, words: WordsConfig) -> Seen:
    """Encodes some moments of the training episodes as the agent sees them."""
    store = open_store(config)
    trained, _ = split(store, config.play.held_out, config.seed)
    skip = agent.config.frameskip
    trained = trained[store.lengths[trained] >= skip][: words.episodes]
    rng = np.random.default_rng((STREAM, words.seed, 1))
    parts = [_moments(agent, store, ids, words.frames, rng) for ids in np.array_split(trained, -(-len(trained) // 50))]
    clips = encode_episodes(agent.model, read_episodes(store, trained[:CLIPS], skip))
    states = [part[1] for part in parts if part[1] is not None]
    return Seen(
        torch.cat([part[0] for part in parts]),
        np.concatenate(states) if len(states) == len(parts) else None,
        [task for part in parts for task in part[2]],
        np.concatenate([part[3] for part in parts]),
        clips,
    )


def _moments(
    agent: Agent, store: EpisodeStore, ids: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray | None, list[str], np.ndarray]:
    """Latents, states, tasks and progress of some moments of episodes; each with the frames that its state needs."""
    skip, history = agent.config.frameskip, agent.config.history
    batch = read_episodes(store, ids, skip)
    assert batch.lengths is not None
    length = batch.lengths.numpy()
    at = np.sort((rng.random((len(length), count)) * length[:, None]).astype(int), 1)  # [E, F]
    row = np.arange(len(length))[:, None, None]
    frames = batch.frames[row, np.maximum(at[..., None] + np.arange(1 - history, 1), 0)]  # [E, F, history, C, H, W]
    own = (
        None if batch.proprio is None else batch.proprio[row, np.maximum(at[..., None] + np.arange(1 - history, 1), 0)]
    )
    with torch.no_grad():
        z = agent.model.encode(frames.flatten(0, 1), None if own is None else own.flatten(0, 1))[:, -1]
    words = [tasks_of(store.record(int(i)).info, int(n) - 1, skip) for i, n in zip(ids, length, strict=True)]
    return (
        z.float(),
        None if batch.states is None else batch.states[row[..., 0], at].flatten(0, 1).numpy(),
        [words[e][t] for e in range(len(length)) for t in at[e]],
        (at >= DONE * (length[:, None] - 1)).flatten(),
    )
