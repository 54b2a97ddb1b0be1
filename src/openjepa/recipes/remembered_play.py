"""The training episodes as the trained model sees them: what the heads of an agent are fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from openjepa.data import split
from openjepa.data.whole_episodes import long_enough, read_episodes
from openjepa.errors import DataError
from openjepa.eval.health.collapse import encode_episodes
from openjepa.methods.compact import CompactConfig, compact, keypoints
from openjepa.methods.lewm import LeWM
from openjepa.models.latent_memory import carried_on
from openjepa.nn.random import keyed_generator
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes.world_model import LearnConfig, open_store

BEGINNINGS = 4  # readings of an episode with a frameskip at most, each from another first step


@dataclass(frozen=True)
class Memory:
    """The training episodes as the model sees them, padded to the longest: what heads are fitted on.

    With a frameskip every episode is read several times, from different steps on, and each reading counts as one: read
    once, most of what was recorded would be lost.

    Attributes:
        latents: [E, T, 1, D].
        actions: [E, T - 1, A].
        lengths: [E] states of each episode.
        states: [E, T, P] the simulator's truth, or None.
        left_out: episodes without a single model step.
        recorded: (episodes, environment steps) that it was read from.
    """

    latents: Tensor
    actions: Tensor
    lengths: Tensor
    states: Tensor | None = None
    left_out: int = 0
    recorded: tuple[int, int] = (0, 0)


def remember(model: LeWM, config: LearnConfig) -> Memory:
    """Encodes the training episodes once; each counts in full, whatever its length."""
    latents, batches = [], []
    for batch in _training_episodes(config):
        latents.append(encode_episodes(model, batch))
        batches.append(_without_frames(batch))
    return _joined(latents, batches, config)


@torch.no_grad()
def remembering(model: LeWM, memory: Memory) -> Tensor:
    """Latents [E, T, 1, D'] of a memory in the states of a model that has learned to remember."""
    pairs = memory.latents
    blank = pairs.new_zeros(*pairs.shape[:-1], model.memory_dim)
    return carried_on(torch.cat([pairs, blank], -1), memory.actions, model.carry)


def remember_compact(model: LeWM, config: LearnConfig, options: CompactConfig) -> tuple[LeWM, Memory]:
    """Reads the keypoints of the training episodes once, and compacts the latent to what they tell.

    Raises:
        DataError: where episodes differ in length, which the closed forms of `compact` cannot weigh.
    """
    scenes, movements, batches = [], [], []
    for batch in _training_episodes(config):
        scene, moving = keypoints(model, batch.frames, options)
        scenes.append(scene)
        movements.append(moving)
        batches.append(_without_frames(batch))
    known = _joined(movements, batches, config)
    if int(known.lengths.min()) < known.latents.shape[1]:
        raise DataError("`compact` must be given episodes of one length. Set it to None for these data.")
    generator = keyed_generator(config.seed, 4)
    small, latents = compact(model, torch.cat(scenes), known.latents, known.actions, options, generator=generator)
    return small, replace(known, latents=latents)


def _training_episodes(config: LearnConfig) -> Iterator[TrajectoryBatch]:
    store = open_store(config)
    trained, _ = split(store, config.play.held_out, config.seed)
    skip = config.frameskip
    for first in range(0, skip, -(-skip // BEGINNINGS)):
        kept = long_enough(store, trained, skip, first)
        for ids in np.array_split(kept, max(1, len(kept) // 50)):
            if len(ids):
                yield read_episodes(store, ids, skip, first=first)


def _without_frames(batch: TrajectoryBatch) -> TrajectoryBatch:
    """The same without its pictures, which would fill the memory."""
    return replace(batch, frames=batch.frames.new_empty(0))


def _joined(latents: list[Tensor], batches: list[TrajectoryBatch], config: LearnConfig) -> Memory:
    """One batch of all episodes, padded to the longest."""
    longest = max(z.shape[1] for z in latents)

    def padded(parts: list[Tensor], steps: int) -> Tensor:
        wide = [functional.pad(x, (0, 0) * (x.ndim - 2) + (0, steps - x.shape[1])) for x in parts]
        return torch.cat(wide)

    states = [batch.states for batch in batches if batch.states is not None]
    lengths = torch.cat([batch.lengths for batch in batches if batch.lengths is not None])
    store, skip = open_store(config), config.frameskip
    trained, _ = split(store, config.play.held_out, config.seed)
    kept = long_enough(store, trained, skip)
    return Memory(
        padded(latents, longest),
        padded([batch.actions for batch in batches], longest - 1),
        lengths,
        padded(states, longest) if len(states) == len(batches) else None,
        len(trained) - len(kept),
        (len(kept), int((store.lengths[kept] // skip * skip).sum())),
    )
