"""A map of places where nobody has been: it is imagined from what is seen now, before the first step.

    a wave:      macro-actions are imagined from every place that was reached; an end that is near none is a new place
    edges:       from a place to the one that an imagined end is nearest to
    both ways:   what can be walked can be walked back

Memory is void behind walls that were never seen; a world model whose states hold the layout (`methods/cell_map.py`)
knows them nevertheless. The result is an ordinary map of landmarks, with the ways, subgoals and second thoughts of one:
an edge that fails in the world is not believed any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openjepa.agent.agent import Agent
from openjepa.agent.agent_config import AgentConfig
from openjepa.agent.landmarks import Landmarks
from openjepa.agent.setups import joined
from openjepa.errors import ConfigError, ShapeError, check_shape
from openjepa.nn.host import Array, to_device
from openjepa.planning.costs import SelfAimed
from openjepa.protocols import ActionBounds, Cost, Planner, WorldModel

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ImagineConfig:
    """How a map is imagined.

    Attributes:
        macros: held actions that are tried from every place, >= 2.
        hold: model steps of each, >= 1.
        radius_share: of the longest macro-step, within which two ends are the same place, > 0.
        still_share: of it, below which nothing moved, >= 0.
        capacity: places at most, >= 1.
    """

    macros: int = 16
    hold: int = 4
    radius_share: float = 0.35
    still_share: float = 0.25
    capacity: int = 600

    def __post_init__(self) -> None:
        if self.macros < 2 or min(self.hold, self.capacity) < 1:
            raise ConfigError("`macros` must be at least 2, `hold` and `capacity` at least 1.")
        if self.radius_share <= 0 or self.still_share < 0:
            raise ConfigError("`radius_share` must be above 0 and `still_share` 0 or more.")


def held_actions(bounds: ActionBounds, count: int) -> Tensor:
    """Actions [K, A] that differ as much as they can: all choices, headings in a plane, else both ends of every axis.

    Args:
        bounds: allowed actions.
        count: of headings.
    """
    if bounds.categories:
        grids = torch.meshgrid(*[torch.arange(n) for n in bounds.categories], indexing="ij")
        parts = [torch.eye(n)[grid.flatten()] for n, grid in zip(bounds.categories, grids, strict=True)]
        return torch.cat(parts, 1)
    low, high = (torch.as_tensor(end, dtype=torch.float32) for end in (bounds.low, bounds.high))
    if bounds.dim == 2:
        angle = 2 * torch.pi * torch.arange(count) / count
        units = torch.stack([angle.cos(), angle.sin()], 1)
        if bounds.max_norm is None:
            units = units / units.abs().amax(1, keepdim=True)
    else:
        units = torch.cat([torch.eye(bounds.dim), -torch.eye(bounds.dim)])
    return bounds.clip((low + high) / 2 + units * (high - low) / 2)


@torch.no_grad()
def imagine_map(step: Step, z: Tensor, macros: Tensor, config: ImagineConfig | None = None, *, scene: int) -> Landmarks:
    """Draws the map around a state.

    Args:
        step: states [R, N, D] and held actions [R, A] to the states [R, N, D] in which each was held for `hold` steps.
        z: [N, D], where the wave begins.
        macros: [K, A], see `held_actions`.
        config: the options.
        scene: leading dimensions of a state that stay in an episode; places differ in the others.
    """
    config = config or ImagineConfig()
    check_shape(z, "N D", name="z")
    places, front, unit = z.unsqueeze(0), [0], 0.0
    edges: set[tuple[int, int]] = set()
    while front and len(places) < config.capacity:
        source = torch.tensor(front).repeat_interleave(len(macros))
        ends = step(places[source], macros.repeat(len(front), 1))
        moving, known = _moving(ends, scene), _moving(places, scene)
        moved = (moving - known[source]).norm(dim=1)
        unit = max(unit, float(moved.max()))
        radius, fresh = config.radius_share * unit, list[int]()
        gap, near = torch.cdist(moving, known, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        for end in (moved > config.still_share * unit).nonzero().squeeze(1).tolist():
            owner = int(near[end])
            if float(gap[end]) > radius:
                owner = _among(moving, fresh, end, radius, len(places))
                if owner == len(places) + len(fresh):
                    fresh.append(end)
            if owner != int(source[end]):
                edges.add((int(source[end]), owner))
        front = list(range(len(places), len(places) + len(fresh)))
        places = torch.cat([places, ends[fresh]])
    return _landmarks(places, edges, unit / config.hold, scene)


def _among(moving: Tensor, fresh: list[int], end: int, radius: float, before: int) -> int:
    """The number of the new place that an end belongs to; it becomes one itself where none is near."""
    if fresh:
        gap, nearest = (moving[fresh] - moving[end]).norm(dim=1).min(0)
        if float(gap) <= radius:
            return before + int(nearest)
    return before + len(fresh)


def _landmarks(places: Tensor, edges: set[tuple[int, int]], speed: float, scene: int) -> Landmarks:
    pairs = torch.tensor(sorted(edges | {(b, a) for a, b in edges}), dtype=torch.long).view(-1, 2).T
    found = Landmarks(len(places), pairs.shape[1], (places.shape[1], places.shape[2]), lambda z: _moving(z, scene))
    found.places.copy_(places)
    found.edges.copy_(pairs)
    where = _moving(places, scene)
    found.gaps.copy_((where[pairs[0]] - where[pairs[1]]).norm(dim=1) / max(speed, 1e-12))
    return found.eval()


def _moving(z: Tensor, scene: int) -> Tensor:
    """What moves of states [..., N, D], [..., E]."""
    return z[..., scene:].flatten(-2)


class Imagining(Agent):
    """An agent that imagines a map of what it sees before its first step, in every environment another one.

    In every environment an agent of its own acts, with the parts of this one and the map that was imagined there.

    Args:
        model: see `Agent`; with `context_len` and `history` 1.
        planner: see `Agent`.
        cost: see `Agent`.
        bounds: see `Agent`.
        config: see `Agent`.
        frame_shape: see `Agent`.
        scene_dim: leading dimensions of a state that stay in an episode.
        imagines: how a map is imagined.
        step: of one environment, in place of the world model: its id to a `Step`. For a ceiling that knows the truth;
            None for imagination.

    Attributes:
        maps: of all environments since the first `act` after `start`.
        landmarks: the map, where there is one environment.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        cost: Cost,
        bounds: ActionBounds,
        config: AgentConfig | None = None,
        frame_shape: tuple[int, int, int] | None = None,
        *,
        scene_dim: int,
        imagines: ImagineConfig | None = None,
        step: Callable[[int], Step] | None = None,
    ) -> None:
        super().__init__(model, planner, cost, bounds, config, frame_shape)
        if max(self.config.context_len, self.config.history) > 1:
            raise ConfigError("`context_len` and `history` must be 1 for a map that is imagined from one picture.")
        self.scene_dim, self.imagines, self.step = scene_dim, imagines or ImagineConfig(), step
        self.maps: list[Landmarks] = []
        self._parts = model, planner, cost, bounds, self.config, frame_shape
        self._macros = to_device(
            held_actions(bounds.with_frameskip(self.config.frameskip), self.imagines.macros),
            torch.device(self.config.device),
        )
        self._goals: Array | None = None
        self._agents: list[Agent] = []

    def with_planner(self, planner: Planner) -> "Imagining":
        """See `Agent.with_planner`."""
        parts = self.model, planner, self.cost, self.bounds, self.config, self.perception.frame_shape
        return Imagining(*parts, scene_dim=self.scene_dim, imagines=self.imagines, step=self.step)

    def start(
        self, goal_frames: Array, env_ids: Sequence[int] | None = None, goal_proprio: Array | None = None
    ) -> None:
        """See `Agent.start`; proprioception is not looked at."""
        self._ids = list(range(len(goal_frames))) if env_ids is None else list(env_ids)
        self._goals, self._agents, self.maps, self.landmarks = goal_frames, [], [], None
        self.last_plan, self.decisions, self.thoughts, self.headed_for = None, 0, [], None

    def pursue(
        self, cost: SelfAimed, frames: Array, env_ids: Sequence[int] | None = None, proprio: Array | None = None
    ) -> None:
        """See `Agent.pursue`; nothing here finds goals by itself.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("an agent that imagines its map takes goals as pictures. Give a picture.")

    @torch.no_grad()
    def act(self, frames: Array, proprio: Array | None = None, active: Array | None = None) -> np.ndarray:
        """See `Agent.act`; proprioception is not looked at."""
        if self._goals is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if len(frames) != len(self._goals):
            raise ShapeError(f"`frames` must hold {len(self._goals)} environments; got {len(frames)}.")
        if not self._agents:
            self._begin_episode(frames)
        rows = [i for i in range(len(frames)) if active is None or bool(active[i])]
        actions = self._idle.repeat(len(frames), 1).numpy()
        before = [one.decisions for one in self._agents]
        for i in rows:
            actions[i] = self._agents[i].act(frames[i : i + 1])[0]
        decided = [i for i in rows if self._agents[i].decisions > before[i]]
        if decided:
            self._note(decided)
        return actions

    def _begin_episode(self, frames: Array) -> None:
        assert self._goals is not None
        seen = self.perception.state(frames, None, torch.arange(len(frames)))
        for i, (z, number) in enumerate(zip(seen, self._ids, strict=True)):
            step = self._imagined if self.step is None else self.step(number)
            self.maps.append(imagine_map(step, z, self._macros, self.imagines, scene=self.scene_dim))
            self._agents.append(Agent(*self._parts, self.maps[-1]))
            self._agents[-1].start(self._goals[i : i + 1], [number])
        self.landmarks = self.maps[0] if len(self.maps) == 1 else None

    def _note(self, decided: list[int]) -> None:
        """Says of all environments together what those say that have just decided."""
        agents = [self._agents[i] for i in decided]
        plans = [(torch.tensor([i]), one.last_plan) for i, one in zip(decided, agents, strict=True) if one.last_plan]
        self.last_plan, self.planned_for = joined(plans), torch.tensor(decided)
        self.thoughts = [thought for one in agents for thought in one.thoughts]
        self.decisions = max(one.decisions for one in agents)
        known = [one.headed_for for one in self._agents]
        blank = next(z for z in known if z is not None)
        self.headed_for = torch.cat([torch.zeros_like(blank) if z is None else z for z in known])

    def _imagined(self, z: Tensor, actions: Tensor) -> Tensor:
        held = actions.unsqueeze(1).expand(-1, self.imagines.hold, -1)
        return self.model.rollout(z.unsqueeze(1), held)[:, -1]
