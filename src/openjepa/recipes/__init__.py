"""One runnable experiment per file; this table gives them their names.

A recipe is a frozen configuration and a function that builds a method and its data from it. To add one, write
`recipes/my_recipe.py` with a `RECIPE`, and here a loader (its docstring is what `openjepa list` shows) and a
line in `RECIPES`. A variant is a function of a few lines in the same file that changes another recipe's
configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openjepa.errors import unknown

if TYPE_CHECKING:  # the command line lists recipes without importing PyTorch
    from pathlib import Path

    from openjepa.eval.pages.animation import Replay
    from openjepa.protocols import BatchSource, TrajectoryBatch


@dataclass(frozen=True)
class Experiment:
    """What a recipe builds: everything that `train` needs, and what the doctor looks at.

    Attributes:
        method: an `nn.Module` with the contract of `protocols.Method`.
        source: the training batches.
        diagnostics: called as `diagnostics(method, finished_steps)` during training; returns numbers by name.
        held_out: returns whole episodes [E, T, ...] that are never trained on, with states where they are
            known.
        state_names: names of the state columns.
    """

    method: Any
    source: BatchSource
    diagnostics: Callable[[Any, int], Mapping[str, float]] | None = None
    held_out: Callable[[], TrajectoryBatch] | None = None
    state_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """An experiment that can be repeated.

    Attributes:
        summary: one line for lists and `--help`; equal to the docstring of its loader in the table.
        config: a frozen dataclass with at least `train: TrainConfig` and `seed: int`; its fields are the
            options.
        build: makes the experiment of a config.
        toy: dotted options that shrink the config to a few seconds of CPU; the tests take two steps with it.
        judge: called as `judge(config, run_dir)`; measures the trained run and returns plain values.
        replay: called as `replay(config, run_dir, seed)`; plays one episode with the trained run.
        finish: called as `finish(config, run_dir)` after training; saves an agent that acts into the run.
    """

    summary: str
    config: Any
    build: Callable[[Any], Experiment]
    toy: Mapping[str, Any] = field(default_factory=dict)
    judge: Callable[[Any, Path], dict[str, Any]] | None = None
    replay: Callable[[Any, Path, int], Replay] | None = None
    finish: Callable[[Any, Path], None] | None = None


def _two_rooms() -> Recipe:
    """world model of Two-Rooms from random play; acts on image goals"""  # noqa: D403, D415
    from openjepa.recipes.two_rooms import TWO_ROOMS

    return TWO_ROOMS


def _random_doors() -> Recipe:
    """the same with wall and door drawn per episode, judged on unseen layouts"""  # noqa: D403, D415
    from openjepa.recipes.two_rooms import RANDOM_DOORS

    return RANDOM_DOORS


def _object_rooms() -> Recipe:
    """two rooms with coloured things, elsewhere in every episode; goals in words too"""  # noqa: D403, D415
    from openjepa.recipes.two_rooms import OBJECT_ROOMS

    return OBJECT_ROOMS


def _maze() -> Recipe:
    """world model of a maze and a map of what was seen; goals up to 150 steps away"""  # noqa: D403, D415
    from openjepa.recipes.maze import MAZE

    return MAZE


def _random_mazes() -> Recipe:
    """mazes drawn per episode, judged in unseen ones: the agent imagines its map"""  # noqa: D403, D415
    from openjepa.recipes.random_mazes import RANDOM_MAZES

    return RANDOM_MAZES


def _hjepa() -> Recipe:
    """upper levels on a world model (--base RUN, or learned with it): H-JEPA, HWM"""  # noqa: D403, D415
    from openjepa.recipes.hjepa import HJEPA_RECIPE

    return HJEPA_RECIPE


def _push_t() -> Recipe:
    """world model of Push-T from scripted pushing; acts on image goals (needs openjepa[pusht])"""  # noqa: D403, D415
    from openjepa.recipes.push_t import PUSH_T

    return PUSH_T


def _arm() -> Recipe:
    """world model of an arm from play in 512 scenes; acts in new ones (needs openjepa[mujoco])"""  # noqa: D403, D415
    from openjepa.recipes.arm import ARM

    return ARM


def _arm_felt() -> Recipe:
    """the same, felt in play, for goals in words"""  # noqa: D403, D415
    from openjepa.recipes.arm import ARM_FELT

    return ARM_FELT


def _arm_around() -> Recipe:
    """the same with a wall that the hand must go over"""  # noqa: D403, D415
    from openjepa.recipes.arm import ARM_AROUND

    return ARM_AROUND


def _arm_push() -> Recipe:
    """the same with a block that is to be pushed"""  # noqa: D403, D415
    from openjepa.recipes.arm import ARM_PUSH

    return ARM_PUSH


def _vjepa2_ac() -> Recipe:
    """V-JEPA 2-AC: an action-conditioned predictor on a frozen encoder; an arm that plans with it"""  # noqa: D415
    from openjepa.recipes.vjepa2_ac import VJEPA2_AC

    return VJEPA2_AC


def _physics() -> Recipe:
    """video model of simple physics; judges what is possible"""  # noqa: D403, D415
    from openjepa.recipes.physics import PHYSICS

    return PHYSICS


def _ijepa() -> Recipe:
    """I-JEPA on pictures: drawn shapes, or your own folder by --data"""  # noqa: D415
    from openjepa.recipes.pictures import IJEPA_SHAPES

    return IJEPA_SHAPES


def _lejepa() -> Recipe:
    """LeJEPA on pictures: drawn shapes, or your own folder by --data"""  # noqa: D415
    from openjepa.recipes.pictures import LEJEPA_SHAPES

    return LEJEPA_SHAPES


def _mae() -> Recipe:
    """masked autoencoder on pictures, the rival of the same cost"""  # noqa: D403, D415
    from openjepa.recipes.pictures import MAE_SHAPES

    return MAE_SHAPES


def _vjepa2() -> Recipe:
    """V-JEPA 2 on clips: moving shapes, or your own videos by --data"""  # noqa: D415
    from openjepa.recipes.clips import VJEPA2_SHAPES

    return VJEPA2_SHAPES


def _vjepa2_1() -> Recipe:
    """V-JEPA 2.1 on clips: moving shapes, or your own videos by --data"""  # noqa: D415
    from openjepa.recipes.clips import VJEPA2_1_SHAPES

    return VJEPA2_1_SHAPES


def _levjepa() -> Recipe:
    """LeVJEPA on clips: moving shapes, or your own videos by --data"""  # noqa: D415
    from openjepa.recipes.clips import LEVJEPA_SHAPES

    return LEVJEPA_SHAPES


def _mae_video() -> Recipe:
    """masked autoencoder on clips, the rival of the same cost"""  # noqa: D403, D415
    from openjepa.recipes.clips import MAE_VIDEO_SHAPES

    return MAE_VIDEO_SHAPES


def _ijepa_vit_large() -> Recipe:
    """I-JEPA ViT-L/16 as published, set up for one 24 GB card (give --data)"""  # noqa: D415
    from openjepa.recipes.pictures import IJEPA_VIT_LARGE

    return IJEPA_VIT_LARGE


def _vjepa2_vit_large() -> Recipe:
    """V-JEPA 2 ViT-L/16 as published, set up for one 24 GB card (give --data)"""  # noqa: D415
    from openjepa.recipes.clips import VJEPA2_VIT_LARGE

    return VJEPA2_VIT_LARGE


def world_recipe() -> Recipe:
    """any world or store of episodes: sizes are read from the data, the other options measured"""  # noqa: D403, D415
    from openjepa.recipes.world import WORLD

    return WORLD


RECIPES: dict[str, Callable[[], Recipe]] = {
    "two-rooms": _two_rooms,
    "random-doors": _random_doors,
    "object-rooms": _object_rooms,
    "maze": _maze,
    "random-mazes": _random_mazes,
    "hjepa": _hjepa,
    "push-t": _push_t,
    "arm": _arm,
    "arm-felt": _arm_felt,
    "arm-around": _arm_around,
    "arm-push": _arm_push,
    "vjepa2-ac": _vjepa2_ac,
    "physics": _physics,
    "ijepa": _ijepa,
    "lejepa": _lejepa,
    "mae": _mae,
    "vjepa2": _vjepa2,
    "vjepa2_1": _vjepa2_1,
    "levjepa": _levjepa,
    "mae-video": _mae_video,
    "ijepa-vit-large": _ijepa_vit_large,
    "vjepa2-vit-large": _vjepa2_vit_large,
}


def load_recipe(name: str, others: Iterable[str] = ()) -> Recipe:
    """Returns a recipe by its name.

    Args:
        name: a key of `RECIPES`.
        others: further names that the caller knows, for the suggestion in the error.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    if name == "world":  # what `openjepa train WORLD_OR_STORE` keeps in its runs
        return world_recipe()
    if name not in RECIPES:
        raise unknown("recipe", name, [*RECIPES, *others])
    return RECIPES[name]()
