"""The prediction loss of every JEPA: how far predicted latents are from encoded ones.

Gradients are not stopped here. With an EMA target the caller detaches `z_target`; LeWM and PLDM let gradients
flow through both sides, which is why they need a term against collapse.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError, ShapeError

PredictionLoss = Literal["l1", "l2", "smooth_l1"]


def latent_prediction_loss(
    z_pred: Tensor, z_target: Tensor, kind: PredictionLoss = "l2", *, weights: Tensor | None = None
) -> Tensor:
    """Mean distance between predicted and target latents, both [..., D]; a scalar.

    Args:
        z_pred: [..., D].
        z_target: [..., D], the same shape.
        kind: `l2` is the squared error (LeWM, PLDM), `l1` the absolute one (V-JEPA), `smooth_l1` squared / 2
            below 1 and absolute - 1/2 above (I-JEPA).
        weights: factors that broadcast against [...], e.g. [T, 1] for steps of a rollout [B, T, N, D]; the
            plain mean of weighted distances is taken, so weights of 1 change nothing.
    """
    if z_pred.shape != z_target.shape:
        raise ShapeError(f"`z_pred` must be {list(z_target.shape)} like `z_target`; got {list(z_pred.shape)}.")
    if kind == "l2":
        distance = (z_pred - z_target).square()
    elif kind == "l1":
        distance = (z_pred - z_target).abs()
    elif kind == "smooth_l1":
        distance = functional.smooth_l1_loss(z_pred, z_target, reduction="none")
    else:
        raise ConfigError(f"`kind` must be l1, l2 or smooth_l1; got {kind}.")
    if weights is None:
        return distance.mean()
    return (distance.mean(-1) * weights).mean()
