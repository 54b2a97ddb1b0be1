"""H-JEPA: levels of world models, each in a latent of its own, slower and more abstract than the one below.

    L = L_1 + sum over upper levels of  w_p * mean_h decay^h |P(z_0, m_0 ... m_h) - z_{h+1}|^2
                                        + variance and covariance of z + inverse dynamics of m + information of m

Level 1 is any world model that is a method; it learns along, or is frozen. After LeCun 2022, section 4.6, H-JEPA
(2610.06805), and HWM (2604.03208), whose levels share one latent. The information term holds macro-actions near a
standard normal, KL(N(mean, variance) || N(0, 1)) of a batch: a level that may say anything in them predicts nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.config import from_dict
from openjepa.errors import ConfigError, DataError, ShapeError, check_shape, unknown
from openjepa.losses.vicreg import vicreg_states
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.upper_level import LevelConfig, UpperLevel
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.protocols import JEPALoss, LatentBatch, TrajectoryBatch


@dataclass(frozen=True)
class HJEPAConfig:
    """Options of a hierarchy.

    Attributes:
        level1: name of its method.
        level1_config: options of that method; what is not named has its default.
        levels: the upper levels, from the lowest.
        level1_dim: width of its state; None is its `embed_dim`.
        frozen: whether level 1 stays as it is.
        level1_weight: of the loss of level 1, where it learns along.
        seed: of initial weights and of everything drawn in a step.
    """

    level1: str = "lewm"
    level1_config: Mapping[str, Any] = field(default_factory=dict)
    levels: tuple[LevelConfig, ...] = field(default_factory=lambda: (LevelConfig(),))
    level1_dim: int | None = None
    frozen: bool = False
    level1_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.levels:
            raise ConfigError("`levels` must name at least one upper level.")
        if self.level1_weight <= 0 or self.seed < 0:
            raise ConfigError("`level1_weight` must be above 0 and `seed` 0 or more.")


class HJEPA(StandardisesActions):
    """A `Method` that trains all levels, and the `WorldModel` of its level 1; `levels` are world models of their own.

    Args:
        config: the options.
        level1: the world model below, with `config.action_dim` and `config.embed_dim`; None builds the one that the
            options name.
    """

    def __init__(self, config: HJEPAConfig, level1: Any = None) -> None:
        level1 = _build_level1(config) if level1 is None else level1
        action_dim, dim = level1.config.action_dim, config.level1_dim or level1.config.embed_dim
        super().__init__(action_dim)
        self.config, self.level1 = config, level1.requires_grad_(not config.frozen)
        levels: list[UpperLevel] = []
        with global_stream(config.seed):
            for options in config.levels:
                levels.append(UpperLevel(options, dim, action_dim))
                dim, action_dim = levels[-1].dim, options.macro_dim
        self.levels: Any = nn.ModuleList(levels)
        super().set_action_statistics(level1.action_mean, level1.action_std)

    def set_action_statistics(self, mean: Tensor, std: Tensor) -> None:
        """See `StandardisesActions`; of all levels."""
        self.level1.set_action_statistics(mean, std)
        super().set_action_statistics(self.level1.action_mean, self.level1.action_std)

    # ---------------------------------------------------------------------------------------------- world model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Of level 1; see `WorldModel.encode`."""
        return self.level1.encode(frames, proprio)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Of level 1; see `WorldModel.rollout`."""
        return self.level1.rollout(z, actions)

    def standardised(self, actions: Tensor) -> Tensor:
        """Actions [..., A] in the environment's units as the levels see them."""
        return self._standardised(actions)

    def lift(self, z: Tensor) -> list[Tensor]:
        """Latents [B, T, 1, D] of successive steps of level 1 to those of every upper level at the same steps."""
        found: list[Tensor] = []
        for number, level in enumerate(self.levels):
            # A window of a higher level holds successive steps of the level below, not of level 1.
            z = _strided_lift(level, z, self.stride(number))
            found.append(z)
        return found

    def stride(self, number: int) -> int:
        """Steps of level 1 in one step of the level below upper level `number`."""
        steps = 1
        for options in self.config.levels[:number]:
            steps *= options.stride
        return steps

    # ------------------------------------------------------------------------------------------------- training

    def loss(self, batch: TrajectoryBatch | LatentBatch, step: int) -> JEPALoss:
        """Returns the weighted sum and the unweighted terms of windows at step number `step`."""
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=batch.actions.device)
        if isinstance(batch, LatentBatch):
            z = batch.z
        else:
            if not self.config.frozen:
                below = self.level1.loss(batch, step)
                terms |= {f"level1_{name}": value for name, value in below.terms.items()}
                total = total + self.config.level1_weight * below.loss
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
                z = self.level1.encode(batch.frames, batch.proprio)
        check_shape(z, "B T N=1 D", name="z")
        actions = self._standardised(batch.actions)
        for number, level in enumerate(self.levels, 2):
            drawn = keyed_generator(self.config.seed, step, number)
            z, actions, found = level_terms(level, z, actions, drawn, number)
            weights = level_weights(level.config)
            total = total + sum((weights[name] * value for name, value in found.items()), total.new_zeros(()))
            terms |= {f"level{number}_{name}": value.detach() for name, value in found.items()}
        return JEPALoss(total, terms)

    def after_step(self, step: int) -> None:
        """Moves what level 1 moves after a step."""
        if not self.config.frozen:
            self.level1.after_step(step)


