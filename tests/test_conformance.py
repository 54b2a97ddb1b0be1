"""The public conformance kits over every method and every planner; a new one joins by a line in a table here."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import openjepa.agent
import openjepa.planning
from openjepa.agent import ProposalConfig, ProposeVerifyRepair
from openjepa.baselines import RIVALS
from openjepa.config import to_dict
from openjepa.eval.health.conformance import check_branching_model, check_method, check_planner, check_world_model
from openjepa.heads.futures import FuturesConfig
from openjepa.losses.sigreg import SIGRegConfig
from openjepa.methods import METHODS
from openjepa.models.action_predictor import PoseActionPredictorConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.frozen_tokens import FrozenTokensConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.models.token_transformer import TokenTransformerConfig
from openjepa.models.upper_level import LevelConfig
from openjepa.models.vit import ViTConfig
from openjepa.nn.views import ViewConfig
from openjepa.planning import (
    CEM,
    ICEM,
    MPPI,
    CEMConfig,
    Exhaustive,
    ExhaustiveConfig,
    GradientPlanner,
    GradientPlannerConfig,
    ICEMConfig,
    MeanCEM,
    MeanCEMConfig,
    MPPIConfig,
)
from openjepa.planning.budget import Budgeted
from openjepa.protocols import ActionBounds, ImageBatch, TrajectoryBatch, VideoBatch


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def windows() -> TrajectoryBatch:
    generator = torch.Generator().manual_seed(1)
    actions, proprio = (torch.randn(3, steps, 2, generator=generator) for steps in (3, 4))
    return TrajectoryBatch(pixels(3, 4, 3, 16, 16), actions, proprio)


TRAINED = {**METHODS, **RIVALS}  # all that the training loop trains
IMAGES, CLIPS, WINDOWS = ImageBatch(pixels(6, 3, 32, 32)), VideoBatch(pixels(6, 4, 3, 32, 32)), windows()

PICTURE = {"img_size": (32, 32), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
MASKED = {"predictor_dim": 12, "predictor_depth": 1, "predictor_heads": 1}
# Patches of 4 px, so that blocks of published scales leave some context.
FINE, CLIP = {**PICTURE, "patch_size": 4}, {**PICTURE, "patch_size": 4, "num_frames": 4, "tubelet_size": 2}
LEVELS = {**CLIP, "image_tokenizer": True, "level_layers": (0, 1)}
VIEWS = {"global_view": ViewConfig(32, (0.5, 1.0)), "local_view": ViewConfig(16, (0.1, 0.4), flip=0.5)}
HEAD = {"projector_dim": 16, "embedding_dim": 8}
SEEING = {"image_size": 16, "width": 4, "hidden_dim": 8}
CAUSAL = LatentPredictorConfig("transformer", predictor_dim=8, depth=1, context_len=3, num_heads=1)
CELLS = {"image_size": 16, "width": 4, "spot_width": 2, "map_dim": 2, "points": 3, "hidden_dim": 8}
TINY_VIT = FrameEncoderConfig("vit", image_size=16, patch_size=8, depth=1)

# The options of a toy of every method, with the batch that it is fed.
TOYS: dict[str, tuple[dict[str, Any], Any]] = {
    "lewm": ({"encoder": FrameEncoderConfig(**SEEING)}, WINDOWS),
    "ijepa": ({"encoder": ViTConfig(**FINE, positions="sincos"), **MASKED}, IMAGES),
    "vjepa2": ({"encoder": ViTConfig(**CLIP), **MASKED}, CLIPS),
    "vjepa2_1": ({"encoder": ViTConfig(**LEVELS), **MASKED}, CLIPS),
    "lejepa": ({"encoder": ViTConfig(**PICTURE, class_token=True), **VIEWS, **HEAD, "num_local": 2}, IMAGES),
    "masked_autoencoder": ({"encoder": ViTConfig(**FINE), "decoder_dim": 12, "decoder_heads": 2}, IMAGES),
    "inverse_dynamics": ({"encoder": FrameEncoderConfig(**SEEING)}, WINDOWS),
    "pixel_prediction": (
        {"encoder": FrameEncoderConfig(**SEEING), "decoder_width": 8, "decoder_hidden_dim": 8},
        WINDOWS,
    ),
    "next_token": (
        {
            "encoder": FrameEncoderConfig(image_size=16, width=4),
            "predictor": TokenTransformerConfig(embed_dim=16, depth=2, num_heads=2, context_len=1),
            "decoder_width": 8,
        },
        WINDOWS,
    ),
    "levjepa": (
        {
            "encoder": ViTConfig(**PICTURE, class_token=True, num_frames=4, attention="frame_causal"),
            **VIEWS,
            **HEAD,
            "num_local": 2,
        },
        CLIPS,
    ),
    "hjepa": (
        {
            "level1_config": {"encoder": to_dict(FrameEncoderConfig(**SEEING))},
            "levels": (LevelConfig(2, embed_dim=4, hidden_dim=8, macro_dim=2, rollout=1),),
        },
        WINDOWS,
    ),
    "cell_map": (
        {**CELLS, "rollout": 2},
        replace(WINDOWS, proprio=None, others=pixels(3, 2, 3, 16, 16)),
    ),
    "vjepa2_ac": (
        {
            "encoder": FrozenTokensConfig(frames=FrameEncoderConfig("context", **SEEING), rows=2),
            "predictor": PoseActionPredictorConfig(
                embed_dim=8, predictor_dim=12, depth=1, num_heads=1, action_dim=2, pose_dim=2, native_rows=2
            ),
            "poses": "sum",
        },
        WINDOWS,
    ),
    "causal_jepa": (
        {
            "encoder": FrameEncoderConfig("keypoints", image_size=32, width=4, hidden_dim=8, num_keypoints=2),
            "embed_dim": 4,
            "trait_dim": 1,
            "predictor_dim": 12,
            "num_heads": 2,
            "depth": 1,
            "horizons": (1, 2),
            "context_len": 4,
        },
        CLIPS,
    ),
}

# World models as they are used in practice: predictors, targets, encoders and terms.
VARIANTS: dict[str, dict[str, Any]] = {
    "gru": {"predictor": LatentPredictorConfig("gru")},
    "transformer": {"predictor": CAUSAL, "rollout": "one_step", "sigreg_weight": 0.1, "sigreg": SIGRegConfig(8)},
    "open_loop_transformer": {"predictor": CAUSAL},
    "ema": {"target": "ema", "variance_weight": 0.0, "covariance_weight": 0.0, "inverse_dynamics_weight": 0.0},
    "keypoints": {"encoder": FrameEncoderConfig("keypoints", **SEEING)},
    "vit": {"encoder": TINY_VIT, "target": "ema", "predictor": CAUSAL},
    "scene": {"scene_dim": 4, "scene_weight": 1.0},
    "proprio": {"proprio_dim": 2, "straightening_weight": 0.1, "similarity_weight": 0.1},
    "heads": {"futures": FuturesConfig("heads", 2, hidden_dim=8)},
    "energy": {"futures": FuturesConfig("heads", 2, hidden_dim=8, objective="energy"), "predictor": CAUSAL},
    "mixture": {"futures": FuturesConfig("mixture", 2, hidden_dim=8)},
    "ensemble": {"futures": FuturesConfig("ensemble", 3, hidden_dim=8)},
    "variational": {"futures": FuturesConfig("variational", 3, hidden_dim=8)},
    "over_time": {"variance_t_weight": 0.1, "covariance_t_weight": 0.1},
    "motion": {"motion_weight": 1.0, "motion_cells": 4},
}


def build(name: str, **options: Any) -> Any:
    kind, config_kind = TRAINED[name]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config_kind(**{**TOYS[name][0], **options}))


def is_world_model(name: str) -> bool:
    kind = TRAINED[name]()[0]
    return hasattr(kind, "encode") and hasattr(kind, "rollout")


def open_gates(model: Any) -> Any:
    """Moves all weights a little: a predictor that starts as the identity would pass every check."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        imagining = [getattr(model, name, torch.nn.Identity()) for name in ("predictor", "futures")]
        for parameter in [p for part in imagining for p in part.parameters()]:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def test_the_table_names_every_method() -> None:
    assert TOYS.keys() == TRAINED.keys(), "give every method a toy configuration in `TOYS`"


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_conforms(name: str) -> None:
    check_method(build(name), TOYS[name][1])


