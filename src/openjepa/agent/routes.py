"""The ways of a batch of episodes through a map, and what the world says about them.

A shortest way finds every false edge of a map: a step that was seen once through a wall shortens thousands of ways. So
the map is doubted where it fails. While an environment comes no nearer to its goal, along the map, for some decisions,
the edge that it should have taken first is deleted, until the episode ends (agent/experience.py keeps it longer); if
that leaves no way, all of them get another chance. After sparse graphical memory (2003.06417), whose edges are removed
when they fail.
"""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from openjepa.agent.landmarks import Landmarks
from openjepa.nn.host import to_device, to_host


class Routes:
    """Ways of a batch of environments to their goals.

    Args:
        landmarks: the map; it is left as it is.
        z_goal: [B, N, D].
        patience: decisions without progress after which an edge is deleted; None believes the map for ever.

    Attributes:
        blocked: of each environment, the numbers of deleted edges.
        idle: of each environment, decisions in a row that brought the goal no nearer.
    """

    def __init__(self, landmarks: Landmarks, z_goal: Tensor, patience: int | None) -> None:
        self.landmarks, self.patience = landmarks, patience
        self.goals: list[int] = to_host(landmarks.nearest(z_goal)).tolist()
        self.blocked: list[frozenset[int]] = [frozenset()] * len(z_goal)
        self.idle = [0] * len(z_goal)
        self.failed: list[list[tuple[int, int]]] = [[] for _ in self.goals]  # edges, from and to
        self._best = [math.inf] * len(z_goal)
        self._ways: dict[tuple[int, bool, frozenset[int]], Tensor] = {}

    def look(self, rows: Sequence[int], z: Tensor, rests: Collection[int] = ()) -> list[float]:
        """Says how far some environments are, and deletes the edges that failed.

        Args:
            rows: R numbers of environments.
            z: [R, N, D], where they are.
            rests: environments that are to stay where they are, at which no edge fails.

        Returns:
            steps to each goal, infinity where no way is known.
        """
        found = []
        for row, here in zip(rows, to_host(self.landmarks.nearest(z)).tolist(), strict=True):
            left = float(self.ways(row)[here])
            if left < self._best[row]:
                self._best[row], self.idle[row] = left, 0
            elif row not in rests:
                self.idle[row] += 1
            failed = self.patience is not None and self.idle[row] >= self.patience and row not in rests
            if failed and 0 < left < self.landmarks.far:
                self._delete(row, here)
                self.idle[row] = 0
                left = self._best[row] = float(self.ways(row)[here])
            found.append(left if left < self.landmarks.far else math.inf)
        return found

    def left(self, rows: Sequence[int], z: Tensor) -> list[float]:
        """Steps to the goals of some environments from states z [R, N, D], as far as the map knows; notes nothing."""
        places = to_host(self.landmarks.nearest(z)).tolist()
        return [float(self.ways(row)[place]) for row, place in zip(rows, places, strict=True)]

    def ways(self, row: int, landmark: int | None = None) -> Tensor:
        """Steps [L] from every landmark to the goal of an environment, or outward from a landmark."""
        number, outward = (self.goals[row], False) if landmark is None else (landmark, True)
        blocked = self.blocked[row]
        if not blocked:
            return self.landmarks.ways(number, outward=outward)
        key = number, outward, blocked
        if key not in self._ways:
            self._ways[key] = self.landmarks.ways(number, outward=outward, without=blocked)
        return self._ways[key]

    def subgoals(self, rows: Sequence[int], z: Tensor, z_goal: Tensor, reach: float) -> Tensor:
        """What to head for [R, N, D]; see `Landmarks.subgoals`, which this is without the edges that failed."""
        here = to_host(self.landmarks.nearest(z)).tolist()
        left = torch.stack([self.ways(row) for row in rows])  # [R, L]
        away = torch.stack([self.ways(row, number) for row, number in zip(rows, here, strict=True)])
        return self.landmarks.choose(to_device(torch.tensor(here), z.device), left, away, z_goal, reach)

    def _delete(self, row: int, here: int) -> None:
        """Deletes the first edge of the shortest way from a landmark, in both directions where it has two."""
        edges, gaps = self.landmarks.edges.cpu(), self.landmarks.gaps.cpu()
        blocked = torch.tensor(sorted(self.blocked[row]), dtype=torch.long)
        out = edges[0] == here
        out[blocked] = False
        numbers = out.nonzero().squeeze(1)
        if not len(numbers):
            return
        left = self.ways(row).cpu()
        first = int(numbers[(gaps[numbers] + left[edges[1, numbers]]).argmin()])
        there = int(edges[1, first])
        back = ((edges[0] == there) & (edges[1] == here)).nonzero().squeeze(1).tolist()
        self.failed[row].append((here, there))
        self.blocked[row] |= {first, *back}
        if float(self.ways(row)[here]) >= self.landmarks.far:
            self.blocked[row] = frozenset()
