"""One upper level of a hierarchy: its own latent of the latents below, strided in time, and macro-actions.

z_k = E(latents below around step k * stride)        m_k = pool(the `stride` actions below that follow)
z_{k+1} = z_k + P(z_k, m_k)
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.models.latent_predictor import ActionReadout, LatentPredictorConfig, ResidualMLP


@dataclass(frozen=True)
class LevelConfig:
    """Options of one upper level; a weight of 0 turns its term off.

    Attributes:
        stride: steps of the level below that one step of this level stands for, >= 2.
        window: latents below, the latest, that a latent is computed from, >= 1.
        embed_dim: width of its latent; 0 shares the latent of the level below (HWM, 2604.03208).
        hidden_dim: of its encoder and pooler.
        macro_dim: width of a macro-action.
        predictor: a Markov one, of kind `mlp`.
        rollout: macro-steps of a training roll-out, >= 1.
        decay: weight of each further step of the roll-out, in (0, 1].
        noise: of the first latent of a roll-out, in its standard deviations, >= 0.
        prediction_weight: of the prediction loss, > 0.
        variance_weight: of VICReg's hinge on the latent; without effect on a shared one.
        covariance_weight: of its covariance term; likewise.
        inverse_dynamics_weight: of reading the macro-action from successive latents.
        information_weight: of keeping macro-actions near a standard normal: they say something, and not too much.
    """

    stride: int = 8
    window: int = 1
    embed_dim: int = 8
    hidden_dim: int = 64
    macro_dim: int = 4
    predictor: LatentPredictorConfig = field(default_factory=LatentPredictorConfig)
    rollout: int = 4
    decay: float = 0.9
    noise: float = 0.1
    prediction_weight: float = 1.0
    variance_weight: float = 1.0
    covariance_weight: float = 0.05
    inverse_dynamics_weight: float = 0.5
    information_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.stride < 2 or min(self.window, self.hidden_dim, self.macro_dim, self.rollout) < 1 or self.embed_dim < 0:
            raise ConfigError(
                "`stride` must be at least 2, `window`, `hidden_dim`, `macro_dim`, `rollout` at least 1, `embed_dim` 0 "
                "or more."
            )
        if self.predictor.kind != "mlp":
            raise ConfigError(f"`predictor.kind` of an upper level must be mlp; got {self.predictor.kind}.")
        if not 0 < self.decay <= 1 or self.noise < 0 or self.prediction_weight <= 0:
            raise ConfigError("`decay` must be in (0, 1], `noise` 0 or more and `prediction_weight` above 0.")
        weights = (self.variance_weight, self.covariance_weight)
        if min(*weights, self.inverse_dynamics_weight, self.information_weight) < 0:
            raise ConfigError("the weights of an upper level must be 0 or more.")


class UpperLevel(nn.Module):
    """What a hierarchy adds to the level below; called by its verbs.

    Args:
        config: the options.
        below_dim: width of a latent below.
        action_dim: width of an action below.
    """

    def __init__(self, config: LevelConfig, below_dim: int, action_dim: int) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden_dim
        self.dim = config.embed_dim or below_dim
        self.encoder: nn.Module = nn.Identity()
        if config.embed_dim:
            self.encoder = nn.Sequential(
                nn.Linear(config.window * below_dim, hidden), nn.ReLU(), nn.Linear(hidden, self.dim)
            )
        self.pooler = nn.Sequential(
            nn.Linear(config.stride * action_dim, hidden), nn.ReLU(), nn.Linear(hidden, config.macro_dim)
        )
        self.predictor = ResidualMLP(config.predictor, self.dim, config.macro_dim)
        self.readout = ActionReadout(self.dim, config.macro_dim)

    def lift(self, z: Tensor) -> Tensor:
        """Latents below [B, T, 1, D'] of successive steps to latents [B, T, 1, D] at every one of them.

        Before its window is full, the first latent is repeated.
        """
        check_shape(z, "B T N=1 D", name="z")
        flat, window = z.squeeze(2), self.config.window
        if not self.config.embed_dim:
            return z
        if window > 1:
            padded = torch.cat([flat[:, :1].expand(-1, window - 1, -1), flat], 1)
            flat = padded.unfold(1, window, 1).transpose(2, 3).flatten(2)  # [B, T, window * D']
        return self.encoder(flat).unsqueeze(2)

    def pool(self, actions: Tensor) -> Tensor:
        """Actions below [B, K * stride, A] to macro-actions [B, K, M]; what is left over is dropped."""
        stride = self.config.stride
        whole = actions.shape[1] // stride
        return self.pooler(actions[:, : whole * stride].reshape(len(actions), whole, stride * actions.shape[2]))

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`: latents [B, T, 1, D] and macro-actions [B, T - 1 + H, M] to [B, H, 1, D]."""
        sizes = check_shape(z, f"B T N=1 D={self.dim}", name="z")
        check_shape(actions, f"B={sizes['B']} T M={self.config.macro_dim}", name="actions")
        return self.predictor.rollout(z[:, -1, 0], actions[:, sizes["T"] - 1 :]).unsqueeze(2)
