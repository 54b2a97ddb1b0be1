"""What every world-model recipe shares: play, train, and the pieces that act; a recipe is a config of this file."""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from openjepa.agent import Agent, AgentConfig, PromiseConfig
from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.envs import collect, make_policy, make_world
from openjepa.errors import ConfigError
from openjepa.eval.health.collapse import encode_episodes, measure, untrained_twin
from openjepa.heads.critic import (
    TemporalDistanceConfig,
    TemporalDistanceHead,
    fit_temporal_distance,
)
from openjepa.methods.compact import CompactConfig, compact, keypoints
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig
from openjepa.planning.costs import Aggregate, PathCost, closest, final, mean
from openjepa.protocols import TrajectoryBatch, World
from openjepa.recipes import Experiment
from openjepa.train import TrainConfig, load_method

AGGREGATES: dict[str, Aggregate] = {"mean": mean, "closest": closest, "final": final}


@dataclass(frozen=True)
class PlayConfig:
    """The recorded play that a world is learned from.

    Attributes:
        world: a name of `openjepa list`, or the id of a Gymnasium environment.
        options: of that world, by name.
        policy: what plays.
        episodes: recorded, >= 2.
        steps: of an episode.
        num_envs: played at once.
        held_out: share of episodes that training never sees.
        data: store of the episodes; None puts it into `runs/data`. An existing one is used, or completed.
    """

    world: str = "two-rooms"
    options: dict[str, Any] = field(default_factory=dict)
    policy: str = "smooth"
    episodes: int = 1500
    steps: int = 40
    num_envs: int = 100
    held_out: float = 0.05
    data: Path | None = None

    def __post_init__(self) -> None:
        if self.episodes < 2 or min(self.steps, self.num_envs) < 1 or not 0 < self.held_out < 1:
            raise ConfigError("`episodes` must be >= 2, `steps` and `num_envs` >= 1 and `held_out` in (0, 1).")


@dataclass(frozen=True)
class ActConfig:
    """How a trained world model acts.

    Attributes:
        compact: to a smaller latent, for `split` encoders; None keeps the latent as it is.
        refine: of the predictor on frozen latents.
        distance: the learned temporal distance; `steps` of it are trained after the model.
        planner: options of CEM.
        aggregate: of the distance over the horizon: `mean`, `closest` or `final`.
        replan_every: model steps between two plans.
        promises: when the agent remembers a plan that the world did not follow; None to forget at once.
        budget: environment steps that an episode has.
        pairs: judged pairs of start and goal.
        pairs_seed: of the drawing of pairs.
    """

    compact: CompactConfig | None = None
    refine: RefineConfig = field(default_factory=RefineConfig)
    distance: TemporalDistanceConfig = field(default_factory=lambda: TemporalDistanceConfig(steps=800))
    planner: CEMConfig = field(
        default_factory=lambda: CEMConfig(horizon=24, knot_steps=3, num_samples=128, num_iterations=4)
    )
    aggregate: str = "mean"
    replan_every: int = 3
    promises: PromiseConfig | None = None
    budget: int = 50
    pairs: int = 200
    pairs_seed: int = 0

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise ConfigError(f"`aggregate` must be one of {', '.join(AGGREGATES)}; got {self.aggregate}.")
        if min(self.replan_every, self.budget, self.pairs) < 1:
            raise ConfigError("`replan_every`, `budget` and `pairs` must be at least 1.")


