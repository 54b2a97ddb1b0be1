"""Inverse dynamics alone: an encoder from which actions can be read, and nothing that predicts.

    L = mean_t |h(E(frame_t), E(frame_t+1)) - a_t|^2

The control that says what prediction adds: it shares the encoder and the read-out of `methods.lewm`. It has no
`rollout`; to plan with it, learn dynamics on its frozen latents (`methods.frozen_world`).
"""

from dataclasses import dataclass, field

from torch import Tensor

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.losses.inverse_dynamics import inverse_dynamics_loss
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.latent_predictor import ActionReadout
from openjepa.nn.random import global_stream
from openjepa.protocols import JEPALoss, TrajectoryBatch


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Options of inverse dynamics.

    Attributes:
        action_dim: width A of a model action (frameskip times the environment's).
        embed_dim: width D of the latent.
        encoder: the network that sees.
        hidden_dim: width of the read-out.
        seed: of initial weights.
    """

    action_dim: int = 2
    embed_dim: int = 16
    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    hidden_dim: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.action_dim, self.embed_dim, self.hidden_dim) < 1 or self.seed < 0:
            raise ConfigError("`action_dim`, `embed_dim` and `hidden_dim` must be >= 1 and `seed` >= 0.")


class InverseDynamics(StandardisesActions):
    """A `Method`; its states have one token (N = 1).

    Args:
        config: the options.
    """

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__(config.action_dim)
        self.config = config
        with global_stream(config.seed):
            self.context_encoder = FrameEncoder(config.encoder, config.embed_dim)
            self.action_readout = ActionReadout(config.embed_dim, config.action_dim, config.hidden_dim)

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, 3, H, W] uint8 to states [B, T, 1, D]; proprioception is not looked at."""
        sizes = check_shape(frames, "B T C H W", name="frames")
        return self.context_encoder(frames.flatten(0, 1)).view(sizes["B"], sizes["T"], 1, -1)

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Returns the squared error of standardised actions in windows of T frames."""
        sizes = check_shape(batch.frames, "B T C H W", name="frames")
        if sizes["T"] < 2:
            raise ShapeError(f"`frames` must hold at least 2 time steps; got {sizes['T']}.")
        actions = self._standardised(batch.actions)
        error = inverse_dynamics_loss(self.action_readout, self.encode(batch.frames), actions)
        return JEPALoss(error, {"inverse_dynamics": error.detach()})
