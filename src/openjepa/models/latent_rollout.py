"""Rolling a latent predictor forward: open loop from a context, or one step from every encoded state."""

from collections.abc import Callable

import torch
from torch import Tensor

from openjepa.errors import ConfigError

Predictor = Callable[[Tensor, Tensor], Tensor]  # states [B, T, D] and actions [B, T, A] to the next states [B, T, D]


def roll_out(predictor: Predictor, z: Tensor, actions: Tensor, context_len: int) -> Tensor:
    """States [B, H, D] after each of the last H actions, every prediction fed back.

    Args:
        predictor: see `models.latent_predictor`.
        z: [B, T, D] known states.
        actions: [B, T - 1 + H, A], standardised; the first T - 1 lie between the known states.
        context_len: latest states that the predictor sees.

    Raises:
        ConfigError: where no action leads beyond the known states.
    """
    check_reach(z, actions)
    known = z.shape[1]
    path = list(z.unbind(1))
    for t in range(known - 1, actions.shape[1]):
        first = max(0, t + 1 - context_len)
        past = torch.stack(path[first : t + 1], 1)
        path.append(predictor(past, actions[:, first : t + 1])[:, -1])
    return torch.stack(path[known:], 1)


def check_reach(z: Tensor, actions: Tensor) -> None:
    """Checks that actions [B, T - 1 + H, A] lead beyond known states [B, T, ...].

    Raises:
        ConfigError: where they do not.
    """
    known = z.shape[1]
    if actions.shape[1] < known:
        raise ConfigError(f"`actions` must hold at least {known} steps for {known} states; got {actions.shape[1]}.")


def predict_next(predictor: Predictor, z: Tensor, actions: Tensor, context_len: int) -> Tensor:
    """The state after each of T - 1 actions, every one predicted from encoded states; [B, T - 1, D].

    Args:
        predictor: see `models.latent_predictor`.
        z: [B, T, D] encoded states.
        actions: [B, T - 1, A], standardised.
        context_len: latest states that the predictor sees.
    """
    if context_len >= actions.shape[1]:
        return predictor(z[:, :-1], actions)
    past = z[:, :-1].unfold(1, context_len, 1).transpose(2, 3)  # [B, W, context, D]
    moves = actions.unfold(1, context_len, 1).transpose(2, 3)
    found = predictor(past.flatten(0, 1), moves.flatten(0, 1)).view(past.shape)
    return torch.cat([found[:, 0], found[:, 1:, -1]], 1)
