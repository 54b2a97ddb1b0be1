"""Actions in the environment's units: a model standardises them itself, by statistics that its checkpoint holds."""

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape


def set_moments(known_mean: Tensor, known_std: Tensor, mean: Tensor, std: Tensor, axis: str) -> None:
    """Fills buffers of a model, [`axis`] each, with the mean and the standard deviation of its training data.

    Raises:
        ShapeError: for another number of columns.
        ConfigError: for a deviation of 0.
    """
    check_shape(mean, f"{axis}={len(known_mean)}", name="mean")
    check_shape(std, f"{axis}={len(known_mean)}", name="std")
    if not bool((std > 0).all()):
        raise ConfigError(f"`std` must be above 0 in every column; got {std.tolist()}. Use 1 for a constant one.")
    known_mean.copy_(mean)
    known_std.copy_(std)


class StandardisesActions(nn.Module):
    """What every model of actions begins with.

    Args:
        action_dim: width A of a model action.
    """

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, action_dim: int) -> None:
        super().__init__()
        self.register_buffer("action_mean", torch.zeros(action_dim))
        self.register_buffer("action_std", torch.ones(action_dim))

    def set_action_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Sets by which mean [A] and std [A] of the training actions the model standardises its actions."""
        set_moments(self.action_mean, self.action_std, mean, std, "A")

    def after_step(self, step: int) -> None:
        """Nothing follows a step, unless a method says otherwise."""

    def _standardised(self, actions: Tensor) -> Tensor:
        return (actions - self.action_mean) / self.action_std
