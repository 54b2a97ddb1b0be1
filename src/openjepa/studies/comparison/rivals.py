"""Who takes part: how each rival is built at the common number of parameters, and for how many steps it learns.

The encoder is the same for all (the tokenizer has its convolutions). What a method has besides it is widened until
its parameters match: predictor, decoder, read-out, transformer or policy. Steps follow from the operations of one
step, so that a cheap step means more of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from openjepa.baselines.behaviour_cloning import PixelCloningConfig, PixelPolicy
from openjepa.baselines.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from openjepa.baselines.next_token import NextToken, NextTokenConfig
from openjepa.baselines.pixel_prediction import PixelPrediction, PixelPredictionConfig
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.models.token_transformer import TokenTransformerConfig
from openjepa.protocols import TrajectoryBatch
from openjepa.studies.comparison.compute import count_parameters, fit_width, steps_within, training_flops

WINDOW = 9  # frames of a training window
DIM = 16  # width of the latents that are one vector
LATENT, LATENT_ONLY, INVERSE = "latent + inverse dynamics", "latent", "inverse dynamics"
PIXELS, PIXELS_ONLY = "pixels + inverse dynamics", "pixels"
TOKENS, CLONING = "next token", "behaviour cloning"
MODELS = (LATENT, LATENT_ONLY, INVERSE, PIXELS, PIXELS_ONLY, TOKENS)
METHODS = (*MODELS, CLONING)
OWN_DYNAMICS = (LATENT, LATENT_ONLY, PIXELS, PIXELS_ONLY, TOKENS)
CLIP_METHODS = (LATENT_ONLY, PIXELS_ONLY, TOKENS)  # clips without actions have no inverse dynamics

EXPLAIN = {
    LATENT: "predicts the next latent; variance and covariance terms, and actions must be readable",
    LATENT_ONLY: "the same without the inverse-dynamics term",
    INVERSE: "actions must be readable from two latents; nothing is predicted",
    PIXELS: "predicts the next picture through a decoder, and actions must be readable",
    PIXELS_ONLY: "predicts the next picture through a decoder",
    TOKENS: "discrete codes per patch, and a transformer that predicts one code after the other",
    CLONING: "imitates the first action of recorded ways to a later frame; no model of the world",
}


@dataclass(frozen=True)
class Setting:
    """What is tuned.

    Attributes:
        lr: peak learning rate of AdamW.
        batch: windows of a step.
        weight: of prediction against the other terms (latent), of reconstruction (pixels), of the covariance
            term where nothing else is free, or the tokenizer's share of the budget (next token).
    """

    lr: float = 2e-3
    batch: int = 48
    weight: float = 1.0


# Three trials for every method, none more for any.
TRIALS: dict[str, tuple[Setting, ...]] = {
    LATENT: (Setting(), Setting(lr=4e-3), Setting(weight=0.3)),
    LATENT_ONLY: (Setting(), Setting(lr=4e-3), Setting(weight=0.3)),
    INVERSE: (Setting(), Setting(lr=4e-3), Setting(batch=24)),
    PIXELS: (Setting(), Setting(weight=10.0), Setting(lr=4e-3)),
    PIXELS_ONLY: (Setting(), Setting(lr=4e-3), Setting(batch=24)),
    TOKENS: (Setting(batch=16, weight=0.4), Setting(batch=16, weight=0.7), Setting(lr=4e-3, batch=16, weight=0.4)),
    CLONING: (Setting(), Setting(lr=4e-3), Setting(batch=24)),
}
CHOSEN: dict[str, int] = {LATENT: 1, LATENT_ONLY: 1, INVERSE: 1, PIXELS: 2, PIXELS_ONLY: 1, TOKENS: 2, CLONING: 1}


@dataclass(frozen=True)
class Training:
    """How a rival is trained.

    Attributes:
        config: of the method, or of cloning.
        steps: optimiser steps.
        batch: windows of a step.
        lr: peak learning rate.
        parameters: trained ones.
        gflops: of all steps.
    """

    config: Any
    steps: int
    batch: int
    lr: float
    parameters: int
    gflops: float


@dataclass(frozen=True)
class Shape:
    """What differs between worlds with actions and clips without.

    Attributes:
        window: frames of a training window.
        context_len: states or frames that a predictor sees; 1 is Markov.
        batch: windows of a step where that is not tuned.
    """

    window: int = WINDOW
    context_len: int = 1
    batch: int | None = None


def build(config: Any) -> nn.Module:
    """The network of a configuration."""
    kinds: dict[type, Callable[[Any], nn.Module]] = {
        LeWMConfig: LeWM,
        InverseDynamicsConfig: InverseDynamics,
        PixelPredictionConfig: PixelPrediction,
        NextTokenConfig: NextToken,
        PixelCloningConfig: lambda c: PixelPolicy(c, 2),
    }
    return kinds[type(config)](config)


def config_of(name: str, setting: Setting, shape: Shape, width: int, seed: int = 0) -> Any:
    """The configuration of a method whose free part has a width."""
    predictor = LatentPredictorConfig("mlp", width, depth=3)
    rollout: Any = "open_loop"
    if shape.context_len > 1:
        predictor = LatentPredictorConfig(
            "transformer", predictor_dim=width, depth=2, context_len=shape.context_len, num_heads=2, dropout=0.0
        )
        rollout = "one_step"
    if name in (LATENT, LATENT_ONLY):
        return LeWMConfig(
            embed_dim=DIM,
            predictor=predictor,
            rollout=rollout,
            prediction_weight=setting.weight,
            similarity_weight=0.0,
            inverse_dynamics_weight=1.0 if name == LATENT else 0.0,
            seed=seed,
        )
    if name == INVERSE:
        return InverseDynamicsConfig(embed_dim=DIM, hidden_dim=width, seed=seed)
    if name in (PIXELS, PIXELS_ONLY):
        small = replace(predictor, predictor_dim=128, depth=2)
        return PixelPredictionConfig(
            embed_dim=DIM,
            predictor=small,
            rollout=rollout,
            decoder_hidden_dim=width,
            reconstruction_weight=setting.weight,
            inverse_dynamics_weight=1.0 if name == PIXELS else 0.0,
            seed=seed,
        )
    if name == TOKENS:
        transformer = TokenTransformerConfig(width, depth=2, num_heads=2, context_len=shape.context_len)
        return NextTokenConfig(predictor=transformer, seed=seed)
    return PixelCloningConfig(embed_dim=DIM, hidden_dim=width, episodes_per_step=setting.batch, bfloat16=True)


@cache
def width_for(name: str, shape: Shape, parameters: int) -> int:
    """The width of a method's free part at which its parameters match best."""
    widths = range(16, 240, 4) if name == TOKENS else range(4, 3000)

    def count(width: int) -> int:
        return count_parameters(build(config_of(name, Setting(), shape, width)))

    return fit_width(count, parameters, widths)


