"""Mazes that are drawn anew in every episode: the latent holds the layout, a map is imagined before the first step.

    openjepa train random-mazes
    openjepa eval runs/random-mazes
    openjepa plan runs/random-mazes --out why.html

Play in four fifths of all layouts teaches one world model (`methods/cell_map.py`); the agent is judged in the others,
on goals 25 to 70 steps away. What it reaches beside a flat search and the true map: `benchmarks/unseen_mazes.py`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from openjepa.agent import AgentCard, AgentConfig, load_agent, save_agent
from openjepa.agent.configurator import ConfiguratorConfig
from openjepa.agent.imagined_map import ImagineConfig, Imagining
from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.data.whole_episodes import read_episodes
from openjepa.envs.maze import MazeConfig
from openjepa.eval.acting.maze_pairs import draw_maze_pairs
from openjepa.files import sha256
from openjepa.methods.cell_map import CellMapConfig, CellMapModel
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.planning.costs import MovingDistance
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes import Experiment, Recipe
from openjepa.recipes.acting import bounds_of, is_made_of
from openjepa.recipes.maze import BINS, judge_bin
from openjepa.recipes.world_model import LearnConfig, PlayConfig, open_store
from openjepa.train import TrainConfig, find_checkpoint, load_method

TOY = {"play.episodes": 8, "play.num_envs": 8, "play.steps": 20, "play.held_out": 0.3, "batch_size": 2}
JUDGED = ("middle", "distant")  # of `maze.BINS`
UNSEEN = MazeConfig(layout="random", split="held-out")
OTHERS = 4  # frames of its episode by which a window shows what moves


def _planner() -> CEMConfig:
    return CEMConfig(horizon=12, knot_steps=3, num_samples=64, num_elites=8, num_iterations=3)


@dataclass(frozen=True)
class RandomMazesConfig:
    """A world that is drawn per episode, a model of its layouts, and how it acts.

    Attributes:
        play: that is recorded.
        method: the world model.
        train: its training.
        window: frames of a training window.
        batch_size: windows of a step.
        imagines: how the map is imagined.
        planner: the search.
        reach: model steps to a subgoal at most.
        replan_every: model steps between two plans.
        edge_patience: decisions without progress after which an edge of the map is no longer believed.
        pairs: judged pairs of start and goal in each bin.
        pairs_seed: of their drawing.
        seed: of everything else.
    """

    play: PlayConfig = field(
        default_factory=lambda: PlayConfig("random-mazes", {"split": "train"}, "directed", episodes=400, steps=80)
    )
    method: CellMapConfig = field(default_factory=CellMapConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=1000, lr=3e-3, final_lr=3e-5, weight_decay=1e-4, checkpoint_every=200)
    )
    window: int = 17
    batch_size: int = 16
    imagines: ImagineConfig = field(default_factory=ImagineConfig)
    planner: CEMConfig = field(default_factory=_planner)
    reach: float = 6.0
    replan_every: int = 4
    edge_patience: int = 3
    pairs: int = 100
    pairs_seed: int = 0
    seed: int = 0


def seeded_config(config: RandomMazesConfig) -> RandomMazesConfig:
    """The config with its seed handed down."""
    method, schedule = replace(config.method, seed=config.seed), replace(config.train, seed=config.seed)
    return replace(config, method=method, train=schedule)


def play_of(config: RandomMazesConfig) -> tuple[EpisodeStore, list[int], list[int]]:
    """The recorded play, the episodes that are trained on, and the others."""
    store = open_store(LearnConfig(config.play, seed=config.seed))
    trained, held_out = split(store, config.play.held_out, config.seed)
    return store, list(trained), list(held_out)


def build(config: RandomMazesConfig) -> Experiment:
    """Records play where it is missing, and makes the method and its batches."""
    config = seeded_config(config)
    store, trained, held_out = play_of(config)
    windows = WindowConfig(config.window, config.batch_size, seed=config.seed, num_others=OTHERS)
    method = CellMapModel(config.method)
    moments = statistics(store, "actions", trained)
    method.set_action_statistics(moments.mean, moments.std)

    def episodes() -> TrajectoryBatch:
        return read_episodes(store, held_out[:64])

    return Experiment(method, WindowSource(store, trained, windows), None, episodes)


def make_agent(config: RandomMazesConfig, model: CellMapModel, **options: Any) -> Imagining:
    """The agent of a trained model; its cost is the way of what moves in the picture.

    Args:
        config: the options.
        model: in evaluation mode.
        options: further ones of `Imagining`.
    """
    store, scene = play_of(config)[0], model.scene_dim
    bounds = bounds_of(store, LearnConfig(config.play, seed=config.seed))
    acting = AgentConfig(
        replan_every=config.replan_every,
        reach=config.reach,
        edge_patience=config.edge_patience,
        configurator=ConfiguratorConfig(),
        seed=config.seed,
    )
    cost = PathCost(MovingDistance(scene), stride=config.planner.knot_steps)
    shape = tuple(store.column("frames").shape[1:])
    parts = model, CEM(bounds, config.planner), cost, bounds, acting, shape
    return Imagining(*parts, scene_dim=scene, imagines=config.imagines, **options)


def finish(config: RandomMazesConfig, run_dir: Path) -> None:
    """Saves the agent of a trained run with it; one that was made of the same checkpoint stays."""
    config = seeded_config(config)
    checkpoint = sha256(find_checkpoint(run_dir) / "manifest.json")
    if is_made_of(run_dir / "agent", checkpoint):
        return
    agent = make_agent(config, load_method(run_dir).eval())
    trained_on = {"checkpoint": checkpoint, "episodes": len(play_of(config)[1])}
    assert agent.perception.frame_shape is not None
    card = AgentCard(
        agent.bounds, agent.perception.frame_shape, config.play.world, config.play.options, trained_on=trained_on
    )
    save_agent(run_dir / "agent", agent, card)


def judge(config: RandomMazesConfig, run_dir: Path) -> dict[str, Any]:
    """Reaches the judged goals of both bins in layouts that were never shown."""
    agent, found = load_agent(run_dir), {}
    for name in JUDGED:
        steps, budget = BINS[name]
        pairs = draw_maze_pairs(UNSEEN, config.pairs, steps=steps, seed=config.pairs_seed)
        found[name] = judge_bin(agent, UNSEEN, pairs, budget, name)
    return found


RANDOM_MAZES = Recipe(
    "mazes drawn per episode, judged in unseen ones: the agent imagines its map",
    RandomMazesConfig(),
    build,
    TOY,
    judge,
    None,
    finish,
)
