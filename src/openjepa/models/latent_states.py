"""What a state is made of: the latent of one frame, or of one frame and the way since the one before.

One frame shows where things are, not how fast they move. A *pair* is (p_t, p_t - p_{t-1}) for poses p of single frames:
position and velocity, both linear in what the encoder gives. Its predictor foretells the next pose alone, and velocity
is carried through a rollout as the difference of imagined poses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError
from openjepa.models.latent_predictor import (
    ActionReadout,
    LatentPredictorConfig,
    build_predictor,
    build_scale,
    change_network,
    roll_residual,
)


@dataclass(frozen=True)
class FrameState:
    """A state is the pose of one frame.

    Attributes:
        pose_dim: width D of a pose.
    """

    pose_dim: int
    memory = 0  # leading states of a row of frames that lack what came before

    @property
    def dim(self) -> int:
        """Width of a state."""
        return self.pose_dim

    def of(self, poses: Tensor) -> Tensor:
        """Poses [B, T, N, D] of successive frames to states."""
        return poses

    def predictor(self, config: LatentPredictorConfig, action_dim: int) -> nn.Module:
        """Builds a predictor of the next state."""
        return build_predictor(config, self.pose_dim, action_dim)

    def readout(self, action_dim: int, scene_dim: int = 0) -> nn.Module:
        """Builds inverse dynamics, which reads actions from successive states without their scene."""
        return ActionReadout(self.pose_dim - scene_dim, action_dim)


@dataclass(frozen=True)
class PairState:
    """A state is a pose and the way from the pose before, 0 for the first frame of a row.

    Attributes:
        pose_dim: width D of a pose.
    """

    pose_dim: int
    memory = 1

    @property
    def dim(self) -> int:
        """Width of a state: pose and velocity."""
        return 2 * self.pose_dim

    def of(self, poses: Tensor) -> Tensor:
        """Poses [B, T, N, D] of successive frames to states [B, T, N, 2 D]."""
        way = poses - torch.cat([poses[:, :1], poses[:, :-1]], 1)
        return torch.cat([poses, way], -1)

    def predictor(self, config: LatentPredictorConfig, action_dim: int) -> nn.Module:
        """Builds a predictor of the next state."""
        return PairPredictor(config, self.pose_dim, action_dim)

    def readout(self, action_dim: int, scene_dim: int = 0) -> nn.Module:
        """Builds inverse dynamics, which reads actions from three successive poses."""
        return PairReadout(self.pose_dim, action_dim)


STATES: dict[str, type[FrameState | PairState]] = {"frame": FrameState, "pair": PairState}


class PairPredictor(nn.Module):
    """p' = p + MLP([p, 4 dp, a]), and dp' = p' - p: states [B, T, 2 D] and actions [B, T, A] to the next states.

    The last layer starts at zero: at first nothing moves.
    """

    def __init__(self, config: LatentPredictorConfig, pose_dim: int, action_dim: int) -> None:
        super().__init__()
        if config.kind != "mlp":
            raise ConfigError(f"`kind` of the predictor must be mlp for pairs of frames; got {config.kind}.")
        self.scale = build_scale(config, pose_dim)
        self.change = change_network(config, 2 * pose_dim + action_dim, pose_dim)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:  # noqa: D102
        with torch.autocast(z.device.type, enabled=False):
            pose, way = z.float().chunk(2, -1)
            seen = torch.cat([self.scale.of_states(pose), self.scale.of_steps(way), actions.float()], -1)
            step = self.scale.to_steps(self.change(seen))
            return torch.cat([pose + step, step], -1)

    def rollout(self, z: Tensor, actions: Tensor, scene_dim: int = 0) -> Tensor:
        """States [B, H, 2 D] after each of actions [B, H, A] from z [B, 2 D]; the leading `scene_dim` numbers stay."""
        return roll_residual(self.scale, self.change, z, actions, scene_dim)


class PairReadout(nn.Module):
    """Inverse dynamics over three frames: actions [B, T, A] from [p_t, 4 dp_t, 4 dp_{t+1}] of states [B, T, N, 2 D].

    One action changes a velocity, which two frames cannot show.
    """

    def __init__(self, pose_dim: int, action_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.pose_dim = pose_dim
        self.net = nn.Sequential(
            nn.Linear(3 * pose_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, action_dim),
        )

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:  # noqa: D102
        pose, way = z.flatten(-2)[..., : 2 * self.pose_dim].chunk(2, -1)
        way_next = z_next.flatten(-2)[..., self.pose_dim : 2 * self.pose_dim]
        with torch.autocast(z.device.type, enabled=False):
            return self.net(torch.cat([pose, 4 * way, 4 * way_next], -1).float())
