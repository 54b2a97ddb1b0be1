"""How the upper levels of a planner are described in a saved agent, and built again to take their weights."""

from collections.abc import Mapping
from typing import Any

import torch

from openjepa.agent.landmarks import Landmarks
from openjepa.config import from_dict, to_dict
from openjepa.errors import ConfigError
from openjepa.heads.critic import TemporalDistanceConfig, TemporalDistanceHead
from openjepa.methods.hjepa import HJEPA
from openjepa.planning.hierarchical import Hierarchy, UpperConfig, UpperPlan


def describe_hierarchy(hierarchy: Hierarchy) -> dict[str, Any]:
    """Plain values from which `blank_hierarchy` builds the same shapes.

    Raises:
        ConfigError: for a distance that has no place in the format.
    """
    levels = []
    for upper in hierarchy.uppers:
        distance: dict[str, Any]
        if isinstance(upper.distance, Landmarks):
            distance = {"landmarks": len(upper.distance), "edges": len(upper.distance.gaps)}
        elif isinstance(upper.distance, TemporalDistanceHead):
            distance = {"within": to_dict(upper.distance.config)}
        else:
            raise ConfigError("the distance of a saved upper level must be `Landmarks` or a `TemporalDistanceHead`.")
        levels.append({"distance": distance, "macros": list(upper.macros.shape), "config": to_dict(upper.config)})
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
        sizes = values["distance"]
        distance: Landmarks | TemporalDistanceHead
        if "within" in sizes:
            distance = TemporalDistanceHead(1, level.dim, from_dict(TemporalDistanceConfig, sizes["within"]))
        else:
            distance = Landmarks(sizes["landmarks"], sizes["edges"], (1, level.dim))
        macros, anchors = torch.zeros(values["macros"]), torch.zeros(count, 1, level.dim)
        uppers.append(UpperPlan(level, distance, macros, anchors, 1.0, from_dict(UpperConfig, values["config"])))
    return Hierarchy(uppers, torch.zeros(count, *state))
