"""iCEM (2008.06389): CEM with coloured noise and kept elites, which needs several times fewer samples.

From the paper: noise whose spectrum falls with frequency, elites that take part in the next iteration,
momentum, the mean as a candidate, the best plan instead of the mean. Left out: elites carried over between
decisions (the acting loop carries the best plan over as the guess) and the decay of the number of samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.planning.candidates import Imagination, SampledSearch, coloured_noise, num_knots
from openjepa.planning.cem import CEMConfig, cross_entropy_search
from openjepa.protocols import ActionBounds, Plan


@dataclass(frozen=True)
class ICEMConfig:
    """Options of iCEM; the others are those of `CEMConfig`.

    Attributes:
        noise_exponent: beta; power falls like frequency^-beta, 0 is white noise.
        num_kept: elites that take part in the next iteration, in [0, num_elites].
        momentum: share of the old mean and std that an iteration keeps.
    """

    horizon: int = 12
    num_samples: int = 64
    num_elites: int = 10
    num_iterations: int = 4
    init_std: float = 0.7
    min_std: float = 0.05
    knot_steps: int = 1
    noise_exponent: float = 2.0
    num_kept: int = 5
    momentum: float = 0.1
    micro_batch: int | None = 2048

    def __post_init__(self) -> None:
        if self.noise_exponent < 0:
            raise ConfigError(f"`noise_exponent` must be >= 0; got {self.noise_exponent}.")
        if not 0 <= self.num_kept <= min(self.num_elites, self.num_samples - 2):
            raise ConfigError(f"`num_kept` must be in [0, {self.num_elites}]; got {self.num_kept}.")
        self.search()  # validates the rest

    def search(self) -> CEMConfig:
        """The part that is shared with CEM."""
        return CEMConfig(
            horizon=self.horizon,
            num_samples=self.num_samples,
            num_elites=self.num_elites,
            num_iterations=self.num_iterations,
            init_std=self.init_std,
            min_std=self.min_std,
            knot_steps=self.knot_steps,
            momentum=self.momentum,
            micro_batch=self.micro_batch,
        )


class ICEM(SampledSearch):
    """CEM with temporally correlated noise; see `CEM` and `openjepa.protocols.Planner`."""

    config: ICEMConfig

    def __init__(self, bounds: ActionBounds, config: ICEMConfig | None = None) -> None:
        super().__init__(bounds, config or ICEMConfig())

    def _kept(self, num_samples: int) -> dict[str, int]:
        elites = min(self.config.num_elites, max(2, num_samples // 2))
        return {"num_elites": elites, "num_kept": min(self.config.num_kept, elites)}

    def _plan(self, problem: Imagination, generators: Sequence[torch.Generator], guess: Tensor | None) -> Plan:
        c = self.config
        shape = (c.num_iterations, c.num_samples, num_knots(c.horizon, c.knot_steps), self.bounds.dim)
        noise = coloured_noise(generators, shape, c.noise_exponent, problem.z)
        return cross_entropy_search(problem, self.bounds, c.search(), noise, guess, num_kept=c.num_kept)
