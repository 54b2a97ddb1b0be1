"""The planner of an agent on disk: what it is, and the policy that it may start from."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from openjepa.agent.actor import ProposalConfig, ProposeVerifyRepair
from openjepa.config import from_dict, to_dict
from openjepa.errors import ConfigError, unknown
from openjepa.heads.goal_policy import GoalPolicy, GoalPolicyConfig
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.exhaustive import Exhaustive, ExhaustiveConfig
from openjepa.planning.icem import ICEM, ICEMConfig
from openjepa.planning.mppi import MPPI, MPPIConfig
from openjepa.protocols import ActionBounds, Planner

ACTOR = "actor"
Load = Callable[[str, nn.Module], Any]  # gives a part its weights
PLANNERS: dict[str, tuple[Callable[..., Any], type]] = {
    "cem": (CEM, CEMConfig),
    "icem": (ICEM, ICEMConfig),
    "mppi": (MPPI, MPPIConfig),
    "exhaustive": (Exhaustive, ExhaustiveConfig),
}


def describe_planner(planner: Any, parts: dict[str, nn.Module]) -> dict[str, Any]:
    """What a planner is, as plain values; its policy is added to the parts."""
    if isinstance(planner, ProposeVerifyRepair):
        policy = planner.policy
        if not isinstance(policy, GoalPolicy):
            raise ConfigError(f"the actor must be a `GoalPolicy` to be saved; got {type(policy).__name__}.")
        parts[ACTOR] = policy
        return {
            "kind": "propose",
            "config": to_dict(planner.config),
            "repair": to_dict(planner.repair.config),
            "actor": {
                "width": len(policy.standardize.mean),
                "num_knots": policy.num_knots,
                "config": to_dict(policy.config),
            },
        }
    for name, (kind, _) in PLANNERS.items():
        if type(planner) is kind:
            return {"kind": name, "config": to_dict(planner.config)}
    raise ConfigError(f"the planner must be one of {', '.join(PLANNERS)} to be saved; got {type(planner).__name__}.")


def open_planner(described: Mapping[str, Any], bounds: ActionBounds, load: Load) -> Planner:
    """The planner that was described; raises a `ConfigError` for one that is unknown."""
    if described["kind"] == "propose":
        actor = described["actor"]
        config = from_dict(GoalPolicyConfig, actor["config"])
        policy = load(ACTOR, GoalPolicy(1, actor["width"], bounds, actor["num_knots"], config))
        proposals = from_dict(ProposalConfig, described["config"])
        return ProposeVerifyRepair(policy, bounds, proposals, repair=from_dict(CEMConfig, described["repair"]))
    if described["kind"] not in PLANNERS:
        raise unknown("planner", described["kind"], PLANNERS)
    kind, options = PLANNERS[described["kind"]]
    return kind(bounds, from_dict(options, described["config"]))
