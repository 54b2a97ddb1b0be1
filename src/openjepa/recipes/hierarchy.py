"""Upper levels on what a trained level 1 remembers: their batches, their distances, and the hierarchy that plans."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from openjepa.agent.landmarks import Landmarks
from openjepa.errors import ConfigError, DataError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead, fit_temporal_distance
from openjepa.heads.fitting import sample_pairs, valid_states
from openjepa.methods.hjepa import HJEPA, HJEPAConfig, check_budget, data_budget
from openjepa.models.upper_level import LevelConfig
from openjepa.nn.random import keyed_generator
from openjepa.planning.hierarchical import Hierarchy, UpperConfig, UpperPlan, codebook
from openjepa.protocols import LatentBatch
from openjepa.recipes.remembered_play import Memory
from openjepa.train.checkpoint import describe_method

UpperDistance = Landmarks | TemporalDistanceHead


@dataclass(frozen=True)
class HierarchyConfig:
    """How many upper levels, of what kind, and how they plan.

    Attributes:
        preset: `h-jepa`, a latent for every level, or `hwm`, one that all share.
        num_levels: level 1 among them, >= 2.
        level: options of the lowest upper level; those above are alike, with stride 2.
        upper: how each of them searches.
        distance: of states above: `stitched`, ways along the map of landmarks; `within`, learned within episodes.
        temporal: training of the second.
        macros: codebook entries, >= 2.
        fast_share: of the observed macro-actions, those that went farthest, that it is made of, in (0, 1]: random play
            dawdles, and a subgoal that is as near as its average makes level 1 dawdle too.
        anchors: observed states that subgoals are snapped to, >= 1.
        batch_size: windows of latents per step.
        min_share: of episodes that must be long enough for a level, in (0, 1].
    """

    preset: Literal["h-jepa", "hwm"] = "h-jepa"
    num_levels: int = 2
    level: LevelConfig = field(default_factory=LevelConfig)
    upper: UpperConfig = field(default_factory=UpperConfig)
    distance: Literal["stitched", "within"] = "stitched"
    temporal: TemporalDistanceConfig = field(default_factory=lambda: TemporalDistanceConfig(steps=1000, max_gap=72))
    macros: int = 64
    fast_share: float = 0.3
    anchors: int = 4000
    batch_size: int = 256
    min_share: float = 0.5

    def __post_init__(self) -> None:
        if self.num_levels < 2 or self.macros < 2 or min(self.anchors, self.batch_size) < 1:
            raise ConfigError("`num_levels` and `macros` must be at least 2, `anchors` and `batch_size` at least 1.")
        if not 0 < self.min_share <= 1 or not 0 < self.fast_share <= 1:
            raise ConfigError(
                f"`min_share` and `fast_share` must be in (0, 1]; got {self.min_share} and {self.fast_share}."
            )

    @property
    def levels(self) -> tuple[LevelConfig, ...]:
        """Options of the upper levels."""
        level = self.level if self.preset == "h-jepa" else replace(self.level, embed_dim=0)
        strides = [self.level.stride, *[2] * (self.num_levels - 2)]
        return tuple(replace(level, stride=stride) for stride in strides)

    def window(self) -> int:
        """States of level 1 that a training window holds."""
        return data_budget([0], self.levels)[-1].steps + 1


class LatentSource:
    """Windows of remembered latents as a `BatchSource`: batch number `step` is a pure function.

    Args:
        memory: whole episodes.
        window: states of a window.
        batch_size: windows of a batch.
        seed: of the drawing.
    """

    def __init__(self, memory: Memory, window: int, batch_size: int, seed: int) -> None:
        kept = memory.lengths >= window
        if not bool(kept.any()):
            raise DataError(
                f"`window` must be at most the longest episode ({int(memory.lengths.max())}); got {window}."
            )
        self.z, self.actions = memory.latents[kept], memory.actions[kept]
        self.places = memory.lengths[kept] - window + 1
        self.window, self.batch_size, self.seed = window, batch_size, seed

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> LatentBatch:
        """See `BatchSource.batch`."""
        generator = keyed_generator(self.seed, step, 0x6C6174)
        ends = self.places.cumsum(0)
        number = torch.randint(int(ends[-1]), (self.batch_size,), generator=generator)[rank::world_size].contiguous()
        episode = torch.searchsorted(ends, number, right=True)
        first = number - (ends - self.places)[episode]
        steps = first[:, None] + torch.arange(self.window)
        return LatentBatch(self.z[episode[:, None], steps], self.actions[episode[:, None], steps[:, :-1]])


def stacked(level1: Any, memory: Memory, config: HierarchyConfig, seed: int) -> tuple[HJEPA, LatentSource]:
    """Upper levels on a frozen level 1, and their batches.

    Raises:
        DataError: where a level would starve.
    """
    check_budget(data_budget(memory.lengths, config.levels), min_share=config.min_share)
    described = describe_method(level1)
    dim = memory.latents.shape[-1]
    options = HJEPAConfig(described["method"], described["config"], config.levels, dim, frozen=True, seed=seed)
    return HJEPA(options, level1), LatentSource(memory, config.window(), config.batch_size, seed)


@torch.no_grad()
def assemble(
    model: HJEPA, memory: Memory, landmarks: Landmarks | None, config: HierarchyConfig, seed: int
) -> Hierarchy:
    """Fits what the upper levels plan with: distances, macro-actions and observed states.

    Args:
        model: trained, in evaluation mode.
        memory: the training episodes in the latents of its level 1.
        landmarks: the map that teaches stitched distances.
        config: the options.
        seed: of all that is drawn.
    """
    if config.distance == "stitched" and landmarks is None:
        raise ConfigError("`distance` must be within where there is no map. Set `act.landmarks`, or take within.")
    z, lengths = memory.latents, memory.lengths
    lifted = model.lift(z)
    places = [None] * len(lifted) if landmarks is None else model.lift(landmarks.places.unsqueeze(1))
    actions = model.standardised(memory.actions)
    states = valid_states(z, lengths)
    every = -(-len(states) // config.anchors)
    uppers, stride = [], 1
    for number, (level, up, marks) in enumerate(zip(model.levels, lifted, places, strict=True)):
        generator = keyed_generator(seed, 30 + number)
        macros = _macros(level, actions, lengths, stride)
        actions = macros
        stride *= level.config.stride
        flat = valid_states(up, lengths)
        distance: UpperDistance
        if config.distance == "stitched":
            assert landmarks is not None
            assert marks is not None
            distance = _lifted_map(landmarks, marks.squeeze(1), flat)
        else:
            distance = fit_temporal_distance(up, config.temporal, generator=generator, lengths=lengths)
        step = _longest_step(distance, up, lengths, stride, generator)
        moved = (up[:, stride::stride] - up[:, :-stride:stride])[:, : macros.shape[1]].flatten(2).norm(dim=-1).flatten()
        known = macros.flatten(0, 1)
        whole = torch.isfinite(known).all(1)
        fast = moved[whole].argsort(descending=True)[: max(2, round(config.fast_share * int(whole.sum())))]
        book = codebook(known[whole][fast], config.macros, generator=generator)
        uppers.append(UpperPlan(level, distance, book, flat[::every].clone(), max(step, 1e-6), config.upper))
    return Hierarchy(uppers, states[::every].clone()).eval().requires_grad_(False)


def _longest_step(distance: UpperDistance, up: Tensor, lengths: Tensor, stride: int, generator: Any) -> float:
    """What the distance says of states `stride` apart in episodes: 99 % of them are as near."""
    episode, now, _ = sample_pairs((lengths - stride + 1).clamp_min(2), 1, 4000, generator=generator)
    later = (now + stride).minimum(lengths[episode] - 1)
    return float(distance(up[episode, now], up[episode, later]).quantile(0.99))


def _macros(level: Any, actions: Tensor, lengths: Tensor, stride: int) -> Tensor:
    """Macro-actions [E, K, M] of whole episodes; NaN where an episode has ended."""
    filled = torch.nan_to_num(actions)
    macros = level.pool(filled).clone()
    ends = torch.arange(1, macros.shape[1] + 1) * stride * level.config.stride
    macros[ends[None] > (lengths - 1)[:, None]] = torch.nan
    return macros


def _lifted_map(landmarks: Landmarks, places: Tensor, flat: Tensor) -> Landmarks:
    """The same ways between the same landmarks, which are known by their latents `places` [L, 1, D] of a level.

    Args:
        landmarks: the map below.
        places: its landmarks, lifted.
        flat: [S, 1, D] observed latents of the level, whose scale tells which landmark is nearest.
    """
    found = Landmarks(len(places), len(landmarks.gaps), (1, places.shape[-1]))
    found.standardize.measure(flat.flatten(1))
    found.places.copy_(places)
    found.edges.copy_(landmarks.edges)
    found.gaps.copy_(landmarks.gaps)
    return found
