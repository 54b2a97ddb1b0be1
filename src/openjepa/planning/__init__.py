"""Planners and costs: what searches for actions, and what it minimises."""

from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import PathCost, WeightedSum, bind
from openjepa.planning.exhaustive import Exhaustive, ExhaustiveConfig
from openjepa.planning.gradient import GradientPlanner, GradientPlannerConfig
from openjepa.planning.icem import ICEM, ICEMConfig
from openjepa.planning.mean_cem import MeanCEM, MeanCEMConfig, vjepa2_ac_planner
from openjepa.planning.mppi import MPPI, MPPIConfig

__all__ = [
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
    "PathCost",
    "WeightedSum",
    "bind",
]
