"""V-JEPA 2-AC, trained here: what a frozen encoder sees after actions, and an arm that plans with it in new scenes.

    openjepa train vjepa2-ac                              # learns an encoder first, from its own play
    openjepa train vjepa2-ac --encoder.run runs/arm       # the encoder of a run that is there
    openjepa train vjepa2-ac --encoder.run vjepa2-vit-large-256 --play.data STORE --play.read_only true --play.world ""

The encoder sees every frame once; what it saw stays on disk (`recipes/frozen_features.py`). A roll-out's error beside
copying is measured on held-out episodes, during the training and by `openjepa eval`, which also lets the arm reach
pictured places.
What was found to matter on few cores: an encoder whose tokens move with the hand, few tokens, targets that are changes,
and actions and poses that are standardised and enter with their size. Results: `docs/robots.md`.
"""

import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from openjepa.agent import Agent, AgentConfig, load_agent
from openjepa.agent.saved import AgentCard, save_agent
from openjepa.config import to_dict
from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.data.whole_episodes import read_episodes
from openjepa.errors import ConfigError
from openjepa.eval.acting.beside_copying import BesideCopying, beside_copying
from openjepa.files import sha256
from openjepa.interop.load import load
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.vjepa2_ac import VJEPA2AC, VJEPA2ACConfig
from openjepa.models.action_predictor import PoseActionPredictorConfig
from openjepa.models.frame_encoder import FrameEncoder
from openjepa.models.frozen_tokens import FrozenTokens, FrozenTokensConfig
from openjepa.models.vit import VisionTransformer
from openjepa.planning import CEM
from openjepa.planning.costs import PathCost, final, l1
from openjepa.protocols import TrajectoryBatch
from openjepa.recipes import Experiment, Recipe, world_model
from openjepa.recipes import arm as arms
from openjepa.recipes.acting import bounds_of
from openjepa.recipes.arm import ArmRecipeConfig
from openjepa.recipes.frozen_features import cached_features
from openjepa.recipes.world_model import open_store, with_seed
from openjepa.train import TrainConfig, find_checkpoint, load_method, train

TOY = {
    **arms.TOY,
    "encoder.train.steps": 2,
    "encoder.train.warmup_steps": 0,
    "encoder.train.device": "cpu",
    "encoder.method.encoder.width": 4,
    "encoder.method.encoder.hidden_dim": 8,
    "method.predictor.predictor_dim": 24,
    "method.predictor.depth": 1,
    "method.predictor.num_heads": 1,
    "measured": 2,
}


@dataclass(frozen=True)
class FrozenEncoderConfig:
    """The frozen encoder.

    Attributes:
        run: where it comes from: the run of a world model with a `context` encoder, or whatever `openjepa.load` takes
            (a run, a file, a published name) that is a vision transformer. None learns one from the same play first.
        rows: rows and columns of the tokens of a `context` encoder.
        method: of the world model that is learned for it.
        train: likewise.
    """

    run: str | None = None
    rows: int = 4
    method: LeWMConfig = field(default_factory=lambda: arms.arm().method)
    train: TrainConfig = field(default_factory=lambda: arms.arm().train)


@dataclass(frozen=True)
class VJEPA2ACRecipeConfig(ArmRecipeConfig):
    """An action-conditioned predictor on a frozen encoder, how it acts, and the scenes that it is judged in.

    Attributes:
        encoder: the frozen one.
        features: folder of what it saw, and of encoders that were learned, kept from run to run.
        measured: steps of the roll-outs whose error is measured beside copying.
    """

    method: VJEPA2ACConfig = field(default_factory=VJEPA2ACConfig)  # type: ignore[assignment]
    encoder: FrozenEncoderConfig = field(default_factory=FrozenEncoderConfig)
    features: Path = Path("runs/features")
    measured: int = 4


