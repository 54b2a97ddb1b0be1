"""How the upper levels of a planner are described in a saved agent, and built again to take their weights."""

from collections.abc import Mapping
from typing import Any

import torch

from openjepa.config import from_dict, to_dict
from openjepa.errors import ConfigError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.heads.pair_distance import PairDistance, PairDistanceConfig
from openjepa.methods.hjepa import HJEPA
from openjepa.planning.hierarchical import Hierarchy, UpperConfig, UpperPlan

DISTANCES = {"stitched": (PairDistance, PairDistanceConfig), "within": (TemporalDistanceHead, TemporalDistanceConfig)}


def describe_hierarchy(hierarchy: Hierarchy) -> dict[str, Any]:
    """Plain values from which `blank_hierarchy` builds the same shapes.

    Raises:
        ConfigError: for a distance that has no place in the format.
    """
    levels = []
    for upper in hierarchy.uppers:
        kind = next((name for name, (kind, _) in DISTANCES.items() if type(upper.distance) is kind), None)
        if kind is None:
            raise ConfigError("the distance of a saved upper level must be a `PairDistance` or `TemporalDistanceHead`.")
        levels.append(
            {
                "distance": kind,
                "distance_config": to_dict(upper.distance.config),
                "macros": list(upper.macros.shape),
                "config": to_dict(upper.config),
            }
        )
    return {"anchors": list(hierarchy.anchors.shape), "levels": levels}


def blank_hierarchy(described: Mapping[str, Any], model: Any) -> Hierarchy:
    """A hierarchy of the described shapes on the levels of a world model, without weights of its own.

    Raises:
        ConfigError: where the world model has other levels.
    """
    if not isinstance(model, HJEPA) or len(model.levels) != len(described["levels"]):
        raise ConfigError("the upper levels that are described are not those of the world model.")
    count, *state = described["anchors"]
    uppers = []
    for level, values in zip(model.levels, described["levels"], strict=True):
        kind, options = DISTANCES[values["distance"]]
        distance = kind(1, level.dim, from_dict(options, values["distance_config"]))
        macros, anchors = torch.zeros(values["macros"]), torch.zeros(count, 1, level.dim)
        uppers.append(UpperPlan(level, distance, macros, anchors, 1.0, from_dict(UpperConfig, values["config"])))
    return Hierarchy(uppers, torch.zeros(count, *state))