def _build_level1(config: HJEPAConfig) -> Any:
    from openjepa.methods import METHODS

    if config.level1 not in METHODS:
        raise unknown("method of level 1", config.level1, METHODS)
    kind, options = METHODS[config.level1]()
    if not {"action_dim", "embed_dim"} <= {f.name for f in dataclasses.fields(options)}:
        raise ConfigError(f"`level1` must be a method whose world model takes actions; `{config.level1}` takes none.")
    return kind(from_dict(options, dict(config.level1_config)))


def _strided_lift(level: UpperLevel, z: Tensor, stride: int) -> Tensor:
    """Lifts latents that stand `stride` apart, for every step [B, T, 1, D]."""
    if stride == 1 or level.config.window == 1:
        return level.lift(z)
    parts = [level.lift(z[:, first::stride]) for first in range(min(stride, z.shape[1]))]
    found = parts[0].new_zeros(z.shape[0], z.shape[1], 1, level.dim)
    for first, part in enumerate(parts):
        found[:, first::stride] = part
    return found


def level_terms(
    level: UpperLevel, z: Tensor, actions: Tensor, generator: torch.Generator, number: int = 2
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Latents [B, K + 1, 1, D], macro-actions [B, K, M] and the unweighted terms of one level.

    Args:
        level: the level.
        z: [B, T, 1, D'], of the level below.
        actions: [B, T - 1, A'], of the level below.
        generator: of the noise.
        number: of the level, for words.

    Raises:
        ShapeError: where windows hold no whole step of this level.
    """
    c = level.config
    macros = level.pool(actions)
    steps = macros.shape[1]
    if not steps:
        raise ShapeError(f"windows must hold at least {c.stride + 1} states for level {number}; got {z.shape[1]}.")
    up = level.lift(z)[:, :: c.stride][:, : steps + 1]
    horizon = min(c.rollout, steps)
    starts = steps - horizon + 1
    first = up[:, :starts].flatten(0, 1)  # [B * starts, 1, D]
    paths = up[:, 1:].squeeze(2).unfold(1, horizon, 1).transpose(2, 3).flatten(0, 1)  # [B * starts, H, D]
    moves = macros.unfold(1, horizon, 1).transpose(2, 3).flatten(0, 1)
    unit = up.detach().flatten(0, 2).std(0, correction=0).clamp_min(1e-6)
    noise = to_device(torch.randn(first.shape, generator=generator), first) * unit * c.noise
    found = level.rollout((first + noise).unsqueeze(1), moves).squeeze(2)
    weight = c.decay ** torch.arange(horizon, device=up.device, dtype=up.dtype)
    # A latent of its own is held at unit variance; a shared one has any scale, so errors are in its own.
    scale = unit if not c.embed_dim else torch.ones_like(unit)
    error = ((found - paths) / scale).square().mean((0, 2))
    terms = {"prediction": (weight * error).sum() / weight.sum()}
    if c.embed_dim:
        spread = vicreg_states(up, pool="pooled")
        terms |= {"variance": spread.variance, "covariance": spread.covariance}
    if c.inverse_dynamics_weight:
        read = level.readout(up[:, :-1], up[:, 1:])
        terms["inverse_dynamics"] = functional.mse_loss(read, macros.detach())
    if c.information_weight:
        terms["information"] = normal_information(macros)
    return up, macros, terms


def level_weights(config: LevelConfig) -> dict[str, float]:
    """The weight of every term of a level."""
    return {
        "prediction": config.prediction_weight,
        "variance": config.variance_weight,
        "covariance": config.covariance_weight,
        "inverse_dynamics": config.inverse_dynamics_weight,
        "information": config.information_weight,
    }


def normal_information(macros: Tensor) -> Tensor:
    """KL divergence of macro-actions [B, K, M], as independent normal numbers, from standard ones, and correlations."""
    flat = macros.flatten(0, 1).float()
    mean, variance = flat.mean(0), flat.var(0, correction=0) + 1e-6
    kl = 0.5 * (variance + mean.square() - 1 - variance.log()).mean()
    return kl + vicreg_states(macros.unsqueeze(2), pool="pooled").covariance


# ----------------------------------------------------------------------------------------------------
# Does every level have enough to learn from?


@dataclass(frozen=True)
class LevelBudget:
    """What recorded episodes hold for one level.

    Attributes:
        level: its number, 2 for the lowest upper one.
        steps: of level 1 that one training window of it spans.
        clips: episodes that are long enough.
        share: of all episodes.
        windows: different windows in them.
    """

    level: int
    steps: int
    clips: int
    share: float
    windows: int


def data_budget(lengths: Tensor | Sequence[int], levels: Sequence[LevelConfig]) -> tuple[LevelBudget, ...]:
    """Counts for every upper level the episodes, of `lengths` [E] states, that hold a training window of it."""
    known = torch.as_tensor(lengths)
    found, stride = [], 1
    for number, options in enumerate(levels, 2):
        steps = stride * (options.window - 1 + options.stride * options.rollout)
        stride *= options.stride
        places = (known - steps).clamp_min(0)
        clips = int((places > 0).sum())
        found.append(LevelBudget(number, steps, clips, clips / max(1, len(known)), int(places.sum())))
    return tuple(found)


def check_budget(budgets: Sequence[LevelBudget], *, min_share: float = 0.5, min_clips: int = 16) -> None:
    """Refuses a level that would starve.

    Raises:
        DataError: naming the level, what it has and what it needs.
    """
    for found in budgets:
        if found.share < min_share or found.clips < min_clips:
            raise DataError(
                f"level {found.level} must have at least {min_clips} episodes, and {min_share:.0%} of all, of more "
                f"than {found.steps} steps; {found.clips} ({found.share:.0%}) are so long. Record longer episodes, or "
                "lower `stride` or `rollout`, or leave the level out."
            )


# ----------------------------------------------------------------------------------------------------
# Presets


def h_jepa(levels: int = 2, **options: Any) -> tuple[LevelConfig, ...]:
    """Upper levels with latents of their own: stride 8 above level 1, 2 above that."""
    return tuple(LevelConfig(**{"stride": 8 if i == 0 else 2, **options}) for i in range(levels - 1))


def hwm(levels: int = 2, **options: Any) -> tuple[LevelConfig, ...]:
    """Upper levels that share the latent of level 1 (2604.03208)."""
    return h_jepa(levels, **{"embed_dim": 0, **options})
