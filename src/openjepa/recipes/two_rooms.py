"""Two-Rooms from random play: learn the world in under a minute of CPU, then reach image goals in both rooms.

    openjepa train two-rooms
    openjepa train random-doors
    openjepa train object-rooms
    openjepa eval runs/two-rooms

`two-rooms` has one wall and one door. `random-doors` draws both per episode; a fifth of the layouts never occurs in
play and is what the agent is judged on. Results, times and hardware: `docs/world-models.md`. Seed 0.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openjepa.agent import FailedPlanConfig, load_agent
from openjepa.envs import make_world
from openjepa.envs.two_rooms import TwoRooms, TwoRoomsConfig
from openjepa.eval.acting.manifest import Manifest, draw_two_rooms_pairs
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.pages.animation import Replay
from openjepa.heads.critic import TemporalDistanceConfig
from openjepa.methods.compact import CompactConfig
from openjepa.methods.lewm import LeWMConfig
from openjepa.methods.refine import RefineConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEMConfig
from openjepa.recipes import Recipe
from openjepa.recipes.acting import ActConfig, WorldModelConfig, finish
from openjepa.recipes.world_model import SMALL_PLAY, PlayConfig, build
from openjepa.train import TrainConfig

TOY = {**SMALL_PLAY, "play.steps": 12}

# A latent of what stays in an episode and what moves, for worlds that are drawn anew in each.
SCENE_AND_MOTION = LeWMConfig(
    embed_dim=24,
    scene_dim=8,
    encoder=FrameEncoderConfig("split"),
    variance_weight=2.0,
    inverse_dynamics_weight=10.0,
)


def two_rooms() -> WorldModelConfig:
    """A fixed wall: 1,500 episodes of random play, 500 steps."""
    return WorldModelConfig(
        play=PlayConfig("two-rooms", {}, "smooth", episodes=1500, steps=40),
        method=LeWMConfig(embed_dim=16, similarity_weight=2.0),
        train=TrainConfig(steps=500, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=250),
        act=ActConfig(
            planner=CEMConfig(horizon=12, knot_steps=3, num_samples=64, num_elites=8, num_iterations=2),
        ),
    )


def random_doors() -> WorldModelConfig:
    """Wall and door drawn per episode; straighter play, keypoints read linearly, and a latent of scene and motion."""
    return WorldModelConfig(
        play=PlayConfig("random-doors", {"split": "train"}, "directed", episodes=1400, steps=120),
        method=replace(SCENE_AND_MOTION, scene_weight=1.0, scene_scale=64.0),
        train=TrainConfig(steps=800, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=400),
        window=5,
        batch_size=64,
        act=ActConfig(
            compact=CompactConfig(scene_dim=3, origin_steps=2500),
            refine=RefineConfig(
                steps=2500,
                lr=3e-3,
                hard_share=0.5,
                noise=0.1,
                rollout=8,
                batch_size=256,
                predictor=LatentPredictorConfig("mlp", 256, depth=3),
            ),
            distance=TemporalDistanceConfig(hidden_dim=128, max_gap=60, steps=2000, scene_dim=3),
            planner=CEMConfig(horizon=12, knot_steps=2, num_samples=64, num_elites=8, num_iterations=2),
            aggregate="closest",
            replan_every=2,
            failed_plans=FailedPlanConfig(),
        ),
    )


def object_rooms() -> WorldModelConfig:
    """Coloured things lie in the rooms, elsewhere in every episode: the scene of the latent holds their places.

    They bar no way, so predictor and critic do not look at it.
    """
    return WorldModelConfig(
        play=PlayConfig("object-rooms", {}, "smooth", episodes=1500, steps=40),
        method=replace(
            SCENE_AND_MOTION,
            embed_dim=28,
            scene_dim=12,
            encoder=FrameEncoderConfig("split", placed=False),
            scene_weight=4.0,
            scene_scale=32.0,
            scene_redundancy=10.0,
        ),
        train=TrainConfig(steps=600, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=300),
        window=5,
        batch_size=64,
        act=ActConfig(
            compact=CompactConfig(scene_dim=12, stillness=0.001),
            refine=RefineConfig(steps=1200, rollout=8, noise=0.1, lr=3e-3, hard_share=0.5, sees_scene=False),
            distance=TemporalDistanceConfig(steps=1200, scene_dim=12, sees_scene=False),
            planner=CEMConfig(horizon=12, knot_steps=3, num_samples=64, num_elites=8, num_iterations=2),
        ),
    )


def world_config(config: WorldModelConfig) -> TwoRoomsConfig:
    """The world that is judged: the one of the play, with layouts that were never shown."""
    world = make_world(config.play.world, 1, **config.play.options)
    assert isinstance(world, TwoRooms)
    layout = world.config.layout
    split: Literal["all", "held-out"] = "all" if layout == "fixed" else "held-out"
    return TwoRoomsConfig(layout=layout, split=split, objects=world.config.objects)


def draw_pairs(config: WorldModelConfig) -> Manifest:
    """The judged pairs of start and goal, half of them in different rooms."""
    act = config.act
    return draw_two_rooms_pairs(world_config(config), act.pairs, seed=act.pairs_seed, task=config.play.world)


def judge(config: WorldModelConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals with a trained run."""
    options = world_config(config)
    agent = load_agent(run_dir)
    judged = JudgeConfig(budget=config.act.budget, batch_size=config.act.pairs)
    report = evaluate(agent, lambda n: TwoRooms(n, options), draw_pairs(config), judged, name="openjepa")
    return report.as_json()


def replay(config: WorldModelConfig, run_dir: Path, seed: int) -> Replay:
    """Plays one episode to a goal in the other room."""
    options = world_config(config)
    pairs = draw_two_rooms_pairs(options, 1, seed=seed, cross_share=1.0, task=config.play.world)
    agent = load_agent(run_dir)
    judged = JudgeConfig(budget=config.act.budget, latency_pairs=0)
    ids = [pairs.pairs[0].pair_id]
    (played,) = evaluate(agent, lambda n: TwoRooms(n, options), pairs, judged, keep=ids).kept
    return Replay(played.frames, played.goal_frame, played.success, positions=np.asarray(played.states)[:, :2])


TWO_ROOMS = Recipe(
    "world model of Two-Rooms from random play; acts on image goals", two_rooms(), build, TOY, judge, replay, finish
)
RANDOM_DOORS = replace(
    TWO_ROOMS, summary="the same with wall and door drawn per episode, judged on unseen layouts", config=random_doors()
)
OBJECT_ROOMS = replace(
    TWO_ROOMS,
    summary="two rooms with coloured things, elsewhere in every episode; goals in words too",
    config=object_rooms(),
)
