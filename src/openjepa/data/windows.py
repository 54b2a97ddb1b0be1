"""Windows of recorded episodes as training batches, and the statistics of their actions.

A window takes every `frameskip`-th frame but *all* actions in between: the step from one frame to the next
carries the f primitive actions concatenated in time order. Dropping the others is a silent fault of published
re-implementations (2608.10145).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from openjepa.data.episode_store import EpisodeStore
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import TrajectoryBatch

OTHER = 0x6F74686572  # sets the drawing of other frames apart from that of windows


@dataclass(frozen=True)
class WindowConfig:
    """How windows are cut and drawn.

    Attributes:
        length: frames T of a window, >= 2.
        batch_size: windows of a global batch, over all processes, >= 1.
        frameskip: environment steps between two frames f, >= 1.
        sampling: `uniform` draws each window with replacement; `epoch` shows every window once before any
            comes again (an incomplete last batch of an epoch is left out).
        seed: of the drawing.
        with_states: whether batches carry the simulator's truth, for probes.
        num_others: further frames that batches carry of each window's episode, from any moments of it, >= 0; with the
            ways to them.
        ways: what tells ways: the sums of `actions` between, or the changes of `proprio`.
    """

    length: int = 4
    batch_size: int = 64
    frameskip: int = 1
    sampling: Literal["uniform", "epoch"] = "uniform"
    seed: int = 0
    with_states: bool = False
    num_others: int = 0
    ways: Literal["actions", "proprio"] = "actions"

    def __post_init__(self) -> None:
        if self.length < 2 or self.batch_size < 1 or self.frameskip < 1:
            raise ConfigError(
                f"`length` must be >= 2, `batch_size` and `frameskip` >= 1; got {self.length}, "
                f"{self.batch_size}, {self.frameskip}."
            )
        if self.sampling not in ("uniform", "epoch"):
            raise ConfigError(f"`sampling` must be uniform or epoch; got {self.sampling}.")
        if self.ways not in ("actions", "proprio"):
            raise ConfigError(f"`ways` must be actions or proprio; got {self.ways}.")
        if min(self.seed, self.num_others) < 0:
            raise ConfigError(f"`seed` and `num_others` must be >= 0; got {self.seed} and {self.num_others}.")


class WindowSource:
    """Batches of windows from the episodes of a store, as a `BatchSource`.

    Args:
        store: the recorded episodes.
        episodes: numbers of the episodes that may be drawn, such as the first half of `split`; all if None.
        config: how windows are cut and drawn.
        instead: columns that are read instead of the store's, row for row, such as features that were computed once.

    Attributes:
        num_windows: different windows there are.
        num_short: episodes that are too short for one window and so never occur.
        lengths: [E] environment steps of each episode.
        window_steps: environment steps that a window spans.

    Raises:
        DataError: where no episode is long enough.
    """

    def __init__(
        self,
        store: EpisodeStore,
        episodes: Sequence[int] | np.ndarray | None = None,
        config: WindowConfig | None = None,
        *,
        instead: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.config = config or WindowConfig()
        self.store = store
        ids = _episode_ids(store, episodes)
        self.lengths = store.lengths[ids]
        self.window_steps = span = (self.config.length - 1) * self.config.frameskip
        windows = np.maximum(self.lengths - span + 1, 0)
        self._ids = ids
        self._first_frame = store.starts[ids]
        self._first_action = store.starts[ids] - ids
        self._num_frames = self.lengths + 1
        self._ends = np.cumsum(windows)
        self.num_windows = int(self._ends[-1]) if len(ids) else 0
        self.num_short = int((windows == 0).sum())
        self._epoch: tuple[int, np.ndarray] | None = None
        if not self.num_windows:
            longest = int(store.lengths[ids].max()) if len(ids) else 0
            raise DataError(
                f"a window must fit an episode; {self.config.length} frames at frameskip "
                f"{self.config.frameskip} need {span} steps, the longest of {len(ids)} episodes has "
                f"{longest}. Lower `length` or `frameskip`."
            )
        if self.config.sampling == "epoch" and self.num_windows < self.config.batch_size:
            raise DataError(
                f"`batch_size` must be at most the {self.num_windows} windows there are; got "
                f"{self.config.batch_size}. Lower it, or use `sampling` uniform."
            )
        names = [c.name for c in store.columns]
        if self.config.with_states and "states" not in names:
            raise DataError(f"`{store.path}` has no states. Record them, or leave `with_states` off.")
        if self.config.num_others and self.config.ways == "proprio" and "proprio" not in names:
            raise DataError(f"`{store.path}` has no proprioception to tell ways. Record it, or set `ways` to actions.")
        wanted = ["frames", "actions", *(["proprio"] if "proprio" in names else [])]
        wanted += ["states"] if self.config.with_states else []
        self._own = [name for name in wanted if name not in (instead or {})]  # `_check` before reading
        self._columns = {**{name: store.column(name) for name in self._own}, **(instead or {})}

    @property
    def steps_per_epoch(self) -> int:
        """Batches after which as many windows were drawn as there are."""
        return max(self.num_windows // self.config.batch_size, 1)

    @property
    def action_dim(self) -> int:
        """Width A of a batch's actions, all f primitive ones."""
        return self._columns["actions"].shape[1] * self.config.frameskip

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> TrajectoryBatch:
        """Returns this rank's share of batch `step`: frames [B, T, C, H, W], actions [B, T - 1, f * A].

        Raises:
            ConfigError: where the processes cannot share a batch evenly.
        """
        size = self.config.batch_size
        if size % world_size or not 0 <= rank < world_size:
            raise ConfigError(
                f"`batch_size` must be a multiple of the {world_size} processes; got {size} (rank {rank})."
            )
        share = size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        numbers = self._draw(step)[mine]
        batch = self.windows(numbers)
        return self._with_others(batch, numbers, step, mine) if self.config.num_others else batch

    def windows(self, numbers: np.ndarray) -> TrajectoryBatch:
        """Returns the windows with numbers [B] in 0 ... `num_windows` - 1, counted by episode and time."""
        length, skip = self.config.length, self.config.frameskip
        episode = np.searchsorted(self._ends, numbers, side="right")
        self._check(episode)
        offset = numbers - np.where(episode > 0, self._ends[episode - 1], 0)
        frame_rows = (self._first_frame[episode] + offset)[:, None] + np.arange(length) * skip  # [B, T]
        action_rows = (self._first_action[episode] + offset)[:, None] + np.arange((length - 1) * skip)
        actions = _gather(self._columns["actions"], action_rows)  # [B, (T - 1) * f, A]
        others = {name: self._columns[name] for name in ("proprio", "states") if name in self._columns}
        return TrajectoryBatch(
            frames=_gather(self._columns["frames"], frame_rows),
            actions=actions.reshape(len(numbers), length - 1, -1),
            **{name: _gather(column, frame_rows) for name, column in others.items()},
        )

    def _check(self, episode: np.ndarray) -> None:
        """Compares episodes with their checksums when a window of them is first drawn."""
        for name in self._own:
            self.store.verify(name, self._ids[episode])

    def _with_others(self, batch: TrajectoryBatch, numbers: np.ndarray, step: int, mine: slice) -> TrajectoryBatch:
        """Adds frames of the same episodes to the windows `numbers`, which are `mine` of global batch `step`."""
        episode = np.searchsorted(self._ends, numbers, side="right")
        offset = numbers - np.where(episode > 0, self._ends[episode - 1], 0)
        drawn = _generator(self.config.seed ^ OTHER, step).random((self.config.batch_size, self.config.num_others))
        moment = (drawn[mine] * self._num_frames[episode, None]).astype(np.int64)  # [B, K]
        rows = self._first_frame[episode, None] + moment
        others = _gather(self._columns["frames"], rows)
        if self.config.ways == "proprio":
            assert batch.proprio is not None
            there = _gather(self._columns["proprio"], rows)
            return replace(batch, others=others, ways=(there - batch.proprio[:, :1]).float())
        actions = self._columns["actions"]
        ways = np.zeros((*moment.shape, actions.shape[1]), np.float32)
        for way, first, here, moments in zip(ways, self._first_action[episode], offset, moment, strict=True):
            for k, other in enumerate(moments):
                low, high = sorted((here, other))
                way[k] = np.sign(other - here) * actions[first + low : first + high].sum(0)
        return replace(batch, others=others, ways=torch.from_numpy(ways))

    def _draw(self, step: int) -> np.ndarray:
        """Numbers of the windows of global batch `step` [B]."""
        size, seed = self.config.batch_size, self.config.seed
        if self.config.sampling == "uniform":
            return _generator(seed, step).integers(self.num_windows, size=size)
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, _generator(seed, epoch).permutation(self.num_windows)
        return self._epoch[1][position * size : (position + 1) * size]


