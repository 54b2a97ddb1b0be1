"""Push-T from scripted pushing: learn the table from pixels, then bring pusher and block to where a picture shows them.

    openjepa train push-t
    openjepa eval runs/push-t
    openjepa plan runs/push-t

Needs `openjepa[pusht]`. Nothing but frames and actions is learned from. The latent is where points are, of things and
of the pusher (`models/object_points.py`), and the picture's features are painted from them: so the block's angle is in
it. A policy that imitates play proposes plans, the model repairs them, and what counts is how near a plan ever comes.

Judged on pairs that lie 25 steps apart in episodes that were never trained on, by the first hit of the moderate rule of
2608.10145, beside players that never look at the goal; and by how well the true positions are read out of the latent:
`docs/what-a-state-holds.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from openjepa.agent import ProposalConfig, load_agent
from openjepa.data import split
from openjepa.envs import GymnasiumWorld, make_policy, make_world
from openjepa.errors import ConfigError
from openjepa.eval.acting.floors import PolicyPlayer, StateView
from openjepa.eval.acting.manifest import Manifest, draw_recorded_pairs
from openjepa.eval.acting.outcomes import SuccessReport, success_difference
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.health.collapse import LatentDiagnostics, measure, untrained_twin
from openjepa.eval.pages.animation import Replay
from openjepa.heads.goal_policy import GoalPolicyConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import RefineConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.planning import CEMConfig
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes import Experiment, Recipe
from openjepa.recipes.acting import ActConfig, WorldModelConfig, finish
from openjepa.recipes.world_model import PlayConfig, build, open_store
from openjepa.train import TrainConfig

TOY = {
    "play.episodes": 4,
    "play.num_envs": 4,
    "play.steps": 8,
    "play.held_out": 0.5,
    "batch_size": 4,
}
STATE_NAMES = ("pusher_x", "pusher_y", "block_x", "block_y", "block_angle_cos", "block_angle_sin")
BLOCK_MOVED = (20.0, np.deg2rad(20))  # px and rad, the tolerances of the moderate rule
TABLE = 512.0  # px, side of the table in the unit of the states


@dataclass(frozen=True)
class PushTConfig(WorldModelConfig):
    """A world model of Push-T, how it acts, and the pairs that it is judged on."""

    play: PlayConfig = field(
        default_factory=lambda: PlayConfig("push-t", {}, "push", episodes=1000, steps=50, num_envs=50, held_out=0.12)
    )
    window: int = 2
    batch_size: int = 32
    offset: int = 25  # environment steps between start and goal in their episode, >= 1
    pairs_per_episode: int = 4  # at most; another one is taken from an episode only when all gave one
    floor: str = "uniform"  # policy of the random floor

    def __post_init__(self) -> None:
        if min(self.offset, self.pairs_per_episode) < 1:
            raise ConfigError("`offset` and `pairs_per_episode` must be at least 1.")


def push_t() -> PushTConfig:
    """1,000 episodes of scripted pushing, 900 steps; the latent is 16 points of things and 4 of the pusher."""
    return PushTConfig(
        method=LeWMConfig(
            embed_dim=40,
            encoder=FrameEncoderConfig("objects"),
            predictor=LatentPredictorConfig("mlp", 256, scaled=True),
            variance_weight=0.0,
            covariance_weight=0.0,
            agent_dim=8,
            dense_weight=1.0,
        ),
        train=TrainConfig(steps=900, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=300),
        act=ActConfig(
            refine=RefineConfig(
                steps=3000,
                rollout=8,
                lr=3e-3,
                hard_share=0.5,
                noise=0.02,
                predictor=LatentPredictorConfig("mlp", 256, scaled=True),
            ),
            principal=12,
            critic="latent",
            planner=CEMConfig(horizon=24, num_samples=128, num_elites=12, num_iterations=4, knot_steps=3),
            policy=GoalPolicyConfig(hidden_dim=256, steps=2500, max_gap=24),
            policy_from="play",
            proposals=ProposalConfig(num_policy=32, num_last=16, num_wide=16, accept_gain=1.0),
            aggregate="closest",
            replan_every=2,
            budget=50,
            pairs=200,
        ),
    )


def readable(batch: TrajectoryBatch) -> TrajectoryBatch:
    """The batch with states [E, T, 6] named `STATE_NAMES`: what one picture shows, the angle without its jump."""
    assert batch.states is not None
    angle = batch.states[..., 4:5]
    return replace(batch, states=torch.cat([batch.states[..., :4], angle.cos(), angle.sin()], -1))


def build_push_t(config: PushTConfig) -> Experiment:
    """Records play where it is missing, and makes the method, its batches and what the doctor looks at."""
    experiment = build(config)
    assert experiment.held_out is not None
    episodes = experiment.held_out

    def held_out() -> TrajectoryBatch:
        return readable(episodes())

    def diagnose(model: LeWM, step: int) -> dict[str, float]:
        found = look(model, held_out())
        return {**found.metrics(), **{f"r2.{name}": scores["overall"] for name, scores in read_out(found).items()}}

    return replace(experiment, diagnostics=diagnose, held_out=held_out, state_names=STATE_NAMES)


def look(model: LeWM, held_out: TrajectoryBatch) -> LatentDiagnostics:
    """Measures the latent on held-out episodes, with probes of the true state beside an untrained encoder."""
    return measure(model, held_out, untrained=untrained_twin(model), state_names=STATE_NAMES)


def read_out(found: LatentDiagnostics) -> dict[str, dict[str, float]]:
    """R2 by state: the better probe, overall and within episodes, and the same of an untrained encoder."""
    assert found.probe is not None
    assert found.random_probe is not None
    table = {
        "overall": (found.probe.linear, found.probe.mlp),
        "within": (found.probe.linear_within, found.probe.mlp_within),
        "overall_untrained": (found.random_probe.linear, found.random_probe.mlp),
        "within_untrained": (found.random_probe.linear_within, found.random_probe.mlp_within),
    }
    rows: dict[str, dict[str, float]] = {}
    for i, name in enumerate(STATE_NAMES):
        best = {key: [s[i] for s in scores if s and s[i] is not None] for key, scores in table.items()}
        rows[name] = {key: max(x for x in values if x is not None) for key, values in best.items() if values}
    return rows


def draw_pairs(config: PushTConfig) -> Manifest:
    """The judged pairs, from episodes that were not trained on."""
    store = open_store(config)
    _, held_out = split(store, config.play.held_out, config.seed)
    act = config.act
    return draw_recorded_pairs(
        world_of(config)(1),
        {int(i): store.rows_of("states", int(i)) for i in held_out},
        act.pairs,
        offset=config.offset,
        seed=act.pairs_seed,
        pairs_per_episode=config.pairs_per_episode,
        task=config.play.world,
        protocol={"success": "positions within 20 px and block angle within 20 degrees, at the first hit"},
    )


def world_of(config: PushTConfig) -> Callable[[int], GymnasiumWorld]:
    """A function that makes the world with that many environments."""

    def make(num_envs: int) -> GymnasiumWorld:
        world = make_world(config.play.world, num_envs, **config.play.options)
        assert isinstance(world, GymnasiumWorld)
        return world

    return make


def judge(config: PushTConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals, lets two players try that never see them, and reads the state out of the latent."""
    pairs, make = draw_pairs(config), world_of(config)
    agent = load_agent(run_dir)
    world = make(1)
    judged = JudgeConfig(budget=config.act.budget, batch_size=config.act.pairs)
    blind = replace(judged, latency_pairs=0)
    random = PolicyPlayer(make_policy(config.floor, world.bounds), config.seed)
    scripted = PolicyPlayer(make_policy(config.play.policy, world.bounds), config.seed)
    reports = {
        "openjepa": evaluate(agent, make, pairs, judged, name="openjepa"),
        "random_floor": evaluate(random, make, pairs, blind, name=config.floor),
        "play_floor": evaluate(scripted, lambda n: StateView(make(n)), pairs, blind, name=config.play.policy),
    }
    world.close()
    held_out = build_push_t(config).held_out
    assert held_out is not None
    moved = block_moved(pairs)
    gain = success_difference(reports["openjepa"], reports["random_floor"])
    return {
        "task": pairs.task,
        "manifest": {"sha256": pairs.sha256, **pairs.protocol, **pairs.statistics, "block_moved": int(moved.sum())},
        **{name: summary(report, moved) for name, report in reports.items()},
        "gain_over_random": {"rate": gain.estimate, "ci95": [gain.low, gain.high]},
        "r2": read_out(look(cast(LeWM, agent.model), held_out())),
    }


