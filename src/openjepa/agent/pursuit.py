"""The subgoals that environments pursue: one is held for some decisions before the upper levels look for another.

A plan that is made anew at every decision turns round where two ways are worth the same; one that is held goes one of
them. It also costs less: the upper levels decide on their own, slower scale of time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openjepa.nn.host import to_device
from openjepa.planning.hierarchical import Hierarchy


class Pursuit:
    """What a batch of environments heads for.

    Args:
        hierarchy: the upper levels.
        z_goal: [B, N, D].
    """

    def __init__(self, hierarchy: Hierarchy, z_goal: Tensor) -> None:
        self.hierarchy = hierarchy
        self._subgoals = z_goal.clone()
        self._left = [0] * len(z_goal)  # decisions for which each subgoal is still held

    def drop(self, rows: Sequence[int]) -> None:
        """Lets environments look for another subgoal at their next decision."""
        for row in rows:
            self._left[row] = 0

    def subgoals(
        self,
        rows: Sequence[int],
        z: Tensor,
        z_goal: Tensor,
        generators: Sequence[torch.Generator],
        levels: int | None = None,
    ) -> Tensor:
        """What R environments head for at this decision [R, N, D].

        Args:
            rows: their numbers.
            z: [R, T, N, D], their latest states.
            z_goal: [R, N, D].
            generators: one for each.
            levels: that take part, level 1 among them; None for all.
        """
        due = [i for i, row in enumerate(rows) if not self._left[row]]
        there = to_device(torch.tensor(rows), z.device)
        if due:
            some = to_device(torch.tensor(due), z.device)
            found = self.hierarchy.subgoals(z[some], z_goal[some], [generators[i] for i in due], levels)
            self._subgoals[there[some]] = found
            for i in due:
                self._left[rows[i]] = self.hierarchy.hold
        for row in rows:
            self._left[row] -= 1
        return self._subgoals[there]
