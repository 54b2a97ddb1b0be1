"""A map of landmarks: places of the latent space that were visited, the steps seen between them, the shortest way.

    landmarks: farthest points among visited states, until every state is within a share of a step of one
    edges:     l -> l' where a recorded step led from the cell of l to that of l'
    distance:  steps along the shortest way between the landmarks that are nearest to state and goal

A learned distance must be right everywhere, a map only where somebody has been; it knows walls, one-way steps and turns
exactly. After the graphs of search on the replay buffer (1906.05253) and of sparse graphical memory (2003.06417).

The map also serves as memory of an episode: a step that was imagined from one landmark to another, and ended where it
began, is not believed there again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.heads.fitting import Standardize, check_episodes, valid_states
from openjepa.protocols import PathCost

STILL = 1e-4  # of the longest step: what is shorter is rounding
ROWS = 8192  # states that are compared with all landmarks at once


@dataclass(frozen=True)
class LandmarkConfig:
    """How fine a map is.

    Attributes:
        radius_share: largest distance of a visited state from its landmark, as a share of a small step, > 0: one in
            a hundred is smaller. (A turn on the spot may be ten times as long as a step ahead, and both must count.)
        capacity: landmarks at most, >= 1; the map is coarser where they do not suffice.
    """

    radius_share: float = 0.5
    capacity: int = 2048

    def __post_init__(self) -> None:
        if self.radius_share <= 0 or self.capacity < 1:
            raise ConfigError(
                f"`radius_share` must be > 0 and `capacity` at least 1; got {self.radius_share} and {self.capacity}."
            )


class Landmarks(nn.Module):
    """A map, and by its call a distance in steps: z and z_goal [..., N, D] to [...], with broadcasting.

    A goal that no recorded way leads to is farther than any way could be.

    Args:
        count: number L of landmarks.
        edges: number of edges.
        dim: width N * D of a state.
    """

    places: Tensor
    edges: Tensor

    def __init__(self, count: int, edges: int, dim: int) -> None:
        super().__init__()
        self.standardize = Standardize(dim)
        self.register_buffer("places", torch.zeros(count, dim))  # standardised
        self.register_buffer("edges", torch.zeros(2, edges, dtype=torch.long))  # from, to
        self._ways: dict[int, Tensor] = {}  # by goal: steps [L] from every landmark

    def __len__(self) -> int:
        return len(self.places)

    def nearest(self, z: Tensor) -> Tensor:
        """The landmark of states [..., N, D]: its number [...]."""
        flat = self.standardize(z.flatten(-2)).reshape(-1, self.places.shape[1])
        return _nearest(flat, self.places).view(z.shape[:-2])

    def ways(self, goal: int) -> Tensor:
        """Steps [L] from every landmark to one; L where there is no way."""
        if goal not in self._ways:
            steps = torch.full((len(self),), float(len(self)))
            steps[goal] = 0
            start, end = self.edges.cpu()
            while True:
                shorter = steps.scatter_reduce(0, start, steps[end] + 1, "amin")
                if torch.equal(shorter, steps):
                    break
                steps = shorter
            self._ways[goal] = steps.to(self.places.device)
        return self._ways[goal]

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        here, goal = torch.broadcast_tensors(self.nearest(z), self.nearest(z_goal))
        known, row = goal.unique(return_inverse=True)
        table = torch.stack([self.ways(int(number)) for number in known])  # [goals, L]
        return table[row, here]


@torch.no_grad()
def fit_landmarks(latents: Tensor, config: LandmarkConfig | None = None, *, lengths: Tensor | None = None) -> Landmarks:
    """Draws the map of whole episodes.

    Args:
        latents: [E, T, N, D].
        config: the options.
        lengths: [E] number of states of each episode, T by default.
    """
    config = config or LandmarkConfig()
    known = check_episodes(latents, lengths).to(latents.device)
    flat = latents.detach().float().flatten(2)  # [E, T, N * D]
    standardize = Standardize(flat.shape[-1]).to(flat.device)
    standardize.measure(valid_states(flat, known.cpu()))
    flat = standardize(flat)
    states = valid_states(flat, known.cpu())
    step = valid_states((flat[:, 1:] - flat[:, :-1]).norm(dim=-1), known.cpu() - 1)
    moved = step[step > STILL * step.max()]
    radius = config.radius_share * float(moved.sort().values[len(moved) // 100]) if len(moved) else 0.0
    places = states[_farthest_points(states, radius, config.capacity)]
    number = _nearest(flat.flatten(0, 1), places).view(flat.shape[:2])
    pairs = torch.stack([number[:, :-1], number[:, 1:]], -1)
    pairs = valid_states(pairs, known.cpu() - 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0)
    found = Landmarks(len(places), len(pairs), flat.shape[-1]).to(flat.device)
    found.standardize.load_state_dict(standardize.state_dict())
    found.places.copy_(places)
    found.edges.copy_(pairs.T)
    return found.eval()


def _farthest_points(x: Tensor, radius: float, capacity: int) -> Tensor:
    """Indices of rows of x [S, D], each the farthest from those before it, until all are within the radius."""
    chosen = [0]
    gap = (x - x[0]).norm(dim=1)
    while len(chosen) < capacity:
        farthest = int(gap.argmax())
        if float(gap[farthest]) <= radius:
            break
        chosen.append(farthest)
        gap = torch.minimum(gap, (x - x[farthest]).norm(dim=1))
    return torch.tensor(chosen, device=x.device)


def _nearest(x: Tensor, places: Tensor) -> Tensor:
    """Number [S] of the place [L, D] that is nearest to each row of x [S, D]."""
    square = places.square().sum(1)
    return torch.cat([(square - 2 * part @ places.T).argmin(1) for part in x.split(ROWS)])


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
        if bool(stuck.any()):
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
        if not bool(stuck.any()):
            return self.cost(z_path)
        free = (~stuck).cumprod(-1).sum(-1)  # [B, S], steps before the first one that leads nowhere
        start = self.z[:, None, None].expand_as(z_path[:, :, :1])
        last = torch.arange(1, z_path.shape[2] + 1, device=place.device).minimum(free.unsqueeze(-1))  # [B, S, T]
        index = last[..., None, None].expand_as(z_path)
        return self.cost(torch.cat([start, z_path], 2).gather(2, index))