def block_moved(pairs: Manifest) -> np.ndarray:
    """Whether the block lies elsewhere in the goal [N] bool: in the other pairs only the pusher has to move."""
    way = np.linalg.norm(pairs.goals[:, 2:4] - pairs.starts[:, 2:4], axis=1)
    turn = np.abs((pairs.goals[:, 4] - pairs.starts[:, 4] + np.pi) % (2 * np.pi) - np.pi)
    return (way >= BLOCK_MOVED[0]) | (turn >= BLOCK_MOVED[1])


def summary(report: SuccessReport, moved: np.ndarray) -> dict[str, Any]:
    """Plain values of one player: rates, distances in px, time of a decision, and the step of each first hit."""
    values = report.as_json()
    hits = np.array([outcome.success for outcome in report.outcomes])
    return {
        **{key: values[key] for key in ("name", "pairs", "budget", "success", "steps_to_goal")},
        "success_block_moved": float(hits[moved].mean()) if moved.any() else None,
        "success_block_still": float(hits[~moved].mean()) if not moved.all() else None,
        "median_distance": {which: quantiles["0.5"] for which, quantiles in values["distance"].items()},
        "ms_per_decision": report.times.median_ms,
        "steps_by_pair": [outcome.steps for outcome in report.outcomes],
    }


def replay(config: PushTConfig, run_dir: Path, seed: int) -> Replay:
    """Plays one judged kind of pair, drawn with another seed."""
    config = replace(config, act=replace(config.act, pairs=1, pairs_seed=seed))
    agent = load_agent(run_dir)
    pairs, make = draw_pairs(config), world_of(config)
    judged = JudgeConfig(budget=config.act.budget, latency_pairs=0)
    (played,) = evaluate(agent, make, pairs, judged, keep=[pairs.pairs[0].pair_id]).kept
    positions = np.asarray(played.states)[:, :2] * (played.frames.shape[-1] / TABLE)
    return Replay(played.frames, played.goal_frame, played.success, positions=positions)


PUSH_T = Recipe(
    "world model of Push-T from scripted pushing; acts on image goals (needs openjepa[pusht])",
    push_t(),
    build_push_t,
    TOY,
    judge,
    replay,
    finish,
)
