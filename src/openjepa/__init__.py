"""OpenJEPA: world models that predict in representation space.

The names of `__all__` are the public ones. Apart from the errors they are imported when first used, so that
`import openjepa` is quick. The loop is `openjepa.train.train`: `openjepa.train` is the room that it lives in.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openjepa.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingDependencyError,
    OpenJEPAError,
    ShapeError,
    TrainingError,
)
from openjepa.version import __version__

if TYPE_CHECKING:  # for editors and type checkers; `_ROOMS` does it when the program runs
    from openjepa import train
    from openjepa.agent import Agent, load_agent, save_agent
    from openjepa.data import EpisodeStore
    from openjepa.envs import TwoRooms, make_world
    from openjepa.eval.health.conformance import check_method, check_planner, check_world_model
    from openjepa.interop.load import load
    from openjepa.methods.lewm import LeWM, LeWMConfig
    from openjepa.methods.lewm_presets import lewm, pldm
    from openjepa.planning import CEM, ICEM, MPPI, GradientPlanner
    from openjepa.train import TrainConfig, load_method

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Agent",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EpisodeStore",
    "GradientPlanner",
    "LeWM",
    "LeWMConfig",
    "MissingDependencyError",
    "OpenJEPAError",
    "ShapeError",
    "TrainConfig",
    "TrainingError",
    "TwoRooms",
    "__version__",
    "check_method",
    "check_planner",
    "check_world_model",
    "lewm",
    "load",
    "load_agent",
    "load_method",
    "make_world",
    "pldm",
    "save_agent",
    "train",
]


def _data() -> dict[str, Any]:
    from openjepa.data import EpisodeStore

    return {"EpisodeStore": EpisodeStore}


def _envs() -> dict[str, Any]:
    from openjepa.envs import TwoRooms, make_world

    return {"TwoRooms": TwoRooms, "make_world": make_world}


def _methods() -> dict[str, Any]:
    from openjepa.methods.lewm import LeWM, LeWMConfig
    from openjepa.methods.lewm_presets import lewm, pldm

    return {"LeWM": LeWM, "LeWMConfig": LeWMConfig, "lewm": lewm, "pldm": pldm}


def _planning() -> dict[str, Any]:
    from openjepa.planning import CEM, ICEM, MPPI, GradientPlanner

    return {"CEM": CEM, "ICEM": ICEM, "MPPI": MPPI, "GradientPlanner": GradientPlanner}


def _agent() -> dict[str, Any]:
    from openjepa.agent import Agent, load_agent, save_agent

    return {"Agent": Agent, "load_agent": load_agent, "save_agent": save_agent}


def _train() -> dict[str, Any]:
    import openjepa.train as room

    return {"train": room, "TrainConfig": room.TrainConfig, "load_method": room.load_method}


def _eval() -> dict[str, Any]:
    from openjepa.eval.health.conformance import check_method, check_planner, check_world_model

    return {"check_method": check_method, "check_planner": check_planner, "check_world_model": check_world_model}


def _interop() -> dict[str, Any]:
    from openjepa.interop.load import load

    return {"load": load}


_ROOMS: dict[str, Callable[[], dict[str, Any]]] = {
    "EpisodeStore": _data,
    **dict.fromkeys(["TwoRooms", "make_world"], _envs),
    **dict.fromkeys(["LeWM", "LeWMConfig", "lewm", "pldm"], _methods),
    **dict.fromkeys(["CEM", "ICEM", "MPPI", "GradientPlanner"], _planning),
    **dict.fromkeys(["Agent", "load_agent", "save_agent"], _agent),
    **dict.fromkeys(["train", "TrainConfig", "load_method"], _train),
    **dict.fromkeys(["check_method", "check_planner", "check_world_model"], _eval),
    "load": _interop,
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module `openjepa` has no attribute `{name}`")
    globals().update(_ROOMS[name]())
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
