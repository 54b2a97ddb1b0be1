"""Finished experiments with worlds of their own; nothing in the library imports them.

This table gives those names that `openjepa train` takes, as `openjepa.recipes` does for the recipes of the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from openjepa.recipes import RECIPES, load_recipe

if TYPE_CHECKING:  # the command line lists studies without importing PyTorch
    from openjepa.recipes import Recipe


def _fork() -> Recipe:
    """a road that forks by a hidden coin: several futures from pixels, with their probabilities"""  # noqa: D403, D415
    from openjepa.studies.fork.study import FORK_RECIPE

    return FORK_RECIPE


def _bridge() -> Recipe:
    """a short bridge that may break, a long detour: planning by the mean, by CVaR and by the worst case"""  # noqa: D403, D415
    from openjepa.studies.bridge.study import BRIDGE_RECIPE

    return BRIDGE_RECIPE


STUDIES: dict[str, Callable[[], Recipe]] = {"fork": _fork, "bridge": _bridge}


def experiments() -> dict[str, Callable[[], Recipe]]:
    """Everything that `openjepa train` knows by name: the recipes of the product, then the studies."""
    return {**RECIPES, **STUDIES}


def load_experiment(name: str) -> Recipe:
    """Returns a recipe or a study by its name.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    return STUDIES[name]() if name in STUDIES else load_recipe(name, STUDIES)
