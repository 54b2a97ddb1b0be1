"""What a world's data say about how to learn it: measured on the recorded episodes, never looked up by a name."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openjepa.data import EpisodeStore
from openjepa.errors import ConfigError
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.planning import ExhaustiveConfig
from openjepa.recipes.measured_displays import find_displays
from openjepa.recipes.measured_motion import Motion, categories_of, clips_of, idle_choices, measure_motion, read_clips

if TYPE_CHECKING:
    from openjepa.recipes.world import WorldConfig

EPISODES = 48  # that are looked at
ENOUGH_CHANGE = 0.12  # of the pictures of one model step, as a share of what changes in the long run
ENOUGH_WITH_INERTIA = 0.35  # the same where a state holds a velocity, a difference that must stand out from noise
LONGEST_SKIP = 8
KNOT_STEPS = 3
MOST_LOOKS = 4  # in a model step: a plan that is followed for a whole one brakes too late
LONGEST_WINDOW, LONGEST_WINDOW_SKIPPED = 9, 5  # frames, with every frame and with some left out between them
USED_STEPS = 0.97  # share of the steps that windows must be able to use
LONGEST_PLAN = 24  # model steps: what is farther is the critic's to know
LARGEST_SIDE = 96  # px that the encoder sees at most: larger pictures cost time in proportion to their area
UNITS = {"vit": FrameEncoderConfig.patch_size}  # px of which a picture's side must be a multiple; else 16
CELL = 5  # px of the encoder's cells where things jump between cells, fewer where the picture would be too large
SMALLEST_CELL = 3
INERTIA = 0.3  # share of the next way that only the way before tells, from which on a state holds a velocity
GAIN = 0.5
STATIC = 0.2  # share of the pixels' variance within episodes, below which a latent would hold what stands still
ALIKE = 0.8  # share of pairs of episodes with one scene, below which a latent would hold the scenes
RECUR = 0.05  # the same, from which on a few scenes recur, and a latent must tell which it is
SCENE_DIM = 4  # numbers of a latent that tell it
SHARED = 0.02  # share of the picture by which scenes differ, up to which one map serves all: a marker, a closed door
CHOSEN_PLANS = 400  # that are looked at where actions are choices
LARGE_PX = 6.0  # side of what moves, from which on keypoints find it; below, cells of 4 px and what is in them do
LONGEST_GAP = 60  # model steps between two states that the critic learns from
BEYOND = 4  # times the reach of a map, the same: what is farther the map knows, and walls show in near ones
VELOCITY_GAP = 10  # the same where things have inertia: later, a pose tells little of when another is passed
# Model steps of a plan where a state holds a velocity and a model step is several of the world's: a longer one sums up
# too many errors.
VELOCITY_PLAN = 15


@dataclass(frozen=True)
class Choices:
    """Values of the options that were not given, and why.

    Attributes:
        frameskip: environment steps per model step.
        image_size: px, side of the square that the network sees.
        shrink_from: (H, W) of the frames, or None where they are such squares.
        encoder: kind of encoder.
        state: what a state is made of, `frame` or `pair`.
        embed_dim: width of the latent.
        window: frames of a training window.
        horizon: model steps of a plan.
        knot_steps: model steps for which an action is held in a plan.
        replan_every: model steps between two plans.
        looks: times in a model step at which the agent looks and plans anew.
        max_gap: largest gap that the critic learns from.
        critic: what tells how far a goal is.
        categories: sizes of the groups of choices that a primitive action consists of; empty for numbers.
        choices: those that a search tries, None for all.
        looks_at_all: whether a search looks at every plan.
        finds_motion: whether a latent must tell where in the picture things move.
        is_static: whether most of what differs between pictures never changes in an episode.
        landmarks: whether the agent has a map of remembered states.
        scene_dim: further numbers of a latent that tell which of a few scenes it is.
        reach: model steps to a subgoal on the map at most.
        encoder_options: further options of the encoder, by name.
        lines: one line of reason for each choice.
    """

    frameskip: int
    image_size: int
    shrink_from: tuple[int, int] | None
    encoder: Literal["conv", "keypoints", "split", "attn", "vit"]
    state: Literal["frame", "pair"]
    embed_dim: int
    window: int
    horizon: int
    knot_steps: int
    replan_every: int
    looks: int
    max_gap: int
    critic: Literal["steps", "map", "latent"] = "steps"
    categories: tuple[int, ...] = ()
    choices: tuple[int, ...] | None = None
    looks_at_all: bool = False
    is_static: bool = False
    finds_motion: bool = False
    landmarks: bool = False
    scene_dim: int = 0
    reach: float = 1.0
    encoder_options: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def choose(store: EpisodeStore, config: "WorldConfig") -> Choices:
    """Measures the data and gives every option its value; what the user gave stays."""
    lines: list[str] = []
    height, width = (int(side) for side in store.column("frames").shape[2:])
    categories = categories_of(np.asarray(store.column("actions")))
    frameskip, why = config.frameskip or 0, ""
    if not frameskip:
        frameskip, why = choose_frameskip(store, is_chosen=bool(categories))
    clips = read_clips(store)
    displays = find_displays(clips) if config.hide_displays else ()
    if frameskip > 1:
        clips = read_clips(store, frameskip=frameskip)
    motion = measure_motion(clips, seed=config.seed)
    state, line = choose_state(motion)
    if state == "pair" and config.frameskip is None:
        frameskip, why = choose_frameskip(store, is_chosen=bool(categories), enough=ENOUGH_WITH_INERTIA)
    lines += [why, line] if why else [line]
    fitting, why = choose_encoder(motion, state, max(height, width))
    encoder = config.encoder or fitting
    if config.encoder is None:
        lines.append(f"encoder {encoder}: {why}")
    cell = motion.cell if encoder == "attn" else None
    size, patch, line = choose_size(max(height, width), cell, UNITS.get(encoder, 16))
    if (height, width) != (size, size):
        lines.append(f"encoder.image-size {size}: frames of {height} x {width} px are seen as squares of that side")
    if cell is not None:
        lines.append(line)
    is_static = motion.within < STATIC or motion.alike < ALIKE
    if is_static:
        lines.append(
            f"variance within windows: {motion.within:.1%} of what differs between pictures changes in an episode, and "
            f"{motion.alike:.0%} of pairs of episodes look alike where things stand still"
        )
    scene_dim = SCENE_DIM if state == "frame" and RECUR <= motion.alike < ALIKE else 0
    if scene_dim:
        lines.append(f"scene-dim {scene_dim}: a few scenes recur, and ways of one may be closed in another")
    finds_motion = encoder == "attn" and (state == "pair" or is_static)
    if finds_motion:
        lines.append("motion: a latent must tell where in the picture things move, small ones too; more steps for it")
    options: dict[str, Any] = {"hidden": displays} if displays else {}
    if displays:
        lines.append(
            f"encoder.hidden {displays}: boxes in px where the picture shows the last action itself, which is no state"
        )
    if encoder == "attn":
        options |= {"patch_size": patch, "gain": GAIN if motion.has_background else None}
    longest = int(np.quantile(store.lengths, 0.9)) // frameskip
    window = config.window
    if window is None:
        window, line = choose_window(store.lengths, frameskip)
        lines.append(line)
    limit = VELOCITY_PLAN if state == "pair" and frameskip > 1 else LONGEST_PLAN
    # Pushes of single steps cancel each other. Choices are each a step of their own, unless they push what has inertia.
    holds = frameskip == 1 if state == "pair" else not categories
    whole = np.arange(len(store))  # what works at one door alone is seldom seen to work
    idle = idle_choices(clips_of(store, whole)) if len(categories) == 1 and frameskip == 1 else ()
    tried = tuple(i for i in range(sum(categories)) if i not in idle[1:]) if len(idle) > 1 else None
    if tried is not None:
        lines.append(f"choices {tried}: of {categories[0]}, the others change no picture")
    count = float(len(tried)) if tried is not None else float(np.prod(categories, dtype=float)) ** frameskip
    if categories and not holds and count <= CHOSEN_PLANS:
        limit = max(1, int(np.log(CHOSEN_PLANS) / np.log(max(2, count)) + 1e-9))
    horizon = config.horizon or int(np.clip(longest, min(3, limit), limit))
    looks_at_all = bool(categories) and count**horizon <= ExhaustiveConfig.max_plans
    if categories and holds:
        lines.append(f"search by samples: a choice is held for {KNOT_STEPS} steps, as what it pushes has inertia")
    elif categories and not looks_at_all:
        lines.append(f"search by samples: {count:.0f} choices at each of {horizon} steps are too many to look at all")
    if config.horizon is None:
        lines.append(f"horizon {horizon}: {horizon * frameskip} environment steps")
    critic: Literal["steps", "map", "latent"] = "map" if categories and state == "frame" else "steps"
    can_map = critic == "steps" and state == "frame"
    landmarks = can_map and motion.scene <= SHARED if config.landmarks is None else config.landmarks
    looks = config.looks or (choose_looks(frameskip) if state == "pair" and not categories else 1)
    if frameskip % looks or (looks > 1 and categories):
        numbers = "where actions are numbers" if categories else f"a divisor of the frameskip, {frameskip}"
        raise ConfigError(f"`looks` must be {numbers}; got {looks}. Leave it out to have it chosen.")
    if config.looks is None and looks > 1:
        lines.append(f"looks {looks}: what has inertia is steered anew every {frameskip // looks} environment steps")
    reach = config.reach or max(1.0, horizon / 3)
    farthest = VELOCITY_GAP if state == "pair" else LONGEST_GAP
    if can_map and landmarks:
        farthest = min(farthest, max(2, round(BEYOND * reach)))
    max_gap = config.max_gap or int(np.clip(longest - 1, 2, farthest))
    if config.max_gap is None and critic == "steps":
        lines.append(f"max-gap {max_gap}: the critic learns from states up to {max_gap * frameskip} steps apart")
    if can_map and config.landmarks is None:
        told = "one map of what was seen leads to far goals" if landmarks else "a map of one would mislead in another"
        lines.append(f"landmarks: scenes of episodes differ in {motion.scene:.1%} of the picture, so {told}")
    return Choices(
        frameskip=frameskip,
        image_size=size,
        shrink_from=None if (height, width) == (size, size) else (height, width),
        encoder=encoder,
        state=state,
        embed_dim=config.embed_dim or 16,
        window=window,
        horizon=horizon,
        knot_steps=min(KNOT_STEPS, horizon) if holds else 1,
        replan_every=1 if categories or state == "pair" or looks > 1 else min(2, horizon),
        max_gap=max_gap,
        critic=critic,
        categories=categories,
        choices=tried,
        looks_at_all=looks_at_all,
        looks=looks,
        is_static=is_static,
        finds_motion=finds_motion,
        landmarks=landmarks,
        scene_dim=scene_dim,
        reach=reach,
        encoder_options=options,
        lines=tuple(lines),
    )


def choose_looks(frameskip: int) -> int:
    """Times in a model step at which what has inertia is steered anew: the largest divisor up to `MOST_LOOKS`."""
    return max(n for n in range(1, MOST_LOOKS + 1) if frameskip % n == 0)


def choose_size(side: int, cell: float | None, unit: int = 16) -> tuple[int, int, str]:
    """Side of the picture that the network sees, side of the cells of `attn`, and why.

    Args:
        side: of the recorded frames, px.
        cell: side in px of the cells that things jump between, or None where they glide.
        unit: of what the side must be a multiple where there are no cells.
    """
    if cell is not None:
        count = round(side / cell)
        for patch in range(CELL, SMALLEST_CELL - 1, -1):
            if patch * count <= LARGEST_SIDE:
                return patch * count, patch, f"encoder.patch-size {patch}: what moves jumps between {count} cells"
    size = unit * int(np.clip(round(side / unit), -(-32 // unit), LARGEST_SIDE // unit))
    return size, 4, f"encoder.patch-size 4: {'what moves glides' if cell is None else 'there are many small cells'}"


def choose_state(motion: Motion) -> tuple[Literal["frame", "pair"], str]:
    """Whether a state needs a velocity, and why."""
    told = f"the next way is told at R2 {motion.known:.2f}, with the way before {motion.known_with_velocity:.2f}"
    if motion.cell is None and motion.known_with_velocity - motion.known > INERTIA:
        return "pair", f"state pair: {told}: what moves has inertia"
    return "frame", f"state frame: {told}"


def choose_encoder(
    motion: Motion, state: Literal["frame", "pair"], side: int
) -> tuple[Literal["conv", "keypoints", "attn"], str]:
    """What tells where things are, as finely as it matters, and why.

    Args:
        motion: what moves.
        state: what a state is made of.
        side: of the recorded frames, px.
    """
    if motion.cell is not None:
        return "attn", "where, and what is there: a turn on the spot is little of the picture"
    if state == "frame":
        return "conv", "things glide"
    seen = motion.size * min(1.0, LARGEST_SIDE / side)
    if seen < LARGE_PX:
        return "attn", f"where, and what is there: what moves has inertia and is {seen:.1f} px wide"
    return "keypoints", f"where, to a fraction of a pixel: what moves has inertia and is {seen:.1f} px wide"


def choose_window(lengths: np.ndarray, frameskip: int) -> tuple[int, str]:
    """The longest window, up to what training needs, that leaves hardly any recorded step out, and why.

    Args:
        lengths: [E] environment steps of each episode.
        frameskip: environment steps per model step.
    """
    total, used = max(int(lengths.sum()), 1), {}
    for window in range(LONGEST_WINDOW if frameskip == 1 else LONGEST_WINDOW_SKIPPED, 1, -1):
        used[window] = int(lengths[lengths >= (window - 1) * frameskip].sum()) / total
        if used[window] >= USED_STEPS:
            break
    left_out = int((lengths < (window - 1) * frameskip).sum())
    return window, (
        f"window {window}: {used[window]:.1%} of all steps lie in episodes that hold one; {left_out} of {len(lengths)} "
        "episodes are shorter, and train predictor and critic only"
    )


def choose_frameskip(store: EpisodeStore, *, is_chosen: bool = False, enough: float = ENOUGH_CHANGE) -> tuple[int, str]:
    """The fewest environment steps in which enough of the picture changes, and why.

    A step in which things move a tenth of their size is hard to tell from none, and a plan of such steps is long.

    Args:
        store: the recorded episodes.
        is_chosen: whether actions are choices, each of which is a decision of its own.
        enough: share of what changes in the long run.
    """
    if is_chosen:
        return 1, "frameskip 1: every choice is a step of its own"
    change = change_by_lag(store, (*range(1, LONGEST_SKIP + 1), 32))
    lags = [lag for lag in change if lag <= LONGEST_SKIP]
    if not lags:
        return 1, "frameskip 1: the episodes are short"
    settled = max(change.values())
    skip = next((lag for lag in lags if change[lag] >= enough * settled), lags[-1])
    shares = ", ".join(f"{change[lag] / max(settled, 1e-12):.0%} after {lag}" for lag in sorted({1, skip}))
    return skip, f"frameskip {skip}: of what changes in the long run, pictures have changed {shares} steps"


def change_by_lag(store: EpisodeStore, lags: tuple[int, ...]) -> dict[int, float]:
    """Mean squared change of a pixel after each lag that episodes are long enough for, in units of 255^2."""
    ids = np.linspace(0, len(store) - 1, min(EPISODES, len(store))).astype(int)
    sums = {lag: [0.0, 0] for lag in lags}
    for i in np.unique(ids):
        frames = np.asarray(store.rows_of("frames", int(i))[:64]).astype(np.float32) / 255
        for lag in lags:
            if len(frames) > lag:
                change = np.square(frames[lag:] - frames[:-lag])
                sums[lag][0] += float(change.mean()) * len(change)
                sums[lag][1] += len(change)
    return {lag: total / count for lag, (total, count) in sums.items() if count}
