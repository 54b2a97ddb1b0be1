"""LeWM and its relatives: a world model learned from pixels by predicting the next latent.

    L = w_p * mean_h |P(z_0, a_0 ... a_h) - z_{h+1}|^2  +  what keeps z from collapsing,   z_t = E(frame_t)

The prediction error reaches both sides (no stop-gradient) unless an EMA gives the targets. Against collapse:
SIGReg (LeWM, 2603.19312), VICReg terms (PLDM 2502.14819, EB-JEPA 2602.03604), or an EMA target encoder; inverse
dynamics (SMWM, 2606.20104) keeps what the agent moves, and the scene term what stays. See `docs/world-models.md`.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.heads.futures import build_futures, futures_loss
from openjepa.heads.futures_rollout import roll_futures, roll_likely
from openjepa.losses.displacement import UNIT, displacement_term
from openjepa.losses.inverse_dynamics import inverse_dynamics_loss
from openjepa.losses.motion import MotionReadout, motion_loss, motion_places
from openjepa.losses.scene import SCENE_LOSSES
from openjepa.losses.sigreg import sigreg_states
from openjepa.losses.straightening import straightening_loss
from openjepa.losses.vicreg import time_similarity, vicreg_states
from openjepa.methods.lewm_config import LeWMConfig
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.feature_painter import FeaturePainter
from openjepa.models.frame_encoder import FrameEncoder
from openjepa.models.frame_input import Gain
from openjepa.models.latent_memory import MemoryPredictor, build_states, carried_on
from openjepa.models.latent_predictor import POINT_UNITS, ActionReadout, ResidualMLP
from openjepa.models.latent_rollout import check_reach, predict_next, roll_out
from openjepa.models.latent_states import PairPredictor
from openjepa.nn.ema import update_ema
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.protocols import Futures, JEPALoss, TrajectoryBatch


class LeWM(StandardisesActions):
    """A `Method` that trains, and a `WorldModel` that plans; states have one token (N = 1).

    Args:
        config: the options.
    """

    def __init__(self, config: LeWMConfig) -> None:
        super().__init__(config.action_dim)
        self.config = config
        with global_stream(config.seed):
            dim, action_dim = config.embed_dim, config.action_dim
            self.states = build_states(config.state, dim, config.memory_dim)
            self.context_encoder = FrameEncoder(config.encoder, dim, config.scene_dim)
            self.proprio_encoder = nn.Linear(config.proprio_dim, dim) if config.proprio_dim else nn.Identity()
            self.predictor = self.states.predictor(config.predictor, action_dim)
            self.action_readout: nn.Module = nn.Identity()
            if config.inverse_dynamics_weight and config.agent_dim:
                self.action_readout = ActionReadout(config.agent_dim, action_dim, units=POINT_UNITS)
            elif config.inverse_dynamics_weight:
                self.action_readout = self.states.readout(action_dim, config.scene_dim)
            self.painter: Any = nn.Identity()
            if config.dense_weight:
                sees = self.context_encoder.trunk.features if config.dense_target == "ema" else None
                self.painter = FeaturePainter(dim - config.agent_dim, config.encoder.image_size, sees)
            width = config.displacement_dim
            self.displacement: Any = nn.Linear(dim - config.scene_dim, width, bias=False) if width else nn.Identity()
            self.futures: Any = nn.Identity()
            if config.futures is not None:
                self.futures = build_futures(config.futures, dim, action_dim, config.predictor.context_len)
            self.motion_readout = MotionReadout(dim, config.motion_cells) if config.motion_weight else nn.Identity()
        self.target_encoder: nn.Module = nn.Identity()
        if config.target == "ema":
            self.target_encoder = copy.deepcopy(self.context_encoder).requires_grad_(False)

    @property
    def memory_dim(self) -> int:
        """Trailing numbers of a state that are carried on; see `RememberingModel`."""
        return self.config.memory_dim

    @property
    def scene_dim(self) -> int:
        """Leading dimensions of a state that stay in an episode."""
        return self.config.scene_dim

    def set_action_statistics(self, mean: Tensor, std: Tensor) -> None:
        """See `StandardisesActions`; choices stay one-hot, whatever these are."""
        super().set_action_statistics(mean, std)
        if self.config.categories:
            self.action_mean.zero_()
            self.action_std.fill_(1)

    def set_frame_statistics(self, mean: Tensor, rms: float) -> None:
        """Sets the mean frame [3, H, W] of the training data and the root mean square without it, in grey levels.

        Raises:
            ConfigError: where the encoder sees frames as they are.
        """
        for encoder in (self.context_encoder, self.target_encoder):
            if isinstance(encoder, FrameEncoder):
                if not isinstance(encoder.pixels, Gain):
                    raise ConfigError("`encoder.gain` must be set for frame statistics; it is None.")
                encoder.pixels.measure(mean, rms)

    # ---------------------------------------------------------------------------------------------- world model

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, 3, H, W] uint8 (and proprio [B, T, P]) to states [B, T, 1, D], 2 D wide for pairs.

        The T frames of a row follow one another: a pair takes its velocity from the frame before.
        """
        return self._encode(self.context_encoder, frames, proprio)

    def carry(self, before: Tensor, actions: Tensor, now: Tensor) -> Tensor:
        """See `RememberingModel.carry`; actions are in the environment's units."""
        return self._carry(before, self._standardised(actions), now)

    def _carry(self, before: Tensor, moves: Tensor, now: Tensor) -> Tensor:
        if not isinstance(self.predictor, MemoryPredictor):
            return now
        kept = self.predictor.carried(before.squeeze(-2), moves).unsqueeze(-2)
        return torch.cat([now[..., : -self.memory_dim], kept.to(now)], -1)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`; actions are in the environment's units. With `futures`, the most probable one."""
        self._check_rollout(z, actions)
        if self.config.futures is not None:
            return roll_likely(self.futures, z.squeeze(2), self._standardised(actions)).unsqueeze(2)
        moves = self._standardised(actions)
        if isinstance(self.predictor, ResidualMLP | PairPredictor | MemoryPredictor):  # the latest state says it all
            return self.predictor.rollout(z[:, -1, 0], moves[:, z.shape[1] - 1 :], self.scene_dim).unsqueeze(2)
        return self._roll_out(z.squeeze(2), moves).unsqueeze(2)

    def rollout_futures(self, z: Tensor, actions: Tensor, *, num_futures: int, generator: torch.Generator) -> Futures:
        """See `BranchingModel.rollout_futures`; without `futures` there is one, and it is certain."""
        if self.config.futures is None:
            return Futures(self.rollout(z, actions).unsqueeze(1), z.new_zeros(len(z), 1))
        self._check_rollout(z, actions)
        moves = self._standardised(actions)
        path, weights = roll_futures(self.futures, z.squeeze(2), moves, num_futures=num_futures, generator=generator)
        return Futures(path.unsqueeze(3), weights)

    def _check_rollout(self, z: Tensor, actions: Tensor) -> None:
        sizes = check_shape(z, f"B T N=1 D={self.states.dim}", name="z")
        check_shape(actions, f"B T A={self.config.action_dim}", name="actions", sizes={"B": sizes["B"]})
        check_reach(z, actions)

    def _encode(self, encoder: nn.Module, frames: Tensor, proprio: Tensor | None) -> Tensor:
        sizes = check_shape(frames, "B T C H W", name="frames")
        z = encoder(frames.flatten(0, 1)).view(sizes["B"], sizes["T"], 1, -1)
        if self.config.proprio_dim:
            if proprio is None:
                raise ConfigError("`proprio` must be given: this model was trained with `proprio_dim` above 0.")
            z = z + self.proprio_encoder(proprio).unsqueeze(2)
        return self.states.of(z)

    def _roll_out(self, z: Tensor, actions: Tensor) -> Tensor:
        return roll_out(self.predict, z, actions, self.config.predictor.context_len)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """One step: states [B, T, D] and standardised actions [B, T, A] to the next states; the scene stays."""
        scene_dim = self.config.scene_dim
        found = self.predictor(z, actions)
        return torch.cat([z[..., :scene_dim].to(found), found[..., scene_dim:]], -1) if scene_dim else found

    # ------------------------------------------------------------------------------------------------- training

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Returns the weighted sum and the unweighted terms of windows of T frames at step number `step`."""
        c = self.config
        sizes = check_shape(batch.frames, "B T C H W", name="frames")
        if sizes["T"] < 2 + self.states.memory:
            raise ShapeError(
                f"`frames` must hold at least {2 + self.states.memory} time steps to predict; got {sizes['T']}."
            )
        check_shape(batch.actions, f"B={sizes['B']} T={sizes['T'] - 1} A={c.action_dim}", name="actions")
        known = self.states.memory  # states of a window before this one lack a velocity
        z, actions = self.encode(batch.frames, batch.proprio), self._standardised(batch.actions)
        if self.memory_dim:
            z = carried_on(z, actions, self._carry)
        z, actions = z[:, known:], actions[:, known:]  # [B, T, 1, D]
        z_target = z
        if c.target == "ema":
            with torch.no_grad():
                z_target = self._encode(self.target_encoder, batch.frames, batch.proprio)[:, known:]
        terms = {"prediction": self._prediction_loss(z, actions, z_target)}
        if c.futures is not None:
            drawn = keyed_generator(c.seed, step, 3)
            terms["futures"] = futures_loss(self.futures, z.squeeze(2), actions, step=step, generator=drawn)
        terms |= self._regularizers(z, actions, step)
        if c.motion_weight:
            places, seen = motion_places(batch.frames, c.motion_cells)
            read_out = self.motion_readout(z.squeeze(2)[..., : c.embed_dim])
            terms["motion"] = motion_loss(read_out, places[:, known:], seen[:, known:])
        if c.dense_weight:
            terms["dense"] = self._dense_loss(z, batch)
        if c.scene_weight:
            other = z[:, -1] if batch.others is None else self.encode(batch.others[:, :1])[:, 0]
            first, other = z[:, 0, :, : c.scene_dim], other[..., : c.scene_dim]
            told = SCENE_LOSSES[c.scene_kind]
            terms["scene"] = told(first, other, scale=c.scene_scale, redundancy=c.scene_redundancy)
        if c.displacement_weight:
            terms["displacement"] = self._displacement_loss(z, batch)
        weights = self._weights(step)
        loss = sum((weights[name] * term for name, term in terms.items()), torch.zeros((), device=z.device))
        return JEPALoss(loss, {name: term.detach() for name, term in terms.items()})

    def after_step(self, step: int) -> None:
        """Moves what gives targets towards the context encoder, where there is such a thing."""
        if self.config.target == "ema":
            update_ema(self.target_encoder, self.context_encoder, self.config.ema_decay, buffers="copy")
        if self.config.dense_target == "ema" and self.config.dense_weight:
            update_ema(self.painter.features, self.context_encoder.trunk.features, self.config.ema_decay)

    def _prediction_loss(self, z: Tensor, actions: Tensor, z_target: Tensor) -> Tensor:
        """Squared error of the poses that are predicted after each of the actions [B, T - 1, A]; a scalar."""
        flat, target = z.squeeze(2), z_target.squeeze(2)[:, 1:, : self.config.embed_dim]
        paths = []
        if self.config.rollout != "one_step":
            paths.append(self._roll_out(flat[:, :1], actions))
        if self.config.rollout != "open_loop":
            paths.append(predict_next(self.predict, flat, actions, self.config.predictor.context_len))
        errors = [functional.mse_loss(path[..., : self.config.embed_dim], target) for path in paths]
        return torch.stack(errors).mean()

    def _dense_loss(self, z: Tensor, batch: TrajectoryBatch) -> Tensor:
        """Of the first frame of each window and of other moments: neighbours would show the same once more."""
        frames, poses = batch.frames[:, :1], z[:, :1]
        if batch.others is not None:
            frames, poses = torch.cat([frames, batch.others], 1), torch.cat([poses, self.encode(batch.others)], 1)
        painted = self.painter(poses[..., : -self.config.agent_dim].flatten(0, 2))
        return functional.mse_loss(painted.float(), self.painter.target(frames.flatten(0, 1)))

    def _displacement_loss(self, z: Tensor, batch: TrajectoryBatch) -> Tensor:
        c, width = self.config, self.config.displacement_dim
        if not width or batch.others is None:
            raise ConfigError("`displacement_weight` needs `displacement_dim`, and batches with `others` and `ways`.")
        poses = torch.cat([z, self.encode(batch.others)], 1)[:, :, 0, c.scene_dim : c.embed_dim]
        unit, known = UNIT * self.action_std[:width], self.states.memory
        return displacement_term(self.displacement(poses), batch, unit, known, c.displacement_from)

    def _regularizers(self, z: Tensor, actions: Tensor, step: int) -> dict[str, Tensor]:
        c = self.config
        poses = z[..., : c.embed_dim]
        moving = poses[..., c.scene_dim :]
        terms: dict[str, Tensor] = {}
        if c.sigreg_weight:
            terms["sigreg"] = sigreg_states(poses, c.sigreg, seed=c.seed, step=step)
        if c.variance_weight or c.covariance_weight:
            parts = [
                vicreg_states(part, pool="pooled") for part in (moving, poses[..., : c.scene_dim]) if part.shape[-1]
            ]
            terms["variance"] = sum((p.variance for p in parts), torch.zeros((), device=z.device))
            terms["covariance"] = parts[0].covariance
            if c.scene_dim and c.scene_redundancy is None:
                terms["scene_covariance"] = parts[1].covariance
        if c.variance_t_weight or c.covariance_t_weight:
            over_time = vicreg_states(moving, pool="per_sample", scale="mean")
            terms |= {"variance_t": over_time.variance, "covariance_t": over_time.covariance}
        if c.similarity_weight:
            terms["similarity"] = time_similarity(poses)
        if c.inverse_dynamics_weight:
            terms["inverse_dynamics"] = inverse_dynamics_loss(
                self.action_readout, z[..., -c.agent_dim or c.scene_dim :], actions, categories=c.categories
            )
        if c.straightening_weight:
            terms["straightening"] = straightening_loss(moving)
        return terms

    def _weights(self, step: int) -> dict[str, float]:
        """The weight of every term, whether it is on or not."""
        c = self.config
        prediction = c.prediction_weight
        if c.prediction_start is not None:
            first, last = c.prediction_ramp
            share = min(1.0, max(0.0, (step - first) / max(1, last - first)))
            prediction = c.prediction_start + share * (c.prediction_weight - c.prediction_start)
        weights = {n.removesuffix("_weight"): getattr(c, n) for n in c.__dataclass_fields__ if n.endswith("_weight")}
        futures = c.futures.weight if c.futures is not None else 0.0
        return weights | {"prediction": prediction, "futures": futures, "scene_covariance": 4 * c.covariance_weight}
