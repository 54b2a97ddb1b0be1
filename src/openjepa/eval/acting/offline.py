"""What recorded episodes say about a world model, where there is no simulator to act in.

Three questions on held-out episodes: how far does imagination stray, beside copying the first state; does it heed the
actions; and does the critic fall along ways that led somewhere?
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import DataError
from openjepa.eval.health.collapse import encode_episodes
from openjepa.planning.costs import Distance
from openjepa.protocols import RememberingModel, TrajectoryBatch, WorldModel

HORIZONS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class OfflineReport:
    """Numbers without a unit, on held-out episodes.

    Attributes:
        episodes: that were long enough for the first horizon.
        rollout_error: by horizon, mean squared error of the imagined state over that of copying the first one: 0 is
            perfect, 1 is no better than copying.
        shuffled_error: the same under the actions of other moments: it must be larger.
        critic_monotone: mean rank correlation (Spearman) of the critic's distance to the last state with the steps that
            are left, over episodes: 1 falls all the way, 0 says nothing. Play wanders, so 1 is not reached.
    """

    episodes: int
    rollout_error: dict[int, float]
    shuffled_error: dict[int, float]
    critic_monotone: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "episodes": self.episodes,
            "rollout_error_over_copying": {str(k): v for k, v in self.rollout_error.items()},
            "with_shuffled_actions": {str(k): v for k, v in self.shuffled_error.items()},
            "critic_monotone": self.critic_monotone,
        }


@torch.no_grad()
def judge_offline(
    model: WorldModel, distance: Distance | None, held_out: TrajectoryBatch, *, window: int = 24, seed: int = 0
) -> OfflineReport:
    """Measures a world model and its critic on held-out episodes.

    Args:
        model: a Markov world model, or one whose state of one moment is enough to roll out from.
        distance: the critic, or None.
        held_out: whole episodes [E, T, ...] with `lengths`.
        window: steps before an episode's end on which the critic is asked, at most.
        seed: of the shuffled actions.

    Raises:
        DataError: where no episode holds two states.
    """
    z = encode_episodes(model, held_out)
    lengths = torch.full((len(z),), z.shape[1]) if held_out.lengths is None else held_out.lengths
    if not bool((lengths >= 2).any()):
        raise DataError("held-out episodes must hold at least one step; none does. Hold out more of them.")
    real, shuffled = {}, {}
    told = z.shape[-1] - (model.memory_dim if isinstance(model, RememberingModel) else 0)  # by pictures
    drawn = torch.Generator().manual_seed(seed)
    for horizon in HORIZONS:
        rows = (lengths > horizon).nonzero().squeeze(1)
        if not len(rows):
            break
        start = torch.stack([torch.randint(int(lengths[i]) - horizon, (), generator=drawn) for i in rows])
        steps = start[:, None] + torch.arange(horizon)
        actions = held_out.actions[rows[:, None], steps]  # [R, horizon, A]
        now, then = z[rows, start].unsqueeze(1), z[rows, start + horizon, :, :told]
        other = actions[torch.randperm(len(rows), generator=drawn)]
        copied = (now[:, 0, :, :told] - then).square().mean().clamp_min(1e-12)
        real[horizon] = float((model.rollout(now, actions)[:, -1, :, :told] - then).square().mean() / copied)
        shuffled[horizon] = float((model.rollout(now, other)[:, -1, :, :told] - then).square().mean() / copied)
    monotone = None if distance is None else _monotone(distance, z, lengths, window)
    return OfflineReport(int((lengths >= 2).sum()), real, shuffled, monotone)


def _monotone(distance: Distance, z: Tensor, lengths: Tensor, window: int) -> float | None:
    found = []
    for path, length in zip(z, lengths.tolist(), strict=True):
        if length < 4:
            continue
        steps = path[max(0, length - window) : length]
        found.append(_spearman(distance(steps[:-1], steps[-1:]).numpy(), np.arange(len(steps) - 1, 0, -1)))
    return float(np.mean(found)) if found else None


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0:
        return 0.0
    first, second = (np.argsort(np.argsort(x)).astype(float) for x in (a, b))
    return float(np.corrcoef(first, second)[0, 1])
