"""The bridge: a short way that may break, a long one that does not; the same model, planned under different risks.

    openjepa train bridge
    openjepa eval runs/bridge

Encoder and dynamics are learned from pixels. The encoder is trained on play at one risk q; at each q of
`judge.risks`, a predictor with several futures is fitted to play at that q on its frozen latents, and plans by the
mean, CVaR .2 and the worst case, beside the deterministic predictor, the true simulator, and the optimum on paper.
Results, times and hardware: `docs/uncertainty.md`. Seed 0.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openjepa.agent import Agent, AgentConfig
from openjepa.envs.bridge import REACHED, SIDE, Bridge, BridgeConfig, goal_state, optimum, start_states
from openjepa.errors import ConfigError
from openjepa.eval.acting.floors import StateView
from openjepa.eval.intervals import wilson
from openjepa.heads.futures import FuturesConfig
from openjepa.heads.futures_fitting import FuturesFitConfig, fit_futures
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig
from openjepa.planning.costs import Arrival, PathCost, squared_l2
from openjepa.planning.risk import CVaR, RiskCost, RiskMeasure, expected, worst
from openjepa.protocols import World, WorldModel
from openjepa.recipes import Recipe
from openjepa.recipes.remembered_play import Memory, remember
from openjepa.recipes.world_model import SMALL_PLAY, LearnConfig, PlayConfig, build, with_seed
from openjepa.studies.bridge.oracle import BridgeSimulator, track_distance
from openjepa.train import TrainConfig, load_method

RISKS: dict[str, tuple[RiskMeasure, float]] = {  # the measure, and the share of outcomes that counts on paper
    "mean": (expected, 1.0),
    "cvar .2": (CVaR(0.2), 0.2),
    "worst": (worst, 1e-6),
}
FULL_SPEED_SHARE = 0.5  # of a full step: within half a step, the goal counts as reached in imagination


@dataclass(frozen=True)
class BridgeJudgeConfig:
    """How the planners are judged.

    Attributes:
        risks: probabilities q of falling at a crossing; each has its own play and its own predictor.
        episodes: played for each row of the table.
        episodes_seed: of their starts and of their luck; never one of the play.
        futures: the predictor.
        fit: of the predictor on frozen latents.
        planner: options of CEM.
        num_futures: paths per candidate.
        replan_every: steps that are executed before the next plan.
    """

    risks: tuple[float, ...] = (0.04, 0.2, 0.6)
    episodes: int = 200
    episodes_seed: int = 7_000_000
    futures: FuturesConfig = field(
        default_factory=lambda: FuturesConfig("heads", num_futures=3, router_dim=64, merge=10.0)
    )
    fit: FuturesFitConfig = field(
        default_factory=lambda: FuturesFitConfig(steps=1800, batch_size=512, lr=4e-3, router_steps=800)
    )
    planner: CEMConfig = field(
        default_factory=lambda: CEMConfig(
            horizon=17, knot_steps=6, num_samples=96, num_elites=10, num_iterations=3, init_std=1.0
        )
    )
    num_futures: int = 8
    replan_every: int = 3

    def __post_init__(self) -> None:
        if min(self.episodes, self.num_futures, self.replan_every) < 1 or not self.risks:
            raise ConfigError("`episodes`, `num_futures` and `replan_every` must be >= 1, with at least one risk.")


@dataclass(frozen=True)
class BridgeRecipeConfig(LearnConfig):
    """Play on the bridge, a model of it, and how it plans."""

    judge: BridgeJudgeConfig = field(default_factory=BridgeJudgeConfig)


def bridge() -> BridgeRecipeConfig:
    """A bridge that breaks one time in five: 3,000 episodes of 16 steps, 500 training steps."""
    return BridgeRecipeConfig(
        play=PlayConfig("bridge", {"risk": 0.2}, "drift", episodes=3000, steps=16),
        method=LeWMConfig(
            action_dim=1, embed_dim=8, covariance_weight=0.2, futures=FuturesConfig("heads", num_futures=3)
        ),
        train=TrainConfig(steps=500, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=250),
        window=5,
    )


@dataclass(frozen=True)
class Outcome:
    """How episodes went; each entry [E].

    Attributes:
        fell: whether the disc lies in the pit.
        arrived: whether it reached the goal in time.
        steps: until the goal, or the budget.
        crossed: whether it set out on the bridge.
    """

    fell: np.ndarray
    arrived: np.ndarray
    steps: np.ndarray
    crossed: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Shares with their Wilson intervals, and the mean steps of those who arrived."""
        count = len(self.fell)
        shares: dict[str, Any] = {}
        for name in ("fell", "arrived", "crossed"):
            found = wilson(int(getattr(self, name).sum()), count)
            shares[name] = [found.estimate, found.low, found.high]
        steps = float(self.steps[self.arrived].mean()) if self.arrived.any() else None
        return {"episodes": count, **shares, "steps": steps, "cost": float(self.steps.mean())}


