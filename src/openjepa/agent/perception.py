"""Perception: pictures come in, states of the world model go out.

A state may be more than one frame can tell (a velocity, a place behind the viewer): then the latest `history` frames
of each environment are encoded together and the state of the last one counts. In a goal, one picture, nothing moves.
What a state remembers (`RememberingModel`) is carried on from the state one model step ago, by what was done since.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ShapeError, check_shape
from openjepa.nn.host import to_device
from openjepa.protocols import RememberingModel, WorldModel


class Perception:
    """Encodes what a batch of environments sees.

    Args:
        model: a world model in evaluation mode.
        history: latest frames that a state is computed from, >= 1.
        device: where frames are encoded.
        frame_shape: (C, H, W) that pictures must have, or None for whatever the model takes.
        looks: remembered frames per model step, >= 1; the frames of a state lie a model step apart.
        frameskip: primitive actions of a model step, >= 1.

    Attributes:
        remembers: whether states carry something on, so that every look and every action counts.
    """

    def __init__(
        self,
        model: WorldModel,
        history: int = 1,
        device: str = "cpu",
        frame_shape: tuple[int, int, int] | None = None,
        looks: int = 1,
        frameskip: int = 1,
    ) -> None:
        self.model, self.history, self.device, self.frame_shape = model, history, device, frame_shape
        self.looks, self.frameskip = looks, frameskip
        self.remembers = isinstance(model, RememberingModel) and model.memory_dim > 0
        self._seen: list[Tensor] = []  # latest frames of all environments, each [B, C, H, W], oldest first
        self._states: list[Tensor] = []  # their latest states, each [B, N, D], one for each look
        self._done: list[Tensor] = []  # their latest primitive actions, each [B, A]

    def start(self) -> None:
        """Forgets what was seen and done."""
        self._seen, self._states, self._done = [], [], []

    def did(self, actions: Tensor) -> None:
        """Keeps the primitive actions [B, A] of all environments, for states that remember."""
        if self.remembers:
            self._done = [*self._done, actions.clone()][-self.frameskip :]

    def goal(self, pictures: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None = None) -> Tensor:
        """States [B, N, D] of goal pictures [B, C, H, W] uint8."""
        frames = self.check(pictures, "goal_frames")
        return self._encode(frames.unsqueeze(1).expand(-1, self.history, -1, -1, -1), proprio)

    def remember(self, frames: np.ndarray | Tensor) -> None:
        """Keeps frames [B, C, H, W] for later states; an agent that decides rarely still sees every frame."""
        if self.history > 1:
            self._seen = [*self._seen, self.check(frames, "frames")][-1 - (self.history - 1) * self.looks :]

    def state(self, frames: np.ndarray | Tensor, proprio: np.ndarray | Tensor | None, rows: Tensor) -> Tensor:
        """States [R, N, D] of some environments in the frames [B, C, H, W] that were last remembered.

        Args:
            frames: what all environments see now.
            proprio: [B, P] or None.
            rows: [R] which of them are encoded.
        """
        seen = self._seen if self.history > 1 else [self.check(frames, "frames")]
        ages = (k * self.looks for k in reversed(range(self.history)))
        known = [seen[max(0, len(seen) - 1 - age)] for age in ages]  # before the first frame nothing moved
        clip = torch.stack([one[to_device(rows, one.device)] for one in known], 1)
        z = self._encode(clip, None if proprio is None else torch.as_tensor(proprio)[rows])
        return self._carried_on(z, rows, len(frames)) if self.remembers else z

    def _carried_on(self, z: Tensor, rows: Tensor, batch: int) -> Tensor:
        """States [R, N, D] of some of a batch of environments, with what they remember of a model step ago."""
        assert isinstance(self.model, RememberingModel)
        there = to_device(rows, z.device)
        if len(self._states) == self.looks and len(self._done) == self.frameskip:
            done = torch.cat(self._done, 1)[rows].to(z)  # [R, frameskip * A]
            z = self.model.carry(self._states[0][there], done, z)
        whole = z.new_zeros(batch, *z.shape[1:])  # environments that have finished remember nothing
        whole[there] = z
        self._states = [*self._states, whole][-self.looks :]
        return z

    def check(self, pictures: np.ndarray | Tensor, name: str) -> Tensor:
        """The pictures as a tensor [B, C, H, W].

        Raises:
            ShapeError: where they are not uint8, or of another size than the agent sees.
        """
        images = torch.as_tensor(pictures)
        check_shape(images, "B C H W", name=name)
        if images.dtype != torch.uint8:
            raise ShapeError(f"`{name}` must be uint8 pixels; got {images.dtype}.")
        if self.frame_shape is not None and tuple(images.shape[1:]) != tuple(self.frame_shape):
            raise ShapeError(
                f"`{name}` must be {_size(self.frame_shape)} like the pictures that this agent learned from; got "
                f"{_size(images.shape[1:])}. Resize them."
            )
        return images

    def _encode(self, clip: Tensor, proprio: np.ndarray | Tensor | None) -> Tensor:
        """States [B, N, D] of the last of frames [B, T, C, H, W]."""
        own, device = None, torch.device(self.device)
        if proprio is not None:
            own = to_device(torch.as_tensor(proprio, dtype=torch.float32), device)[:, None]
            own = own.expand(-1, clip.shape[1], -1)
        return self.model.encode(to_device(clip, device), own)[:, -1]


def _size(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} px with {channels} channels"
