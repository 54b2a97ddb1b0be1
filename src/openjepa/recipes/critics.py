"""The critic of an agent: what tells how far a goal is, fitted on frozen latents."""

import sys
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from openjepa.agent.landmarks import LandmarkConfig, Landmarks, fit_landmarks
from openjepa.agent.saved_parts import AGGREGATES
from openjepa.errors import ConfigError
from openjepa.heads.critic import TemporalDistanceHead, fit_temporal_distance
from openjepa.methods.lewm import LeWM
from openjepa.nn.random import keyed_generator
from openjepa.planning.costs import PathCost, squared_l2

if TYPE_CHECKING:
    from openjepa.recipes.acting import WorldModelConfig
    from openjepa.recipes.remembered_play import Memory

Critic = TemporalDistanceHead | Landmarks | None


def fit_critic(model: LeWM, memory: "Memory", config: "WorldModelConfig") -> Critic:
    """Fits the critic that the options ask for; None where the latent's own distance serves.

    A map of landmarks is exact where the states of a world can be counted. Where they cannot, which shows when the map
    is full, a distance is learned instead, and one line says so.
    """
    kind = config.act.critic
    if kind == "latent":
        return None
    if kind == "places" and not model.config.displacement_dim:
        raise ConfigError("`act.critic` places needs a read-out of displacements. Train with `displacement_weight`.")
    latents = memory.latents[..., : model.config.embed_dim]  # a goal picture shows no velocity
    if kind == "map":
        options = LandmarkConfig()
        found = fit_landmarks(latents, options, lengths=memory.lengths, scene_dim=model.scene_dim)
        if len(found) < options.capacity:
            return found
        print(f"more than {options.capacity} places were seen: the critic is a learned distance", file=sys.stderr)
    return fit_temporal_distance(
        latents,
        config.act.distance,
        generator=keyed_generator(config.seed, 2),
        lengths=memory.lengths,
        read=_places_of(model) if kind == "places" else None,
    )


def _places_of(model: LeWM) -> Tensor:
    """The linear map [P, D] from latents to places, up to a constant, as the read-out of displacements tells them."""
    return functional.pad(model.displacement.weight.detach(), (model.scene_dim, 0))


def path_cost(model: LeWM, critic: Critic, config: "WorldModelConfig") -> PathCost:
    """The intrinsic cost of a plan: the critic's distance to the goal, over the imagined path."""
    act = config.act
    pose_dim = model.config.embed_dim if model.states.memory else None
    # Where nothing has inertia, a held action goes straight on, and its last step says enough.
    stride = 1 if act.exhaustive or model.states.memory else act.planner.knot_steps
    return PathCost(critic or squared_l2, AGGREGATES[act.aggregate], stride=stride, pose_dim=pose_dim)
