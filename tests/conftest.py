"""Worlds whose best plans are known on paper."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from openjepa.eval.health.conformance import PointWorld
from openjepa.nn.random import keyed_generator
from openjepa.protocols import ActionBounds

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when MuJoCo is first imported, whichever test does it


class RecordingWorld(PointWorld):
    """The point world, remembering every batch of actions that it was asked about."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        self.seen.append(actions.clone())
        return super().rollout(z, actions)


class DelayedWorld:
    """Not Markov: an action moves the point by a quarter in this step and again in the next one."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        return PointWorld().encode(frames)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1)
        moves = (actions + before)[:, z.shape[1] - 1 :] / 4
        return z[:, -1:] + moves.cumsum(1).unsqueeze(2)


@pytest.fixture
def box() -> ActionBounds:
    return ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))


@pytest.fixture
def disc() -> ActionBounds:
    return ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32), max_norm=1.0)


@pytest.fixture
def streams() -> Callable[[int], list[torch.Generator]]:
    return lambda count: [keyed_generator(0, i) for i in range(count)]


@pytest.fixture
def recording_world() -> RecordingWorld:
    return RecordingWorld()


@pytest.fixture
def delayed_world() -> DelayedWorld:
    return DelayedWorld()


GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden():
    return GOLDEN
