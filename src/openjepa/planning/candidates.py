"""Candidate plans: drawn, held over their knots, rolled through a world model in one batch, and scored.

Noise has a stream per environment, and widths are relative to the bounds: a std of 1 is half the range of an action's
dimension, whatever its unit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.host import to_device, to_host
from openjepa.nn.random import keyed_generator
from openjepa.planning.risk import BoundRiskCost
from openjepa.planning.sizes import SearchSize
from openjepa.protocols import ActionBounds, BranchingModel, PathCost, Plan, WorldModel


@runtime_checkable
class BeginningModel(Protocol):
    """A world model that takes a context in once for all candidate plans; optional, for planning at speed."""

    def begin(self, z: Tensor, context_actions: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Takes in z [B, T, N, D] and actions [B, T - 1, A].

        Returns:
            what maps candidates [B * S, H, A], those of an environment side by side, to states [B * S, H, N, D].
        """
        ...


@dataclass(frozen=True)
class Imagination:
    """A planning problem: where every environment is, and what its future costs.

    Attributes:
        model: the world model.
        z: [B, T, N, D] context states, shared by all candidates of an environment.
        cost: bound to the goals.
        context_actions: [B, T - 1, A], or None when T = 1.
        micro_batch: largest number of candidates in one call of the model, or None for all at once.
    """

    model: WorldModel
    z: Tensor
    cost: PathCost
    context_actions: Tensor | None = None
    micro_batch: int | None = None

    def paths(self, candidates: Tensor) -> Tensor:
        """Imagined states [B, S, H, N, D] after each action of candidates [B, S, H, A]."""
        batch, samples, horizon = candidates.shape[:3]
        begun = self._begun
        z_path = self.model.rollout(*self._rows(candidates)) if begun is None else begun(candidates.flatten(0, 1))
        return z_path.view(batch, samples, horizon, *z_path.shape[2:])

    @cached_property
    def _begun(self) -> Callable[[Tensor], Tensor] | None:
        """What rolls candidates out from a context that was taken in once, where the model can do that."""
        return self.model.begin(self.z, self.context_actions) if isinstance(self.model, BeginningModel) else None

    def scores(self, candidates: Tensor) -> Tensor:
        """Cost [B, S] of candidates [B, S, H, A]; under a `RiskCost`, of all their futures."""
        return torch.cat([self._scores(part) for part in self._parts(candidates)], 1)

    def _parts(self, candidates: Tensor) -> Sequence[Tensor]:
        """Candidates [B, S, H, A] in parts that the model is given at once."""
        if self.micro_batch is None:
            return (candidates,)
        return candidates.split(max(1, self.micro_batch // (candidates.shape[0] * self.num_futures)), 1)

    @property
    def num_futures(self) -> int:
        """Paths that are rolled for each candidate."""
        branches = isinstance(self.cost, BoundRiskCost) and isinstance(self.model, BranchingModel)
        return self.cost.options.num_futures if branches else 1  # type: ignore[attr-defined]

    def _scores(self, candidates: Tensor) -> Tensor:
        if not isinstance(self.cost, BoundRiskCost) or not isinstance(self.model, BranchingModel):
            return self.cost(self.paths(candidates))
        options = self.cost.options
        luck = keyed_generator(options.seed)  # the same in every call: all candidates meet the same luck
        z, actions = self._rows(candidates)
        found = self.model.rollout_futures(z, actions, num_futures=options.num_futures, generator=luck)
        return self.cost.of_futures(found)

    def _rows(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Context states [B * S, T, N, D] and actions [B * S, T - 1 + H, A] of candidates [B, S, H, A]."""
        samples = candidates.shape[1]
        z = self.z.unsqueeze(1).expand(-1, samples, -1, -1, -1).flatten(0, 1)
        if self.context_actions is None:
            return z, candidates.flatten(0, 1)
        past = self.context_actions.unsqueeze(1).expand(-1, samples, -1, -1)
        return z, torch.cat([past, candidates], 2).flatten(0, 1)

    def best_plan(self, candidates: Tensor, model_steps: int, terms: dict[str, Tensor]) -> Plan:
        """Evaluates finalists [B, S, H, A] and returns the best one with its own cost and most probable path.

        Args:
            candidates: allowed actions; what is scored here is what will be executed.
            model_steps: predictor steps spent before, per environment.
            terms: diagnostics to pass on.
        """
        z_path = torch.cat([self.paths(part) for part in self._parts(candidates)], 1)
        costs = self.cost(z_path) if self.num_futures == 1 else self.scores(candidates)  # [B, S]
        cost, best = costs.min(1)
        if not to_host(torch.isfinite(cost).all()):
            raise ConfigError(
                "the planner's cost must be finite; got NaN or infinity. Check the world "
                "model: `openjepa doctor` names what is wrong with it."
            )
        row = torch.arange(len(best), device=best.device)
        steps = (model_steps + candidates.shape[1] * candidates.shape[2]) * self.num_futures
        return Plan(candidates[row, best], cost, z_path[row, best], steps, terms)


class Search(ABC):
    """What every search does first: it checks what it is asked for. The plan is then its own affair.

    Args:
        bounds: allowed model actions (`bounds.with_frameskip(f)` for a frameskip of f).
        horizon: length H of a plan in model steps.
        micro_batch: candidates of all environments in one call of the model, or None for all at once.
    """

    def __init__(self, bounds: ActionBounds, horizon: int, micro_batch: int | None = None) -> None:
        self.bounds, self.horizon, self.micro_batch = bounds, horizon, micro_batch

    @torch.no_grad()
    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        cost: PathCost,
        *,
        generators: Sequence[torch.Generator],
        guess: Tensor | None = None,
        context_actions: Tensor | None = None,
    ) -> Plan:
        """See `openjepa.protocols.Planner.plan`."""
        check_problem(z, generators, guess, context_actions, horizon=self.horizon, bounds=self.bounds)
        return self._plan(Imagination(model, z, cost, context_actions, self.micro_batch), generators, guess)

    @abstractmethod
    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        """Solves a problem whose arguments fit."""


class SampledSearch(Search):
    """A search by samples in rounds: how much it does can be asked for, and changed.

    Args:
        bounds: allowed model actions.
        config: the options, among them the three of a `SearchSize`, and `micro_batch`.
    """

    def __init__(self, bounds: ActionBounds, config: Any) -> None:
        super().__init__(bounds, config.horizon, config.micro_batch)
        self.config = config

    @property
    def size(self) -> SearchSize:
        """How much it searches."""
        return SearchSize(self.config.horizon, self.config.num_samples, self.config.num_iterations)

    def resized(self, size: SearchSize) -> Self:
        """The same planner, with another size."""
        return type(self)(self.bounds, replace(self.config, **asdict(size), **self._kept(size.num_samples)))

    def _kept(self, num_samples: int) -> dict[str, int]:
        """Options that must fit the number of samples."""
        return {}


def white_noise(generators: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers [B, *shape], row i from generator i alone, whatever its neighbours draw."""
    rows = [torch.randn(*shape, generator=g, device=g.device) for g in generators]
    return to_device(torch.stack(rows), like)


def held_noise(generators: Sequence[torch.Generator], shape: Sequence[int], parts: int, like: Tensor) -> Tensor:
    """White noise [B, *shape], the same in all equal parts of its last axis: the primitive actions of a model step."""
    noise = white_noise(generators, (*shape[:-1], shape[-1] // parts), like)
    return noise if parts == 1 else noise.repeat(*[1] * len(shape), parts)


def coloured_noise(
    generators: Sequence[torch.Generator], shape: Sequence[int], exponent: float, like: Tensor
) -> Tensor:
    """Noise [B, ..., K, A] whose power along the steps K falls like frequency^-exponent (iCEM, 2008.06389).

    Every sequence of K numbers has mean square 1: with exponent 0 it is white up to that, with 2 it is a
    smooth drift that carries an agent far.
    """
    steps = shape[-2]
    white = white_noise(generators, shape, like)
    if steps == 1 or exponent == 0:
        return white
    frequency = torch.fft.rfftfreq(steps, device=white.device).clamp_min(1 / steps)  # the mean counts as the slowest
    spectrum = torch.fft.rfft(white.float(), dim=-2) * (frequency ** (-exponent / 2))[:, None]
    noise = torch.fft.irfft(spectrum, n=steps, dim=-2)
    return (noise / noise.square().mean(-2, keepdim=True).sqrt().clamp_min(1e-12)).to(white)


def half_range(bounds: ActionBounds, like: Tensor) -> Tensor:
    """Half the range of every action dimension [A], the unit of `init_std` and `min_std`."""
    return to_device(torch.from_numpy(_half_range(bounds)), like)


@lru_cache(maxsize=64)
def _half_range(bounds: ActionBounds) -> np.ndarray:
    if not np.isfinite(bounds.high - bounds.low).all() or not (bounds.high > bounds.low).any():
        raise ConfigError(
            f"`bounds` must be finite with low < high; got {bounds.low} to {bounds.high}. Give the range to search."
        )
    half = (bounds.high.astype(np.float32) - bounds.low.astype(np.float32)) / 2
    return np.where(half > 0, half, 1).astype(np.float32)  # an axis with one value stays there by clipping


def centre(bounds: ActionBounds, like: Tensor) -> Tensor:
    """The allowed action [A] in the middle of the bounds, where a search without a guess starts."""
    low, high = to_device(torch.as_tensor(bounds.low), like), to_device(torch.as_tensor(bounds.high), like)
    return bounds.clip((low + high) / 2)


def around(centres: Tensor, width: Tensor, noise: Tensor, bounds: ActionBounds) -> Tensor:
    """Allowed plans [B, S, K, A] around allowed plans [B, S, K, A].

    Args:
        centres: allowed.
        width: [S, 1, 1] standard deviations in half ranges, 0 for the centre itself; for categories, how much of
            uniform chance is mixed in, 1 or more being all of it.
        noise: [B, S, K, A] of unit variance.
        bounds: allowed actions.
    """
    if bounds.categories:
        return bounds.clip(torch.lerp(centres, chance(bounds, centres), width.clamp(max=1)).log() + gumbel(noise))
    return bounds.clip(torch.addcmul(centres, width * half_range(bounds, centres), noise))


def chance(bounds: ActionBounds, like: Tensor) -> Tensor:
    """Probability [A] of every choice where all of its group are equally likely."""
    return to_device(torch.from_numpy(np.repeat(np.divide(1, bounds.categories), bounds.categories)), like)


def gumbel(noise: Tensor) -> Tensor:
    """Standard normal numbers as Gumbel ones, which choose by the largest of log-probability plus noise."""
    return -(-torch.special.log_ndtr(noise)).log()


def num_knots(horizon: int, knot_steps: int) -> int:
    """Number of free actions of a plan, each held for `knot_steps` steps, the last one perhaps for fewer."""
    return -(-horizon // knot_steps)


def hold(knots: Tensor, knot_steps: int, horizon: int) -> Tensor:
    """Holds each free action: [..., K, A] to [..., H, A]."""
    return knots if knot_steps == 1 else knots.repeat_interleave(knot_steps, -2)[..., :horizon, :]


def to_knots(actions: Tensor, knot_steps: int) -> Tensor:
    """Averages a plan over the steps of each knot, which undoes `hold`: [..., H, A] to [..., K, A]."""
    if knot_steps == 1:
        return actions
    horizon = actions.shape[-2]
    whole = horizon // knot_steps * knot_steps
    knots = actions[..., :whole, :].unflatten(-2, (-1, knot_steps)).mean(-2)
    if whole == horizon:
        return knots
    return torch.cat([knots, actions[..., whole:, :].mean(-2, keepdim=True)], -2)


def shift(actions: Tensor, steps: int) -> Tensor:
    """Drops the executed steps of a plan [B, H, A] and repeats its last action, for a warm start."""
    horizon = actions.shape[1]
    if steps >= horizon:
        return actions[:, -1:].repeat(1, horizon, 1)
    return torch.cat([actions[:, steps:], actions[:, -1:].expand(-1, steps, -1)], 1)


def check_problem(
    z: Tensor,
    generators: Sequence[torch.Generator],
    guess: Tensor | None,
    context_actions: Tensor | None,
    *,
    horizon: int,
    bounds: ActionBounds,
) -> None:
    """Checks the arguments of `Planner.plan` against its contract.

    Raises:
        ShapeError: naming the argument.
    """
    sizes = check_shape(z, "B T N D", name="z")
    batch, context = sizes["B"], sizes["T"]
    if len(generators) != batch:
        raise ShapeError(f"`generators` must be one per environment ({batch}); got {len(generators)}.")
    if guess is not None:
        check_shape(guess, f"B={batch} H={horizon} A={bounds.dim}", name="guess")
    if context_actions is None and context > 1:
        raise ShapeError(
            f"`context_actions` must be [{batch}, {context - 1}, {bounds.dim}], the actions between "
            f"the {context} context states; got None."
        )
    if context_actions is not None:
        check_shape(context_actions, f"B={batch} T={context - 1} A={bounds.dim}", name="context_actions")
