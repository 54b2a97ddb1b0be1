"""A map of landmarks: places of the latent space that were visited, the steps seen between them, the shortest way.

    landmarks: farthest points among visited states, until every state is within a share of a step of one
    edges:     l -> l' where recorded steps led from the cell of l to that of l', as long as the fewest that were seen
    distance:  steps along the shortest way between the landmarks that are nearest to state and goal

A learned distance must be right everywhere, a map only where somebody has been; it knows walls, one-way steps and turns
exactly, and stitches ways that were never walked as one. Best drawn in the space of a critic, in which near means soon:
there a wall lies between neighbours. After the graphs of search on the replay buffer (1906.05253) and of sparse
graphical memory (2003.06417).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from openjepa.agent.scenes import recurring_scenes, scene_of
from openjepa.errors import ConfigError
from openjepa.heads.fitting import Standardize, check_episodes, valid_states
from openjepa.nn.host import to_device, to_host

Embedding = Callable[[Tensor], Tensor]
STILL = 1e-4  # of the longest step: what is shorter is rounding
MANY = 8  # if goals lie at more than every MANYth landmark, all ways are looked up at once
ENTRIES = 1 << 25  # distances at most that are held at once
SMALL = 0.002  # share of the states: a part of the map with no more is dropped where `connected`
ROWS = 8192  # states that are compared with all landmarks at once


@dataclass(frozen=True)
class LandmarkConfig:
    """How fine a map is, and which ways it believes.

    Attributes:
        radius_share: largest distance of a visited state from its landmark, as a share of a small step, > 0: one in
            a hundred is smaller. (A turn on the spot may be ten times as long as a step ahead, and both must count.)
        capacity: landmarks at most, >= 1; the map is coarser where they do not suffice.
        sample: visited states at most among which landmarks are looked for, evenly spread; >= 1.
        max_gap: recorded steps at most that an edge stands for, >= 1.
        min_count: how often a gap must have been seen between two cells to be believed, >= 1.
        reversible: whether every way can be walked back as well.
        connected: whether parts of the map are dropped that hold few states: from a place that was passed once no way
            may be known, and an agent near it would be lost. Large parts stay, though no way joins them.
    """

    radius_share: float = 0.5
    capacity: int = 2048
    sample: int = 100_000
    max_gap: int = 1
    min_count: int = 1
    reversible: bool = False
    connected: bool = False

    def __post_init__(self) -> None:
        if self.radius_share <= 0 or self.capacity < 1:
            raise ConfigError(
                f"`radius_share` must be > 0 and `capacity` at least 1; got {self.radius_share} and {self.capacity}."
            )
        if min(self.sample, self.max_gap, self.min_count) < 1:
            raise ConfigError("`sample`, `max_gap` and `min_count` must be at least 1.")


class Landmarks(nn.Module):
    """A map, and by its call a distance in steps: z and z_goal [..., N, D] to [...], with broadcasting.

    A goal that no recorded way leads to is farther than any way could be. States may be wider than places: what follows
    a pose (a velocity) is not looked at, and as a subgoal a place is one at rest.

    Args:
        count: number L of landmarks.
        edges: number of edges.
        shape: (N, D) of a state.
        embedding: states [..., N, D] to [..., E], where the map is drawn in the space of a critic; None for the
            states themselves, standardised.
        scenes: (K, S), where K scenes are told apart by the leading S numbers of a state and no way leads from one to
            another (`scenes.py`); (0, 0) for one scene.
    """

    places: Tensor
    scenes: Tensor
    apart: Tensor
    edges: Tensor
    gaps: Tensor

    def __init__(
        self,
        count: int,
        edges: int,
        shape: tuple[int, int],
        embedding: Embedding | None = None,
        scenes: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        if scenes[0]:
            self.register_buffer("scenes", torch.zeros(scenes))  # centres
            self.register_buffer("apart", torch.ones(()))  # distance of two scenes, farther than any two places of one
        self.num_scenes = scenes
        self.standardize = Standardize(shape[0] * shape[1])
        self.register_buffer("places", torch.zeros(count, *shape))
        self.register_buffer("edges", torch.zeros(2, edges, dtype=torch.long))  # from, to
        self.register_buffer("gaps", torch.ones(edges))  # steps
        self.embedding = embedding
        self.config: LandmarkConfig | None = None  # by which it was drawn, where that is known
        self._seen: tuple[Tensor, Tensor] | None = None  # the places, embedded, and their squares
        self._ways: dict[tuple[int, bool], Tensor] = {}
        self._table: Tensor | None = None  # [from, to], where many were asked for

    def __len__(self) -> int:
        return len(self.places)

    @property
    def far(self) -> float:
        """Steps that stand for no way: more than any way has."""
        return float(len(self)) * float(self.gaps.max() if len(self.gaps) else 1)

    def embed(self, z: Tensor) -> Tensor:
        """States [..., N, D] as the map compares them, [..., E]."""
        flat = self.embedding(z) if self.embedding is not None else self.standardize(z.flatten(-2))
        count, width = self.num_scenes
        if not count:
            return flat
        scene = functional.one_hot(scene_of(z[..., 0, :width], self.scenes), count)
        return torch.cat([flat, self.apart * scene.to(flat)], -1)

    def nearest(self, z: Tensor) -> Tensor:
        """The landmark of states [..., N, D]: its number [...]."""
        if self._seen is None:
            seen = self.embed(self.places)
            self._seen = seen, seen.square().sum(1)
        flat = self.embed(z[..., : self.places.shape[-1]])
        return nearest_places(flat.reshape(-1, flat.shape[-1]), *self._seen).view(z.shape[:-2])

    def ways(self, landmark: int, *, outward: bool = False, without: Collection[int] = ()) -> Tensor:
        """Steps [L] from every landmark to one, or outward from it; `far` where there is no way.

        Args:
            landmark: its number.
            outward: whether ways lead away from it.
            without: numbers of edges that are not believed.
        """
        if without:
            kept = torch.ones(len(self.gaps), dtype=torch.bool)
            kept[list(without)] = False
            return self._shortest(landmark, outward, kept)
        if (landmark, outward) not in self._ways:
            self._ways[landmark, outward] = self._shortest(landmark, outward, slice(None))
        return self._ways[landmark, outward]

    def _shortest(self, landmark: int, outward: bool, kept: Tensor | slice) -> Tensor:
        steps = torch.full((len(self),), self.far)
        steps[landmark] = 0
        edges, gaps = self.edges.cpu()[:, kept], self.gaps.cpu()[kept]
        start, end = edges.flip(0) if outward else edges
        while True:
            shorter = steps.scatter_reduce(0, start, steps[end] + gaps, "amin")
            if torch.equal(shorter, steps):
                return steps.to(self.places.device)
            steps = shorter

    def all_ways(self) -> Tensor:
        """Steps [L, L] from every landmark to every other; `far` where there is no way."""
        steps = torch.full((len(self), len(self)), self.far, device=self.places.device)
        steps[tuple(self.edges)] = self.gaps
        steps.fill_diagonal_(0)
        for by in range(len(self)):  # Floyd and Warshall
            torch.minimum(steps, steps[:, by, None] + steps[by], out=steps)
        return steps.clamp_max(self.far)

    def in_scenes(self, centres: Tensor, apart: Tensor) -> "Landmarks":
        """A map without places in the same space, of scenes with centres [K, S] that far apart."""
        count, width = centres.shape
        found = Landmarks(0, 0, (self.places.shape[1], self.places.shape[2]), self.embedding, (count, width))
        found = found.to(centres.device)
        found.standardize.load_state_dict(self.standardize.state_dict())
        found.scenes.copy_(centres)
        found.apart.copy_(apart)
        return found

    def redrawn(self, places: Tensor, edges: Tensor, gaps: Tensor) -> "Landmarks":
        """A map in the same space of other places [L, N, D], edges [2, K] and gaps [K]."""
        shape = (places.shape[1], places.shape[2])
        found = Landmarks(len(places), len(gaps), shape, self.embedding, self.num_scenes).to(places.device)
        found.standardize.load_state_dict(self.standardize.state_dict())
        if self.num_scenes[0]:
            found.scenes.copy_(self.scenes)
            found.apart.copy_(self.apart)
        found.places.copy_(places)
        found.edges.copy_(edges)
        found.gaps.copy_(gaps)
        found.config = self.config
        return found.eval()

    def forward(self, z: Tensor, z_goal: Tensor) -> Tensor:  # noqa: D102
        here, goal = torch.broadcast_tensors(self.nearest(z), self.nearest(z_goal))
        if self._table is not None:
            return self._table[here, goal]
        known, row = goal.unique(return_inverse=True)
        if len(known) * MANY > len(self):
            self._table = self.all_ways()
            return self._table[here, goal]
        table = torch.stack([self.ways(number) for number in to_host(known).tolist()])  # [goals, L]
        return table[row, here]

    def subgoals(self, z: Tensor, z_goal: Tensor, reach: float) -> Tensor:
        """What to head for on the way to goals: [B, N, D].

        Of the landmarks at most `reach` steps away it is the one nearest to the goal; the goal itself where that is as
        near, or where no way is known.

        Args:
            z: [B, N, D].
            z_goal: [B, N, D].
            reach: steps.
        """
        here, goal = to_host(torch.stack([self.nearest(z), self.nearest(z_goal)])).tolist()
        left = torch.stack([self.ways(number) for number in goal])  # [B, L]
        away = torch.stack([self.ways(number, outward=True) for number in here])
        return self.choose(to_device(torch.tensor(here), z.device), left, away, z_goal, reach)

    def choose(self, here: Tensor, left: Tensor, away: Tensor, z_goal: Tensor, reach: float) -> Tensor:
        """The subgoals [B, N, D] of environments at landmarks `here` [B], by steps left and away [B, L] of them all."""
        chosen = left.masked_fill(away > reach, torch.inf).argmin(1)
        total = left.gather(1, here.unsqueeze(1)).squeeze(1)
        direct = (total <= reach) | (total >= self.far)
        places = functional.pad(self.places[chosen], (0, z_goal.shape[-1] - self.places.shape[-1]))
        return torch.where(direct[:, None, None], z_goal, places.to(z_goal))


@torch.no_grad()
def fit_landmarks(
    latents: Tensor,
    config: LandmarkConfig | None = None,
    *,
    lengths: Tensor | None = None,
    embedding: Embedding | None = None,
    scene_dim: int = 0,
) -> Landmarks:
    """Draws the map of whole episodes.

    Args:
        latents: [E, T, N, D].
        config: the options.
        lengths: [E] number of states of each episode, T by default.
        embedding: see `Landmarks`.
        scene_dim: leading numbers of a state that stay in an episode; if a few kinds of them recur, each has a map.
    """
    config = config or LandmarkConfig()
    known = check_episodes(latents, lengths)
    latents = latents.detach().float()
    shape = (latents.shape[2], latents.shape[3])
    blank = Landmarks(0, 0, shape, embedding).to(latents.device)
    blank.standardize.measure(valid_states(latents, known).flatten(1))
    centres = recurring_scenes(latents[:, :, 0, :scene_dim], known) if scene_dim else latents.new_zeros(0, 0)
    if len(centres) > 1:
        apart = 4 * blank.embed(valid_states(latents, known)[:ROWS]).norm(dim=-1).max()
        blank = blank.in_scenes(centres, apart)
    seen = torch.cat([blank.embed(part) for part in latents.split(max(1, ROWS // latents.shape[1]))])  # [E, T, W]
    step = valid_states((seen[:, 1:] - seen[:, :-1]).norm(dim=-1), known - 1)
    moved = step[step > STILL * step.max()]
    radius = config.radius_share * float(moved.sort().values[len(moved) // 100]) if len(moved) else 0.0
    states, places = valid_states(seen, known), valid_states(latents, known)
    every = -(-len(states) // config.sample)
    states, places = states[::every], places[::every]
    chosen = _farthest_points(states, radius, config.capacity)
    number = nearest_places(seen.flatten(0, 1), states[chosen]).view(seen.shape[:2])
    edges, gaps = _observed_edges(number, known, len(chosen), config)
    blank.config = config
    found = blank.redrawn(places[chosen], edges, gaps)
    if not config.connected:
        return found
    kept = _connected(found, number, known)
    number = nearest_places(seen.flatten(0, 1), states[chosen][kept]).view(seen.shape[:2])
    edges, gaps = _observed_edges(number, known, int(kept.sum()), config)
    return blank.redrawn(found.places[kept], edges, gaps)


def _connected(landmarks: Landmarks, number: Tensor, lengths: Tensor) -> Tensor:
    """Whether a landmark is one of a large part of the map [L], by landmarks [E, T] of all states."""
    visits = torch.bincount(valid_states(number.unsqueeze(-1), lengths).flatten(), minlength=len(landmarks))
    left = visits > 0
    kept = torch.zeros_like(left)
    while bool(left.any()):
        hub = int((left * visits).argmax())
        part = left & (torch.maximum(landmarks.ways(hub), landmarks.ways(hub, outward=True)) < landmarks.far)
        kept |= part & (visits[part].sum() > SMALL * visits.sum())
        left &= ~part
    return kept


def _observed_edges(number: Tensor, lengths: Tensor, count: int, config: LandmarkConfig) -> tuple[Tensor, Tensor]:
    """Edges [2, K] and their gaps [K], the fewest steps that were seen often enough, between cells [E, T] of states."""
    best = torch.full((count * count,), torch.inf, device=number.device)
    for gap in range(min(config.max_gap, number.shape[1] - 1), 0, -1):  # the fewest steps are written last
        known = (lengths - gap).clamp_min(0)
        pairs = valid_states(torch.stack([number[:, :-gap], number[:, gap:]], -1), known)
        keys, times = (pairs[:, 0] * count + pairs[:, 1]).unique(return_counts=True)
        best[keys[times >= config.min_count]] = gap
    best = best.view(count, count).fill_diagonal_(torch.inf)
    if config.reversible:
        best = torch.minimum(best, best.T)
    edges = best.isfinite().nonzero().T
    return edges, best[edges[0], edges[1]]


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


def nearest_places(x: Tensor, places: Tensor, squares: Tensor | None = None) -> Tensor:
    """Number [S] of the place [L, D] that is nearest to each row of x [S, D]; `squares` [L] of the places, if known."""
    squares = places.square().sum(1) if squares is None else squares
    rows = max(1, min(ROWS, ENTRIES // max(1, len(places))))
    return torch.cat([torch.addmm(squares, part, places.T, alpha=-2).argmin(1) for part in x.split(rows)])