def plan_training(
    name: str, parameters: int, gflops: float, *, shape: Shape | None = None, trial: int | None = None, seed: int = 0
) -> Training:
    """Sizes a method and its training for a number of parameters and a budget of operations."""
    shape = shape or Shape()
    setting = TRIALS[name][CHOSEN[name] if trial is None else trial]
    setting = setting if shape.batch is None else replace(setting, batch=shape.batch)
    config = config_of(name, setting, shape, width_for(name, shape, parameters), seed)
    count = count_parameters(build(config))
    batch = blank_batch(setting.batch, shape.window)
    rest = partial(Training, batch=setting.batch, lr=setting.lr, parameters=count)
    if name == CLONING:
        flops = cloning_flops(config)
        steps = steps_within(1e9 * gflops, flops)
        return rest(replace(config, steps=steps, lr=setting.lr), steps, gflops=steps * flops / 1e9)
    if name != TOKENS:
        flops = training_flops(build(config), batch)
        steps = steps_within(1e9 * gflops, flops)
        return rest(config, steps, gflops=steps * flops / 1e9)
    first, second = (
        training_flops(build(replace(config, predictor_start=start, tokenizer_steps=last)), batch)
        for start, last in ((1, 1), (0, None))
    )
    second -= first  # of both parts together, less the tokenizer's
    tokenizer = steps_within(1e9 * gflops * setting.weight, first)
    writer = steps_within(max(1e9 * gflops - tokenizer * first, 1.0), second)
    config = replace(config, tokenizer_steps=tokenizer, predictor_start=tokenizer)
    return rest(config, tokenizer + writer, gflops=(tokenizer * first + writer * second) / 1e9)


def blank_batch(batch: int, frames: int) -> TrajectoryBatch:
    """A batch of the right shapes, for counting."""
    return TrajectoryBatch(torch.zeros(batch, frames, 3, 64, 64, dtype=torch.uint8), torch.zeros(batch, frames - 1, 2))


def cloning_flops(config: PixelCloningConfig) -> int:
    """Operations of one step of cloning: frames are encoded once, and all pairs among them go through the policy."""
    from openjepa.studies.comparison.compute import count_flops

    policy = PixelPolicy(config, 2)
    count = config.frames_per_episode
    pairs = config.episodes_per_step * count * (count - 1) // 2
    frames = torch.zeros(config.episodes_per_step, count, 3, 64, 64, dtype=torch.uint8)

    def step() -> None:
        z = policy.encode(frames).flatten(0, 1)  # [E * K, 1, D]
        rows = torch.zeros(pairs, dtype=torch.long)
        policy.standardized(z[rows], z[rows]).square().mean().backward()

    return count_flops(step)