def split(store: EpisodeStore, held_out: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Splits by whole episodes, so that no held-out window overlaps a training one.

    Args:
        store: the episodes.
        held_out: share of episodes that training never sees, 0 to 1; at least one episode if above 0.
        seed: of the choice.

    Returns:
        Numbers of the training episodes and of the held-out ones, each ascending.
    """
    count = len(store)
    if not 0 <= held_out < 1:
        raise ConfigError(f"`held_out` must be in [0, 1); got {held_out}.")
    kept_back = max(round(count * held_out), 1) if held_out > 0 else 0
    if count <= kept_back:
        raise DataError(f"a split needs at least {kept_back + 1} episodes; `{store.path}` has {count}. Collect more.")
    order = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return np.sort(order[kept_back:]), np.sort(order[:kept_back])


@dataclass(frozen=True)
class ColumnStatistics:
    """Mean and std [A] float32 of each column; a constant one has std 1, so dividing is safe."""

    mean: Tensor
    std: Tensor

    def with_frameskip(self, frameskip: int) -> "ColumnStatistics":
        """The statistics of `frameskip` concatenated rows [f * A]."""
        return ColumnStatistics(self.mean.repeat(frameskip), self.std.repeat(frameskip))


def statistics(
    store: EpisodeStore, name: str = "actions", episodes: Sequence[int] | np.ndarray | None = None
) -> ColumnStatistics:
    """Computes the statistics of a column over whole episodes; use the training half of `split`.

    Args:
        store: the recorded episodes.
        name: `actions`, `proprio`, `states` or an extra column of vectors.
        episodes: numbers of the episodes; all if None.
    """
    ids = _episode_ids(store, episodes)
    if not len(ids):
        raise DataError(f"statistics of `{name}` need at least one episode; got none.")
    rows = np.concatenate([store.rows_of(name, i) for i in ids]).astype(np.float64)
    std = rows.std(0)
    is_constant = std <= 1e-8 * np.maximum(np.abs(rows).max(0), 1)
    return ColumnStatistics(
        torch.from_numpy(rows.mean(0).astype(np.float32)),
        torch.from_numpy(np.where(is_constant, 1.0, std).astype(np.float32)),
    )


def _episode_ids(store: EpisodeStore, episodes: Sequence[int] | np.ndarray | None) -> np.ndarray:
    ids = np.arange(len(store)) if episodes is None else np.asarray(episodes, np.int64)
    if len(ids) and (ids.min() < 0 or ids.max() >= len(store)):
        raise DataError(f"`episodes` must be below {len(store)}, the episodes of `{store.path}`; got {ids.max()}.")
    return ids


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


def _gather(column: np.ndarray, rows: np.ndarray) -> Tensor:
    """Copies rows [B, T] of a column [rows, ...] into a new tensor [B, T, ...]."""
    out = np.empty((*rows.shape, *column.shape[1:]), column.dtype)
    flat = column.reshape(len(column), -1)
    # The rows are in range; "clip" only spares NumPy the second copy that "raise" makes.
    np.take(flat, rows.ravel(), axis=0, out=out.reshape(rows.size, -1), mode="clip")
    return torch.from_numpy(out)
