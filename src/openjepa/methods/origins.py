"""Places with one origin in all episodes, found by what a single predictor can foresee.

    place'[t] = place[t] + B' still[t]        still: what tells episodes apart, read from the same features

Dead reckoning says how far something went, not from where: whatever stays in an episode may be added to its places, and
walls then stand elsewhere in every episode. With one origin a single predictor, which knows the scene, foresees where
all of them bar the way; so B is learned with such a predictor, by predicting. Nothing sees a true place.

What is read from a frame is never quite still, so B is learned on what each frame tells: of an episode's mean it would
make more than the frames bear. And a leak is small: of two origins that foresee alike, the nearer one is taken.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.heads.fitting import fit, mlp, seeded

ROLLOUT = 4  # steps that are foreseen
BATCH = 512
RATE = 10.0  # learning rate of the origins over that of the predictor, in which they lie deep
NEAR = 1.0  # weight of the mean square of a shift, beside the error of the steps


class _Origins(nn.Module):
    """B [K, A] and the predictor of steps that it is learned with."""

    def __init__(self, still_dim: int, scene_dim: int, place_dim: int, action_dim: int) -> None:
        super().__init__()
        self.by_still = nn.Parameter(torch.zeros(still_dim, place_dim))
        self.step = mlp(scene_dim + place_dim + action_dim, 128, place_dim)

    def shift(self, still: Tensor) -> Tensor:
        return RATE * still @ self.by_still


def common_origin(
    places: Tensor, still: Tensor, scene: Tensor, actions: Tensor, *, steps: int, generator: torch.Generator
) -> Tensor:
    """Returns B [K, A], which shifts places by what stays in an episode so that all episodes have one origin.

    Args:
        places: [E, T, A] of about unit variance, T > 4.
        still: [E, T, K], what nearly stays in each episode, of about unit variance between episodes.
        scene: [E, S], what a predictor is told of each episode, likewise.
        actions: [E, T - 1, M].
        steps: of training.
        generator: for initial weights and batches.
    """
    places, still, scene = places.float(), still.float(), scene.float()
    moves = (actions / actions.std().clamp_min(1e-6)).float()
    unit = places.diff(dim=1).std().clamp_min(1e-6)
    with seeded(generator):
        head = _Origins(still.shape[-1], scene.shape[1], places.shape[-1], moves.shape[-1])

    def loss() -> Tensor:
        episode = torch.randint(len(places), (BATCH,), generator=generator)
        first = torch.randint(places.shape[1] - ROLLOUT, (BATCH,), generator=generator)
        steps, known = first[:, None] + torch.arange(ROLLOUT + 1), scene[episode]
        shift = head.shift(still[episode[:, None], steps])
        wanted = places[episode[:, None], steps] + shift  # [B, ROLLOUT + 1, A]
        place, error = wanted[:, 0], NEAR * shift.square().mean()
        for ahead in range(ROLLOUT):
            seen = torch.cat([known, place, moves[episode, first + ahead]], 1)
            place = place + unit * head.step(seen)
            error = error + functional.smooth_l1_loss(place / unit, wanted[:, ahead + 1] / unit, beta=0.3)
        return error

    return RATE * fit(head, loss, steps=steps, lr=2e-3).by_still.detach()
