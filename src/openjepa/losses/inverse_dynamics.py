"""Inverse dynamics: actions must be readable from successive latents, so what they move stays encoded.

The one published term that is enough by itself against collapse (SMWM, 2606.20104), and the one that
EB-JEPA's ablation (2602.03604) misses most. Latents are encoded ones, never predicted, and the gradient
reaches the encoder.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ShapeError, check_shape


def inverse_dynamics_loss(
    head: Callable[[Tensor, Tensor], Tensor], z: Tensor, actions: Tensor, *, categories: Sequence[int] = ()
) -> Tensor:
    """Mean squared error of the actions that `head` reads from successive states, or their cross-entropy; a scalar.

    Args:
        head: (z_now [B, T, N, D], z_next [B, T, N, D]) -> actions [B, T, A]; log-odds for categories.
        z: encoded states [B, T + 1, N, D].
        actions: [B, T, A]; `actions[:, t]` leads from `z[:, t]` to `z[:, t + 1]`.
        categories: sizes of the one-hot groups of an action, whose cross-entropies are averaged; empty for numbers.
    """
    sizes = check_shape(z, "B T N D", name="z")
    steps = sizes["T"] - 1
    check_shape(actions, f"B T={steps} A", name="actions", sizes={"B": sizes["B"]})
    predicted = head(z[:, :-1], z[:, 1:])  # [B, T, A]
    if predicted.shape != actions.shape:
        raise ShapeError(f"`head` must return {list(actions.shape)}; got {list(predicted.shape)}.")
    if categories:
        groups = zip(predicted.split(list(categories), -1), actions.split(list(categories), -1), strict=True)
        return torch.stack([choice_loss(odds, choice) for odds, choice in groups]).mean()
    return (predicted - actions).square().mean()


def choice_loss(odds: Tensor, choice: Tensor) -> Tensor:
    """Cross-entropy of one-hot choices [..., A] under log-odds [..., A]; a scalar in nats."""
    return functional.cross_entropy(odds.flatten(0, -2), choice.flatten(0, -2).argmax(-1))
