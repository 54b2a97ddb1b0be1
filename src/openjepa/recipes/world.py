"""Any world in, one saved agent out: a Gymnasium id, a world of ours, or a folder of episodes that anyone recorded.

    openjepa train PointMaze_UMaze-v3
    openjepa train minigrid:MiniGrid-Empty-16x16-v0 --env.highlight false
    openjepa train data/robot --frameskip 2

Sizes are read from the data: frames, actions, lengths of episodes. What is not given is chosen by measurement, said in
one line each, and an option (`recipes/measured_choices.py`). A store of the user is only read.
"""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from openjepa.agent import FailedPlanConfig, ProposalConfig
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig
from openjepa.data import EpisodeStore
from openjepa.data.robot.meaning import RobotSpec
from openjepa.errors import ConfigError, DataError
from openjepa.heads.critic import TemporalDistanceConfig
from openjepa.heads.goal_policy import GoalPolicyConfig
from openjepa.methods.lewm import LeWMConfig
from openjepa.methods.refine import RefineConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEMConfig, ExhaustiveConfig
from openjepa.recipes import Experiment, Recipe
from openjepa.recipes.acting import ActConfig, WorldModelConfig, finish
from openjepa.recipes.measured_choices import Choices, choose
from openjepa.recipes.measured_play import RECORDED, choose_play
from openjepa.recipes.time_budget import FEWEST, share_of_steps, with_share
from openjepa.recipes.world_model import PlayConfig, build, open_store
from openjepa.train import TrainConfig

MOTION_WEIGHT = 3.0  # of where things move
MOTION_STEPS = 1000  # of training with it, or with scenes that recur, where no option of the training is given
# Of training a state with a velocity: with it, where after 1,000 the loss is a third higher yet, and without it, where
# after 600 it is five times as high.
VELOCITY_MOTION_STEPS, VELOCITY_STEPS = 3000, 1500
# A map of remembered states: landmarks as the critic sees them, and ways of a few model steps between them.
LANDMARKS = LandmarkConfig(radius_share=0.1, capacity=500, sample=10_000, max_gap=12, min_count=2)
# The same where a few scenes recur, each of which was seen more seldom: a way is taken to lead back as well.
SCENE_LANDMARKS = replace(LANDMARKS, capacity=600, sample=30_000, reversible=True, connected=True)
TRAIN = TrainConfig(steps=600, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=300)
PLAY_SHARE, FEWEST_EPISODES = 0.4, 20  # of a limit of time for play, and what is recorded in any case
EDGE_PATIENCE = 4  # decisions without progress, one in a model step, after which an edge of the map is not believed
PATIENCE = 2  # the same, at which nothing moved, after which the agent wanders
# Steps of refining a predictor of pairs, their rate, and how far each looks ahead: over 12 steps, what one torque did
# is blurred by what all of them did, and the first step is foretold a third worse.
VELOCITY_FIT, VELOCITY_LR, VELOCITY_ROLLOUT = 2500, 3e-3, 4
MEMORY, MEMORY_ROLLOUTS = 32, 512  # numbers that such a state carries on, and rollouts of a step of learning that
FIT, FIT_LR = 3000, 4e-3  # the same where a frame is a state: beside walls 1,000 slower steps leave twice the error
CELLS_HARD = 0.5  # of it between cells: a step ahead is small beside a turn, and learned last
HURLED_WEIGHT = 3.0  # of the distance of latents in the critic, where at full strength things are hurled
VELOCITY_NOISE = 0.05  # of the critic, in standard deviations of the latents: a place is few of their numbers