@dataclass(frozen=True)
class LearnConfig:
    """A world and a model of it; `seed` decides everything that is drawn."""

    play: PlayConfig = field(default_factory=PlayConfig)
    method: LeWMConfig = field(default_factory=LeWMConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    window: int = 9  # frames of a training window, >= 2
    batch_size: int = 48  # windows of a step
    frameskip: int = 1  # environment steps per model step
    seed: int = 0

    @property
    def store_path(self) -> Path:
        """Where the episodes are."""
        play = self.play
        name = f"{play.world.replace('/', '-')}-{play.policy}-{play.episodes}x{play.steps}-seed{self.seed}"
        return play.data or Path("runs/data") / name


@dataclass(frozen=True)
class WorldModelConfig(LearnConfig):
    """A world, a model of it, and how it acts."""

    act: ActConfig = field(default_factory=ActConfig)


Learning = TypeVar("Learning", bound=LearnConfig)


def seeded(config: Learning) -> Learning:
    """The config with its seed handed down to the method and the training."""
    return replace(
        config,
        method=replace(config.method, seed=config.seed),
        train=replace(config.train, seed=config.seed),
    )


def open_store(config: LearnConfig) -> EpisodeStore:
    """Opens the episodes; records those that are missing. Under torchrun the first process records for all."""
    play = config.play
    path = config.store_path
    recording = int(os.environ.get("RANK", "0")) == 0
    while path.exists() or not recording:
        if (path / "store.json").exists():
            store = EpisodeStore.open(path)
            if len(store) >= play.episodes:
                return store
            store.close()
        if recording:
            break
        time.sleep(0.5)
    world = make_world(play.world, min(play.num_envs, play.episodes), **play.options)
    path.parent.mkdir(parents=True, exist_ok=True)
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with (
        EpisodeStore.resume(path) as store,
        tqdm(total=play.episodes, desc="play", unit="ep", disable=quiet) as bar,
    ):
        collect(
            world,
            make_policy(play.policy, world.bounds),
            store,
            play.episodes,
            play.steps,
            config.seed,
            progress=lambda done, _: bar.update(done - bar.n),
            info={"world": play.world, "policy": play.policy},
        )
    world.close()
    return EpisodeStore.open(path)


def build(config: LearnConfig) -> Experiment:
    """Records play where it is missing, and makes the method, its batches and what the doctor looks at."""
    config = seeded(config)
    store = open_store(config)
    trained, held_out = split(store, config.play.held_out, config.seed)
    windows = WindowConfig(
        config.window,
        config.batch_size,
        config.frameskip,
        seed=config.seed,
        with_other=config.method.scene_weight > 0,
    )
    source = WindowSource(store, trained, windows)
    method = LeWM(replace(config.method, action_dim=source.action_dim))
    moments = statistics(store, "actions", trained).with_frameskip(config.frameskip)
    method.set_action_statistics(moments.mean, moments.std)
    world = make_world(config.play.world, 1, **config.play.options)
    names = world.state_names
    world.close()

    def episodes() -> TrajectoryBatch:
        return read_episodes(store, held_out[:64], config.frameskip)

    def diagnose(model: LeWM, step: int) -> dict[str, float]:
        return measure(model, episodes(), untrained=untrained_twin(model), state_names=names).metrics()

    return Experiment(method, source, diagnose, episodes, names)


def read_episodes(store: EpisodeStore, ids: np.ndarray, frameskip: int = 1) -> TrajectoryBatch:
    """Reads whole episodes as one batch, cut to the shortest: frames [E, T, ...], actions [E, T - 1, f * A]."""
    steps = int(min(store.lengths[i] for i in ids)) // frameskip
    frames = slice(0, steps * frameskip + 1, frameskip)

    def rows(name: str) -> Tensor:
        return torch.from_numpy(np.stack([store.rows_of(name, int(i))[frames] for i in ids]))

    actions = np.stack([store.rows_of("actions", int(i))[: steps * frameskip] for i in ids])
    names = [column.name for column in store.columns]
    return TrajectoryBatch(
        rows("frames"),
        torch.from_numpy(actions).reshape(len(ids), steps, -1),
        rows("proprio") if "proprio" in names else None,
        rows("states") if "states" in names else None,
    )


@dataclass(frozen=True)
class Memory:
    """Latents of the training episodes [E, T, 1, D], their actions [E, T - 1, A] and true states, for heads."""

    latents: Tensor
    actions: Tensor
    states: Tensor | None


def remember(model: LeWM, config: LearnConfig) -> Memory:
    """Encodes the training episodes once."""
    latents, batches = [], []
    for batch in _training_episodes(config):
        latents.append(encode_episodes(model, batch))
        batches.append(_without_frames(batch))
    steps = min(batch.actions.shape[1] for batch in batches)
    return Memory(torch.cat([z[:, : steps + 1] for z in latents]), *_known(batches, steps))


def remember_compact(model: LeWM, config: LearnConfig, options: CompactConfig) -> tuple[LeWM, Memory]:
    """Reads the keypoints of the training episodes once, and compacts the latent to what they tell."""
    scenes, movements, batches = [], [], []
    for batch in _training_episodes(config):
        scene, moving = keypoints(model, batch.frames, options)
        scenes.append(scene)
        movements.append(moving)
        batches.append(_without_frames(batch))
    steps = min(batch.actions.shape[1] for batch in batches)
    count = min(scene.shape[1] for scene in scenes)
    actions, states = _known(batches, steps)
    scene, moving = torch.cat([s[:, :count] for s in scenes]), torch.cat([m[:, : steps + 1] for m in movements])
    small, latents = compact(model, scene, moving, actions, options)
    return small, Memory(latents, actions, states)


def _training_episodes(config: LearnConfig) -> Iterator[TrajectoryBatch]:
    store = open_store(config)
    trained, _ = split(store, config.play.held_out, config.seed)
    for ids in np.array_split(trained, max(1, len(trained) // 50)):
        yield read_episodes(store, ids, config.frameskip)


def _without_frames(batch: TrajectoryBatch) -> TrajectoryBatch:
    """The same without its pictures, which would fill the memory."""
    return replace(batch, frames=batch.frames.new_empty(0))


def _known(batches: list[TrajectoryBatch], steps: int) -> tuple[Tensor, Tensor | None]:
    """Actions [E, T - 1, A] and states [E, T, P] of batches of episodes, cut to a number of steps."""
    states = [batch.states[:, : steps + 1] for batch in batches if batch.states is not None]
    return (
        torch.cat([batch.actions[:, :steps] for batch in batches]),
        torch.cat(states) if len(states) == len(batches) else None,
    )


def learn_to_act(model: LeWM, config: WorldModelConfig) -> tuple[LeWM, TemporalDistanceHead, Memory]:
    """Compacts the latent where that is wanted, refines the predictor and trains the distance, all on frozen latents.

    The last two do not depend on each other and run side by side, each on one core.

    Returns:
        the model that acts, its distance, and the memory in its latents.
    """
    act = config.act
    if act.compact is None:
        memory = remember(model, config)
    else:
        model, memory = remember_compact(model, config, act.compact)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool:
            refined = pool.submit(
                refine_predictor,
                model,
                memory.latents,
                memory.actions,
                act.refine,
                generator=keyed_generator(config.seed, 1),
            )
            head = pool.submit(
                fit_temporal_distance, memory.latents, act.distance, generator=keyed_generator(config.seed, 2)
            )
            return refined.result(), head.result(), memory
    finally:
        torch.set_num_threads(threads)


def make_agent(model: LeWM, head: TemporalDistanceHead, world: World, config: WorldModelConfig) -> Agent:
    """The acting loop of a trained model."""
    act = config.act
    cost = PathCost(head, AGGREGATES[act.aggregate], stride=act.planner.knot_steps)
    planner = CEM(world.bounds.with_frameskip(config.frameskip), act.planner)
    options = AgentConfig(
        replan_every=act.replan_every,
        context_len=config.method.predictor.context_len,
        frameskip=config.frameskip,
        promises=act.promises,
        seed=config.seed,
    )
    return Agent(model.eval(), planner, cost, world.bounds, options)


def load_actor(config: WorldModelConfig, run_dir: Path) -> tuple[LeWM, TemporalDistanceHead, Memory]:
    """Reopens a run and trains what acts; deterministic, so that nothing more has to be kept."""
    config = seeded(config)
    return learn_to_act(load_method(run_dir), config)
