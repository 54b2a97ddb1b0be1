"""The two crossings between the host and a device. A step has no others, so that the host never waits by accident."""

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray | Tensor  # what a world shows, or what was made of it


def to_host(x: Tensor) -> Tensor:
    """Copies a tensor to the host, which waits until the device has come that far.

    For what the host must know to go on: the actions of an agent, whether anything is left to search. Every call is
    a wait, so ask once per decision, for one tensor.
    """
    return x.detach().to("cpu")


def to_device(x: Tensor, like: Tensor | torch.device) -> Tensor:
    """Copies what was made on the host to a device, or to device and dtype of a tensor; the host does not wait."""
    device = like.device if isinstance(like, Tensor) else like
    return x.to(like, non_blocking=device.type == "cuda")