@dataclass(frozen=True)
class WorldConfig:
    """Options of the generic recipe; None is measured on the data.

    Attributes:
        data: a store of recorded episodes, which is only read; None records play in the world.
        episodes: of recorded play, where the world is played; None are as many as make 36,000 steps.
        episode_steps: longest episode of play; None follows how fast things move, at most the world's own limit.
        policy: what plays; None is one that fits the actions.
        image_size: side of a frame in px, where the world is played; None is 64, more where small things move,
            or what suits the cells of a grid.
        num_envs: environments that play side by side.
        workers: processes that share them.
        held_out: share of episodes that training never sees.
        frameskip: environment steps per model step.
        looks: times in a model step at which the agent looks and plans anew, a divisor of the frameskip; None is up to
            4 where a state holds a velocity and actions are numbers, else 1.
        encoder: kind of the encoder.
        hide_displays: whether the encoder sees nothing of a display of the last action, where pictures have one.
        embed_dim: width of the latent.
        window: frames of a training window.
        batch_size: windows of a step.
        horizon: model steps that a plan looks ahead.
        max_gap: largest number of model steps between two states that the critic learns from.
        landmarks: whether the agent has a map of remembered states, and a configurator that follows it to far goals;
            None is where a frame is a state, the critic a learned distance, and episodes share what stands still.
        reach: model steps to a subgoal on the map at most, > 0; None is a third of the horizon.
        train: options of the training; where none of them is given, latents that must tell where in the picture things
            move, or which scene it is, take 1,000 steps, states with a velocity 1,500, and 3,000 where both holds.
        fit_steps: optimiser steps of each part that is fitted on frozen latents after it; None is 3,000 of the
            predictor, 2,500 where states hold a velocity, 1,200 of the critic and 400 of the policy.
        minutes: of wall-clock time that all of this may take together, from the recording to the saved agent, > 0; the
            steps of the training and of every fit become as many as fit in, by what a few of them take. None is the
            usual steps, however long they take.
        budget: environment steps that an episode of judging has; None is twice the way of the pair's bin.
        pairs: judged pairs of start and goal in each bin.
        pairs_seed: of the drawing of pairs.
        seed: of everything else.
    """

    data: Path | None = None
    episodes: int | None = None
    episode_steps: int | None = None
    policy: str | None = None
    image_size: int | None = None
    num_envs: int = 50
    workers: int = 1
    held_out: float = 0.1
    frameskip: int | None = None
    looks: int | None = None
    encoder: Literal["conv", "keypoints", "attn", "vit"] | None = None
    hide_displays: bool = True
    embed_dim: int | None = None
    window: int | None = None
    batch_size: int = 48
    horizon: int | None = None
    max_gap: int | None = None
    landmarks: bool | None = None
    reach: float | None = None
    train: TrainConfig = TRAIN
    fit_steps: int | None = None
    minutes: float | None = None
    budget: int | None = None
    pairs: int = 100
    pairs_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes is None:
            return
        if not 0 < self.minutes < math.inf:
            raise ConfigError(f"`minutes` must be above 0; got {self.minutes}.")
        if self.fit_steps is not None or self.train.steps != TRAIN.steps:
            raise ConfigError("`minutes` chooses the steps: leave `train.steps` and `fit_steps` out beside it.")


@dataclass(frozen=True)
class ResolvedWorld(WorldModelConfig):
    """Every option with its value, as it is kept with the run.

    Attributes:
        budget, minutes: see `WorldConfig`.
        share: of the usual steps that the minutes allow; 1 without a limit of time.
        choices: why options have the values that they have, a line each.
    """

    budget: int | None = None
    minutes: float | None = None
    share: float = 1.0
    choices: tuple[str, ...] = ()


def resolve(config: WorldConfig, world: str, options: Mapping[str, Any], *, kept: Any = None) -> ResolvedWorld:
    """Records play where there is none, measures the data, and gives every option its value.

    Args:
        config: what the user wants.
        world: name or id; "" where only episodes are known.
        options: of the world, by name.
        kept: the resolved config of an earlier start of this run, which knows how many steps its minutes allow.

    Raises:
        ConfigError: where neither a world nor episodes are given.
        DataError: where the episodes cannot be learned from.
    """
    began = time.monotonic()
    if not world and config.data is None:
        raise ConfigError("the recipe `world` must be given a world or a store: openjepa train WORLD_OR_STORE.")
    if config.minutes is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("`minutes` must be left out under torchrun: each process would measure other steps.")
    known = kept if isinstance(kept, ResolvedWorld) and kept.minutes == config.minutes else None
    play, reasons = _play(config, world, options, known)
    base = ResolvedWorld(play=play, seed=config.seed, batch_size=config.batch_size, train=config.train)
    store = open_store(base)
    try:
        _check_store(store)
        found = choose(store, config)
        found = replace(found, lines=(*_meaning(store), *found.lines))
    finally:
        store.close()
    resolved = _with_choices(base, config, replace(found, lines=(*reasons, *found.lines)))
    if config.minutes is None:
        return resolved
    left = 60 * config.minutes - (time.monotonic() - began)
    return _within_minutes(resolved, config.minutes, known.share if known else share_of_steps(resolved, left))


