"""What every world-model recipe shares: recorded play, and a model trained on it; `acting.py` makes an agent of it."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.data.frame_mean import frame_statistics, spread_rows
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs import collect, is_environment_id, make_policy, make_world
from openjepa.errors import ConfigError
from openjepa.eval.health.collapse import measure, untrained_twin
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.protocols import TrajectoryBatch, World
from openjepa.recipes import Experiment
from openjepa.train import TrainConfig

SMALL_PLAY = {"play.episodes": 8, "play.num_envs": 8, "play.held_out": 0.3, "batch_size": 4}  # what a test records


@dataclass(frozen=True)
class PlayConfig:
    """The recorded play that a world is learned from.

    Attributes:
        world: a name of `openjepa list`, or the id of a Gymnasium environment.
        options: of that world, by name.
        policy: what plays.
        favoured: choices that `one-hot` play prefers.
        gentle: share of its strength that play has in its gentlest episodes; None is always all of it.
        episodes: recorded, >= 2.
        steps: of an episode.
        num_envs: played at once.
        held_out: share of episodes that training never sees.
        data: store of the episodes; None puts it into `runs/data`. An existing one is used, or completed.
        read_only: whether `data` holds somebody's own episodes: it is read as it is, and nothing is ever written there.
        image_size: side of a frame in px; None is the world's own.
        workers: processes that share the environments.
    """

    world: str = "two-rooms"
    options: dict[str, Any] = field(default_factory=dict)
    policy: str = "smooth"
    favoured: tuple[int, ...] = ()
    gentle: float | None = None
    episodes: int = 1500
    steps: int = 40
    num_envs: int = 100
    held_out: float = 0.05
    data: Path | None = None
    read_only: bool = False
    image_size: int | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.episodes < 2 or min(self.steps, self.num_envs) < 1 or not 0 < self.held_out < 1:
            raise ConfigError("`episodes` must be >= 2, `steps` and `num_envs` >= 1 and `held_out` in (0, 1).")


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
        world = play.world.replace("/", "-").replace(":", "-")
        size = "" if play.image_size is None else f"-{play.image_size}px"
        options = (("env", play.options), ("play", play.favoured), ("gentle", play.gentle))
        beside = {name: value for name, value in options if value}
        own = f"-{hashlib.sha256(json.dumps(beside, sort_keys=True).encode()).hexdigest()[:8]}" if beside else ""
        name = f"{world}-{play.policy}-{play.episodes}x{play.steps}{size}{own}-seed{self.seed}"
        return play.data or Path("runs/data") / name


Learning = TypeVar("Learning", bound=LearnConfig)


def with_seed(config: Learning) -> Learning:
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
    if play.read_only:
        return EpisodeStore.open(path)
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
    world = world_of(play, min(play.num_envs, play.episodes))
    path.parent.mkdir(parents=True, exist_ok=True)
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with (
        EpisodeStore.resume(path) as store,
        tqdm(total=play.episodes, desc="play", unit="ep", disable=quiet) as bar,
    ):
        collect(
            world,
            make_policy(play.policy, world.bounds, favoured=play.favoured, gentle=play.gentle),
            store,
            play.episodes,
            play.steps,
            config.seed,
            progress=lambda done, _: bar.update(done - bar.n),
            info={"world": play.world, "policy": play.policy},
            with_states=world.has_states,
        )
    world.close()
    return EpisodeStore.open(path)


def world_of(
    play: PlayConfig,
    num_envs: int = 1,
    *,
    judged: bool = False,
    draw_every: int = 1,
    recorded: Mapping[int, tuple[int, np.ndarray]] | None = None,
) -> World:
    """The world of the play, with that many environments.

    Args:
        play: names it.
        num_envs: number of environments.
        judged: whether neither its own task nor its own limit of steps ends an episode; where nobody tells a state,
            the picture is one.
        draw_every: environment steps between two that are drawn, where drawing can be saved; 0 draws none.
        recorded: episodes through which a world is put into states that cannot be set, see `GymnasiumWorld`.
    """
    options: dict[str, Any] = {}
    if judged and is_environment_id(play.world):
        options = {"can_end": False, "draw_every": draw_every, "max_episode_steps": -1}
        options |= {"recorded": recorded, "sees_states": True}
    return make_world(
        play.world, num_envs, image_size=play.image_size, workers=play.workers, env_options=play.options, **options
    )


def build(config: LearnConfig) -> Experiment:
    """Records play where it is missing, and makes the method, its batches and what the doctor looks at."""
    config = with_seed(config)
    store = open_store(config)
    trained, held_out = split(store, config.play.held_out, config.seed)
    displaced = config.method.displacement_weight > 0
    windows = WindowConfig(
        config.window,
        config.batch_size,
        config.frameskip,
        seed=config.seed,
        num_others=2 if displaced or config.method.dense_weight else int(config.method.scene_weight > 0),
        ways=config.method.displacement_from,
    )
    source = WindowSource(store, trained, windows)
    width = source.action_dim // config.frameskip if displaced else 0
    method = LeWM(replace(config.method, action_dim=source.action_dim, displacement_dim=width))
    moments = statistics(store, "actions", trained).with_frameskip(config.frameskip)
    method.set_action_statistics(moments.mean, moments.std)
    if method.config.encoder.gain is not None:
        size = method.config.encoder.frame_size
        frames = frame_statistics(store, trained, max_frames=1024, size=size)
        method.set_frame_statistics(frames.mean, frames.rms)
    if method.config.dense_weight:
        method.painter.measure(torch.from_numpy(store.column("frames")[spread_rows(store, trained, 2048)]))
    names = _state_names(store, config.play)

    def episodes() -> TrajectoryBatch:
        return read_episodes(store, held_out[:64], config.frameskip)

    def diagnose(model: LeWM, step: int) -> dict[str, float]:
        return measure(model, episodes(), untrained=untrained_twin(model), state_names=names).metrics()

    return Experiment(method, source, diagnose, episodes, names)


def _state_names(store: EpisodeStore, play: PlayConfig) -> tuple[str, ...]:
    """Names of the recorded state columns, as far as the world says them."""
    if "states" not in [column.name for column in store.columns] or not play.world:
        return ()
    world = world_of(play)
    try:
        return world.state_names
    finally:
        world.close()