def test_the_masked_autoencoder_of_clips_conforms() -> None:
    check_method(build("masked_autoencoder", encoder=ViTConfig(**CLIP)), CLIPS)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_the_world_model_conforms(name: str) -> None:
    check_method(build("lewm", **VARIANTS[name]), WINDOWS)


@pytest.mark.parametrize("name", [name for name in TRAINED if is_world_model(name)])
def test_every_world_model_conforms(name: str) -> None:
    batch = TOYS[name][1]
    check_world_model(open_gates(build(name)), batch.frames, batch.actions, batch.proprio)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_plans_as_a_world_model_does(name: str) -> None:
    model = open_gates(build("lewm", **VARIANTS[name]))
    model.set_action_statistics(torch.tensor([0.1, -0.3]), torch.tensor([0.5, 2.0]))
    proprio = WINDOWS.proprio if model.config.proprio_dim else None
    for context_len in (1, 2):
        check_world_model(model, WINDOWS.frames, WINDOWS.actions, proprio, context_len=context_len)
        z = model.encode(WINDOWS.frames, proprio)[:, :context_len]
        check_branching_model(model, z, WINDOWS.actions)


# ----------------------------------------------------------------------------------------------------------- planners

HORIZON = 4


def towards_the_goal(z: Tensor, z_goal: Tensor) -> Tensor:
    """In the point world of `check_planner`, the plan that arrives at its last step."""
    return (4 * (z_goal - z) / HORIZON).expand(-1, HORIZON, -1)


