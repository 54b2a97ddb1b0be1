"""How a world should be played, measured on a few short episodes that are looked at and forgotten.

Pictures must be large enough for what moves in them, and episodes long enough for it to get somewhere.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openjepa.data import EpisodeStore
from openjepa.envs import collect, default_policy, is_environment_id, make_policy, make_world
from openjepa.recipes.measured_choices import (
    ENOUGH_WITH_INERTIA,
    LARGEST_SIDE,
    change_by_lag,
    choose_frameskip,
    choose_size,
    choose_state,
)
from openjepa.recipes.measured_motion import categories_of, idle_choices, measure_motion, read_clips

USUAL_SIDE, PROBE_SIDE = 64, 128  # px of recorded frames, and of those that are looked at
EPISODES, STEPS = 16, 100
SEEN_PX = 5.0  # side of what moves, below which an encoder with patches of 4 px hardly finds it
USUAL_STEPS, LONGEST = 60, 200  # environment steps of an episode
GENTLE = 0.1  # share of the strength of play in its gentlest episode, where at full strength things are hurled
CALMED = 2 / 3  # times the change of a step under such play, below which it is the strength that hurls
RECORDED = 36_000  # environment steps in all


@dataclass(frozen=True)
class PlayChoices:
    """How a world is played, and why.

    Attributes:
        image_size: side of a frame, px.
        steps: environment steps of an episode.
        policy: what plays.
        favoured: choices that it prefers.
        gentle: share of its strength in the gentlest episodes; None is always all of it.
        step_seconds: wall-clock time of a recorded environment step; 0 where nothing was played.
        lines: one line of reason for each choice that is not the usual one.
    """

    image_size: int
    steps: int
    policy: str
    favoured: tuple[int, ...] = ()
    gentle: float | None = None
    step_seconds: float = 0.0
    lines: tuple[str, ...] = ()


def choose_play(world: str, options: Mapping[str, Any], *, seed: int) -> PlayChoices:
    """Plays a little, measures it, and says how to play for good.

    Args:
        world: name or id.
        options: of it, by name.
        seed: of the play.
    """
    size = PROBE_SIDE if is_environment_id(world) else None
    stage = make_world(world, EPISODES, env_options=options, image_size=size)
    try:
        policy, most = default_policy(stage.bounds), min(stage.max_steps, LONGEST)
        usual = PlayChoices(USUAL_SIDE if size else stage.frame_shape[-1], min(most, USUAL_STEPS), policy)
        if size is None:
            return usual
        with tempfile.TemporaryDirectory() as folder, EpisodeStore.create(Path(folder) / "probe") as store:
            steps, began = min(most, STEPS), time.perf_counter()
            collect(stage, make_policy(policy, stage.bounds), store, EPISODES, steps, seed, with_states=False)
            seconds = (time.perf_counter() - began) / max(1, int(store.lengths.sum()))
            found, is_hurled = _choose(store, usual, most, seed)
            found = replace(found, step_seconds=seconds)
            if not is_hurled:
                return found
            with EpisodeStore.create(Path(folder) / "gentle") as calm:
                gentle = make_policy(policy, stage.bounds, gentle=GENTLE)
                collect(stage, gentle, calm, EPISODES, steps, seed, with_states=False)
                hurled, calmed = change_of_a_step(store), change_of_a_step(calm)
            if calmed >= CALMED * hurled:  # something else drives it, a pendulum's weight: slow it never is
                return found
            shares = f"{hurled:.0%} of a picture's change comes in a step, {calmed:.0%}"
            line = f"play.gentle {GENTLE:g}: {shares} where every episode has a strength of its own"
            return replace(found, gentle=GENTLE, lines=(*found.lines, line))
    finally:
        stage.close()


def change_of_a_step(store: EpisodeStore) -> float:
    """How much of what pictures change in the long run they change in one step."""
    change = change_by_lag(store, (1, 8, 32))
    return change[1] / max(1e-12, *change.values())


def _choose(store: EpisodeStore, usual: PlayChoices, most: int, seed: int) -> tuple[PlayChoices, bool]:
    """How to play, and whether things with inertia move so far in a step that the strength of play may be to blame."""
    categories = categories_of(np.asarray(store.column("actions")))
    frameskip, _ = choose_frameskip(store, is_chosen=bool(categories))
    clips = read_clips(store, frameskip=frameskip)
    motion = measure_motion(clips, seed=seed)
    side, lines = usual.image_size, list[str]()
    idle = idle_choices(clips) if len(categories) == 1 else ()
    favoured = tuple(i for i in range(sum(categories)) if i not in idle) if idle else ()
    if favoured:
        lines.append(f"play.favoured {favoured}: the other choices change no picture")
    count = round(PROBE_SIDE / motion.cell) if motion.cell else 0
    aligned, patch, _ = choose_size(PROBE_SIDE, motion.cell)
    if count and aligned == patch * count:
        side = aligned
        lines.append(f"image-size {side}: {patch} px for each of the {count} cells that things jump between")
    elif 0 < motion.size < SEEN_PX * PROBE_SIDE / side:
        side = int(np.clip(16 * np.ceil(SEEN_PX * PROBE_SIDE / motion.size / 16), side, LARGEST_SIDE))
        share = motion.size / PROBE_SIDE
        lines.append(f"image-size {side}: what moves is {share:.1%} of the picture wide, {share * side:.1f} px")
    steps = int(np.clip(max(frameskip * USUAL_STEPS / 2, count**2), usual.steps, most))
    if steps != usual.steps:
        why = f"in {frameskip} steps so little moves that an episode must be long"
        if count**2 > frameskip * USUAL_STEPS / 2:
            why = f"whoever strolls among {count} by {count} cells from one place on must stroll long to see all"
        lines.append(f"episode-steps {steps}: {why}")
    is_hurled = not categories and choose_state(motion)[0] == "pair" and change_of_a_step(store) >= ENOUGH_WITH_INERTIA
    return PlayChoices(side, steps, usual.policy, favoured, lines=tuple(lines)), is_hurled
