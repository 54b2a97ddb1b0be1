"""Mode-1 distilled from Mode-2: a policy is taught by the plans of a finished agent, between states that it remembers.

    Mode-2 is asked:   plans for remembered states and goals, most of them far apart; the map puts subgoals before them
    a policy learns:   state and goal -> plan, by the squared error
    and is corrected:  where its own plans lead, in imagination, Mode-2 is asked again (DAgger, Ross et al. 2011,
                       1011.0686)

Imagined states are replaced by the nearest remembered ones: an imagination that goes on for ever ends in places that
nobody has seen. Nothing is played: a store of episodes is enough.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openjepa.agent import Agent, ProposeVerifyRepair
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.landmarks import nearest_places
from openjepa.agent.reflex import PlanShape, Reflex
from openjepa.agent.saved import add_reflex, find_agent, load_agent
from openjepa.errors import ConfigError
from openjepa.heads.fitting import sample_pairs, seeded, valid_states
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig, clone_goal_policy
from openjepa.nn.random import keyed_generator
from openjepa.planning import CEM
from openjepa.planning.candidates import to_knots
from openjepa.planning.costs import PathCost, bind
from openjepa.recipes.acting import WorldModelConfig
from openjepa.recipes.hjepa import HierarchicalConfig, base_config
from openjepa.recipes.remembered_play import Memory, remember
from openjepa.recipes.world_model import with_seed

ASKED_AT_ONCE = 256  # plans of Mode-2
Say = Callable[[str], None]


@dataclass(frozen=True)
class DistillConfig:
    """How a policy is taught.

    Attributes:
        policy: its size, and how long it learns in each round. `max_gap` is that of the near goals.
        pairs: of state and goal for which Mode-2 plans at first, >= 2.
        near_share: of them, goals of the state's own episode, in [0, 1]; the others are anywhere.
        rounds: in which the policy is corrected, >= 0.
        corrected: states where its plans led for which Mode-2 plans in each round, >= 1.
        decisions: of an imagined way, >= 1.
        seed: of everything that is drawn.
    """

    policy: GoalPolicyConfig = field(
        default_factory=lambda: GoalPolicyConfig(
            hidden_dim=128, depth=3, max_gap=30, batch_size=512, steps=2000, lr=1e-3
        )
    )
    pairs: int = 8192
    near_share: float = 0.25
    rounds: int = 3
    corrected: int = 3072
    decisions: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs < 2 or self.rounds < 0 or min(self.corrected, self.decisions) < 1 or self.seed < 0:
            raise ConfigError(
                "`pairs` must be at least 2, `corrected` and `decisions` at least 1, `rounds` and `seed` 0 or more."
            )
        if not 0 <= self.near_share <= 1:
            raise ConfigError(f"`near_share` must be in [0, 1]; got {self.near_share}.")


@torch.no_grad()
def deliberate(agent: Agent, z: Tensor, z_goal: Tensor, *, seed: int) -> Tensor:
    """Plans [S, H, A] of an agent's Mode-2 for states and goals [S, N, D], as at the beginning of an episode."""
    plans = []
    for number, (here, goal) in enumerate(zip(z.split(ASKED_AT_ONCE), z_goal.split(ASKED_AT_ONCE), strict=True)):
        if agent.landmarks is not None:
            goal = agent.landmarks.subgoals(here, goal, agent.config.reach)
        luck = [keyed_generator(seed, number, i) for i in range(len(here))]
        cost = bind(agent.cost, goal, here)
        plans.append(agent.planner.plan(agent.model, here.unsqueeze(1), cost, generators=luck).actions)
    return torch.cat(plans)