PLANNERS: dict[type, Callable[[ActionBounds], Any]] = {
    CEM: lambda bounds: CEM(bounds, CEMConfig(HORIZON, num_samples=64, num_elites=8)),
    ICEM: lambda bounds: ICEM(bounds, ICEMConfig(HORIZON)),
    MeanCEM: lambda bounds: MeanCEM(bounds, MeanCEMConfig(HORIZON, num_samples=128, num_elites=8)),
    MPPI: lambda bounds: MPPI(bounds, MPPIConfig(HORIZON)),
    GradientPlanner: lambda bounds: GradientPlanner(bounds, GradientPlannerConfig(HORIZON)),
    ProposeVerifyRepair: lambda bounds: ProposeVerifyRepair(
        towards_the_goal, bounds, ProposalConfig(accept_gain=1.0), repair=CEMConfig(HORIZON)
    ),
    Budgeted: lambda bounds: Budgeted(CEM(bounds, CEMConfig(HORIZON))),
    Exhaustive: lambda bounds: Exhaustive(bounds, ExhaustiveConfig(HORIZON)),
}
FOR_BOXES_ONLY = {MeanCEM, GradientPlanner}
FOR_CHOICES_ONLY = {Exhaustive}


def planner_classes() -> set[type]:
    """Every public class of the planners and of the agent's actor that has a `plan`."""
    found = set()
    rooms = [(openjepa.planning.__path__, "openjepa.planning."), (openjepa.agent.__path__, "openjepa.agent.")]
    for module in (module for path, prefix in rooms for module in pkgutil.iter_modules(path, prefix)):
        for name, value in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(value) and value.__module__ == module.name and not inspect.isabstract(value)
            if own and not name.startswith("_") and callable(getattr(value, "plan", None)):
                found.add(value)
    return found


def test_the_table_names_every_planner() -> None:
    assert PLANNERS.keys() == planner_classes(), "give every planner a toy configuration in `PLANNERS`"


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("planner", [p for p in PLANNERS if p not in FOR_CHOICES_ONLY], ids=lambda kind: kind.__name__)
def test_every_planner_conforms(planner: type, max_norm: float | None) -> None:
    bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm)
    check_planner(PLANNERS[planner](bounds), bounds, horizon=HORIZON)


@pytest.mark.parametrize("categories", [(3,), (2, 3)], ids=str)
@pytest.mark.parametrize("planner", [p for p in PLANNERS if p not in FOR_BOXES_ONLY], ids=lambda kind: kind.__name__)
def test_every_planner_of_choices_conforms(planner: type, categories: tuple[int, ...]) -> None:
    bounds = ActionBounds.of_categories(categories)
    check_planner(PLANNERS[planner](bounds), bounds, horizon=HORIZON)


def test_off_centre_boxes_are_checked_too() -> None:
    bounds = ActionBounds(np.array([-3.0, 1.0]), np.array([1.0, 2.0]))
    check_planner(PLANNERS[CEM](bounds), bounds, horizon=HORIZON)
