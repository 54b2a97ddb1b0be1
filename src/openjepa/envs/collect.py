"""Records episodes of play into a store.

Episode i is a pure function of (seed, i): world and policy start from `episode_seed(seed, i)`, and no
environment depends on its neighbours. A collection that was interrupted continues behind the last finished
episode and ends with the same bytes as one that was not, however many environments either ran.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from openjepa.envs.policies import Policy
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import Episode, World


class EpisodeWriter(Protocol):
    """Where episodes go; `openjepa.data.EpisodeStore` is one."""

    def __len__(self) -> int:
        """Episodes that are there."""
        ...

    def append(self, episode: Episode) -> None:
        """Commits one more."""
        ...

    def episode(self, episode: int) -> Episode:
        """Returns one that is there."""
        ...


def episode_seed(seed: int, episode: int) -> int:
    """The seed of one episode, below 2^32; no two episodes of a collection share one."""
    return (int(np.random.SeedSequence(seed).generate_state(1)[0]) + episode) % 2**32


def collect(
    world: World,
    policy: Policy,
    writer: EpisodeWriter,
    episodes: int,
    steps: int | None = None,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
    info: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    with_states: bool = True,
) -> None:
    """Records until the writer has `episodes` episodes; holds `world.num_envs` of them in memory.

    Args:
        world: where to play.
        policy: what plays.
        writer: a store; what it already has must be the beginning of this same collection.
        episodes: wanted in all, >= 0.
        steps: actions of an episode; `world.max_steps` if None. An episode ends earlier where the world says
            that it has ended.
        seed: of the whole collection.
        progress: called with (finished, wanted) after every episode.
        info: plain values kept with every episode, such as the names of world and policy.
        notes: plain values about the whole collection, kept with its first episode.
        with_states: whether the simulator's truth is recorded, for probes and judging.

    Raises:
        ConfigError: for numbers that are out of range.
        DataError: where the writer holds another collection, or its disk is full; finished episodes are kept.
    """
    steps = world.max_steps if steps is None else steps
    if episodes < 0 or steps < 1:
        raise ConfigError(f"`episodes` must be >= 0 and `steps` >= 1; got {episodes} and {steps}.")
    facts = {**(info or {}), "seed": seed, "steps": steps}
    done = len(writer)
    _check_same_collection(writer, facts)
    if progress is not None:
        progress(min(done, episodes), episodes)
    while done < episodes:
        numbers = range(done, done + world.num_envs)
        seeds = [episode_seed(seed, i) for i in numbers]
        for i, episode in zip(numbers, _play(world, policy, seeds, steps, with_states), strict=True):
            if i >= episodes:
                break
            writer.append(
                Episode(**{**vars(episode), "info": {"episode": i, **facts, **(notes or {} if i == 0 else {})}})
            )
            done += 1
            if progress is not None:
                progress(done, episodes)


def _check_same_collection(writer: EpisodeWriter, facts: Mapping[str, Any]) -> None:
    if not len(writer):
        return
    last = writer.episode(len(writer) - 1).info
    for name, wanted in {**facts, "episode": len(writer) - 1}.items():
        if last.get(name) != wanted:
            raise DataError(
                f"the store must hold the beginning of this collection; its `{name}` is "
                f"{last.get(name)}, wanted {wanted}. Repeat the first command to continue it, or choose "
                "another path."
            )


def _play(world: World, policy: Policy, seeds: list[int], steps: int, with_states: bool) -> Iterator[Episode]:
    """Plays one episode in every environment and yields them in order."""
    policy.reset(seeds)
    frames = world.reset(seeds)
    recorded = np.empty((len(seeds), steps + 1, *frames.shape[1:]), np.uint8)
    recorded[:, 0] = frames
    actions: list[np.ndarray] = []
    states = [world.states()] if with_states else []
    proprio = [world.proprio()]
    lengths = np.full(len(seeds), steps)
    for t in range(steps):
        actions.append(policy.act(states[-1] if with_states else None))
        recorded[:, t + 1] = world.step(actions[-1])
        if with_states:
            states.append(world.states())
        proprio.append(world.proprio())
        lengths = np.where(world.ended() & (lengths == steps), t + 1, lengths)
        if (lengths <= t + 1).all():
            break
    for i, length in enumerate(lengths):
        yield Episode(
            frames=recorded[i, : length + 1],
            actions=np.stack([a[i] for a in actions[:length]]),
            states=np.stack([s[i] for s in states[: length + 1]]) if with_states else None,
            proprio=_rows_of(proprio, i, length),
        )


def _rows_of(rows: list[np.ndarray | None], i: int, length: int) -> np.ndarray | None:
    kept = [row[i] for row in rows[: length + 1] if row is not None]
    return np.stack(kept) if kept else None
