"""What is wrong with a hierarchy: six failures by name, each measured on recorded episodes.

starved level               too few episodes hold a training window of it
slow features               its latent tells episodes apart, and not the moments within one
macro-actions off support   its search chooses what no data show
subgoals that lead away     near a goal, what it heads for is farther from it than where it is
non-monotone cost           its distance to the end of a true path does not fall along it
false edges                 ways of the map that failed in the world
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.agent.experience import Experience
from openjepa.agent.landmarks import Landmarks
from openjepa.heads.fitting import check_episodes, valid_states
from openjepa.methods.hjepa import HJEPA, data_budget
from openjepa.nn.random import keyed_generator
from openjepa.planning.costs import Distance
from openjepa.planning.hierarchical import Hierarchy, UpperPlan
from openjepa.planning.support import NearestNeighbours

SLOW = 0.9  # share of a latent's variance that lies between episodes, above which its features are slow
OFF = 0.1  # share of chosen macro-actions that are off the support, where by construction 1 % would be
FEW = 100  # macro-actions, fewer than which do not show a support
AWAY = 0.2  # share of subgoals near the goal that are farther from it than the start
FALLING = 0.8  # mean rank correlation of a distance with the steps that are left, below which it misleads
STARVED = 0.5  # share of episodes that are long enough
FALSE = 0.02  # share of the map's ways that failed


@dataclass(frozen=True)
class LevelHealth:
    """Measurements of one upper level.

    Attributes:
        level: its number, 2 for the lowest.
        clips: share of the episodes that are long enough for it.
        between: share of its latent's variance that lies between episodes.
        off_support: share of chosen macro-actions beyond the 99 % radius of the observed ones; None where unknown.
        away: share of subgoals that lead away from a goal one to two macro-steps off; None where unknown.
        falling: mean rank correlation between its distance to the end of recorded paths and the steps that are left.
        worst: the lowest of them.
    """

    level: int
    clips: float
    between: float
    off_support: float | None
    away: float | None
    falling: float
    worst: float

    def text(self) -> str:
        """The numbers in a line."""
        parts = [f"{self.clips:.0%} of the episodes are long enough", f"{self.between:.0%} of the variance is slow"]
        if self.off_support is not None:
            parts.append(f"{self.off_support:.0%} of the macro-actions are off the support")
        if self.away is not None:
            parts.append(f"{self.away:.0%} of the subgoals near a goal lead away")
        return f"level {self.level}: {', '.join(parts)}; its distance falls along true paths by {self.falling:.2f}"

    @property
    def complaints(self) -> tuple[str, ...]:
        """The failures by name, a line each with what to change."""
        found = []
        if self.clips < STARVED:
            found.append(f"starved level: {self.clips:.0%} of the episodes are long enough; lower `stride`")
        if self.between > SLOW:
            found.append(f"slow features: {self.between:.0%} of the variance lies between episodes; raise `window`")
        if self.off_support is not None and self.off_support > OFF:
            found.append(f"macro-actions off support: {self.off_support:.0%} of them; take `support` codebook")
        if self.away is not None and self.away > AWAY:
            found.append(f"subgoals that lead away: {self.away:.0%} near a goal; take `aggregate` mean")
        if self.falling < FALLING:
            found.append(f"non-monotone cost: rank correlation {self.falling:.2f}; take `distance` stitched")
        return tuple(f"level {self.level}: {words}" for words in found)


@torch.no_grad()
def examine(
    model: HJEPA,
    hierarchy: Hierarchy,
    latents: Tensor,
    actions: Tensor,
    lengths: Tensor | None = None,
    *,
    seed: int = 0,
) -> tuple[LevelHealth, ...]:
    """Measures every upper level on whole episodes.

    Args:
        model: in evaluation mode.
        hierarchy: what plans with its levels.
        latents: [E, T, 1, D] of its level 1.
        actions: [E, T - 1, A] in the environment's units.
        lengths: [E] states of each episode, T by default.
        seed: of the pairs of start and goal that macro-actions are chosen for.
    """
    known = check_episodes(latents, lengths)
    budgets = data_budget(known, model.config.levels)
    lifted, below = model.lift(latents), model.standardised(actions)
    found = []
    for level, upper, up, budget in zip(model.levels, hierarchy.uppers, lifted, budgets, strict=True):
        below = level.pool(below)
        states = valid_states(up, known)
        rows = torch.randint(len(states), (2, 64), generator=keyed_generator(seed))
        luck = [keyed_generator(seed, i) for i in range(64)]
        chosen = upper.choices(states[rows[0]], states[rows[1]], luck)
        falling, worst = monotone(upper.distance, up, known)
        observed = below.flatten(0, 1)
        observed = observed[torch.isfinite(observed).all(1)]
        off = off_support(chosen, observed) if len(observed) >= FEW else None
        away = leads_away(upper, *near_pairs(upper, up, known, seed), luck)
        between = between_episodes(up, known)
        found.append(LevelHealth(budget.level, budget.share, between, off, away, falling, worst))
    return tuple(found)


def near_pairs(upper: UpperPlan, z: Tensor, lengths: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Up to 64 pairs of observed states [R, 1, D] of episodes [E, T, 1, D], one to two macro-steps apart."""
    states = valid_states(z, lengths)
    rows = torch.randint(len(states), (2, 4096), generator=keyed_generator(seed, 1))
    away = upper.distance(states[rows[0]], states[rows[1]]) / upper.step
    kept = ((away > 1) & (away <= 2)).nonzero().squeeze(1)[:64]
    return states[rows[0, kept]], states[rows[1, kept]]


