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
from openjepa.agent.landmarks import Landmarks
from openjepa.errors import ConfigError, check_shape
from openjepa.protocols import ActionBounds

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


class Imagining:
    """An agent that imagines a map of what it sees before its first step, in every environment another one.

    It has the verbs of `Agent`.

    Args:
        agent: without a map; its options, planner and cost are used with the imagined one.
        scene: leading dimensions of a state that stay in an episode.
        config: of the map.
        step: of one environment, in place of the agent's world model: its id to a `Step`. For a ceiling that knows the
            truth; None for imagination.

    Attributes:
        decisions: of the environment that decided most often, since `start`.
        maps: of all environments since `start`.
    """

    def __init__(
        self,
        agent: Agent,
        scene: int,
        config: ImagineConfig | None = None,
        *,
        step: Callable[[int], Step] | None = None,
    ) -> None:
        self.agent, self.scene, self.config = agent, scene, config or ImagineConfig()
        self.step, self.decisions = step, 0
        self.maps: list[Landmarks] = []
        self._goals: np.ndarray | Tensor | None = None
        self._macros = held_actions(agent.bounds.with_frameskip(agent.config.frameskip), self.config.macros)

    def start(
        self,
        goal_frames: np.ndarray | Tensor,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | Tensor | None = None,
    ) -> None:
        """See `Agent.start`."""
        self._ids = list(range(len(goal_frames))) if env_ids is None else list(env_ids)
        self._goals, self._agents, self.maps, self.decisions = goal_frames, list[Agent](), [], 0

    def act(
        self,
        frames: np.ndarray | Tensor,
        proprio: np.ndarray | Tensor | None = None,
        active: np.ndarray | Tensor | None = None,
    ) -> np.ndarray:
        """See `Agent.act`; proprioception is not looked at."""
        if self._goals is None:
            raise ConfigError("`act` must follow `start`, which gives the goal.")
        if not self._agents:
            self._agents = [self._agent(frames, i) for i in range(len(frames))]
        actions = np.zeros((len(frames), self.agent.bounds.dim), np.float32)
        for i, one in enumerate(self._agents):
            if active is None or bool(active[i]):
                actions[i] = one.act(frames[i : i + 1])[0]
        self.decisions = max(one.decisions for one in self._agents)
        return actions

    def _agent(self, frames: np.ndarray | Tensor, i: int) -> Agent:
        """The agent of one environment, with the map that is imagined from its picture."""
        assert self._goals is not None
        plain = self.agent
        z = plain.perception.state(frames, None, torch.tensor([i]))[0]
        step = self._imagined if self.step is None else self.step(self._ids[i])
        self.maps.append(imagine_map(step, z, self._macros, self.config, scene=self.scene))
        parts = plain.model, plain.planner, plain.cost, plain.bounds, plain.config, plain.perception.frame_shape
        one = Agent(*parts, self.maps[-1])
        one.start(self._goals[i : i + 1], [self._ids[i]])
        return one

    def _imagined(self, z: Tensor, actions: Tensor) -> Tensor:
        held = actions.unsqueeze(1).expand(-1, self.config.hold, -1)
        return self.agent.model.rollout(z.unsqueeze(1), held)[:, -1]
