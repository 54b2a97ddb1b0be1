"""H-JEPA and HWM: upper levels on the world model of a finished run, or learned with it from recorded play."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openjepa.agent import Agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.config import from_dict
from openjepa.errors import ConfigError
from openjepa.methods.hjepa import HJEPA, HJEPAConfig, check_budget, data_budget
from openjepa.recipes import Experiment, Recipe, load_recipe, world_model
from openjepa.recipes.acting import Learned, WorldModelConfig, learn_to_act, make_agent, save_finished
from openjepa.recipes.hierarchy import HierarchyConfig, assemble, stacked
from openjepa.recipes.maze import judge, maze
from openjepa.recipes.world_model import open_store, with_seed
from openjepa.train import TrainConfig, load_method
from openjepa.train.checkpoint import describe_method
from openjepa.train.run_dir import read_record

TOY = {
    "play.episodes": 20,
    "play.num_envs": 20,
    "play.steps": 12,
    "play.held_out": 0.2,
    "batch_size": 4,
    "hierarchy.level.stride": 2,
    "hierarchy.level.rollout": 2,
}


@dataclass(frozen=True)
class HierarchicalConfig(WorldModelConfig):
    """A world model with upper levels, and how it acts.

    Attributes:
        base: a finished run whose world model becomes level 1, frozen; its play and its options count, and not those
            that are given here. None learns all levels together.
        hierarchy: of the upper levels.
    """

    base: Path | None = None
    hierarchy: HierarchyConfig = field(default_factory=HierarchyConfig)


def hjepa() -> HierarchicalConfig:
    """The maze, two levels, 800 steps of the upper one."""
    plain = maze()
    train = TrainConfig(steps=800, lr=2e-3, final_lr=2e-5, weight_decay=1e-4, checkpoint_every=400)
    return HierarchicalConfig(plain.play, plain.method, train, act=plain.act)


def base_config(config: HierarchicalConfig) -> WorldModelConfig:
    """The options of level 1: those of the base run, where there is one."""
    return with_seed(config) if config.base is None else _base(config.base)[1]


def _base(run_dir: Path) -> tuple[Recipe, WorldModelConfig]:
    """The recipe of a run of a world model, and its options there."""
    recorded = read_record(run_dir).get("recipe")
    options = dict(recorded) if isinstance(recorded, dict) else {}
    recipe = load_recipe(options.pop("recipe", ""))
    if not isinstance(recipe.config, WorldModelConfig):
        raise ConfigError(f"`base` must be a run of a world model; {run_dir} is none.")
    return recipe, with_seed(from_dict(type(recipe.config), options))


def build(config: HierarchicalConfig) -> Experiment:
    """Upper levels on the frozen level 1 of the base, or all levels on pictures."""
    if config.base is not None:
        recipe, below = _base(config.base)
        plain = recipe.build(below)
        learned = learn_to_act(load_method(config.base), replace(below, act=replace(below.act, policy=None)))
        model, source = stacked(learned.model, learned.memory, config.hierarchy, config.seed)
        return replace(plain, method=model, source=source, diagnostics=None)
    below = base_config(config)
    options, window = config.hierarchy, max(config.window, config.hierarchy.window())
    experiment = world_model.build(replace(below, window=window))
    lengths = open_store(below).lengths // below.frameskip + 1
    check_budget(data_budget(lengths.tolist(), options.levels), min_share=options.min_share)
    described = describe_method(experiment.method)
    dim = experiment.method.states.dim
    whole = HJEPAConfig(described["method"], described["config"], options.levels, dim, seed=config.seed)
    return replace(experiment, method=HJEPA(whole, experiment.method), diagnostics=None)


def finish(config: HierarchicalConfig, run_dir: Path) -> None:
    """Makes an agent with upper levels of a trained run and saves it there."""
    below, method = base_config(config), load_method(run_dir)
    level1 = method.level1 if config.base is None else load_method(config.base)
    learned = learn_to_act(level1, below)
    save_finished(make_hierarchical(config, learned, method), below, run_dir, learned.memory)


def make_hierarchical(config: HierarchicalConfig, learned: Learned, method: HJEPA) -> Agent:
    """An agent that searches with the upper levels wherever its map knows no way, and everywhere without a map."""
    below, method = base_config(config), method.eval()
    method.level1 = learned.model
    hierarchy = assemble(method, learned.memory, learned.landmarks, config.hierarchy, config.seed)
    agent = make_agent(below, learned)
    options = replace(agent.config, configurator=agent.config.configurator or ConfiguratorConfig())
    shape = agent.perception.frame_shape
    return Agent(method, agent.planner, agent.cost, agent.bounds, options, shape, learned.landmarks, hierarchy)


def judge_run(config: HierarchicalConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals of every bin of the maze with a trained run."""
    return judge(base_config(config), run_dir)


HJEPA_RECIPE = Recipe(
    "upper levels on a world model (--base RUN, or learned with it): H-JEPA, HWM",
    hjepa(),
    build,
    TOY,
    judge_run,
    None,
    finish,
)
