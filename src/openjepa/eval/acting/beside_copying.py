"""How wrong imagined states are after each step, beside copying: a model that is no better has learned no action.

Errors are in the latent's own units, so only their quotients compare between models (`rollout_error.py` reads states
out in the world's).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import WorldModel


@dataclass(frozen=True)
class BesideCopying:
    """Mean absolute errors after 1 ... H steps.

    Attributes:
        predicted: of the roll-out.
        copied: of the first state, kept.
        shuffled: of a roll-out under the actions of other rows.
    """

    predicted: tuple[float, ...]
    copied: tuple[float, ...]
    shuffled: tuple[float, ...]

    @property
    def share(self) -> tuple[float, ...]:
        """The error in that of copying; below 1 where the model is better."""
        return tuple(mine / max(still, 1e-12) for mine, still in zip(self.predicted, self.copied, strict=True))


@torch.no_grad()
def beside_copying(
    model: WorldModel, z: Tensor, actions: Tensor, *, dim: int | None = None, batch_size: int = 256
) -> BesideCopying:
    """Rolls out from the first state of every row.

    Args:
        model: any world model.
        z: [B, H + 1, N, D] true states.
        actions: [B, H, A] between them.
        dim: leading dimensions of a state that are compared; all where None.
        batch_size: rows in one call of the model.
    """
    sizes = check_shape(z, "B T N D", name="z")
    steps = sizes["T"] - 1
    check_shape(actions, f"B={sizes['B']} T={steps} A", name="actions")
    if steps < 1 or not sizes["B"]:
        raise ConfigError(f"`z` must hold at least one row of 2 states; got {list(z.shape)}.")
    totals = torch.zeros(3, steps, dtype=torch.float64)
    others = actions.roll(1, 0)
    for rows in torch.arange(sizes["B"]).split(batch_size):
        first, truth = z[rows, :1], z[rows, 1:, :, :dim]
        found = (model.rollout(first, actions[rows]), first, model.rollout(first, others[rows]))
        for total, states in zip(totals, found, strict=True):
            total += (states[..., :dim] - truth).abs().mean((-2, -1)).sum(0).double().cpu()
    return BesideCopying(*(tuple(row) for row in (totals / sizes["B"]).tolist()))
