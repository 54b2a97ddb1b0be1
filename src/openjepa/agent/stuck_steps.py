"""The map as memory of an episode: an imagined step that ended where it began is not believed there again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from openjepa.agent.landmarks import Landmarks
from openjepa.errors import check_shape
from openjepa.nn.host import to_host
from openjepa.protocols import PathCost


class StuckSteps:
    """Memory of a batch of episodes: imagined steps between landmarks that ended where they began.

    It has the verbs of `FailedPlans`.

    Args:
        landmarks: the map.
    """

    def __init__(self, landmarks: Landmarks) -> None:
        self.landmarks = landmarks
        self._steps: list[Tensor] = []  # each [B], from * L + to; -1 for none

    def compare(self, start: Tensor, imagined: Tensor, seen: Tensor) -> None:
        """Remembers where a step led nowhere.

        Args:
            start: [B, N, D], where it began.
            imagined: [B, N, D], where it was to end.
            seen: [B, N, D], where it ended.
        """
        here, there, now = (self.landmarks.nearest(z) for z in (start, imagined, seen))
        stuck = (now == here) & (there != here)
        if to_host(stuck.any()):
            self._steps.append(torch.where(stuck, here * len(self.landmarks) + there, -1))

    def doubt(self, cost: PathCost, z: Tensor, horizon: int, rows: Tensor) -> PathCost:
        """The same cost with what is remembered, for some environments.

        Args:
            cost: bound to the goals of these environments.
            z: [R, N, D], where they are.
            horizon: number of steps of a path.
            rows: [R], which ones they are.
        """
        if not self._steps:
            return cost
        return StuckCost(cost, self.landmarks, z, torch.stack(self._steps, 1)[rows])


@dataclass(frozen=True)
class StuckCost:
    """A cost under which a path goes no farther than its first step that is known to lead nowhere.

    Attributes:
        cost: of paths.
        landmarks: the map.
        z: [B, N, D], where paths begin.
        steps: [B, K], from * L + to of steps that led nowhere; -1 for none.
    """

    cost: PathCost
    landmarks: Landmarks
    z: Tensor
    steps: Tensor

    def __call__(self, z_path: Tensor) -> Tensor:
        """z_path [B, S, T, N, D] to [B, S]."""
        check_shape(z_path, f"B={len(self.z)} S T N D", name="z_path")
        place = self.landmarks.nearest(z_path)  # [B, S, T]
        begin = self.landmarks.nearest(self.z)[:, None, None].expand_as(place[..., :1])
        step = torch.cat([begin, place[..., :-1]], -1) * len(self.landmarks) + place
        stuck = (step.unsqueeze(-1) == self.steps[:, None, None]).any(-1)  # [B, S, T]
        if not to_host(stuck.any()):
            return self.cost(z_path)
        free = (~stuck).cumprod(-1).sum(-1)  # [B, S], steps before the first one that leads nowhere
        start = self.z[:, None, None].expand_as(z_path[:, :, :1])
        last = torch.arange(1, z_path.shape[2] + 1, device=place.device).minimum(free.unsqueeze(-1))  # [B, S, T]
        index = last[..., None, None].expand_as(z_path)
        return self.cost(torch.cat([start, z_path], 2).gather(2, index))