def distill(agent: Agent, memory: Memory, config: DistillConfig | None = None, *, say: Say | None = None) -> Reflex:
    """Teaches a policy what an agent's Mode-2 does.

    Args:
        agent: with a planner of fixed horizon; on a Markov model, or one that can do with a single state.
        memory: its training episodes, in the latents of its model.
        config: the options.
        say: is told what was done.
    """
    config, say = config or DistillConfig(), say or (lambda line: None)
    lengths, states = memory.lengths, valid_states(memory.latents, memory.lengths)
    generator = keyed_generator(config.seed, 0x64697374)
    z, goals = _pairs(memory.latents, states, lengths, config, generator)
    goals = _resting(agent, goals)
    plans = deliberate(agent, z, goals, seed=config.seed)
    shape = PlanShape(plans.shape[1], knot_steps_of(agent))
    free = to_knots(plans, shape.knot_steps)
    bounds = agent.bounds.with_frameskip(agent.config.frameskip)
    with seeded(generator):
        policy = GoalPolicy(states.shape[1], states.shape[2], bounds, free.shape[1], config.policy)
    policy.standardize.measure(states.flatten(1))
    clone_goal_policy(policy, z, goals, free, generator=generator)
    say(f"{len(z)} plans of Mode-2 learned")
    for number in range(config.rounds):
        seen, wanted = _visited(agent, Reflex(policy, shape), states, config, generator)
        plans = deliberate(agent, seen, wanted, seed=config.seed + number + 1)
        off = float((Reflex(policy, shape)(seen, wanted) - plans).square().mean().sqrt())
        z, goals, free = (
            torch.cat(both) for both in ((z, seen), (goals, wanted), (free, to_knots(plans, shape.knot_steps)))
        )
        clone_goal_policy(policy, z, goals, free, generator=generator)
        say(f"round {number + 1}: {len(seen)} plans more, from which it was {off:.2f} away where its own had led")
    return Reflex(policy, shape).eval()


def knot_steps_of(agent: Agent) -> int:
    """Model steps for which the agent's planner holds an action."""
    planner = agent.planner.repair if isinstance(agent.planner, ProposeVerifyRepair) else agent.planner
    return planner.config.knot_steps if isinstance(planner, CEM) else 1


def _pairs(
    latents: Tensor, states: Tensor, lengths: Tensor, config: DistillConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """States and goals [S, N, D]: some of one episode, in either order, the others of any two."""
    near = round(config.near_share * config.pairs)
    rows = torch.randint(len(states), (2, config.pairs - near), generator=generator)
    if not near:
        return states[rows[0]], states[rows[1]]
    episode, one, other = sample_pairs(lengths, config.policy.max_gap, near, generator=generator)
    swapped = torch.rand(near, generator=generator) < 0.5
    now, goal = torch.where(swapped, other, one), torch.where(swapped, one, other)
    return torch.cat([states[rows[0]], latents[episode, now]]), torch.cat([states[rows[1]], latents[episode, goal]])


def _resting(agent: Agent, goals: Tensor) -> Tensor:
    """Goals [S, N, D] as a picture shows them: nothing in them moves."""
    pose = agent.cost.pose_dim if isinstance(agent.cost, PathCost) else None
    return goals if pose is None else torch.cat([goals[..., :pose], torch.zeros_like(goals[..., pose:])], -1)


@torch.no_grad()
def _visited(
    agent: Agent, reflex: Reflex, states: Tensor, config: DistillConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """States where the policy's own plans lead, and the goals they were for: [S, N, D] both."""
    ways = -(-config.corrected // config.decisions)
    rows = torch.randint(len(states), (2, ways), generator=generator)
    z, goals = states[rows[0]], _resting(agent, states[rows[1]])
    flat = reflex.policy.standardize(states[:: max(1, len(states) // 8000)].flatten(1))
    places = states[:: max(1, len(states) // 8000)]
    found = []
    for _ in range(config.decisions):
        path = agent.model.rollout(z.unsqueeze(1), reflex(z, goals)[:, : agent.config.replan_every])
        z = places[nearest_places(reflex.policy.standardize(path[:, -1].flatten(1)), flat)]
        found.append(z)
    return torch.cat(found)[: config.corrected], goals.repeat(config.decisions, 1, 1)[: config.corrected]


def playing(recipe_config: Any) -> WorldModelConfig | None:
    """The options that say where the play of a run is: its own, or its base's; None for a run without play."""
    if isinstance(recipe_config, HierarchicalConfig):
        return base_config(recipe_config)
    return with_seed(recipe_config) if isinstance(recipe_config, WorldModelConfig) else None


def distill_run(
    run_dir: Path, recipe_config: WorldModelConfig, config: DistillConfig, *, say: Say | None = None
) -> Reflex:
    """Distils the agent of a finished run and saves the policy with it; from then on it acts first.

    Args:
        run_dir: of the run.
        recipe_config: see `playing`.
        config: the options.
        say: is told what was done.
    """
    folder = find_agent(run_dir)
    agent = load_agent(folder)
    reflex = distill(agent, remember(agent.model, recipe_config), config, say=say)  # type: ignore[arg-type]
    options = replace(agent.config, configurator=agent.config.configurator or ConfiguratorConfig(patience=None))
    add_reflex(folder, reflex, options)
    return reflex
