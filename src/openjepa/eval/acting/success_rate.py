"""How often does it get there? Players judged on a frozen manifest of pairs, with every doubt in the report.

A player is a `planning.Agent` or anything with its two verbs. It sees pictures (and what `World.proprio` gives);
the simulator's truth is read here only, to score. The random numbers of an episode are named by its pair, so an
outcome depends on the batch that it was played in by no more than floating-point rounding.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from openjepa.errors import ConfigError, DataError, listing
from openjepa.eval.acting.manifest import Manifest, Pair
from openjepa.eval.acting.outcomes import DecisionTimes, Outcome, PlayedEpisode, SuccessReport
from openjepa.protocols import Plan, World


class Player(Protocol):
    """What is judged; `planning.Agent` documents the arguments."""

    def start(
        self,
        goal_frames: np.ndarray,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | None = None,
    ) -> None:
        """Begins an episode in every environment."""
        ...

    def act(
        self, frames: np.ndarray, proprio: np.ndarray | None = None, active: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the next action of every environment [B, A]."""
        ...


@runtime_checkable
class DecidingPlayer(Protocol):
    """A player that says how often it decided since `start`; any other one is taken to decide at every step."""

    decisions: int


@runtime_checkable
class PlanningPlayer(Protocol):
    """A player whose plans can be counted and shown; see the attributes of `planning.Agent`."""

    decisions: int
    last_plan: Plan | None
    planned_for: Tensor


@dataclass(frozen=True)
class JudgeConfig:
    """Options of an evaluation.

    Attributes:
        budget: steps that a player has, >= 1.
        stop_at_goal: whether an episode ends when its goal is reached for the first time. The first-hit rate is the
            same either way; without the stop the rate at the last step is measured too, at a higher cost.
        batch_size: environments that are played at once.
        latency_pairs: pairs that are played once more, alone, to time decisions at batch 1; 0 leaves this out.
        latency_decisions: decisions to time at batch 1, at most.
    """

    budget: int = 50
    stop_at_goal: bool = True
    batch_size: int = 64
    latency_pairs: int = 2
    latency_decisions: int = 30

    def __post_init__(self) -> None:
        if min(self.budget, self.batch_size, self.latency_decisions) < 1 or self.latency_pairs < 0:
            raise ConfigError("`budget`, `batch_size` and `latency_decisions` must be >= 1 and `latency_pairs` >= 0.")