def leads_away(upper: UpperPlan, z: Tensor, z_goal: Tensor, luck: Sequence[torch.Generator]) -> float | None:
    """Share of the imagined subgoals from z [R, 1, D] that are farther from goals [R, 1, D] than z; None for R = 0."""
    if not len(z):
        return None
    found = upper.search(z, z_goal, luck[: len(z)])
    return float((upper.distance(found, z_goal) > upper.distance(z, z_goal)).float().mean())


def between_episodes(z: Tensor, lengths: Tensor) -> float:
    """Share of the variance of states [E, T, N, D] that lies between the means of episodes."""
    flat = z.flatten(2)
    means = torch.stack([row[:length].mean(0) for row, length in zip(flat, lengths.tolist(), strict=True)])
    whole = valid_states(z, lengths).flatten(1).var(0, correction=0).sum()
    weights = lengths.to(flat) / lengths.sum()
    centre = (weights.unsqueeze(1) * means).sum(0)
    between = (weights.unsqueeze(1) * (means - centre).square()).sum()
    return float(between / whole.clamp_min(1e-12))


def off_support(chosen: Tensor, observed: Tensor) -> float:
    """Share of macro-actions [R, M] that are farther from observed ones [S, M] than 99 % of those are themselves."""
    rows = observed.unsqueeze(1)
    memory = NearestNeighbours.fit(rows[::2], rows[1::2])
    return float((memory.distance(chosen.unsqueeze(1)) > memory.threshold).float().mean())


def monotone(distance: Distance, z: Tensor, lengths: Tensor) -> tuple[float, float]:
    """Mean and lowest rank correlation of the distance to the end of episodes [E, T, N, D] with the steps left."""
    found = []
    for row, length in zip(z, lengths.tolist(), strict=True):
        path = row[:length]
        found.append(rank_correlation(distance(path[:-1], path[-1:]), torch.arange(length - 1, 0, -1)))
    return sum(found) / len(found), min(found)


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's: the correlation of the ranks of x and y [S], equal values sharing the middle of their ranks."""
    ranks = []
    for values in (x, y):
        _, inverse, counts = values.double().unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0)
        ranks.append((last - (counts - 1) / 2).double()[inverse])
    centred = [rank - rank.mean() for rank in ranks]
    norm = (centred[0].norm() * centred[1].norm()).clamp_min(1e-12)
    return float((centred[0] * centred[1]).sum() / norm)


def false_edges(landmarks: Landmarks, experiences: Sequence[Experience]) -> tuple[float, str | None]:
    """Share of the map's ways that failed in kept episodes, and the complaint where that is much."""
    pairs = set()
    for experience in experiences:
        ends = landmarks.nearest(experience.failed) if len(experience.failed) else torch.zeros(0, 2)
        pairs |= {tuple(sorted(pair)) for pair in ends.tolist()}
    known = {tuple(sorted(pair)) for pair in landmarks.edges.T.tolist()}
    share = len(pairs & known) / max(1, len(known))
    words = f"false edges: {share:.0%} of the map's ways failed; raise `min_count`" if share > FALSE else None
    return share, words
