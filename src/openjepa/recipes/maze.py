"""Far goals in a maze: a world model of random play, a map of what was seen, and goals up to 150 steps away."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.agent import FailedPlanConfig, ProposalConfig, load_agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig
from openjepa.envs import Maze, make_world
from openjepa.envs.maze import MazeConfig
from openjepa.eval.acting.manifest import Manifest
from openjepa.eval.acting.maze_pairs import draw_maze_pairs, shortest_steps
from openjepa.eval.acting.success_rate import JudgeConfig, Player, evaluate
from openjepa.heads.critic import TemporalDistanceConfig
from openjepa.methods.lewm import LeWMConfig
from openjepa.methods.refine import RefineConfig
from openjepa.planning import CEMConfig
from openjepa.recipes import Recipe
from openjepa.recipes.acting import ActConfig, WorldModelConfig, finish
from openjepa.recipes.world_model import SMALL_PLAY, PlayConfig, build
from openjepa.train import TrainConfig

TOY = {**SMALL_PLAY, "play.steps": 12}
# Steps of the shortest way, and the budget: the bins that are judged.
BINS = {"near": ((4, 20), 50), "middle": ((25, 40), 100), "distant": ((45, 70), 160), "far": ((80, 150), 300)}


def maze() -> WorldModelConfig:
    """1,000 episodes of directed play, of which 80 steps lead 9 steps away; 500 steps of training."""
    return WorldModelConfig(
        play=PlayConfig("maze", {}, "directed", episodes=1000, steps=80),
        method=LeWMConfig(embed_dim=16, similarity_weight=2.0),
        train=TrainConfig(steps=500, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=250),
        act=ActConfig(
            refine=RefineConfig(steps=1500, rollout=16, noise=0.1),
            distance=TemporalDistanceConfig(steps=1200, max_gap=30),
            planner=CEMConfig(horizon=12, knot_steps=3, num_samples=64, num_elites=8, num_iterations=3),
            landmarks=LandmarkConfig(
                radius_share=0.1, capacity=400, sample=8000, max_gap=12, min_count=2, reversible=True
            ),
            # Every plan is searched on from: sixteen proposals alone reach as much, but take 6 % more steps.
            proposals=ProposalConfig(accept_gain=1.0),
            reach=6.0,
            replan_every=4,
            failed_plans=FailedPlanConfig(),
            edge_patience=4,
            configurator=ConfiguratorConfig(),
            pairs=100,
        ),
    )


def world_config(config: WorldModelConfig) -> MazeConfig:
    """The world that is judged: the one of the play; of drawn mazes, those that were never shown."""
    world = make_world(config.play.world, 1, **config.play.options)
    assert isinstance(world, Maze)
    return world.config if world.config.layout == "fixed" else replace(world.config, split="held-out")


def draw_bins(config: WorldModelConfig) -> dict[str, Manifest]:
    """The judged pairs of every bin."""
    layout, act = world_config(config), config.act
    return {
        name: draw_maze_pairs(layout, act.pairs, steps=steps, seed=act.pairs_seed) for name, (steps, _) in BINS.items()
    }


def judge_bin(player: Player, layout: MazeConfig, pairs: Manifest, budget: int, name: str) -> dict[str, Any]:
    """Success within a budget, and steps to the reached goals as a ratio to those of the shortest ways."""
    judged = JudgeConfig(budget=budget, batch_size=100, latency_pairs=0)
    report = evaluate(player, lambda n: Maze(n, layout), pairs, judged, name=name)
    shortest = [shortest_steps(*ends) for ends in zip(pairs.starts, pairs.goals, strict=True)]
    reached = [(o.steps, way) for o, way in zip(report.outcomes, shortest, strict=True) if o.steps is not None]
    taken, needed = np.sum(reached, axis=0) if reached else (0, 1)
    return {
        "success": report.success.estimate,
        "ci95": [report.success.low, report.success.high],
        "step_ratio": float(taken / needed) if reached else None,
        "model_steps": report.times.model_steps,
    }


def judge(config: WorldModelConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals of every bin with a trained run."""
    agent, layout = load_agent(run_dir), world_config(config)
    return {name: judge_bin(agent, layout, pairs, BINS[name][1], name) for name, pairs in draw_bins(config).items()}


MAZE = Recipe(
    "world model of a maze and a map of what was seen; goals up to 150 steps away",
    maze(),
    build,
    TOY,
    judge,
    None,
    finish,
)