def vjepa2_ac() -> VJEPA2ACRecipeConfig:
    """16 tokens of 64 numbers a frame, a predictor of 0.35 M parameters, 1,500 steps."""
    plain = arms.arm()
    encoder = FrozenTokensConfig(frames=plain.method.encoder)
    predictor = PoseActionPredictorConfig(
        embed_dim=encoder.embed_dim,
        native_rows=encoder.rows,
        predictor_dim=96,
        depth=3,
        num_heads=3,
        action_dim=3,
        pose_dim=4,
        residual=True,
    )
    return VJEPA2ACRecipeConfig(
        play=replace(plain.play, options={"proprio": True}, episodes=768),
        method=VJEPA2ACConfig(encoder, predictor, poses="sum", condition_std=1.0),
        train=TrainConfig(steps=1500, lr=2e-3, final_lr=2e-5, weight_decay=0.04, checkpoint_every=500),
        window=5,
        act=plain.act,
    )


def build(config: VJEPA2ACRecipeConfig) -> Experiment:
    """Records play where it is missing, opens or learns the encoder, and lets it see every frame once."""
    config = with_seed(config)
    store = open_store(config)
    names = [column.name for column in store.columns]
    if config.method.poses != "none" and "proprio" not in names:
        raise ConfigError(
            f"`{store.path}` has no poses (`proprio`). Record them (`--play.options`), or set `method.poses` to none."
        )
    trained, held_out = split(store, config.play.held_out, config.seed)
    encoder = open_encoder(config)
    method = VJEPA2AC(_fitting(config, store, encoder.config))
    method.encoder.load_state_dict(encoder.state_dict())
    moments = statistics(store, "actions", trained).with_frameskip(config.frameskip)
    method.set_action_statistics(moments.mean, moments.std)
    if method.pose_dim:
        poses = statistics(store, "proprio", trained)
        method.set_pose_statistics(poses.mean, poses.std)
    seen = {"frames": cached_features(store, encoder, config.features)}
    windows = WindowConfig(config.window, config.batch_size, config.frameskip, seed=config.seed)
    source = WindowSource(store, trained, windows, instead=seen)
    judged = WindowSource(store, held_out, replace(windows, length=config.measured + 1), instead=seen)

    def diagnose(model: VJEPA2AC, step: int) -> dict[str, float]:
        share = held_out_error(model, judged).share
        return {"rollout_1": share[0], f"rollout_{len(share)}": share[-1]}

    def episodes() -> TrajectoryBatch:
        return read_episodes(store, held_out[:64], config.frameskip)

    return Experiment(method, source, diagnose, episodes)


def held_out_error(model: VJEPA2AC, source: WindowSource, rows: int = 512) -> BesideCopying:
    """Errors of roll-outs over windows of a source that are spread evenly, beside copying."""
    numbers = np.unique(np.linspace(0, source.num_windows - 1, min(rows, source.num_windows)).round().astype(np.int64))
    batch = source.windows(numbers).to(next(model.parameters()).device)
    z = model.encode(batch.frames, batch.proprio)
    return beside_copying(model, z, batch.actions, dim=model.config.encoder.embed_dim)


def open_encoder(config: VJEPA2ACRecipeConfig) -> FrozenTokens:
    """The frozen encoder: that of a run, a published one, or one that is learned from the play first."""
    run, rows = config.encoder.run, config.encoder.rows
    network: nn.Module
    if run is None:
        network = _learned_encoder(config).context_encoder
    elif (Path(run) / "checkpoints").is_dir() and isinstance(method := load_method(Path(run)), LeWM):
        network = method.context_encoder
    else:
        network = load(run)
    if isinstance(network, VisionTransformer):
        encoder = FrozenTokens(FrozenTokensConfig(vit=network.config))
    elif isinstance(network, FrameEncoder):
        encoder = FrozenTokens(FrozenTokensConfig(frames=network.config, rows=rows))
    else:
        raise ConfigError(f"`encoder.run` must be a vision transformer or a world model; {run} is neither.")
    encoder.fill(network)
    return encoder.eval()


