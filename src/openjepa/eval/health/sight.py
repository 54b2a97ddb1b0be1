"""What of the moving things in the picture can be read from a latent: no simulator, no labels.

Three read-outs of the place of each thing, each within held-out episodes: from the latent, from an untrained encoder's
latent, and foretold by the pixels alone (the places of two frames and the action between them). What pixels cannot
foretell is noise, and a latent may ignore it; what they foretell and the latent does not hold, the model is blind to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.data.whole_episodes import recorded
from openjepa.eval.health.foretelling import is_enough
from openjepa.eval.health.latent_statistics import covariance_spectrum, moving_state_ratio, participation_ratio
from openjepa.eval.health.moving_things import find_moving_things
from openjepa.eval.probing.probes import ProbeConfig, RidgeProbe, centred, r2_within, score_probes, split_episodes
from openjepa.protocols import TrajectoryBatch

FORESEEN = 0.6  # R2 from which on the motion of a thing counts as foretold by the pixels
SAME = 0.5  # share of a thing's motion that a larger one's explains, from which on it is a part of that one


@dataclass(frozen=True)
class SeenThing:
    """One moving thing, and who can tell where it is; R2 within held-out episodes.

    Attributes:
        colour: red, green and blue, 0 to 255.
        size_px: root of its area.
        step_px: median displacement in a step, where it moves.
        travel_px: root mean square distance from the episode's mean place.
        share: of the changing pixels.
        foretold: R2 of its next place, foretold by the places of all things in two frames and the action.
        read: R2 of its place, read from the latent.
        untrained: the same from an untrained encoder, or None.
    """

    colour: tuple[int, int, int]
    size_px: float
    step_px: float
    travel_px: float
    share: float
    foretold: float
    read: float
    untrained: float | None = None


@dataclass(frozen=True)
class Sight:
    """What moves, and what of it the latent holds.

    Attributes:
        things: those whose motion pixels can foretell, the one that changes most pixels first.
        degrees_of_freedom: participation ratio of their motion within episodes, 1 to 2 K.
        temporal_variance_ratio: mean share of the variance of their places that lies within episodes.
        grid_px: side of the cells in which the first thing moves, where it jumps from cell to cell.
        stride_px: px between two patches of the encoder's first layer, where it has one.
    """

    things: tuple[SeenThing, ...]
    degrees_of_freedom: float
    temporal_variance_ratio: float
    grid_px: int | None = None
    stride_px: int | None = None

    @property
    def read(self) -> float:
        """R2 of the best-read thing."""
        return max(thing.read for thing in self.things)

    @property
    def untrained(self) -> float | None:
        """R2 of the thing that an untrained encoder reads best."""
        scores = [thing.untrained for thing in self.things if thing.untrained is not None]
        return max(scores) if scores else None


def look(
    z: Tensor,
    held_out: TrajectoryBatch,
    *,
    z_random: Tensor | None = None,
    probes: ProbeConfig | None = None,
    stride_px: int | None = None,
) -> Sight | None:
    """Finds what moves in held-out episodes and reads it out; None where nothing is found or too little is given.

    Args:
        z: [E, T, D] latents of the frames.
        held_out: the episodes.
        z_random: [E, T, D'] latents of an untrained encoder.
        probes: how read-outs are trained.
        stride_px: of the encoder, for the report.
    """
    valid = recorded(held_out.lengths, *z.shape[:2])
    if not is_enough(valid):
        return None
    found = find_moving_things(held_out.frames, held_out.lengths)
    config = probes or ProbeConfig()
    foretold = foretell_places(found.places, held_out.actions, valid, config)
    kept = whole_things(found.places, found.size, valid, (foretold >= FORESEEN).nonzero()[:, 0])
    if not len(kept):
        return None
    places = found.places[:, :, kept]
    read = read_places(z, places, valid, config)
    untrained = None if z_random is None else read_places(z_random, places, valid, config)
    motion = centred(places.flatten(2), valid)[valid].unflatten(1, (-1, 2))  # [M, K, 2]
    motion = motion / motion.square().mean((0, 2)).sqrt().clamp_min(1e-6)[:, None]
    things = tuple(
        SeenThing(
            colour=(int(found.colours[k, 0]), int(found.colours[k, 1]), int(found.colours[k, 2])),
            size_px=float(found.size[k]),
            step_px=float(found.step[k]),
            travel_px=float(found.travel[k]),
            share=float(found.share[k]),
            foretold=float(foretold[k]),
            read=float(read[i]),
            untrained=None if untrained is None else float(untrained[i]),
        )
        for i, k in enumerate(kept.tolist())
    )
    return Sight(
        things,
        degrees_of_freedom=participation_ratio(covariance_spectrum(motion.flatten(1))),
        temporal_variance_ratio=moving_state_ratio(places.flatten(2), valid) or 0.0,
        grid_px=found.grid(),
        stride_px=stride_px,
    )


def whole_things(places: Tensor, size: Tensor, valid: Tensor, among: Tensor) -> Tensor:
    """Those of the things `among` that are not parts of a larger one, such as its edges; in the given order.

    Args:
        places: [E, T, K, 2].
        size: [K].
        valid: [E, T] bool, the frames that count.
        among: numbers of things [M].
    """
    motion = centred(places.flatten(2), valid)[valid].unflatten(1, (-1, 2))  # [N, K, 2]
    kept: list[int] = []
    for k in sorted(among.tolist(), key=lambda k: -float(size[k])):
        own = motion[:, k]
        left = min(
            (float((own - motion[:, i] @ torch.linalg.lstsq(motion[:, i], own).solution).square().sum()) for i in kept),
            default=float("inf"),
        )
        if left > (1 - SAME) * float(own.square().sum()):
            kept.append(k)
    return torch.tensor([k for k in among.tolist() if k in kept], dtype=torch.long)


def read_places(z: Tensor, places: Tensor, valid: Tensor, config: ProbeConfig) -> Tensor:
    """R2 [K] of places [E, T, K, 2], read from latents z [E, T, D] on held-out episodes, within them.

    The better of a linear and a small non-linear read-out counts, for x and y by themselves.
    """
    scores = score_probes(z, places.flatten(2), config, valid=valid)
    columns = (scores.linear_within, scores.mlp_within or scores.linear_within)
    known = torch.tensor([max(a or 0.0, b or 0.0) if a and b else 0.0 for a, b in zip(*columns, strict=True)])
    return _weighted(known.double(), places, valid)


def foretell_places(places: Tensor, actions: Tensor, valid: Tensor, config: ProbeConfig) -> Tensor:
    """R2 [K] of the next places, foretold linearly by two frames of places [E, T, K, 2] and an action [E, T - 1, A]."""
    flat = places.flatten(2)
    past = torch.cat([flat[:, 1:-1], flat[:, 1:-1] - flat[:, :-2], actions[:, 1:].to(flat.dtype)], -1)
    after, known = flat[:, 2:], valid[:, 2:]
    train, test = split_episodes(len(flat), config)
    probe = RidgeProbe(past[train][known[train]], after[train][known[train]], ridge=config.ridge)
    guess = probe(past[test].flatten(0, 1)).unflatten(0, (len(test), -1))
    scores = torch.tensor([score or 0.0 for score in r2_within(guess, after[test], known[test])])
    return _weighted(scores.double(), places, valid)


def _weighted(scores: Tensor, places: Tensor, valid: Tensor) -> Tensor:
    """Means [K] over x and y of scores [K * 2], by how far each thing moves along them."""
    weights = centred(places.flatten(2), valid).square().sum((0, 1)).clamp_min(1e-9).unflatten(0, (-1, 2))
    return (scores.unflatten(0, (-1, 2)) * weights).sum(1) / weights.sum(1)
