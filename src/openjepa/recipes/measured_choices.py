"""What a world's data say about how to learn it: measured on the recorded episodes, never looked up by a name."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openjepa.data import EpisodeStore

if TYPE_CHECKING:
    from openjepa.recipes.world import WorldConfig

EPISODES = 48  # that are looked at
ENOUGH_CHANGE = 0.12  # of the pictures of one model step, as a share of what changes in the long run
LONGEST_SKIP = 8
KNOT_STEPS = 3
LONGEST_WINDOW, LONGEST_WINDOW_SKIPPED = 9, 5  # frames, with every frame and with some left out between them
USED_STEPS = 0.97  # share of the steps that windows must be able to use
LONGEST_PLAN = 24  # model steps: what is farther is the critic's to know
LARGEST_SIDE = 96  # px that the encoder sees at most: larger pictures cost time in proportion to their area


@dataclass(frozen=True)
class Choices:
    """Values of the options that were not given, and why.

    Attributes:
        frameskip: environment steps per model step.
        image_size: px, side of the square that the network sees.
        shrink_from: (H, W) of the frames, or None where they are such squares.
        encoder: kind of encoder.
        embed_dim: width of the latent.
        window: frames of a training window.
        horizon: model steps of a plan.
        knot_steps: model steps for which an action is held in a plan.
        replan_every: model steps between two plans.
        max_gap: largest gap that the critic learns from.
        encoder_options: further options of the encoder, by name.
        method_options: further options of the world model, by name.
        lines: one line of reason for each choice.
    """

    frameskip: int
    image_size: int
    shrink_from: tuple[int, int] | None
    encoder: Literal["conv", "keypoints", "split", "vit"]
    embed_dim: int
    window: int
    horizon: int
    knot_steps: int
    replan_every: int
    max_gap: int
    encoder_options: dict[str, Any] = field(default_factory=dict)
    method_options: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def choose(store: EpisodeStore, config: "WorldConfig") -> Choices:
    """Measures the data and gives every option its value; what the user gave stays."""
    lines: list[str] = []
    height, width = store.column("frames").shape[2:]
    size = int(np.clip(16 * round(max(height, width) / 16), 32, LARGEST_SIDE))
    if (height, width) != (size, size):
        lines.append(f"encoder.image-size {size}: frames of {height} x {width} px are seen as squares of that side")
    frameskip = config.frameskip
    if frameskip is None:
        frameskip, line = choose_frameskip(store)
        lines.append(line)
    longest = int(np.quantile(store.lengths, 0.9)) // frameskip
    window = config.window
    if window is None:
        window, line = choose_window(store.lengths, frameskip)
        lines.append(line)
    horizon = config.horizon or int(np.clip(longest, 3, LONGEST_PLAN))
    if config.horizon is None:
        lines.append(f"horizon {horizon}: {horizon * frameskip} environment steps")
    max_gap = config.max_gap or int(np.clip(longest - 1, 2, 60))
    if config.max_gap is None:
        lines.append(f"max-gap {max_gap}: the critic learns from states up to {max_gap * frameskip} steps apart")
    return Choices(
        frameskip=frameskip,
        image_size=size,
        shrink_from=None if (height, width) == (size, size) else (int(height), int(width)),
        encoder=config.encoder or "conv",
        embed_dim=config.embed_dim or 16,
        window=window,
        horizon=horizon,
        knot_steps=min(KNOT_STEPS, horizon),
        replan_every=2,
        max_gap=max_gap,
        lines=tuple(lines),
    )


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


def choose_frameskip(store: EpisodeStore) -> tuple[int, str]:
    """The fewest environment steps in which enough of the picture changes, and why.

    A step in which things move a tenth of their size is hard to tell from none, and a plan of such steps is long.
    """
    change = change_by_lag(store, (*range(1, LONGEST_SKIP + 1), 32))
    lags = [lag for lag in change if lag <= LONGEST_SKIP]
    if not lags:
        return 1, "frameskip 1: the episodes are short"
    settled = max(change.values())
    skip = next((lag for lag in lags if change[lag] >= ENOUGH_CHANGE * settled), lags[-1])
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