def play(agent: Agent, risk: float, episodes: int, seed: int, budget: int, *, with_states: bool) -> Outcome:
    """Plays episodes from the start to the goal behind the bridge, all at once."""
    world: World = Bridge(episodes, BridgeConfig(risk))
    if with_states:
        world = StateView(world)
    goals = np.repeat(goal_state()[None], episodes, 0)
    goal_frames = world.reset_to(goals)
    goal_proprio = world.proprio()
    frames = world.reset_to(start_states(episodes, seed))
    agent.start(goal_frames, goal_proprio=goal_proprio)
    active, fell = np.ones(episodes, bool), np.zeros(episodes, bool)
    steps, crossed = np.full(episodes, budget + 1), np.zeros(episodes, bool)
    for t in range(1, budget + 1):
        frames = world.step(agent.act(frames, world.proprio(), active))
        states = world.states()
        arrived = world.is_success(states, goals) & active
        fell |= (states[:, 3] > 0.5) & active
        crossed |= (states[:, 5] > 0) & active
        steps = np.where(arrived, t, steps)
        active &= ~arrived & ~fell  # a fallen disc has nothing left to decide
        if not active.any():
            break
    return Outcome(fell, steps <= budget, steps, crossed)


def make_agent(model: WorldModel, cost: PathCost, risk: RiskMeasure, judge: BridgeJudgeConfig, seed: int) -> Agent:
    """An agent that plans with CEM by one measure of risk."""
    bounds = Bridge(1).bounds
    whole = RiskCost(cost, risk, num_futures=judge.num_futures, seed=seed)
    options = AgentConfig(replan_every=judge.replan_every, seed=seed)
    return Agent(model, CEM(bounds, judge.planner), whole, bounds, options)


def fit_model(model: LeWM, memory: Memory, config: BridgeRecipeConfig) -> LeWM:
    """Gives the model a predictor with several futures that is fitted to play at one risk."""
    moves = (memory.actions - model.action_mean) / model.action_std
    judge = config.judge
    model.futures = fit_futures(
        memory.latents, moves, judge.futures, judge.fit, generator=keyed_generator(config.seed, 5)
    )
    model.config = replace(model.config, futures=judge.futures)
    return model.eval()


def goal_radius(memory: Memory) -> float:
    """Squared latent radius of the goal: a share of what a step at full speed moves, measured on play."""
    gaps = (memory.latents[:, 1:] - memory.latents[:, :-1]).norm(dim=-1)[..., 0]  # [E, T - 1]
    fast = memory.actions[..., 0].abs() > 0.3
    moved = gaps > 0.05 * gaps.median()  # the fallen do not move
    per_speed = (gaps / memory.actions[..., 0].abs())[fast & moved].median()
    return float((FULL_SPEED_SHARE * per_speed).square())


@torch.no_grad()
def stated_risk(model: LeWM, count: int = 50) -> float:
    """Probability of the pit that the model states for the crossing, from starts that were never played."""
    world = Bridge(count)
    z = model.encode(torch.from_numpy(world.reset_to(start_states(count, 2_000_000)))[:, None])
    found = model.rollout_futures(z, torch.ones(count, 2, 1), num_futures=16, generator=keyed_generator(0))
    down, across = goal_state(), goal_state()
    down[3] = 1
    across[2] = SIDE / 2 + 9
    pictures = np.concatenate([Bridge(1).reset_to(state[None]) for state in (down, across)])
    pit, far = model.encode(torch.from_numpy(pictures)[:, None])[:, 0, 0]  # [D] each
    last = found.z[:, :, -1, 0]
    is_down = (last - pit).norm(dim=-1) < (last - far).norm(dim=-1)
    return float((found.log_weights.exp() * is_down).sum(1).mean())


@torch.no_grad()
def judge(config: BridgeRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """Plays the bridge at every risk, by every measure, with the learned model and with the true one."""
    config = with_seed(config)
    results: dict[str, Any] = {}
    for risk in config.judge.risks:
        results[f"q={risk:g}"] = judge_risk(load_method(run_dir).eval(), config, risk)
    return results


def judge_risk(model: LeWM, config: BridgeRecipeConfig, risk: float) -> dict[str, Any]:
    """One block of the table: all planners at one probability q."""
    options, data = {"risk": risk}, config.store_path
    if options != config.play.options:
        data = data.parent / f"bridge-{risk}-{config.play.episodes}-seed{config.seed}"
    memory = remember(model, replace(config, play=replace(config.play, options=options, data=data)))
    model = fit_model(model, memory, config)
    horizon, budget = config.judge.planner.horizon, config.judge.planner.horizon
    cost = PathCost(squared_l2, Arrival(goal_radius(memory), softness=0.25, slope=0.02))
    true_cost = PathCost(track_distance, Arrival(REACHED, slope=0.02))
    table: dict[str, Any] = {"stated risk": stated_risk(model)}

    def row(agent: Agent, *, with_states: bool = False) -> dict[str, Any]:
        judge = config.judge
        played = play(agent, risk, judge.episodes, judge.episodes_seed, budget, with_states=with_states)
        return played.as_json()

    for name, (measure, alpha) in RISKS.items():
        best = optimum(risk, alpha, horizon + 1)
        table[name] = {
            "optimum": {"choice": best.choice, "bridge": best.bridge, "detour": best.detour},
            "learned": row(make_agent(model, cost, measure, config.judge, config.seed)),
            "oracle": row(
                make_agent(BridgeSimulator(BridgeConfig(risk)), true_cost, measure, config.judge, config.seed),
                with_states=True,
            ),
        }
    model.config = replace(model.config, futures=None)
    table["deterministic"] = {"learned": row(make_agent(model, cost, expected, config.judge, config.seed))}
    return table


BRIDGE_RECIPE = Recipe(
    "a short bridge that may break, a long detour: planning by the mean, by CVaR and by the worst case",
    bridge(),
    build,
    SMALL_PLAY,
    judge,
)
