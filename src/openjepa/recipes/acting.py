"""From a trained world model to an agent that acts, saved with its run: `openjepa train` ends here."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from openjepa.agent import Agent, AgentConfig, FailedPlanConfig, ProposalConfig, ProposeVerifyRepair
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import LandmarkConfig, Landmarks, fit_landmarks
from openjepa.agent.saved import AgentCard, read_card, save_agent
from openjepa.agent.saved_parts import AGGREGATES, CARD
from openjepa.data import EpisodeStore
from openjepa.errors import CheckpointError, ConfigError
from openjepa.files import sha256
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig, fit_goal_policy, imitate_play
from openjepa.methods.compact import CompactConfig
from openjepa.methods.lewm import LeWM
from openjepa.methods.memory import learn_memory
from openjepa.methods.principal import keep_principal
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM, CEMConfig, Exhaustive, ExhaustiveConfig
from openjepa.planning.costs import mean
from openjepa.protocols import ActionBounds, Planner
from openjepa.recipes.critics import Critic, fit_critic, path_cost
from openjepa.recipes.measured_motion import categories_of
from openjepa.recipes.remembered_play import Memory, remember, remember_compact, remembering
from openjepa.recipes.world_model import LearnConfig, open_store, with_seed, world_of
from openjepa.train import find_checkpoint, load_method

BALL = 1.05  # longest recorded action over the shortest range of an axis, up to which actions lie in a ball


@dataclass(frozen=True)
class ActConfig:
    """How a trained world model acts.

    Attributes:
        compact: to a smaller latent, for `split` encoders; None keeps the latent as it is.
        principal: principal components of the latent that are kept (`methods.principal`); None keeps all numbers.
        refine: of the predictor on frozen latents.
        critic: what tells how far a goal is: `steps`, a learned temporal distance; `map`, the shortest way between
            landmarks (where they cannot cover what was seen, the temporal distance); `places`, a learned temporal
            distance of the places that the read-out of displacements tells; or `latent`, the squared distance.
        distance: the learned temporal distance; `steps` of it are trained after the model.
        planner: options of CEM, the search; with a policy it repairs what was proposed.
        policy: of the actor's reactive mode, trained through the model and its critic; None for a search alone.
        policy_from: how the policy learns: through the `model`, or from what was done in `play` on the way to any later
            moment, where that shows a skill that a search hardly finds.
        proposals: what is imagined before the search, with a policy.
        landmarks: of the map of remembered states that gives subgoals on the way to far goals; None for no map.
        reach: model steps to a subgoal at most.
        edge_patience: decisions without progress after which an edge of the map is no longer believed; None for ever.
        configurator: chooses for every decision how it is thought about; None for always the same.
        aggregate: of the distance over the horizon: `mean`, `closest` or `final`.
        replan_every: model steps between two plans.
        looks: times in a model step at which the agent looks and plans anew, a divisor of the frameskip; more than 1
            with `replan_every` 1.
        failed_plans: when the agent remembers a plan that the world did not follow; None to forget at once.
        budget: environment steps that an episode has.
        pairs: judged pairs of start and goal.
        pairs_seed: of the drawing of pairs.
    """

    compact: CompactConfig | None = None
    principal: int | None = None
    refine: RefineConfig = field(default_factory=RefineConfig)
    critic: Literal["steps", "map", "places", "latent"] = "steps"
    distance: TemporalDistanceConfig = field(default_factory=lambda: TemporalDistanceConfig(steps=800))
    planner: CEMConfig = field(
        default_factory=lambda: CEMConfig(horizon=24, knot_steps=3, num_samples=128, num_iterations=4)
    )
    policy: GoalPolicyConfig | None = field(default_factory=GoalPolicyConfig)
    policy_from: Literal["model", "play"] = "model"
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    landmarks: LandmarkConfig | None = None
    reach: float = 8.0
    edge_patience: int | None = None
    configurator: ConfiguratorConfig | None = None
    exhaustive: ExhaustiveConfig | None = None
    aggregate: str = "mean"
    replan_every: int = 3
    looks: int = 1
    failed_plans: FailedPlanConfig | None = None
    budget: int = 50
    pairs: int = 200
    pairs_seed: int = 0

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise ConfigError(f"`aggregate` must be one of {', '.join(AGGREGATES)}; got {self.aggregate}.")
        if self.policy_from not in ("model", "play"):
            raise ConfigError(f"`policy_from` must be model or play; got {self.policy_from}.")
        if min(self.replan_every, self.budget, self.pairs) < 1:
            raise ConfigError("`replan_every`, `budget` and `pairs` must be at least 1.")
        if self.compact is not None and self.principal is not None:
            raise ConfigError("`compact` and `principal` both make the latent smaller: leave one of them out.")


@dataclass(frozen=True)
class WorldModelConfig(LearnConfig):
    """A world, a model of it, and how it acts."""

    act: ActConfig = field(default_factory=ActConfig)


@dataclass(frozen=True)
class Learned:
    """The parts that an agent is made of.

    Attributes:
        model: perception and world model.
        critic: what tells how far a goal is.
        policy: the actor's reactive mode, or None.
        landmarks: the map of remembered states, or None.
        memory: the training episodes in its latents.
    """

    model: LeWM
    critic: Critic
    policy: GoalPolicy | None
    landmarks: Landmarks | None
    memory: Memory


def learn_to_act(model: LeWM, config: WorldModelConfig) -> Learned:
    """Encodes the training episodes, makes the latent smaller where that is wanted, and fits the other parts to it."""
    act = config.act
    if act.compact is not None:
        return fit_to_act(*remember_compact(model, config, act.compact), config)
    memory = remember(model, config)
    if act.principal is not None:
        model, latents = keep_principal(model, memory.latents, act.principal, lengths=memory.lengths)
        memory = replace(memory, latents=latents)
    return fit_to_act(model, memory, config)


def fit_to_act(model: LeWM, memory: Memory, config: WorldModelConfig) -> Learned:
    """Refines the predictor, trains critic and policy and draws the map, on frozen latents.

    Predictor and critic do not depend on each other and run side by side, each on one core; the policy needs both, the
    map is drawn in the critic's space.
    """
    act = config.act
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(2) as pool:
            refined = pool.submit(
                learn_memory if act.refine.memory_dim else refine_predictor,
                model,
                memory.latents,
                memory.actions,
                act.refine,
                generator=keyed_generator(config.seed, 1),
                lengths=memory.lengths,
            )
            fitted = pool.submit(fit_critic, model, memory, config)
            model, critic = refined.result(), fitted.result()
        if model.memory_dim:
            memory = replace(memory, latents=remembering(model, memory))
        policy = _learn_policy(model, critic, memory, config)
        drawn = _draw_map(model, critic, memory, act.landmarks)
        return Learned(model, critic, policy, drawn, memory)
    finally:
        torch.set_num_threads(threads)


def _learn_policy(model: LeWM, critic: Critic, memory: Memory, config: WorldModelConfig) -> GoalPolicy | None:
    act = config.act
    if act.policy is None or act.exhaustive is not None:
        return None
    bounds = bounds_of(open_store(config), config).with_frameskip(config.frameskip)
    options: dict[str, Any] = {
        "horizon": act.planner.horizon,
        "knot_steps": act.planner.knot_steps,
        "generator": keyed_generator(config.seed, 3),
        "lengths": memory.lengths,
    }
    policy = act.policy
    if model.memory_dim:  # a goal picture remembers nothing
        policy = replace(policy, goal_dim=model.states.dim - model.memory_dim)
    if act.policy_from == "play":
        return imitate_play(memory.latents, memory.actions, bounds, policy, **options)
    cost = replace(path_cost(model, critic, config), aggregate=mean)
    return fit_goal_policy(model, cost, memory.latents, bounds, policy, **options)


def _draw_map(model: LeWM, critic: Critic, memory: Memory, options: LandmarkConfig | None) -> Landmarks | None:
    if options is None:
        return None
    embedding = critic.embedding if isinstance(critic, TemporalDistanceHead) else None
    poses = memory.latents[..., : model.config.embed_dim]  # a goal picture shows no velocity
    return fit_landmarks(poses, options, lengths=memory.lengths, embedding=embedding, scene_dim=model.scene_dim)


def make_agent(config: WorldModelConfig, learned: Learned) -> Agent:
    """Puts the parts together; bounds and pictures are those of the recorded play."""
    act, store, model = config.act, open_store(config), learned.model
    bounds = bounds_of(store, config)
    wide = bounds.with_frameskip(config.frameskip)
    planner: Planner = Exhaustive(wide, act.exhaustive) if act.exhaustive else CEM(wide, act.planner)
    if learned.policy is not None:
        planner = ProposeVerifyRepair(learned.policy, wide, act.proposals, repair=act.planner)
    failed_plans = act.failed_plans
    if act.critic == "map" and isinstance(learned.critic, TemporalDistanceHead):  # the map was full: no stuck steps
        failed_plans = failed_plans or FailedPlanConfig()
    options = AgentConfig(
        replan_every=act.replan_every,
        context_len=config.method.predictor.context_len,
        frameskip=config.frameskip,
        looks=act.looks,
        history=1 + model.states.memory,
        failed_plans=failed_plans,
        reach=act.reach,
        edge_patience=act.edge_patience,
        configurator=act.configurator,
        stuck_steps=isinstance(learned.critic, Landmarks),
        seed=config.seed,
    )
    cost = path_cost(model, learned.critic, config)
    shape = tuple(store.column("frames").shape[1:])
    return Agent(model.eval(), planner, cost, bounds, options, shape, learned.landmarks)


def finish(config: WorldModelConfig, run_dir: Path, *, choices: tuple[str, ...] = ()) -> None:
    """Makes an agent of a trained run and saves it there; one that was made of the same checkpoint stays."""
    config = with_seed(config)
    checkpoint = sha256(find_checkpoint(run_dir) / "manifest.json")
    if is_made_of(run_dir / "agent", checkpoint):
        return
    learned = learn_to_act(load_method(run_dir), config)
    save_finished(make_agent(config, learned), config, run_dir, learned.memory, choices)


def is_made_of(folder: Path, checkpoint: str) -> bool:
    """Whether a whole agent of this version lies there that was made of a checkpoint, named by its SHA-256."""
    try:
        return (folder / CARD).is_file() and read_card(folder).trained_on.get("checkpoint") == checkpoint
    except CheckpointError:
        return False


def bounds_of(store: EpisodeStore, config: LearnConfig) -> ActionBounds:
    """What actions are allowed: as the world says, or for recorded episodes of unknown origin what was seen in them."""
    if config.play.world:
        world = world_of(config.play)
        try:
            return world.bounds
        finally:
            world.close()
    return recorded_bounds(np.asarray(store.column("actions")))


def recorded_bounds(actions: np.ndarray) -> ActionBounds:
    """Bounds of recorded actions [rows, A]: choices where every row is one-hot, else the box that they lie in.

    Where two or three axes have one range around zero and no action is longer than it, they lie in a ball.
    """
    if groups := categories_of(actions):
        return ActionBounds.of_categories(groups)
    low, high = actions.min(0).astype(np.float64), actions.max(0).astype(np.float64)
    still = high - low < 1e-8  # a dead column can still be planned over
    reach, longest = np.maximum(-low, high), float(np.linalg.norm(actions, axis=1).max())
    if 2 <= len(low) <= 3 and longest <= BALL * min(reach.min(), high.min(), -low.max()):
        return ActionBounds(-reach, reach, longest)
    return ActionBounds(np.where(still, low - 0.5, low), np.where(still, high + 0.5, high))


def save_finished(
    agent: Agent, config: WorldModelConfig, run_dir: Path, memory: Memory, choices: tuple[str, ...] = ()
) -> None:
    """Writes `run_dir/agent` with what is known of its origin."""
    shape = agent.perception.frame_shape
    assert shape is not None
    trained_on = {
        "checkpoint": sha256(find_checkpoint(run_dir) / "manifest.json"),
        "episodes": memory.recorded[0],
        "steps": memory.recorded[1],
        "episodes_without_a_model_step": memory.left_out,
    }
    card = AgentCard(
        agent.bounds, shape, config.play.world, config.play.options, trained_on=trained_on, choices=choices
    )
    save_agent(run_dir / "agent", agent, card)
