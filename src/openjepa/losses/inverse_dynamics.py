"""Inverse dynamics: actions must be readable from successive latents, so what they move stays encoded.

The one published term that is enough by itself against collapse (SMWM, 2606.20104), and the one that
EB-JEPA's ablation (2602.03604) misses most. Latents are encoded ones, never predicted, and the gradient
reaches the encoder.
"""

from collections.abc import Callable

from torch import Tensor

from openjepa.errors import ShapeError, check_shape


def inverse_dynamics_loss(head: Callable[[Tensor, Tensor], Tensor], z: Tensor, actions: Tensor) -> Tensor:
    """Mean squared error of the actions that `head` reads from successive states; a scalar.

    Args:
        head: (z_now [B, T, N, D], z_next [B, T, N, D]) -> actions [B, T, A].
        z: encoded states [B, T + 1, N, D].
        actions: [B, T, A]; `actions[:, t]` leads from `z[:, t]` to `z[:, t + 1]`.
    """
    sizes = check_shape(z, "B T N D", name="z")
    steps = sizes["T"] - 1
    check_shape(actions, f"B T={steps} A", name="actions", sizes={"B": sizes["B"]})
    predicted = head(z[:, :-1], z[:, 1:])  # [B, T, A]
    if predicted.shape != actions.shape:
        raise ShapeError(f"`head` must return {list(actions.shape)}; got {list(predicted.shape)}.")
    return (predicted - actions).square().mean()


def unexplained_variance(loss: Tensor, actions: Tensor) -> Tensor:
    """The inverse-dynamics loss divided by the variance of the actions [..., A]; detached.

    1 means that latents say nothing about the action (the agent is not encoded), 0 that they say all.
    """
    flat = actions.detach().flatten(0, -2)
    return loss.detach() / flat.var(0, correction=0).mean().clamp_min(1e-12)
