"""Planning top down: every upper level searches in its own latent, and what it finds first is the goal of the next.

    goal, lifted to every latent
    for level L ... 2:   macro-actions m = search of level l towards its goal,  subgoal = an early imagined latent
    level 1:             any planner, towards the subgoal

A search finds macro-actions that mean nothing (2607.12547), so they are chosen from those that the data hold: a
codebook of observed ones. What they lead to is replaced by the nearest observed state ("snapped"), which has a latent
on every level; so subgoals are compared in the latent above and pursued in the one below. A goal within one macro-step
is headed for directly, and horizons shrink with what is left of the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.errors import ConfigError, check_shape
from openjepa.nn.host import to_device, to_host
from openjepa.planning.cem import CEM, CEMConfig
from openjepa.planning.costs import Distance, PathCost, bind, closest, final, mean
from openjepa.planning.wavefront import Wave, wavefront
from openjepa.protocols import ActionBounds, Plan

Support = Literal["codebook", "box"]
NEIGHBOURS = 32  # observed states among which an imagined one is looked for


class LiftingLevel(Protocol):
    """What a level of a hierarchy offers a planner."""

    def lift(self, z: Tensor) -> Tensor:
        """Latents below [B, T, 1, D'] of successive steps to latents [B, T, 1, D]."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `WorldModel.rollout`; actions are macro-actions."""
        ...


@dataclass(frozen=True)
class UpperConfig:
    """Options of one upper level's search.

    Attributes:
        search: of CEM in macro-steps; its horizon shrinks as the goal comes near.
        wave: macro-steps of a wave through imagination (`planning/wavefront.py`), which takes the place of the search;
            0 for the search. It needs a codebook.
        cells: observed states that the wave tells apart, >= 1.
        support: what macro-actions may be: `codebook`, observed ones; `box`, anything between their 2 % and 98 %
            quantiles, which is the naive way.
        ahead: which imagined latent is the subgoal, from 1; with 1 level 1 slows down before each of them.
        aggregate: of the distance along an imagined path: `mean`; `closest`, its best state alone; or `final`, the last
            one alone at the whole horizon, the naive way, which is known to fail near the goal.
        direct: macro-steps within which a goal is headed for directly, >= 0.
        hold: decisions of level 1 for which a subgoal is held before another is looked for, >= 1.
    """

    search: CEMConfig = field(
        default_factory=lambda: CEMConfig(horizon=4, num_samples=128, num_elites=12, num_iterations=3, init_std=1.0)
    )
    wave: int = 0
    cells: int = 256
    support: Support = "codebook"
    ahead: int = 2
    aggregate: Literal["mean", "closest", "final"] = "mean"
    direct: float = 1.0
    hold: int = 2

    def __post_init__(self) -> None:
        if self.support not in ("codebook", "box") or self.direct < 0 or min(self.ahead, self.hold) < 1:
            raise ConfigError("`support` must be codebook or box, `direct` 0 or more, `ahead` and `hold` at least 1.")
        if self.wave < 0 or self.cells < 1 or (self.wave and self.support == "box"):
            raise ConfigError("`wave` must be 0 or more, and 0 for `support` box; `cells` must be at least 1.")


class UpperPlan(nn.Module):
    """One upper level ready to plan: its model, the macro-actions of the data, observed states, and a distance.

    Args:
        level: of the hierarchy.
        distance: between its latents.
        macros: [K, M], the codebook, or observed macro-actions for `support` box.
        anchors: [S, 1, D], observed latents of this level.
        step: what its distance says of states one macro-step apart, at most; > 0.
        config: the options.
    """

    macros: Tensor
    anchors: Tensor
    step: Tensor

    def __init__(
        self,
        level: LiftingLevel,
        distance: Distance,
        macros: Tensor,
        anchors: Tensor,
        step: float,
        config: UpperConfig | None = None,
    ) -> None:
        super().__init__()
        check_shape(macros, "K M", name="macros")
        check_shape(anchors, "S N=1 D", name="anchors")
        if step <= 0:
            raise ConfigError(f"`step` must be above 0; got {step}.")
        self.level, self.distance = level, distance
        self.config = config or UpperConfig()
        self.register_buffer("macros", macros)
        self.register_buffer("anchors", anchors)
        self.register_buffer("step", torch.tensor(float(step)))

    @property
    def bounds(self) -> ActionBounds:
        """What the search may choose."""
        if self.config.support == "codebook":
            return ActionBounds.of_categories([len(self.macros)])
        low, high = np.quantile(self.macros.cpu().numpy(), [0.02, 0.98], axis=0)
        return ActionBounds(low, high)

    def search(self, z: Tensor, z_goal: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The subgoals [B, 1, D] on the cheapest way from latents [B, 1, D] to goals [B, 1, D]."""
        if self.config.wave:
            return self._wave(z, z_goal).path[:, min(self.config.ahead, self.config.wave) - 1]
        found = torch.empty_like(z_goal)
        for rows, plan in self._plans(z, z_goal, generators):
            found[rows] = plan.z_path[:, min(self.config.ahead, plan.z_path.shape[1]) - 1]
        return found

    def choices(self, z: Tensor, z_goal: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The first macro-actions [B, M] of the same plans."""
        if self.config.wave:
            return self.macros[self._wave(z, z_goal).first.clamp_min(0)]
        found = z.new_empty(len(z), self.macros.shape[1])
        for rows, plan in self._plans(z, z_goal, generators):
            first = plan.actions[:, 0]
            found[rows] = first @ self.macros if self.config.support == "codebook" else first
        return found

    def _wave(self, z: Tensor, z_goal: Tensor) -> Wave:
        def step(states: Tensor, macros: Tensor) -> Tensor:
            return self.level.rollout(states.unsqueeze(1), macros.unsqueeze(1))[:, 0]

        cells, limit = self.anchors[:: -(-len(self.anchors) // self.config.cells)], float(self.step)
        reach = self.config.wave
        return wavefront(step, self.distance, z, z_goal, self.macros, cells, horizon=reach, limit=limit)

    def _plans(self, z: Tensor, z_goal: Tensor, generators: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, Plan]]:
        """Plans of environments whose horizons are alike, with their numbers."""
        cost = PathCost(self.distance, {"mean": mean, "closest": closest, "final": final}[self.config.aggregate])
        horizon = self.horizons(z, z_goal)
        model = _Believed(self)
        for steps in sorted(set(horizon.tolist())):
            rows = (horizon == steps).nonzero().squeeze(1)
            there = to_device(rows, z.device)
            planner = CEM(self.bounds, replace(self.config.search, horizon=steps))
            bound, luck = bind(cost, z_goal[there], z[there]), [generators[i] for i in rows.tolist()]
            yield there, planner.plan(model, z[there].unsqueeze(1), bound, generators=luck)

    def horizons(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """Macro-steps [B] of a search: what is left of the way, at most the whole horizon; on the host."""
        left = to_host((self.distance(z, z_goal) / self.step).ceil())
        if self.config.aggregate == "final":
            left = torch.full_like(left, torch.inf)
        return left.clamp(1, self.config.search.horizon).long()

    def near(self, z: Tensor, z_goal: Tensor) -> Tensor:
        """Whether goals [B, 1, D] are within the direct reach of latents [B, 1, D]; [B] bool."""
        return self.distance(z, z_goal) <= self.config.direct * self.step

    def snap(self, z_imagined: Tensor, z: Tensor, z_goal: Tensor) -> Tensor:
        """Numbers [B] of the observed states that take the place of imagined ones [B, 1, D].

        Of the few nearest ones that lie as near to the present latents z [B, 1, D] as macro-steps lead, it is the one
        nearest to the goals [B, 1, D]: neighbours in the latent may lie on both sides of a wall.
        """
        count = min(NEIGHBOURS, len(self.anchors))
        near = torch.cdist(z_imagined.flatten(1), self.anchors.flatten(1)).topk(count, largest=False).indices
        found = self.anchors[near]  # [B, count, 1, D]
        away = self.distance(z.unsqueeze(1), found)  # [B, count]
        reach = min(self.config.ahead, self.config.search.horizon) * self.step
        left = self.distance(found, z_goal.unsqueeze(1))
        cost = torch.where(away <= reach, left, left.amax() + away)  # those within reach come first
        return near.gather(1, cost.argmin(1, keepdim=True)).squeeze(1)


class Hierarchy(nn.Module):
    """All upper levels of a planner: from states and goals of level 1 to subgoals of level 1.

    Args:
        uppers: from the lowest.
        anchors: [S, N, D], observed states of level 1; number i is the same moment on every level.
    """

    anchors: Tensor

    def __init__(self, uppers: Sequence[UpperPlan], anchors: Tensor) -> None:
        super().__init__()
        if not uppers or any(len(upper.anchors) != len(anchors) for upper in uppers):
            raise ConfigError(f"`uppers` must be at least one level with {len(anchors)} anchors each.")
        self.uppers: Any = nn.ModuleList(uppers)
        self.register_buffer("anchors", anchors)

    def __len__(self) -> int:
        return len(self.uppers)

    @property
    def hold(self) -> int:
        """Decisions of level 1 for which a subgoal is held."""
        return int(self.uppers[0].config.hold)

    @torch.no_grad()
    def subgoals(
        self, z: Tensor, z_goal: Tensor, generators: Sequence[torch.Generator], levels: int | None = None
    ) -> Tensor:
        """What level 1 heads for: [B, N, D].

        Args:
            z: [B, T, N, D], the latest states, T = 1 for levels without a window.
            z_goal: [B, N, D].
            generators: one per environment.
            levels: that take part, level 1 among them; None for all.
        """
        used = list(self.uppers)[: len(self.uppers) if levels is None else levels - 1]
        here, goals = [], []
        at, aim = z, z_goal.unsqueeze(1)
        for upper in used:
            at, aim = upper.level.lift(at), upper.level.lift(aim)
            here.append(at[:, -1])
            goals.append(aim[:, -1])
        subgoal = z_goal  # of level 1
        wanted = goals[-1] if goals else None
        for number in range(len(used) - 1, -1, -1):
            upper = used[number]
            assert wanted is not None
            direct = upper.near(here[number], wanted)
            far = to_host(~direct).nonzero().squeeze(1)
            if len(far):
                rows = to_device(far, z.device)
                found = upper.search(here[number][rows], wanted[rows], [generators[i] for i in far.tolist()])
                moment = upper.snap(found, here[number][rows], wanted[rows])
                subgoal = subgoal.index_copy(0, rows, self.anchors[moment])
                lower = used[number - 1].anchors[moment] if number else None
            if number:
                base = goals[number - 1]
                wanted = base if not len(far) else base.index_copy(0, rows, lower)
        return subgoal


@dataclass(frozen=True)
class _Believed:
    """An upper level whose imagined paths halt before their first step that is longer than macro-steps are.

    A predictor leads through walls that it does not believe in, and a search finds them; but by the level's own
    distance it is farther to the other side than a macro-step leads.
    """

    upper: UpperPlan

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        raise ConfigError("an upper level encodes latents, not frames. Call `lift`.")

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        upper = self.upper
        choices = upper.config.support == "codebook"
        path = upper.level.rollout(z, actions @ upper.macros if choices else actions)
        whole = torch.cat([z[:, -1:], path], 1)  # [B, 1 + H, 1, D]
        believed = upper.distance(whole[:, :-1], path) <= upper.step  # [B, H]
        last = torch.arange(1, path.shape[1] + 1, device=path.device).minimum(believed.cumprod(1).sum(1, keepdim=True))
        return whole.gather(1, last[..., None, None].expand_as(path))


def codebook(macros: Tensor, size: int, *, generator: torch.Generator, rounds: int = 10) -> Tensor:
    """Medoids [K, M] of observed macro-actions [R, M]: those that are nearest to the centres of k-means."""
    check_shape(macros, "R M", name="macros")
    size = min(size, len(macros))
    centres = macros[torch.randperm(len(macros), generator=generator)[:size]].clone()
    for _ in range(rounds):
        owner = torch.cdist(macros, centres).argmin(1)
        count = torch.bincount(owner, minlength=size).clamp_min(1).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, owner, macros)
        kept = torch.bincount(owner, minlength=size) > 0
        centres = torch.where(kept.unsqueeze(1), sums / count, centres)
    return macros[torch.cdist(centres, macros).argmin(1)]
