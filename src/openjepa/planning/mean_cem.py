"""The cross-entropy method of V-JEPA 2-AC (arXiv 2506.09985): it returns the mean, and every axis has its own rule.

It differs from `CEM` in what robots ask for: axes that are not searched, axes that are set from a step on (a
gripper that closes), a width, a limit and a momentum for each axis, and a dead zone of what is returned. The
mean is not a candidate, and there is no lower limit of the width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.nn.host import to_device, to_host
from openjepa.planning.candidates import Imagination, Search, white_noise
from openjepa.planning.categorical import require_box
from openjepa.protocols import ActionBounds, Plan


@dataclass(frozen=True)
class MeanCEMConfig:
    """Options of `MeanCEM`. What is given per axis of an action has one entry, or A of them.

    Attributes:
        horizon: length H of a plan in model steps, >= 1.
        num_samples: candidates S per iteration and environment, > `num_elites`.
        num_elites: kept candidates, >= 2.
        num_iterations: rounds, >= 1.
        init_std: first standard deviation per axis, in half ranges of the bounds, > 0.
        limit: share of the half range that a sample stays within, per axis, in (0, 1].
        max_l1: largest L1 norm of the axes `l1_axes`, in their unit; longer samples are shortened; None is off.
        l1_axes: those axes.
        momentum_mean: share of the old mean that an iteration keeps, per axis, in [0, 1).
        momentum_std: share of the old standard deviation, likewise.
        fixed: (axis, value) of axes that are not searched.
        forced: (axis, first step, value): samples have this value from that step on, whatever the limit.
        dead_zone: an action that is returned is 0 where its absolute value is below this, per axis.
        micro_batch: candidates of all environments in one call of the model; None is all at once. It sets how much
            memory a decision takes.
        cost_stop: an environment's search ends when the costs of its elites differ by less than this share of how much
            those of its first candidates differed; None goes through all iterations. Costs, not actions: what the
            cost does not see never agrees.
    """

    horizon: int = 2
    num_samples: int = 400
    num_elites: int = 10
    num_iterations: int = 10
    init_std: tuple[float, ...] = (1.0,)
    limit: tuple[float, ...] = (1.0,)
    max_l1: float | None = None
    l1_axes: tuple[int, ...] = (0, 1, 2)
    momentum_mean: tuple[float, ...] = (0.15,)
    momentum_std: tuple[float, ...] = (0.15,)
    fixed: tuple[tuple[int, float], ...] = ()
    forced: tuple[tuple[int, int, float], ...] = ()
    dead_zone: tuple[float, ...] = (0.0,)
    micro_batch: int | None = 2048
    cost_stop: float | None = None

    def __post_init__(self) -> None:
        if min(self.horizon, self.num_iterations) < 1:
            raise ConfigError("`horizon` and `num_iterations` must be at least 1.")
        if not 2 <= self.num_elites < self.num_samples:
            raise ConfigError(
                f"`num_elites` must be at least 2 and below `num_samples` ({self.num_samples}); got {self.num_elites}."
            )
        if min(self.init_std) <= 0 or not all(0 < x <= 1 for x in self.limit) or min(self.dead_zone) < 0:
            raise ConfigError("`init_std` must be > 0, `limit` in (0, 1] and `dead_zone` >= 0, for every axis.")
        if not all(0 <= x < 1 for x in self.momentum_mean + self.momentum_std):
            raise ConfigError("`momentum_mean` and `momentum_std` must be in [0, 1), for every axis.")
        if self.max_l1 is not None and self.max_l1 <= 0:
            raise ConfigError(f"`max_l1` must be > 0, or None for no limit; got {self.max_l1}.")
        if self.cost_stop is not None and self.cost_stop <= 0:
            raise ConfigError(f"`cost_stop` must be > 0, or None for all iterations; got {self.cost_stop}.")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"`micro_batch` must be positive, or None for no limit; got {self.micro_batch}.")


class MeanCEM(Search):
    """Cross-entropy method that returns its last mean; see `openjepa.protocols.Planner`.

    With a guess, the guess is returned where the mean costs more.

    Args:
        bounds: allowed model actions.
        config: the options.
    """

    def __init__(self, bounds: ActionBounds, config: MeanCEMConfig | None = None) -> None:
        require_box(bounds, "MeanCEM")
        self.config = config or MeanCEMConfig()
        super().__init__(bounds, self.config.horizon, self.config.micro_batch)
        axes = [axis for axis, *_ in (*self.config.fixed, *self.config.forced)]
        if any(not 0 <= axis < bounds.dim for axis in axes):
            raise ConfigError(f"`fixed` and `forced` must name axes below {bounds.dim}; got {axes}.")

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        c = self.config
        noise = white_noise(generators, (c.num_iterations, c.num_samples, c.horizon, self.bounds.dim), problem.z)
        return self.search(problem, noise, guess)

    @torch.no_grad()
    def search(self, problem: Imagination, noise: Tensor, guess: Tensor | None = None) -> Plan:
        """The search itself, given its random numbers.

        Args:
            problem: what is to be solved.
            noise: [B, iterations, S, H, A] of unit variance.
            guess: [B, H, A] or None.
        """
        c, batch = self.config, len(noise)
        half = (self._axes(self.bounds.high, noise) - self._axes(self.bounds.low, noise)) / 2
        middle = (self._axes(self.bounds.high, noise) + self._axes(self.bounds.low, noise)) / 2
        mean = (middle if guess is None else guess).expand(batch, c.horizon, -1).clone()  # [B, H, A]
        std = (self._axes(c.init_std, noise) * half).expand_as(mean)
        for axis, value in c.fixed:
            mean[..., axis] = value
        keep_mean, keep_std = self._axes(c.momentum_mean, noise), self._axes(c.momentum_std, noise)
        history: list[Tensor] = []
        searching = torch.ones(batch, 1, 1, dtype=torch.bool, device=mean.device)
        first = mean.new_zeros(batch)  # difference of the first candidates' costs
        for i in range(c.num_iterations):
            candidates = self._allowed(noise[:, i] * std.unsqueeze(1) + mean.unsqueeze(1), middle, half)
            costs = problem.scores(candidates)  # [B, S]
            elite_cost, elite = costs.topk(c.num_elites, dim=1, largest=False)
            elites = candidates.take_along_dim(elite[..., None, None], 1)  # [B, E, H, A]
            # Who has settled stays as it is, so that nobody's plan depends on how long others search.
            mean = torch.where(searching, elites.mean(1) * (1 - keep_mean) + mean * keep_mean, mean)
            std = torch.where(searching, elites.std(1) * (1 - keep_std) + std * keep_std, std)  # unbiased
            history.append(elite_cost[:, 0])
            if c.cost_stop is not None:
                first = costs.amax(1) - costs.amin(1) if i == 0 else first
                agree = elite_cost[:, -1] - elite_cost[:, 0] < c.cost_stop * first
                searching = searching & ~agree[:, None, None]
                if not to_host(searching.any()):
                    break
        found = self.bounds.clip(torch.where(mean.abs() < self._axes(c.dead_zone, noise), 0.0, mean))
        finalists = found.unsqueeze(1) if guess is None else torch.stack([found, self.bounds.clip(guess)], 1)
        steps = len(history) * c.num_samples * c.horizon
        return problem.best_plan(finalists, steps, {"best_cost": torch.stack(history, 1)})

    def _allowed(self, samples: Tensor, middle: Tensor, half: Tensor) -> Tensor:
        """Samples [B, S, H, A], cut to limit, box and L1 ball, with their fixed and forced entries."""
        c, reach = self.config, self._axes(self.config.limit, samples) * half
        samples = self.bounds.clip(samples.maximum(middle - reach).minimum(middle + reach))
        if c.max_l1 is not None:
            axes = to_device(torch.tensor(c.l1_axes), samples.device)
            length = samples[..., axes].abs().sum(-1, keepdim=True).clamp_min(1e-12)
            samples[..., axes] *= (c.max_l1 / length).clamp(max=1.0)
        for axis, value in c.fixed:
            samples[..., axis] = value
        for axis, first, value in c.forced:
            samples[..., first:, axis] = value
        return samples

    def _axes(self, values: Sequence[float] | np.ndarray, like: Tensor) -> Tensor:
        """One number per axis of an action, [A]."""
        if len(values) not in (1, self.bounds.dim):
            raise ConfigError(f"options per axis must have 1 or {self.bounds.dim} entries; got {list(values)}.")
        return to_device(torch.as_tensor(values, dtype=like.dtype), like.device).expand(self.bounds.dim)


def vjepa2_ac_planner(
    *,
    max_step: float = 0.075,
    horizon: int = 2,
    num_samples: int = 400,
    num_iterations: int = 10,
    close_gripper: int | None = None,
    fixed: tuple[tuple[int, float], ...] = (),
    momentum: tuple[float, float] = (0.15, 0.15),
    gripper_momentum: tuple[float, float] = (0.15, 0.15),
    num_elites: int = 10,
    max_l1: float | None = None,
    micro_batch: int | None = 2048,
    cost_stop: float | None = None,
) -> MeanCEM:
    """The planner that was published with V-JEPA 2-AC: steps of the hand and of the gripper, no rotation.

    Each axis of a step is limited to `max_step`, as the code does it; the paper writes of an L1 ball, which is
    `max_l1`. The gripper's samples stay within 0.75, and below 0.25 it is not moved.

    Args:
        max_step: largest step of x, y, z each (m).
        horizon: model steps; the paper 1, the code 2.
        num_samples: candidates; the paper 800, the code 400.
        num_iterations: rounds.
        close_gripper: from this step on the gripper closes (its action is 1 in every candidate); None leaves it free.
        fixed: (axis, value) of further axes that are not searched, beside the three rotations.
        momentum: kept share of mean and standard deviation of x, y, z.
        gripper_momentum: likewise of the gripper.
        num_elites: kept candidates.
        max_l1: largest |x| + |y| + |z| of a step (m); None is off.
        micro_batch: candidates in one call of the model; None is all at once.
        cost_stop: see `MeanCEMConfig`.
    """
    reach = np.array([max_step] * 3 + [np.pi] * 3 + [1.0], np.float32)
    return MeanCEM(
        ActionBounds(-reach, reach),
        MeanCEMConfig(
            horizon=horizon,
            num_samples=num_samples,
            num_elites=num_elites,
            num_iterations=num_iterations,
            limit=(*(1.0,) * 6, 0.75),
            max_l1=max_l1,
            micro_batch=micro_batch,
            cost_stop=cost_stop,
            momentum_mean=(*(momentum[0],) * 6, gripper_momentum[0]),
            momentum_std=(*(momentum[1],) * 6, gripper_momentum[1]),
            fixed=((3, 0.0), (4, 0.0), (5, 0.0), *fixed),
            forced=() if close_gripper is None else ((6, close_gripper, 1.0),),
            dead_zone=(*(0.0,) * 6, 0.25),
        ),
    )
