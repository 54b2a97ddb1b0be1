"""Frozen lists of (start, goal) pairs: every method, floor and baseline is judged on exactly the same ones.

After the CLEAR rules (2608.10145), with the difference that pairs come from episodes and layouts that were
never trained on. Pairs that are solved before the first step are dropped and counted.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.envs.two_rooms import (
    CLEARANCE,
    CROSS_ROOM,
    HALF_WALL,
    REACHED,
    TwoRooms,
    TwoRoomsConfig,
    draw_position,
)
from openjepa.errors import ConfigError, DataError, check_shape
from openjepa.files import read_json, replacing
from openjepa.nn.random import keyed_seed
from openjepa.protocols import World

SCHEMA_VERSION = 2
STREAM = 0x70616972  # sets the random numbers of pairs apart from those of worlds and policies


@dataclass(frozen=True)
class Pair:
    """One task: to get from a state to another one, which is shown as a picture.

    Attributes:
        pair_id: its number, which also names its random numbers.
        start_state: [P] as `World.states` gives it.
        goal_state: [P].
        distance: true distance between the two, in the world's unit.
        group: which kind of task it is, as `World.groups` names it; None where there is one kind.
        episode_id: recorded episode that both come from, or None.
        start_step: step of the start in that episode, or None.
    """

    pair_id: int
    start_state: tuple[float, ...]
    goal_state: tuple[float, ...]
    distance: float
    group: str | None = None
    episode_id: int | None = None
    start_step: int | None = None


@dataclass(frozen=True)
class Manifest:
    """A frozen list of pairs, and how it was made.

    Attributes:
        task: name of the world.
        protocol: every threshold and option by name, plain values.
        seed: of the drawing.
        statistics: numbers of drawn and dropped pairs by reason.
        pairs: what is judged.
        schema_version: of the file.
    """

    task: str
    protocol: Mapping[str, Any]
    seed: int
    statistics: Mapping[str, int | float]
    pairs: tuple[Pair, ...] = field(repr=False)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError("`pairs` must not be empty: a success rate of nothing says nothing.")
        if len({pair.pair_id for pair in self.pairs}) != len(self.pairs):
            raise DataError("`pair_id` must be different for every pair. Number them 0, 1, 2, ...")

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def starts(self) -> np.ndarray:
        """Start states [N, P] float32."""
        return np.array([pair.start_state for pair in self.pairs], np.float32)

    @property
    def goals(self) -> np.ndarray:
        """Goal states [N, P] float32."""
        return np.array([pair.goal_state for pair in self.pairs], np.float32)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of everything in the manifest."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: Path | str) -> Path:
        """Writes JSON with the fingerprint; returns the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_text(json.dumps({"sha256": self.sha256, **asdict(self)}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Manifest":
        """Reads a manifest and compares its fingerprint.

        Raises:
            DataError: for a file that is missing, is no manifest, was changed or is of another version.
        """
        try:
            content = read_json(Path(path), damaged=ValueError)
            wanted, version = content.pop("sha256"), content["schema_version"]
        except FileNotFoundError as error:
            raise DataError(f"there is no manifest at `{path}`.") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"`{path}` is not a manifest of pairs ({type(error).__name__}).") from error
        if version != SCHEMA_VERSION:
            raise DataError(f"`{path}` must have schema_version {SCHEMA_VERSION}; got {version}. Draw the pairs again.")
        try:
            pairs = tuple(_read_pair(entry) for entry in content.pop("pairs"))
            manifest = cls(pairs=pairs, **content)
        except (KeyError, TypeError) as error:
            raise DataError(f"`{path}` is not a manifest of pairs: {error}.") from error
        if manifest.sha256 != wanted:
            raise DataError(
                f"`{path}` was changed after it was frozen (SHA-256 is {manifest.sha256[:12]}, not "
                f"{str(wanted)[:12]}). Draw the pairs again; figures from different pairs do not compare."
            )
        return manifest


def draw_two_rooms_pairs(
    config: TwoRoomsConfig,
    count: int = 200,
    *,
    seed: int = 0,
    min_distance: float = 10.0,
    margin: float = 2.0,
    cross_share: float = 0.5,
    task: str = "two-rooms",
) -> Manifest:
    """Draws pairs of free positions in layouts of their own, from seeds that no collection uses.

    Goal and start share the layout and its objects. Distractors and the noise of the background are drawn anew for the
    goal: they move by themselves, so no goal can prescribe them.

    Args:
        config: of the world; `split="held-out"` draws layouts that training never shows.
        count: number of pairs.
        seed: of the drawing.
        min_distance: px between start and goal, in a straight line.
        margin: px that both keep from every wall in addition to the clearance of 2 px; none lies in a door.
        cross_share: at least this share of the pairs lies in different rooms, 0 to 1.
        task: name of the world.
    """
    if count < 1 or not 0 <= cross_share <= 1 or not 0 <= min_distance <= 25 or not 0 <= margin <= 4:
        raise ConfigError(
            "`count` must be >= 1, `cross_share` in [0, 1], `min_distance` in [0, 25] px and `margin` in "
            f"[0, 4] px; got {count}, {cross_share}, {min_distance}, {margin}."
        )
    world = TwoRooms(count, config)
    drawn = []
    for role in (0, 1):
        world.reset([keyed_seed(STREAM, seed, i, role) for i in range(count)])
        drawn.append(world.states())
    starts, goals = drawn
    width = 6 if config.layout == "four-rooms" else 2
    still = 2 + width + 2 * config.objects
    goals[:, 2:still] = starts[:, 2:still]
    statistics = {"drawn": 0, "dropped_wrong_rooms": 0, "dropped_pre_solved": 0, "dropped_too_near": 0}
    num_cross = int(np.ceil(count * cross_share))
    pairs = []
    for i in range(count):
        wants_cross = (i + 1) * num_cross // count > i * num_cross // count  # spread evenly over the list
        rng = np.random.default_rng((STREAM, seed, i))
        start, goal = starts[i : i + 1], goals[i : i + 1]
        while True:
            statistics["drawn"] += 1
            for state in (start, goal):
                state[0, :2] = _draw_inside_room(rng, state[0, 2 : 2 + width].astype(np.float64), margin)
            distance = float(world.distance(start, goal)[0])
            group = world.groups(start, goal)[0]
            if (group == CROSS_ROOM) != wants_cross:
                statistics["dropped_wrong_rooms"] += 1
            elif bool(world.is_success(start, goal)[0]):
                statistics["dropped_pre_solved"] += 1
            elif distance < min_distance:
                statistics["dropped_too_near"] += 1
            else:
                break
        pairs.append(Pair(i, plain_state(start[0]), plain_state(goal[0]), distance, group))
    protocol = {
        "pairs": "drawn",
        "success": "distance_px < reached_px",
        "reached_px": REACHED,
        "min_distance_px": min_distance,
        "wall_distance_px": CLEARANCE + margin,
        "cross_share": cross_share,
        "world": asdict(config),
    }
    return Manifest(task, protocol, seed, statistics, tuple(pairs))


def draw_recorded_pairs(
    world: World,
    states: Mapping[int, np.ndarray],
    count: int = 100,
    *,
    offset: int = 25,
    seed: int = 0,
    pairs_per_episode: int = 1,
    task: str,
    protocol: Mapping[str, Any] | None = None,
) -> Manifest:
    """Takes start and goal from the same held-out episode, `offset` steps apart.

    Episodes come in random order and give one random start each; only when all have had their turn, and up to
    `pairs_per_episode`, they give another one.

    Args:
        world: asked for distances, success and groups of pairs, never stepped.
        states: by episode number the true states [T + 1, P] of episodes that were not trained on.
        count: number of pairs.
        offset: steps from start to goal, >= 1.
        seed: of the drawing.
        pairs_per_episode: largest number of pairs from one episode.
        task: name of the world.
        protocol: thresholds of the world's success, plain values by name.

    Raises:
        DataError: where the episodes do not hold so many pairs that are not solved at the start.
    """
    if count < 1 or offset < 1 or pairs_per_episode < 1:
        raise ConfigError("`count`, `offset` and `pairs_per_episode` must be at least 1.")
    for episode, rows in states.items():
        check_shape(rows, "T P", name=f"states[{episode}]")
    long_enough = {int(i): rows for i, rows in states.items() if len(rows) > offset}
    solved = {i: np.asarray(world.is_success(rows[:-offset], rows[offset:]), bool) for i, rows in long_enough.items()}
    candidates = sum(len(flags) for flags in solved.values())
    statistics: dict[str, int | float] = {
        "episodes": len(states),
        "dropped_short_episodes": len(states) - len(long_enough),
        "candidates": candidates,
        "candidates_pre_solved": sum(int(flags.sum()) for flags in solved.values()),
    }
    pairs, dropped = _pick_starts(solved, count, pairs_per_episode, seed)
    statistics |= {"drawn": len(pairs) + dropped, "dropped_pre_solved": dropped}
    if len(pairs) < count:
        raise DataError(
            f"the {len(long_enough)} episodes of more than {offset} steps must give {count} pairs; they give "
            f"{len(pairs)} that are not solved at the start. Hold out more episodes, or raise "
            "`pairs_per_episode`."
        )
    starts = np.stack([long_enough[i][t] for i, t in pairs]).astype(np.float32)
    goals = np.stack([long_enough[i][t + offset] for i, t in pairs]).astype(np.float32)
    distances = world.distance(starts, goals)
    groups: Sequence[str | None] = world.groups(starts, goals) or [None] * count
    found = tuple(
        Pair(
            number,
            plain_state(starts[number]),
            plain_state(goals[number]),
            float(distances[number]),
            groups[number],
            episode,
            step,
        )
        for number, (episode, step) in enumerate(pairs)
    )
    rules = {"pairs": "recorded", "offset": offset, "pairs_per_episode": pairs_per_episode}
    statistics["unique_episodes"] = len({pair.episode_id for pair in found})
    return Manifest(task, {**rules, **(protocol or {})}, seed, statistics, found)


def _pick_starts(
    solved: Mapping[int, np.ndarray], count: int, pairs_per_episode: int, seed: int
) -> tuple[list[tuple[int, int]], int]:
    """Picks (episode, start) with `solved` [starts] false; also the number of picks that were dropped."""
    rng = np.random.default_rng((STREAM, seed))
    episodes = [sorted(solved)[k] for k in rng.permutation(len(solved))]
    orders = {i: rng.permutation(len(solved[i])) for i in episodes}
    picked: list[tuple[int, int]] = []
    dropped = 0
    for turn in range(pairs_per_episode):
        for i in episodes:
            if len(picked) == count:
                return picked, dropped
            if turn >= len(orders[i]):
                continue
            start = int(orders[i][turn])
            if solved[i][start]:
                dropped += 1
            else:
                picked.append((i, start))
    return picked, dropped


def _draw_inside_room(rng: np.random.Generator, layout: np.ndarray, margin: float) -> np.ndarray:
    keep = HALF_WALL + CLEARANCE + margin
    while True:
        position = draw_position(rng, layout, margin)
        beside = abs(position[0] - layout[0]) >= keep
        if len(layout) == 6:
            beside &= abs(position[1] - layout[2]) >= keep
        if beside:
            return position


def plain_state(state: np.ndarray) -> tuple[float, ...]:
    """A state [P] as a pair keeps it: float32 numbers."""
    return tuple(float(x) for x in np.asarray(state, np.float32))


def _read_pair(entry: Mapping[str, Any]) -> Pair:
    known = {f.name for f in fields(Pair)}
    if set(entry) != known:
        raise KeyError(f"a pair has {sorted(entry)}, not {sorted(known)}")
    values = dict(entry)
    for name in ("start_state", "goal_state"):
        values[name] = tuple(float(x) for x in values[name])
    return Pair(**values)
