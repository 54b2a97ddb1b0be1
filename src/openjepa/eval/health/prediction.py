"""One-step prediction on held-out episodes: beside copying, under shuffled actions, and over whole episodes."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded

ROWS_BY_PART = 16384  # predicted transitions, over all parts of the action


class Predictive(Protocol):
    """What is measured: an encoder, and where there are actions a predictor (see `protocols.WorldModel`)."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        """Frames [B, T, C, H, W] to z [B, T, N, D]."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Context z [B, T, N, D] and actions [B, T - 1 + H, A] to z_pred [B, H, N, D]."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One-step prediction on held-out transitions; medians or means over all of them.

    Attributes:
        copy_ratio: squared error / squared error of copying z_t; at 1 or above the predictor adds nothing.
        permutation_ratio: squared error with shuffled actions / with the true ones; 1 means blind to actions.
        action_sensitivity: median change of the prediction under another action of the data / median change
            of z in one step; 0 means blind to actions.
        compounding: squared error at the end of whole episodes, rolled out open loop / after one step, or None for
            short episodes.
        permutation_by_part: the permutation ratio of each part of the action alone: of each column, or of each
            choice where actions are one-hot. None for a part that the data do not vary.
    """

    copy_ratio: float
    permutation_ratio: float
    action_sensitivity: float
    compounding: float | None = None
    permutation_by_part: tuple[float | None, ...] = ()


@torch.no_grad()
def one_step_prediction(
    model: Predictive,
    z: Tensor,
    actions: Tensor,
    *,
    seed: int = 0,
    lengths: Tensor | None = None,
    counted: Tensor | None = None,
) -> Prediction:
    """Compares predictions with copying, with shuffled actions, and over whole episodes.

    Args:
        model: a world model; every transition is predicted from one context state.
        z: [E, T, N, D] encoded episodes.
        actions: [E, T - 1, A].
        seed: of the shuffle.
        lengths: [E] states of each episode that count; all if None.
        counted: [D] bool, dimensions whose prediction is measured; all if None.
    """
    valid = recorded(lengths, *z.shape[:2])
    measured = slice(None) if counted is None else counted
    moves = valid[:, 1:]
    actions = actions.to(z.dtype)
    now, after = z[:, :-1][moves].unsqueeze(1), z[:, 1:][moves].unsqueeze(1)  # [M, 1, N, D]
    taken = actions[moves].unsqueeze(1)  # [M, 1, A]
    order = torch.randperm(len(taken), generator=torch.Generator().manual_seed(seed))
    predicted, shuffled = (roll(model, now, a)[..., measured] for a in (taken, taken[order]))
    seen = after[..., measured]
    error, error_shuffled = _square(predicted - seen), _square(shuffled - seen)  # [M]
    copied = seen - now[..., measured]
    step = copied.flatten(1).norm(dim=1).median()
    change = (predicted - shuffled).flatten(1).norm(dim=1).median()
    compounding = None
    if int(valid.sum(1).max()) > 2:
        last = valid.sum(1)  # of at least 2 states each
        long = last > 2
        path = roll(model, z[long, :1], actions[long])
        rows = torch.arange(len(path))
        ends = path[rows, last[long] - 2] - z[long][rows, last[long] - 1]
        compounding = float(_square(ends[..., measured]).mean()) / max(float(error.mean()), 1e-12)
    by_choice = one_hot_choices(actions[moves])
    if by_choice is None:
        parts = _ratio_by_column(model, now, taken, after, order, measured)
    else:
        parts = _ratio_by_choice(by_choice, by_choice[order], error, error_shuffled)
    return Prediction(
        copy_ratio=float(error.mean()) / max(float(_square(copied).mean()), 1e-12),
        permutation_ratio=float(error_shuffled.mean()) / max(float(error.mean()), 1e-12),
        action_sensitivity=float(change / step.clamp_min(1e-8)),
        compounding=compounding,
        permutation_by_part=parts,
    )


def one_hot_choices(actions: Tensor) -> Tensor | None:
    """How often each choice is in one-hot actions [M, f * A], as [M, A]; None where they are not one-hot.

    With a frameskip f, an action is f one-hot blocks in time order.
    """
    blocks = round(float(actions[0].sum()))
    width = actions.shape[1]
    if blocks < 1 or width % blocks or width == blocks:
        return None
    parts = actions.unflatten(1, (blocks, -1))
    is_one_hot = ((actions == 0) | (actions == 1)).all() and (parts.sum(2) == 1).all()
    return parts.sum(1) if is_one_hot else None


def _ratio_by_column(
    model: Predictive, now: Tensor, taken: Tensor, after: Tensor, order: Tensor, measured: Tensor | slice
) -> tuple[float | None, ...]:
    """Squared error with one column of the actions shuffled over that with none, for each column."""
    width = taken.shape[2]
    some = order[: max(1, ROWS_BY_PART // width)]  # a random part

    def error_of(actions: Tensor) -> float:
        return float(_square((roll(model, now[some], actions) - after[some])[..., measured]).mean())

    error = max(error_of(taken[some]), 1e-12)
    ratios: list[float | None] = []
    for a in range(width):
        column = taken[some, :, a]
        if float(column.max() - column.min()) == 0:
            ratios.append(None)
            continue
        changed = taken[some].clone()
        changed[:, :, a] = column.roll(1, 0)  # the rows are in random order
        ratios.append(error_of(changed) / error)
    return tuple(ratios)


def _ratio_by_choice(
    chosen: Tensor, instead: Tensor, error: Tensor, error_shuffled: Tensor
) -> tuple[float | None, ...]:
    """Error where a choice was replaced by another one over the error of the same transitions, for each choice."""
    ratios: list[float | None] = []
    for a in range(chosen.shape[1]):
        rows = (chosen[:, a] > 0) & (instead[:, a] < chosen[:, a])
        known = bool(rows.any())
        ratios.append(float(error_shuffled[rows].mean()) / max(float(error[rows].mean()), 1e-12) if known else None)
    return tuple(ratios)


def roll(model: Predictive, z: Tensor, actions: Tensor, rows: int = 4096) -> Tensor:
    """Rolls out in evaluation mode, some rows at a time; the states [B, H, N, D] are on the CPU."""
    device = device_of(model)
    with evaluating(model):
        parts = [
            model.rollout(z[i : i + rows].to(device), actions[i : i + rows].to(device)).float().cpu()
            for i in range(0, len(z), rows)
        ]
    return torch.cat(parts)


def device_of(model: Any) -> torch.device:
    """Where a module's parameters are; the CPU for anything without."""
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


class evaluating:
    """Puts a module into evaluation mode for the length of a `with` block."""

    def __init__(self, model: Any) -> None:
        self.model = model if isinstance(model, torch.nn.Module) else None

    def __enter__(self) -> None:
        self.was_training = self.model is not None and self.model.training
        if self.was_training and self.model is not None:
            self.model.eval()

    def __exit__(self, *_: object) -> None:
        if self.was_training and self.model is not None:
            self.model.train()


def _square(x: Tensor) -> Tensor:
    """Mean square of each row of [M, ...], in float64: [M]."""
    return x.double().flatten(1).square().mean(1)
