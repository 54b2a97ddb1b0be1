"""A world model whose latent holds a layout: a map in cells beside the place of what moves.

    z_t = [M(frame), S(frame_t)]          L = mean_h |P(M, S_t, a_t ... a_{t+h}) - S_{t+h+1}| + |S_t - what moves at t|

The prediction is of the place alone, and the map is what helps to predict it: it is read from another frame of the
episode, and so cannot know what it is asked. The place cannot collapse, since it is held to where the picture differs
from other pictures of its episode. For worlds in which one thing moves among others that stand still in an episode.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from openjepa.errors import ConfigError, check_shape
from openjepa.models.action_statistics import StandardisesActions
from openjepa.models.cell_map import CELL, CellMap, LocalPredictor, Spot
from openjepa.models.latent_rollout import check_reach
from openjepa.nn.host import to_device
from openjepa.nn.random import global_stream, keyed_generator
from openjepa.protocols import JEPALoss, TrajectoryBatch

DIFFERENT = 60.0  # grey levels, summed over the colours, by which a pixel differs from one of another frame
MOVED = 0.6  # of the largest difference in a batch, below which something hid behind its own other picture
BETA = 0.2  # px, below which the error of a prediction counts by its square


@dataclass(frozen=True)
class CellMapConfig:
    """Options of the world model.

    Attributes:
        action_dim: width A of a model action.
        image_size: px of a frame, a multiple of 4.
        map_dim: channels of the map, >= 1.
        width: channels of its convolutions, >= 1.
        spot_width: of those that find what moves, >= 1.
        points: places along each side of the square in which the predictor reads the map, >= 1.
        spacing: px between them, > 0; with `points` they should reach as far as a step and the thing itself do.
        hidden_dim: of the predictor.
        rollout: steps that are predicted from every state of a window, >= 1.
        noise: px, of the places from which it is predicted, >= 0.
        prediction_weight: of the prediction loss, > 0.
        spot_weight: of the place, > 0.
        seed: of initial weights and of everything drawn in a step.
    """

    action_dim: int = 2
    image_size: int = 64
    map_dim: int = 4
    width: int = 16
    spot_width: int = 8
    points: int = 5
    spacing: float = 2.0
    hidden_dim: int = 128
    rollout: int = 8
    noise: float = 0.2
    prediction_weight: float = 1.0
    spot_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole = (self.action_dim, self.map_dim, self.width, self.spot_width, self.points, self.hidden_dim, self.rollout)
        if min(whole) < 1 or self.noise < 0 or self.seed < 0:
            raise ConfigError("every width, `points` and `rollout` must be at least 1, `noise` and `seed` 0 or more.")
        if self.image_size < CELL or self.image_size % CELL:
            raise ConfigError(f"`image_size` must be a multiple of {CELL}; got {self.image_size}.")
        if min(self.spacing, self.prediction_weight, self.spot_weight) <= 0:
            raise ConfigError("`spacing`, `prediction_weight` and `spot_weight` must be above 0.")


class CellMapModel(StandardisesActions):
    """A `Method` that trains, and a `WorldModel` that plans; states are [map, x, y] in one token.

    Args:
        config: the options.
    """

    def __init__(self, config: CellMapConfig) -> None:
        super().__init__(config.action_dim)
        self.config = c = config
        self.cells = c.image_size // CELL
        with global_stream(c.seed):
            self.spot = Spot(c.image_size, c.spot_width)
            self.map = CellMap(c.width, c.map_dim)
            self.predictor = LocalPredictor(c.image_size, c.map_dim, c.action_dim, c.points, c.spacing, c.hidden_dim)

    @property
    def scene_dim(self) -> int:
        """Leading dimensions of a state that stay in an episode: the map."""
        return self.config.map_dim * self.cells**2

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, 3, H, W] uint8 to states [B, T, 1, D]; proprioception is not looked at."""
        size = self.config.image_size
        sizes = check_shape(frames, f"B T C=3 H={size} W={size}", name="frames")
        flat = frames.flatten(0, 1)
        z = torch.cat([self.map(flat).flatten(1), self.spot(flat)], 1)
        return z.view(sizes["B"], sizes["T"], 1, -1)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`; actions are in the environment's units. Only the latest state counts."""
        sizes = check_shape(z, f"B T N=1 D={self.scene_dim + 2}", name="z")
        check_shape(actions, f"B T A={self.config.action_dim}", name="actions", sizes={"B": sizes["B"]})
        check_reach(z, actions)
        scene, place = z[:, -1, 0, : self.scene_dim], z[:, -1, 0, self.scene_dim :]
        cells = scene.view(len(z), self.config.map_dim, self.cells, self.cells)
        path = self.predictor.rollout(cells, place, self._standardised(actions[:, z.shape[1] - 1 :]))
        return torch.cat([scene.unsqueeze(1).expand(-1, path.shape[1], -1), path], -1).unsqueeze(2)

    def loss(self, batch: TrajectoryBatch, step: int) -> JEPALoss:
        """Returns the weighted sum and the unweighted terms, in px, of windows of T > `rollout` frames."""
        c = self.config
        sizes = check_shape(batch.frames, f"B T C=3 H={c.image_size} W={c.image_size}", name="frames")
        if batch.others is None or batch.others.shape[1] < 2:
            raise ConfigError("`batch` must hold at least 2 `others` of each episode. Set `num_others` of its windows.")
        if sizes["T"] <= c.rollout:
            raise ConfigError(f"windows must have more than {c.rollout} frames (`rollout`); got {sizes['T']}.")
        with torch.autocast(batch.frames.device.type, enabled=False):  # a place in px is no number for bfloat16
            terms = self._terms(batch, step)
        loss = c.prediction_weight * terms["prediction"] + c.spot_weight * terms["spot"]
        return JEPALoss(loss, {name: term.detach() for name, term in terms.items()})

    def _terms(self, batch: TrajectoryBatch, step: int) -> dict[str, Tensor]:
        c, (count, length) = self.config, batch.frames.shape[:2]
        assert batch.others is not None
        ends = batch.frames[:, :: length - 1]  # the first and the last
        where, sure = what_moves(ends, batch.others)
        off = (self.spot(ends.flatten(0, 1)) - where).abs().sum(1)
        with torch.no_grad():
            place = self.spot(batch.frames.flatten(0, 1)).view(count, length, 2)
        begins = length - c.rollout
        path = place.unfold(1, c.rollout + 1, 1).transpose(2, 3).flatten(0, 1)  # [B * begins, rollout + 1, 2]
        moves = self._standardised(batch.actions).unfold(1, c.rollout, 1).transpose(2, 3).flatten(0, 1)
        drawn = to_device(torch.randn(len(path), 2, generator=keyed_generator(c.seed, step)), path)
        cells = self.map(batch.others[:, 0]).repeat_interleave(begins, 0)
        imagined = self.predictor.rollout(cells, path[:, 0] + c.noise * drawn, moves)
        return {
            "prediction": functional.smooth_l1_loss(imagined, path[:, 1:], beta=BETA),
            "spot": (off * sure).sum() / sure.sum().clamp_min(1),
        }


@torch.no_grad()
def what_moves(frames: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Where pictures differ from all others of their episode: places [B * T, 2] in px from the middle, and who is sure.

    Args:
        frames: [B, T, 3, H, W] uint8.
        others: [B, K, 3, H, W] uint8, of other moments.

    Returns:
        places, and [B * T] 1 where something moved away from where it is in the others, else 0.
    """
    gaps = torch.stack([(frames - other.unsqueeze(1)).abs().sum(2) for other in others.float().unbind(1)])
    mass = gaps.amin(0).flatten(0, 1)  # [B * T, H, W]
    mass = mass * (mass > DIFFERENT)
    height, width = mass.shape[1:]
    y, x = (torch.arange(n, device=mass.device) + 0.5 - n / 2 for n in (height, width))
    whole = mass.sum((1, 2))
    place = torch.stack([mass.sum(1) @ x, mass.sum(2) @ y], 1) / whole.clamp_min(1).unsqueeze(1)
    return place, (whole > MOVED * whole.max()).float()
