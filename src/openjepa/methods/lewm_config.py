"""Options of LeWM and its relatives."""

from dataclasses import dataclass, field
from typing import Literal

from openjepa.errors import ConfigError
from openjepa.heads.futures import FuturesConfig
from openjepa.losses.scene import PART, SCENE_LOSSES
from openjepa.losses.sigreg import SIGRegConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.models.latent_states import STATES

CHOICES = {"rollout": ("open_loop", "one_step", "both"), "target": ("encoder", "ema"), "dense_target": ("frame", "ema")}
CHOICES |= {"displacement_from": ("actions", "proprio"), "scene_kind": tuple(SCENE_LOSSES), "state": tuple(STATES)}


@dataclass(frozen=True)
class LeWMConfig:
    """Options of the world model; a weight of 0 turns its term off.

    Attributes:
        action_dim: width A of a model action (frameskip times the environment's).
        categories: sizes of the one-hot groups that a model action consists of; empty for numbers. Choices are not
            standardised, and inverse dynamics names them (cross-entropy).
        embed_dim: width D of the latent of a frame.
        state: `frame`, or `pair`: a frame's latent and its difference from the one before, which is its velocity; a
            state is then 2 D wide (`models.latent_states`).
        memory_dim: numbers of a state that are carried on from what was seen and done before, for what a picture does
            not show (`models.latent_memory`); with `pair`, 0 for none.
        scene_dim: leading dimensions of the latent that hold what stays the same in an episode, and that a rollout
            copies; the rest holds what moves. 0 makes no such difference.
        proprio_dim: width P of proprioception, 0 for none.
        encoder: the network that sees.
        predictor: the network that imagines.
        futures: a second predictor, which knows several futures and their probabilities, trained beside the first on
            detached states; then it is the one that rolls out. None for one future (`docs/uncertainty.md`).
        prediction_weight: of the prediction loss, > 0.
        prediction_start: its weight at the first step; it rises linearly to the full one between the two steps
            of `prediction_ramp`, so that the latent holds the agent before it must be predictable.
        prediction_ramp: steps at which the rise begins and ends.
        rollout: `open_loop` rolls out from the first state, `one_step` predicts each state from encoded ones, `both`
            is the mean of the two losses.
        target: `encoder` predicts the encoder's own states, `ema` those of a moving average, without gradient.
        ema_decay: share of the old weights per step, for `target` and `dense_target` ema.
        sigreg_weight: of SIGReg.
        sigreg: its options.
        variance_weight: of VICReg's hinge on the standard deviation, samples pooled over batch and time.
        covariance_weight: of VICReg's covariance term (divided by D); four times that for the scene dimensions.
        variance_t_weight: of the hinge within each window over time (PLDM's `std_t`).
        covariance_t_weight: likewise (`cov_t`).
        similarity_weight: of the change between successive states.
        inverse_dynamics_weight: of reading actions from successive states.
        agent_dim: trailing dimensions of the latent that actions are read from, where the encoder has points for what
            acts (`objects`); 0 reads them from all that moves.
        dense_weight: of painting the features of a whole frame from the points of things (`models.feature_painter`),
            which keeps what is moved by contact alone. For an encoder of `objects`, with `agent_dim`.
        dense_target: these features: random ones of the `frame`, or `ema`, a moving average of the encoder's own.
        straightening_weight: of the curvature of paths (2603.12231).
        motion_weight: of reading from a latent which places of the picture differ from the usual (`losses.motion`).
        motion_cells: such places along each side, >= 1.
        scene_weight: of a loss between the scene of a window's first frame and of another of the episode, or the last.
        scene_kind: that loss: `contrast` (InfoNCE) tells windows apart, `slow` (VICReg) a few scenes that recur.
        scene_scale: inverse temperature of that term; the higher, the finer the differences that count.
        scene_redundancy: weight of the correlations between scene dimensions, where every two of them must tell scenes
            apart by themselves, at unit variance (`losses.scene`). None where all of them together suffice.
        displacement_weight: of reading displacements of width `displacement_dim` from the difference of two latents.
        displacement_from: what tells them: the sum of the `actions` between any two frames of an episode, or the first
            numbers of `proprio`, also where something holds what moves, and between any two frames of a batch.
        seed: of initial weights and of everything drawn in a step.
    """

    action_dim: int = 2
    categories: tuple[int, ...] = ()
    embed_dim: int = 16
    state: Literal["frame", "pair"] = "frame"
    memory_dim: int = 0
    scene_dim: int = 0
    proprio_dim: int = 0
    encoder: FrameEncoderConfig = field(default_factory=FrameEncoderConfig)
    predictor: LatentPredictorConfig = field(default_factory=LatentPredictorConfig)
    futures: FuturesConfig | None = None
    prediction_weight: float = 1.0
    prediction_start: float | None = None
    prediction_ramp: tuple[int, int] = (0, 0)
    rollout: Literal["open_loop", "one_step", "both"] = "open_loop"
    target: Literal["encoder", "ema"] = "encoder"
    ema_decay: float = 0.99
    sigreg_weight: float = 0.0
    sigreg: SIGRegConfig = field(default_factory=SIGRegConfig)
    variance_weight: float = 1.0
    covariance_weight: float = 0.05
    variance_t_weight: float = 0.0
    covariance_t_weight: float = 0.0
    similarity_weight: float = 0.0
    inverse_dynamics_weight: float = 1.0
    agent_dim: int = 0
    dense_weight: float = 0.0
    dense_target: Literal["frame", "ema"] = "frame"
    straightening_weight: float = 0.0
    motion_weight: float = 0.0
    motion_cells: int = 24
    scene_weight: float = 0.0
    scene_kind: Literal["contrast", "slow"] = "contrast"
    scene_scale: float = 8.0
    scene_redundancy: float | None = None
    displacement_weight: float = 0.0
    displacement_dim: int = 0
    displacement_from: Literal["actions", "proprio"] = "actions"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.action_dim, self.embed_dim) < 1 or self.proprio_dim < 0 or self.seed < 0:
            raise ConfigError("`action_dim` and `embed_dim` must be >= 1, `proprio_dim` and `seed` >= 0.")
        if self.categories and (min(self.categories) < 1 or sum(self.categories) != self.action_dim):
            raise ConfigError(
                f"`categories` must be sizes >= 1 that sum to `action_dim` {self.action_dim}; got {self.categories}."
            )
        if self.state == "pair" and (self.scene_dim or self.futures is not None):
            raise ConfigError("`state` must be frame where there are scene dimensions or `futures`; got pair.")
        if self.memory_dim < 0 or (self.memory_dim and self.state != "pair"):
            raise ConfigError(f"`memory_dim` must be 0, or above it for `state` pair; got {self.memory_dim}.")
        if not 0 <= self.scene_dim < self.embed_dim:
            raise ConfigError(f"`scene_dim` must be 0 to below `embed_dim` {self.embed_dim}; got {self.scene_dim}.")
        if self.scene_weight and not self.scene_dim:
            raise ConfigError("`scene_weight` needs scene dimensions. Set `scene_dim` above 0.")
        if self.scene_redundancy is not None and (self.scene_dim % PART or self.scene_kind != "contrast"):
            raise ConfigError(f"`scene_redundancy` must go with contrast and a `scene_dim` in parts of {PART}.")
        if self.scene_scale <= 0:
            raise ConfigError(f"`scene_scale` must be above 0; got {self.scene_scale}.")
        for name in (n for n in self.__dataclass_fields__ if n.endswith(("_weight", "_redundancy"))):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"`{name}` must be 0 or more; got {getattr(self, name)}.")
        start = self.prediction_weight if self.prediction_start is None else self.prediction_start
        if self.prediction_weight <= 0 or start < 0:
            raise ConfigError("`prediction_weight` must be above 0 and `prediction_start` 0 or more.")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"`{name}` must be one of {', '.join(known)}; got {getattr(self, name)}.")
        acts, things = 2 * self.encoder.agent_keypoints, 2 * self.encoder.num_keypoints
        found = (self.encoder.kind, self.state, self.agent_dim, self.embed_dim)
        if self.agent_dim and found != ("objects", "frame", acts, acts + things):
            raise ConfigError(
                f"`agent_dim` must be {acts} of {acts + things} dimensions, of an encoder of `objects` and with frames "
                f"as states; got {self.agent_dim} of {self.embed_dim}."
            )
        if self.dense_weight and (not self.agent_dim or self.encoder.shrink_from):
            raise ConfigError("`dense_weight` needs an encoder of `objects`, its `agent_dim`, and frames of its size.")
        if self.dense_target == "ema" and self.encoder.gain is not None:
            raise ConfigError("`dense_target` ema needs an encoder that sees frames as they are: `gain` None.")
        if self.motion_cells < 1:
            raise ConfigError(f"`motion_cells` must be at least 1; got {self.motion_cells}.")
        if not 0 <= self.ema_decay <= 1:
            raise ConfigError(f"`ema_decay` must be in [0, 1]; got {self.ema_decay}.")