def evaluate(
    player: Player,
    make_world: Callable[[int], World],
    manifest: Manifest,
    config: JudgeConfig | None = None,
    *,
    name: str = "",
    seeds: Mapping[str, int] | None = None,
    keep: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> SuccessReport:
    """Plays every pair of a manifest and reports how it went.

    Args:
        player: what is judged.
        make_world: makes a world of that many environments; `lambda n: StateView(...)` for a player that may read
            the truth.
        manifest: the pairs.
        config: the options.
        name: of the player, for tables.
        seeds: kept in the report: of training, of the player.
        keep: pair_ids of episodes whose frames and plans are kept for pictures.
        progress: called with (played, all) pairs.

    Raises:
        DataError: for a pair that is solved before the first step, or an unknown pair_id in `keep`.
    """
    config = config or JudgeConfig()
    unknown = set(keep) - {pair.pair_id for pair in manifest.pairs}
    if unknown:
        raise DataError(f"`keep` must name pairs of the manifest; {listing(sorted(unknown))} are not in it.")
    outcomes: list[Outcome] = []
    kept: list[PlayedEpisode] = []
    clock = _Clock()
    for first in range(0, len(manifest), config.batch_size):
        pairs = manifest.pairs[first : first + config.batch_size]
        trial = _Trial(player, make_world(len(pairs)), pairs, config, clock, keep)
        trial.play()
        outcomes += trial.outcomes()
        kept += trial.kept()
        if progress is not None:
            progress(len(outcomes), len(manifest))
    return SuccessReport(
        name=name or type(player).__name__,
        task=manifest.task,
        manifest_sha256=manifest.sha256,
        budget=config.budget,
        stop_at_goal=config.stop_at_goal,
        outcomes=tuple(outcomes),
        times=_time_decisions(player, make_world, manifest, config, clock),
        seeds={"pairs": manifest.seed, **(seeds or {})},
        versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        kept=tuple(kept),
    )


@dataclass
class _Clock:
    """Time and work of a player, over all batches."""

    seconds: float = 0.0
    actions: int = 0  # environment steps that were asked for
    model_steps: list[int] = field(default_factory=list)  # per decision, of one environment
    decision_seconds: list[float] = field(default_factory=list)  # of the calls that decided

    def act(
        self, player: Player, frames: np.ndarray, proprio: np.ndarray | None, active: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """Returns the actions, and whether a new plan was made."""
        before = player.decisions if isinstance(player, DecidingPlayer) else -1
        start = time.perf_counter()
        actions = player.act(frames, proprio, active)
        elapsed = time.perf_counter() - start
        self.seconds += elapsed
        self.actions += int(active.sum())
        if isinstance(player, DecidingPlayer) and player.decisions == before:
            return actions, False
        self.decision_seconds.append(elapsed)
        if not isinstance(player, PlanningPlayer) or player.last_plan is None:
            return actions, False
        self.model_steps += [player.last_plan.model_steps] * int(active.sum())
        return actions, True


class _Trial:
    """One batch of episodes."""

    def __init__(
        self,
        player: Player,
        world: World,
        pairs: Sequence[Pair],
        config: JudgeConfig,
        clock: _Clock,
        keep: Sequence[int] = (),
    ) -> None:
        self.player, self.world, self.pairs, self.config, self.clock = player, world, pairs, config, clock
        self.goals = np.array([pair.goal_state for pair in pairs], np.float32)
        self.goal_frames = world.reset_to(self.goals).copy()
        goal_proprio = world.proprio()
        self.frames = world.reset_to(np.array([pair.start_state for pair in pairs], np.float32))
        states = world.states()
        solved = world.is_success(states, self.goals)
        if solved.any():
            raise DataError(
                f"every pair must be unsolved at its start; pair {pairs[int(np.argmax(solved))].pair_id} is solved. "
                "Draw the manifest again with this world's own measure of success."
            )
        player.start(self.goal_frames, [pair.pair_id for pair in pairs], goal_proprio)
        self.hit = np.full(len(pairs), -1)  # first step after which the goal was reached
        self.first_distance = world.distance(states, self.goals)
        self.closest = self.distance = self.first_distance
        self.success = solved
        self.steps = 0
        self._rows = {i: _Row(self.frames[i], states[i]) for i, p in enumerate(pairs) if p.pair_id in keep}

    @property
    def active(self) -> np.ndarray:
        """Environments that still play [B]."""
        return self.hit < 0 if self.config.stop_at_goal else np.ones(len(self.pairs), bool)

    def play(self) -> None:
        """Plays until the budget is spent, or every goal reached where that stops an episode."""
        try:
            while self.steps < self.config.budget and self.active.any():
                self.step()
        finally:
            self.world.close()

    def step(self) -> None:
        """Takes one step in every active environment."""
        active = self.active
        actions, planned = self.clock.act(self.player, self.frames, self.world.proprio(), active)
        self.frames = self.world.step(actions)
        self.steps += 1
        states = self.world.states()
        now, success = self.world.distance(states, self.goals), self.world.is_success(states, self.goals)
        self.distance = np.where(active, now, self.distance)
        self.closest = np.where(active, np.minimum(self.closest, now), self.closest)
        self.success = np.where(active, success, self.success)
        self.hit = np.where(active & success & (self.hit < 0), self.steps, self.hit)
        if planned:
            self._note_plans()
        for i, row in self._rows.items():
            if active[i]:
                row.add(self.frames[i], states[i])

    def _note_plans(self) -> None:
        assert isinstance(self.player, PlanningPlayer)
        plan, numbers = self.player.last_plan, self.player.planned_for.tolist()
        assert plan is not None
        for i in self._rows.keys() & set(numbers):
            self._rows[i].plan = plan.z_path[numbers.index(i)].cpu().clone()

    def outcomes(self) -> list[Outcome]:
        """One outcome for each pair."""
        return [
            Outcome(
                pair_id=pair.pair_id,
                episode_id=pair.episode_id,
                group=pair.group,
                steps=int(self.hit[i]) if self.hit[i] >= 0 else None,
                success_at_end=None if self.config.stop_at_goal else bool(self.success[i]),
                first_distance=float(self.first_distance[i]),
                closest_distance=float(self.closest[i]),
                last_distance=float(self.distance[i]),
            )
            for i, pair in enumerate(self.pairs)
        ]

    def kept(self) -> list[PlayedEpisode]:
        """The episodes that are kept for pictures."""
        return [
            PlayedEpisode(
                pair_id=self.pairs[i].pair_id,
                goal_frame=self.goal_frames[i].copy(),
                goal_state=self.goals[i],
                frames=np.stack(row.frames),
                states=np.stack(row.states),
                z_paths=(*row.plans, row.plan),
                success=bool(self.hit[i] >= 0),
            )
            for i, row in self._rows.items()
        ]


class _Row:
    """What is kept of one episode."""

    def __init__(self, frame: np.ndarray, state: np.ndarray) -> None:
        self.frames, self.states = [frame.copy()], [state.copy()]
        self.plans: list[Tensor | None] = []  # in force when the action after each frame was taken
        self.plan: Tensor | None = None

    def add(self, frame: np.ndarray, state: np.ndarray) -> None:
        self.plans.append(self.plan)
        self.frames.append(frame.copy())
        self.states.append(state.copy())


def _time_decisions(
    player: Player,
    make_world: Callable[[int], World],
    manifest: Manifest,
    config: JudgeConfig,
    batched: _Clock,
) -> DecisionTimes:
    """Plays some pairs alone. The first decision is not counted: it pays for what is set up once."""
    alone = _Clock()
    wanted = config.latency_decisions + 1
    for pair in manifest.pairs[: config.latency_pairs]:
        trial = _Trial(player, make_world(1), [pair], config, alone)
        while trial.steps < config.budget and trial.active.any() and len(alone.decision_seconds) < wanted:
            trial.step()
        trial.world.close()
    milliseconds = 1000 * np.array(alone.decision_seconds[1:wanted])
    median, high = np.quantile(milliseconds, [0.5, 0.95]) if len(milliseconds) else (None, None)
    return DecisionTimes(
        median_ms=None if median is None else float(median),
        p95_ms=None if high is None else float(high),
        timed_decisions=len(milliseconds),
        batch_size=min(config.batch_size, len(manifest)),
        actions_per_second=batched.actions / max(batched.seconds, 1e-9),
        seconds=batched.seconds,
        model_steps=float(np.mean(batched.model_steps)) if batched.model_steps else 0.0,
        decisions=len(batched.model_steps),
    )
