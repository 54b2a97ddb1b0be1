"""Planners, costs and the agent that acts."""

from openjepa.planning.agent import Agent, AgentConfig
from openjepa.planning.amortised import AcceptanceRule, ProposalConfig, ProposeVerifyRepair
from openjepa.planning.broken_promises import PromiseConfig
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import PathCost, WeightedSum, bind
from openjepa.planning.exhaustive import Exhaustive, ExhaustiveConfig
from openjepa.planning.gradient import GradientPlanner, GradientPlannerConfig
from openjepa.planning.icem import ICEM, ICEMConfig
from openjepa.planning.mean_cem import MeanCEM, MeanCEMConfig, vjepa2_ac_planner
from openjepa.planning.mppi import MPPI, MPPIConfig

__all__ = [
    "Agent",
    "AgentConfig",
    "CEM",
    "CEMConfig",
    "ICEM",
    "ICEMConfig",
    "MeanCEM",
    "MeanCEMConfig",
    "vjepa2_ac_planner",
    "MPPI",
    "MPPIConfig",
    "Exhaustive",
    "ExhaustiveConfig",
    "GradientPlanner",
    "GradientPlannerConfig",
    "AcceptanceRule",
    "ProposalConfig",
    "ProposeVerifyRepair",
    "PathCost",
    "PromiseConfig",
    "WeightedSum",
    "bind",
]