def _within_minutes(config: ResolvedWorld, minutes: float, share: float) -> ResolvedWorld:
    """The config with as many steps as its minutes allow."""
    found = replace(with_share(config, share), minutes=minutes, share=share)
    line = f"train.steps {found.train.steps}, and {share:g} times the usual steps of every fit: {minutes:g} minutes"
    if share == FEWEST:
        line += " are short, and a tenth of the usual steps is the least that is taken"
    return replace(found, choices=(*found.choices, line))


def _play(
    config: WorldConfig, world: str, options: Mapping[str, Any], known: ResolvedWorld | None
) -> tuple[PlayConfig, tuple[str, ...]]:
    if config.data is not None:  # as it was recorded
        own = PlayConfig(
            world,
            dict(options),
            policy="",
            episodes=2,
            steps=1,
            num_envs=1,
            held_out=config.held_out,
            data=config.data,
            read_only=True,
        )
        return own, ()
    found = choose_play(world, options, seed=config.seed)
    steps = config.episode_steps or found.steps
    episodes, lines = config.episodes or max(2, RECORDED // steps), found.lines
    if config.minutes is not None and config.episodes is None:
        slow = found.step_seconds * steps  # an episode takes about so long
        fitting = int(PLAY_SHARE * 60 * config.minutes / slow) if slow else episodes
        fewer = known.play.episodes if known else max(FEWEST_EPISODES, fitting)
        if fewer < episodes:
            lines = (*lines, f"episodes {fewer}: what is recorded in {PLAY_SHARE:.0%} of {config.minutes:g} minutes")
            episodes = fewer
    play = PlayConfig(
        world,
        dict(options),
        policy=config.policy or found.policy,
        favoured=() if config.policy else found.favoured,
        gentle=None if config.policy else found.gentle,
        episodes=episodes,
        steps=steps,
        num_envs=config.num_envs,
        held_out=config.held_out,
        image_size=config.image_size or found.image_size,
        workers=config.workers,
    )
    return play, lines


def _check_store(store: EpisodeStore) -> None:
    if len(store) < 2:
        raise DataError(
            f"`{store.path}` must hold at least 2 episodes to learn from and to judge; it has {len(store)}."
        )
    shape = store.column("frames").shape[1:]
    if len(shape) != 3 or shape[0] != 3:
        raise DataError(f"frames of `{store.path}` must be [3, H, W]; they are {list(shape)}.")


def _meaning(store: EpisodeStore) -> tuple[str, ...]:
    """What the actions of a robot's data mean, where the store says it; it is kept with the agent."""
    plain = store.record(0).info.get("robot")
    if plain is None:
        return ()
    spec = RobotSpec.of(plain, str(store.path))
    axes = ", ".join(spec.action.names) or f"{store.column('actions').shape[1]} numbers"
    meaning = f"{spec.action.kind} in {spec.action.frame}, unit {', '.join(spec.action.units)}"
    return (f"actions: {axes}; {meaning}; {spec.fps:g} a second, {spec.robot_type}",)


def _with_choices(base: ResolvedWorld, config: WorldConfig, found: Choices) -> ResolvedWorld:
    """The concrete configuration that these choices mean."""
    encoder = FrameEncoderConfig(
        "two-conv" if found.scene_dim and found.encoder == "conv" else found.encoder,
        image_size=found.image_size,
        shrink_from=found.shrink_from,
        **found.encoder_options,
    )
    is_scaled = found.encoder == "attn"
    method = LeWMConfig(
        categories=found.categories * found.frameskip,
        action_dim=sum(found.categories) * found.frameskip or LeWMConfig.action_dim,
        embed_dim=found.embed_dim + found.scene_dim,
        scene_dim=found.scene_dim,
        scene_weight=1.0 if found.scene_dim else 0.0,
        scene_kind="slow" if found.scene_dim else "contrast",
        state=found.state,
        encoder=encoder,
        predictor=LatentPredictorConfig("mlp", 256),
        rollout="both" if is_scaled else "open_loop",
        covariance_weight=0.2 if is_scaled else LeWMConfig.covariance_weight,
        variance_weight=0.0 if found.is_static else LeWMConfig.variance_weight,
        motion_weight=MOTION_WEIGHT if found.finds_motion else 0.0,
        variance_t_weight=1.0 if found.is_static else 0.0,
        inverse_dynamics_weight=4.0 if found.is_static else LeWMConfig.inverse_dynamics_weight,
    )
    chosen = bool(found.categories) and found.knot_steps == 1
    # With held actions, a search is small; the primitive ones of a model step are then held, too.
    held = found.knot_steps > 1 and (found.frameskip > 1 or found.state == "pair")
    is_hurled = base.play.gentle is not None and found.state == "pair"
    lines = found.lines
    if is_hurled:
        lines = (*lines, f"distance.latent-weight {HURLED_WEIGHT:g}: all that is near is a step away, latents tell it")
    remembers = found.state == "pair" and not chosen
    if remembers:
        lines = (*lines, f"refine.memory-dim {MEMORY}: a speed shows in many looks, and what is hidden in earlier ones")
    longest = VELOCITY_ROLLOUT if found.state == "pair" else 12
    act = ActConfig(
        refine=RefineConfig(
            steps=config.fit_steps or (VELOCITY_FIT if found.state == "pair" else FIT),
            lr=VELOCITY_LR if found.state == "pair" else FIT_LR,
            hard_share=CELLS_HARD if chosen else 0.0,
            rollout=min(5 if chosen else longest, found.window if chosen else found.horizon),
            noise=0.1 if chosen else 0.05,
            batch_size=MEMORY_ROLLOUTS if remembers else RefineConfig.batch_size,
            predictor=LatentPredictorConfig("mlp", 256, scaled=True),  # steps are small beside places
            memory_dim=MEMORY if remembers else 0,
        ),
        critic=found.critic,
        distance=TemporalDistanceConfig(
            form="euclidean" if found.state == "pair" else TemporalDistanceConfig.form,
            steps=config.fit_steps or 1200,
            max_gap=found.max_gap,
            noise=VELOCITY_NOISE if found.state == "pair" else 0.0,
            scene_dim=found.scene_dim,
            sees_scene=not found.scene_dim,
            latent_weight=HURLED_WEIGHT if is_hurled else 0.0,
        ),
        policy=GoalPolicyConfig(steps=config.fit_steps or 400),
        proposals=ProposalConfig(accept_gain=1.0 if found.state == "pair" or held else ProposalConfig.accept_gain),
        planner=CEMConfig(
            horizon=found.horizon,
            num_samples=64 if held else 128,
            num_elites=8 if held else 16,
            num_iterations=3 if held else 4 if found.looks == 1 else 1,  # a plan made a moment ago is a good start
            knot_steps=found.knot_steps,
            holds_parts=held or (found.state == "pair" and found.frameskip > 1 and not chosen),
        ),
        exhaustive=ExhaustiveConfig(found.horizon, choices=found.choices) if found.looks_at_all else None,
        aggregate="discounted" if found.state == "pair" and is_scaled else "mean",
        replan_every=found.replan_every,
        looks=found.looks,
        failed_plans=FailedPlanConfig() if found.critic == "steps" else None,
        landmarks=(SCENE_LANDMARKS if found.scene_dim else LANDMARKS) if found.landmarks else None,
        reach=found.reach,
        edge_patience=EDGE_PATIENCE * found.looks if found.landmarks else None,
        configurator=ConfiguratorConfig(patience=PATIENCE * found.looks) if found.landmarks else None,
        pairs=config.pairs,
        pairs_seed=config.pairs_seed,
    )
    train = config.train
    slow = found.finds_motion or found.scene_dim > 0
    if (slow or found.state == "pair") and train == TRAIN:
        moving = VELOCITY_MOTION_STEPS if slow else VELOCITY_STEPS
        train = replace(train, steps=moving if found.state == "pair" else MOTION_STEPS)
    return replace(
        base,
        method=method,
        act=act,
        train=train,
        window=found.window,
        frameskip=found.frameskip,
        budget=config.budget,
        choices=lines,
    )


def build_resolved(config: ResolvedWorld) -> Experiment:
    """The method, its batches and what the doctor looks at."""
    return build(config)


def finish_resolved(config: ResolvedWorld, run_dir: Path) -> None:
    """Saves the agent, with the reasons of its choices."""
    finish(config, run_dir, choices=config.choices)


def _judge(config: ResolvedWorld, run_dir: Path) -> dict[str, Any]:
    from openjepa.recipes.judge_world import judge

    return judge(config, run_dir)


WORLD = Recipe(
    "any world or store of episodes: openjepa train WORLD_OR_STORE",
    ResolvedWorld(),
    build_resolved,
    {"play.episodes": 8, "play.num_envs": 8, "play.steps": 12, "play.held_out": 0.3, "batch_size": 4},
    _judge,
    None,
    finish_resolved,
)
