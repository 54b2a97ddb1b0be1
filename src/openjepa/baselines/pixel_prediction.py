"""Pixel prediction: the same encoder and the same latent dynamics, but what must be predicted is the picture.

    L = w_r * mean_h |G(z^_h) - frame_h|^2 + w_i * inverse dynamics,   z_0 = E(frame_0),  z^_h = P(z_0, a_0 ... a_h-1)

No term against collapse is needed: a constant latent cannot paint two different frames. Everything else is that of
`methods.lewm`, so that the two differ in the place where the error is measured and in nothing else. The latent is
normalised by BatchNorm without parameters, because nothing else fixes its scale. After the generative world models
(1803.10122, 1811.04551), without their stochastic state; a decoder's gradient beside LeWM's losses is ablated in
2603.19312.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.losses.inverse_dynamics import inverse_dynamics_loss
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.latent_predictor import ActionReadout, LatentPredictorConfig, build_predictor
from openjepa.models.latent_rollout import predict_next, roll_out
from openjepa.models.picture_decoder import PictureDecoder, pixel_error, to_pictures
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.protocols import JEPALoss, TrajectoryBatch


@dataclass(frozen=True)
class PixelPredictionConfig:
    """Options of the pixel-predicting world model; a weight of 0 turns its term off.

    Attributes:
        action_dim: width A of a model action (frameskip times the environment's).
        embed_dim: width D of the latent.
        encoder: the network that sees; its `image_size` is that of the decoder.
        predictor: the network that imagines.
        decoder_width: channels of a decoded cell, a multiple of 4.
        decoder_hidden_dim: width between the latent and the cells.
        decoded_frames: frames of a window that are painted in a step: the first one, from its own latent, and
            the others drawn from the predicted ones; None is all of them.
        rollout: `open_loop` rolls out from the first state, `one_step` predicts each state from encoded ones.
        reconstruction_weight: of the squared error of pixels in [-1, 1], > 0.
        inverse_dynamics_weight: of reading actions from successive encoded states.
        seed: of initial weights and of everything drawn in a step.
    """

    action_dim: int = 2
    embed_dim: int = 16
    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    predictor: LatentPredictorConfig = field(default_factory=LatentPredictorConfig)
    decoder_width: int = 64
    decoder_hidden_dim: int = 128
    decoded_frames: int | None = 3
    rollout: Literal["open_loop", "one_step"] = "open_loop"
    reconstruction_weight: float = 1.0
    inverse_dynamics_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.action_dim, self.embed_dim, self.decoder_width, self.decoder_hidden_dim) < 1 or self.seed < 0:
            raise ConfigError("`action_dim`, `embed_dim` and the decoder's widths must be >= 1 and `seed` >= 0.")
        if self.decoded_frames is not None and self.decoded_frames < 2:
            raise ConfigError(f"`decoded_frames` must be at least 2, or None for all; got {self.decoded_frames}.")
        if self.rollout not in ("open_loop", "one_step"):
            raise ConfigError(f"`rollout` must be open_loop or one_step; got {self.rollout}.")
        if self.reconstruction_weight <= 0 or self.inverse_dynamics_weight < 0:
            raise ConfigError("`reconstruction_weight` must be > 0 and `inverse_dynamics_weight` 0 or more.")


class PixelPrediction(StandardisesActions):
    """A `Method` that trains, and a `WorldModel` that plans; states have one token (N = 1).

    Args:
        config: the options.
    """

    def __init__(self, config: PixelPredictionConfig) -> None:
        super().__init__(config.action_dim)
        self.config = config
        dim, action_dim = config.embed_dim, config.action_dim
        with global_stream(config.seed):
            self.context_encoder = FrameEncoder(config.encoder, dim)
            self.norm = nn.BatchNorm1d(dim, affine=False)
            self.predictor = build_predictor(config.predictor, dim, action_dim)
            self.decoder = PictureDecoder(
                dim, config.encoder.image_size, config.decoder_width, config.decoder_hidden_dim
            )
            self.action_readout = ActionReadout(dim, action_dim) if config.inverse_dynamics_weight else nn.Identity()

    # ---------------------------------------------------------------------------------------------- world model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, 3, H, W] uint8 to states [B, T, 1, D]; proprioception is not looked at."""
        sizes = check_shape(frames, "B T C H W", name="frames")
        z = self.norm(self.context_encoder(frames.flatten(0, 1)).float())
        return z.view(sizes["B"], sizes["T"], 1, -1)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`; actions are in the environment's units."""
        sizes = check_shape(z, f"B T N=1 D={self.config.embed_dim}", name="z")
        check_shape(actions, f"B T A={self.config.action_dim}", name="actions", sizes={"B": sizes["B"]})
        context = self.config.predictor.context_len
        return roll_out(self.predictor, z.squeeze(2), self._standardised(actions), context).unsqueeze(2)

    def decode(self, z: Tensor) -> Tensor:
        """The pictures [..., 3, H, W] uint8 of states [..., 1, D]."""
        return to_pictures(self._paint(z.squeeze(-2)))

    @torch.no_grad()
    def surprise(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Squared pixel error [B, T - 1] of predicting each frame [B, T, 3, H, W] but the first, pixels in [-1, 1]."""
        z = self.encode(frames).squeeze(2)
        predicted = predict_next(self.predictor, z, self._standardised(actions), self.config.predictor.context_len)
        return pixel_error(self._paint(predicted), frames[:, 1:])

    def _paint(self, z: Tensor) -> Tensor:
        """Latents [..., D] to pictures [..., 3, H, W] in [-1, 1]."""
        return self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])

    # ------------------------------------------------------------------------------------------------- training

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Returns the weighted sum and the unweighted terms of windows of T frames at step number `step`."""
        c = self.config
        sizes = check_shape(batch.frames, "B T C H W", name="frames")
        if sizes["T"] < 2:
            raise ShapeError(f"`frames` must hold at least 2 time steps to predict; got {sizes['T']}.")
        check_shape(batch.actions, f"B={sizes['B']} T={sizes['T'] - 1} A={c.action_dim}", name="actions")
        actions = self._standardised(batch.actions)
        sees_all = c.rollout == "one_step" or c.inverse_dynamics_weight > 0
        z = self.encode(batch.frames if sees_all else batch.frames[:, :1])  # what is not needed is not encoded
        flat, context = z.squeeze(2), c.predictor.context_len
        if c.rollout == "open_loop":
            predicted = roll_out(self.predictor, flat[:, :1], actions, context)
        else:
            predicted = predict_next(self.predictor, flat, actions, context)
        path = torch.cat([flat[:, :1], predicted], 1)  # [B, T, D]
        shown = to_device(self._shown(sizes["T"], step), z.device)
        terms = {"reconstruction": pixel_error(self._paint(path[:, shown]), batch.frames[:, shown]).mean()}
        loss = c.reconstruction_weight * terms["reconstruction"]
        if c.inverse_dynamics_weight:
            terms["inverse_dynamics"] = inverse_dynamics_loss(self.action_readout, z, actions)
            loss = loss + c.inverse_dynamics_weight * terms["inverse_dynamics"]
        return JEPALoss(loss, {name: term.detach() for name, term in terms.items()})

    def _shown(self, steps: int, step: int) -> Tensor:
        """The frames of `steps` that are painted in step number `step`, ascending, the first one among them."""
        count = min(self.config.decoded_frames or steps, steps)
        generator = keyed_generator(self.config.seed, step)
        others = 1 + torch.randperm(steps - 1, generator=generator)[: count - 1]
        return torch.cat([torch.zeros(1, dtype=torch.long), others.sort().values])
