"""An arm that reaches pictured places in scenes that it never saw, from a minute of play in other scenes.

    openjepa train arm
    openjepa eval runs/arm
    openjepa plan runs/arm

`arm-around` is the same with a wall between hand and goal, `arm-push` with a block to push. Nothing but pictures and
actions is learned from; around the wall also where the hand was felt to be. Every episode of play shows one of 512
scenes; judged is in scenes of other numbers (`near`) and with textures and hues that no training scene has (`far`), by
the distance at the last step. Two things make it work: an encoder whose keypoints see their context, and a read-out of
displacements over random pairs of moments of an episode (`losses/displacement.py`).
Results: `docs/robots.md`. Needs `openjepa[mujoco]`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.agent import Agent, FailedPlanConfig, ProposalConfig, load_agent
from openjepa.envs.arm import Arm, ArmConfig
from openjepa.errors import ConfigError
from openjepa.eval.acting.arm_pairs import draw_arm_pairs
from openjepa.eval.acting.floors import StateView
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.outcomes import SuccessReport
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.eval.intervals import wilson
from openjepa.eval.pages.animation import Replay
from openjepa.heads.critic import TemporalDistanceConfig
from openjepa.heads.goal_policy import GoalPolicyConfig
from openjepa.methods.lewm import LeWMConfig
from openjepa.methods.refine import RefineConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEMConfig
from openjepa.recipes import Recipe
from openjepa.recipes.acting import ActConfig, WorldModelConfig, finish
from openjepa.recipes.world_model import SMALL_PLAY, PlayConfig, build, world_of
from openjepa.train import TrainConfig

TOY = {**SMALL_PLAY, "play.steps": 8}
RADII = (0.03, 0.05)  # m, within which a rate is stated


@dataclass(frozen=True)
class ArmRecipeConfig(WorldModelConfig):
    """A world model of an arm, how it acts, and the scenes that it is judged in.

    Attributes:
        splits: kinds of scenes that are judged.
        first_scene: number of the first judged scene of a split; those before are for tuning a planner.
    """

    play: PlayConfig = field(
        default_factory=lambda: PlayConfig("arm", {}, "arm", episodes=1536, steps=31, num_envs=64, held_out=0.03)
    )
    window: int = 4
    batch_size: int = 32
    splits: tuple[str, ...] = ("near", "far")
    first_scene: int = 1000


def arm() -> ArmRecipeConfig:
    """1,536 episodes in 512 scenes, 3,600 steps of training."""
    return ArmRecipeConfig(
        method=LeWMConfig(
            embed_dim=32,
            encoder=FrameEncoderConfig("context", hidden_dim=256),
            predictor=LatentPredictorConfig("mlp", 256),
            displacement_weight=5.0,
        ),
        train=TrainConfig(steps=3600, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=1200),
        act=ActConfig(
            refine=RefineConfig(steps=300, rollout=4),
            critic="latent",
            planner=CEMConfig(horizon=1, num_samples=64, num_elites=8, num_iterations=4),
            policy=None,
            aggregate="final",
            replan_every=1,
            budget=15,
        ),
    )


def arm_felt() -> ArmRecipeConfig:
    """An arm that is spoken to: it knows where its hand is, not only how far it is from where it was.

    "On the left" is a place in the scene, which displacements within an episode do not tell: so in play the arm feels
    its hand, and every episode has a scene of its own, since that is what must carry over. What acts sees pictures
    alone. The critic looks at the place and nothing else: remembered goals of other scenes then lie as far as they are.
    """
    config = arm()
    return replace(
        config,
        play=replace(config.play, options={"proprio": True, "scenes": config.play.episodes}),
        method=replace(config.method, displacement_from="proprio"),
        train=replace(config.train, steps=2000, checkpoint_every=1000),
        act=replace(config.act, critic="places"),
    )


def felt(world: str, policy: str) -> ArmRecipeConfig:
    """Fewer but longer episodes, in which the arm feels where its hand is, and a longer second training."""
    config = arm()
    return replace(
        config,
        play=replace(config.play, world=world, policy=policy, options={"proprio": True}, steps=47, episodes=640),
        method=replace(config.method, displacement_from="proprio"),
        train=replace(config.train, steps=1000),
        act=replace(config.act, refine=RefineConfig(steps=1500, rollout=10, hard_share=0.5, noise=0.05)),
    )


def arm_around() -> ArmRecipeConfig:
    """A wall on the table. How far it is around the wall is learned from play, in places that the latent tells.

    Where the model takes the wall to be elsewhere, the plans that failed say so, in the episode. In play the arm feels
    where its hand is: where the wall holds it, actions are not displacements, and only who knows where the hand is in
    the scene can foretell that it will be held. What acts sees pictures alone.
    """
    config = felt("arm-around", "arm")
    return replace(
        config,
        act=replace(
            config.act,
            critic="places",
            distance=TemporalDistanceConfig(steps=800, max_gap=30),
            failed_plans=FailedPlanConfig(radius_share=3.5),
            planner=CEMConfig(horizon=8, knot_steps=2, num_samples=64, num_elites=12, num_iterations=3),
            aggregate="mean",
            replan_every=1,
            budget=45,
        ),
    )


def arm_push() -> ArmRecipeConfig:
    """A block on the table, and play that pushes it from all sides.

    A search hardly ever goes round a block and pushes it, play does all the time: what it did on the way to a later
    moment is proposed, imagined and repaired. With the true places in the latent's stead that pushes
    (`benchmarks/pushing.py`); the latent itself does not say well enough where the block is, and few goals are reached.
    """
    config = felt("arm-push", "arm-push")
    return replace(
        config,
        act=replace(
            config.act,
            critic="steps",
            planner=CEMConfig(horizon=12, knot_steps=2, num_samples=64, num_elites=8, num_iterations=3, init_std=0.4),
            policy=GoalPolicyConfig(hidden_dim=256, depth=3, batch_size=512, steps=3000),
            policy_from="play",
            proposals=ProposalConfig(num_policy=12, num_last=8, accept_gain=1.0),
            replan_every=2,
            budget=40,
        ),
    )


def world_config(config: ArmRecipeConfig, split: str) -> ArmConfig:
    """The world that is judged: that of the play, with scenes of the split."""
    world = world_of(config.play)
    if not isinstance(world, Arm):
        raise ConfigError(f"`play.world` of this recipe must be an arm; got {config.play.world}.")
    return replace(world.config, split=split)  # type: ignore[arg-type]  # checked by the configuration


def draw_pairs(config: ArmRecipeConfig, split: str) -> Manifest:
    """The judged pairs of a split."""
    act, world = config.act, world_config(config, split)
    first = config.first_scene if split != "train" else 0
    return draw_arm_pairs(world, act.pairs, seed=act.pairs_seed, first_scene=first)


def judge_split(player: Player, config: ArmRecipeConfig, pairs: Manifest, name: str = "openjepa") -> dict[str, Any]:
    """Rates within 3 and 5 cm at the last step, and at the first hit, of a player that may read the truth if it wants.

    An `Agent` is shown pictures alone.
    """
    world = world_config(config, pairs.protocol["world"]["split"])
    judged = JudgeConfig(budget=config.act.budget, stop_at_goal=False, batch_size=100, latency_pairs=0)
    is_agent = isinstance(player, Agent)
    report = evaluate(
        player, lambda n: Arm(n, world) if is_agent else StateView(Arm(n, world)), pairs, judged, name=name
    )
    return summary(report)


def summary(report: SuccessReport) -> dict[str, Any]:
    """Plain values of one player, lengths in cm."""
    last = np.array([outcome.last_distance for outcome in report.outcomes])
    closest = np.array([outcome.closest_distance for outcome in report.outcomes])
    row: dict[str, Any] = {"pairs": len(last), "manifest_sha256": report.manifest_sha256}
    for radius in RADII:
        rate = wilson(int((last < radius).sum()), len(last))
        key = f"within_{round(100 * radius)}_cm"
        row |= {key: rate.estimate, f"{key}_ci95": [rate.low, rate.high]}
        row[f"ever_{key}"] = float((closest < radius).mean())
    groups = np.array([outcome.group for outcome in report.outcomes])
    row["within_3_cm_by_start"] = {str(g): float((last[groups == g] < RADII[0]).mean()) for g in np.unique(groups)}
    first = [outcome.first_distance for outcome in report.outcomes]
    return {**row, "median_cm": 100 * float(np.median(last)), "start_median_cm": 100 * float(np.median(first))}


def judge(config: ArmRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals of every split with a trained run."""
    agent = load_agent(run_dir)
    return {split: judge_split(agent, config, draw_pairs(config, split)) for split in config.splits}


def replay(config: ArmRecipeConfig, run_dir: Path, seed: int) -> Replay:
    """Plays one episode in a near scene."""
    config = replace(config, act=replace(config.act, pairs=1, pairs_seed=seed))
    pairs, agent = draw_pairs(config, "near"), load_agent(run_dir)
    judged = JudgeConfig(budget=config.act.budget, latency_pairs=0)
    (played,) = evaluate(agent, lambda n: Arm(n, world_config(config, "near")), pairs, judged, keep=[0]).kept
    return Replay(played.frames, played.goal_frame, played.success)


ARM = Recipe(
    "world model of an arm from play in 512 scenes; acts in new ones (needs openjepa[mujoco])",
    arm(),
    build,
    TOY,
    judge,
    replay,
    finish,
)
ARM_FELT = replace(ARM, summary="the same, felt in play, for goals in words", config=arm_felt())
ARM_AROUND = replace(ARM, summary="the same with a wall that the hand must go over", config=arm_around())
ARM_PUSH = replace(ARM, summary="the same with a block that is to be pushed", config=arm_push())