def _learned_encoder(config: VJEPA2ACRecipeConfig) -> LeWM:
    """A world model of the same play, trained where it is not there yet."""
    own = world_model.LearnConfig(config.play, config.encoder.method, config.encoder.train, seed=config.seed)
    own = with_seed(replace(own, window=4, batch_size=32))
    name = hashlib.sha256(json.dumps(to_dict(own), sort_keys=True, default=str).encode()).hexdigest()[:16]
    run = config.features / f"encoder-{name}"
    print(f"encoder: a world model of the play, in {run}", file=sys.stderr)
    experiment = world_model.build(own)
    train(experiment.method, experiment.source, own.train, run, recipe_config={"recipe": "world", **to_dict(own)})
    found = load_method(run)
    assert isinstance(found, LeWM)
    return found


def _fitting(config: VJEPA2ACRecipeConfig, store: EpisodeStore, encoder: FrozenTokensConfig) -> VJEPA2ACConfig:
    """The method's options with the sizes of encoder and data."""
    widths = {column.name: column.shape[-1] for column in store.columns if column.name in ("actions", "proprio")}
    predictor = replace(
        config.method.predictor,
        embed_dim=encoder.embed_dim,
        native_rows=encoder.grid[0],
        action_dim=widths["actions"] * config.frameskip,
        pose_dim=widths.get("proprio", 1),
    )
    return replace(config.method, encoder=encoder, predictor=predictor)


def finish(config: VJEPA2ACRecipeConfig, run_dir: Path) -> None:
    """Makes an agent of the trained predictor and its encoder, and saves it in the run."""
    config = with_seed(config)
    store, model = open_store(config), load_method(run_dir)
    assert isinstance(model, VJEPA2AC)
    bounds, shape = bounds_of(store, config), tuple(store.column("frames").shape[1:])
    wide = bounds.with_frameskip(config.frameskip)
    cost = PathCost(l1, final, pose_dim=model.config.encoder.embed_dim)
    options = AgentConfig(config.act.replan_every, frameskip=config.frameskip, seed=config.seed)
    agent = Agent(model.eval(), CEM(wide, config.act.planner), cost, bounds, options, shape)
    trained, _ = split(store, config.play.held_out, config.seed)
    trained_on = {
        "checkpoint": sha256(find_checkpoint(run_dir) / "manifest.json"),
        "episodes": len(trained),
        "steps": int(store.lengths[trained].sum()),
    }
    card = AgentCard(bounds, shape, config.play.world, config.play.options, trained_on=trained_on)
    save_agent(run_dir / "agent", agent, card)


def rollout_of(config: VJEPA2ACRecipeConfig, run_dir: Path) -> dict[str, tuple[float, ...]]:
    """Errors of a trained run's roll-outs on held-out episodes, by step, beside copying."""
    config = with_seed(config)
    store, model = open_store(config), load_method(run_dir)
    assert isinstance(model, VJEPA2AC)
    _, held_out = split(store, config.play.held_out, config.seed)
    windows = WindowConfig(config.measured + 1, frameskip=config.frameskip)
    seen = {"frames": cached_features(store, model.encoder, config.features)}
    error = held_out_error(model, WindowSource(store, held_out, windows, instead=seen))
    return {**vars(error), "share": error.share}


def judge(config: VJEPA2ACRecipeConfig, run_dir: Path) -> dict[str, Any]:
    """The errors of roll-outs beside copying, and in a world of arms, how many pictured goals are reached."""
    found: dict[str, Any] = {"rollout": rollout_of(config, run_dir)}
    if config.play.world.startswith("arm"):
        agent = load_agent(run_dir)
        for split_name in config.splits:
            found[split_name] = arms.judge_split(agent, config, arms.draw_pairs(config, split_name))
    return found


VJEPA2_AC = Recipe(
    "V-JEPA 2-AC: an action-conditioned predictor on a frozen encoder; an arm that plans with it",
    vjepa2_ac(),
    build,
    TOY,
    judge,
    arms.replay,
    finish,
)
