"""A state with a memory: what one picture does not show, carried on from what was seen and done before.

A ball behind a wall, or beyond the border of the picture, looks the same wherever it is and however fast it rolls. A
*memory* is a pair (`latent_states.PairState`) and the hidden state of a recurrent cell, which sees the pair and the
action of every step: in the world what is seen, in imagination what is foretold. Nothing tells it what to keep but that
poses must be foretold from it (a deterministic state-space model, as in 1811.04551, of latents that are there already).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.models.latent_predictor import LatentPredictorConfig, build_scale, change_network
from openjepa.models.latent_states import STATES, FrameState, PairReadout, PairState


@dataclass(frozen=True)
class MemoryState(PairState):
    """A state is a pose, the way from the pose before, and what is remembered.

    Attributes:
        pose_dim: width D of a pose.
        memory_dim: width M of what is remembered, 0 everywhere before anything was seen.
    """

    memory_dim: int = 0

    @property
    def dim(self) -> int:
        """Width of a state: pose, velocity and memory."""
        return 2 * self.pose_dim + self.memory_dim

    def of(self, poses: Tensor) -> Tensor:
        """Poses [B, T, N, D] of successive frames to states [B, T, N, 2 D + M] that remember nothing yet."""
        return torch.cat([super().of(poses), poses.new_zeros(*poses.shape[:-1], self.memory_dim)], -1)

    def predictor(self, config: LatentPredictorConfig, action_dim: int) -> nn.Module:
        """Builds a predictor of the next state."""
        return MemoryPredictor(config, self.pose_dim, action_dim, self.memory_dim)

    def readout(self, action_dim: int, scene_dim: int = 0) -> nn.Module:
        """Builds inverse dynamics, which reads actions from three successive poses."""
        return PairReadout(self.pose_dim, action_dim)


def build_states(kind: str, pose_dim: int, memory_dim: int) -> FrameState | PairState:
    """What states are made of; see `latent_states.STATES`. Those with a memory are pairs."""
    return MemoryState(pose_dim, memory_dim) if memory_dim else STATES[kind](pose_dim)


def carried_on(z: Tensor, actions: Tensor, carry: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """States [B, T, N, D] of whole rows with what each of them remembers of those before.

    Args:
        z: as they are encoded.
        actions: [B, T - 1, A] between them.
        carry: see `RememberingModel.carry`.
    """
    row = list(z.unbind(1))
    for t in range(1, len(row)):
        row[t] = carry(row[t - 1], actions[:, t - 1], row[t])
    return torch.stack(row, 1)


class MemoryPredictor(nn.Module):
    """p' = p + MLP([p, dp, m, a]) and m' = GRU([p, dp, a], m): states [B, T, 2 D + M], actions [B, T, A] to the next.

    The last layer of the MLP starts at zero: at first nothing moves.
    """

    def __init__(self, config: LatentPredictorConfig, pose_dim: int, action_dim: int, memory_dim: int) -> None:
        super().__init__()
        if config.kind != "mlp":
            raise ConfigError(f"`kind` of the predictor must be mlp for states with a memory; got {config.kind}.")
        self.sizes = [pose_dim, pose_dim, memory_dim]
        self.scale = build_scale(config, pose_dim)
        self.change = change_network(config, 2 * pose_dim + memory_dim + action_dim, pose_dim)
        self.cell = nn.GRUCell(2 * pose_dim + action_dim, memory_dim)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(z.device.type, enabled=False):
            pose, seen, kept, actions = self._seen(z, actions)
            step = self.scale.to_steps(self.change(torch.cat([seen, kept, actions], -1)))
            return torch.cat([pose + step, step, self._carried(seen, kept, actions)], -1)

    def carried(self, z: Tensor, actions: Tensor) -> Tensor:
        """What is remembered [..., M] after states [..., 2 D + M] and the actions [..., A] that were taken in them."""
        with torch.autocast(z.device.type, enabled=False):
            return self._carried(*self._seen(z, actions)[1:])

    def rollout(self, z: Tensor, actions: Tensor, scene_dim: int = 0) -> Tensor:
        """States [B, H, 2 D + M] after each of actions [B, H, A] from z [B, 2 D + M]; none of them stays."""
        path = []
        for action in actions.unbind(1):
            z = self(z, action)
            path.append(z)
        return torch.stack(path, 1)

    def _seen(self, z: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pose, way, kept = z.float().split(self.sizes, -1)
        return pose, torch.cat([self.scale.of_states(pose), self.scale.of_steps(way)], -1), kept, actions.float()

    def _carried(self, seen: Tensor, kept: Tensor, actions: Tensor) -> Tensor:
        given = torch.cat([seen, actions], -1)
        return self.cell(given.flatten(0, -2), kept.flatten(0, -2)).view(kept.shape)
