"""Pictures of surprise: the frames of a clip over its energy, against what is ordinary."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from openjepa.eval.pages.figures import COLOURS, GREY, blank
from openjepa.eval.plausibility.conformal import Calibration, threshold
from openjepa.eval.plausibility.surprise import Verdict

SHOWN = 16  # frames in the strip at most


def strip_frames(length: int) -> list[int]:
    """Returns the numbers of the frames that stand for a clip of `length` frames."""
    return np.unique(np.linspace(0, length - 1, min(SHOWN, length)).round().astype(int)).tolist()


def draw_verdicts(verdicts: Sequence[Verdict], calibration: Calibration) -> Figure:
    """Draws each clip as a strip of frames over its energy; frames and curve share the axis of time.

    Args:
        verdicts: of the clips, with the frames that they show.
        calibration: for the line above which an alarm is raised.
    """
    figure, axes = blank(len(verdicts), 1, width=9.0, height=2.3)
    for ax, verdict in zip(axes, verdicts, strict=True):
        _draw(ax, verdict, threshold(calibration.scores, verdict.level))
    axes[-1].set_xlabel("frame", fontsize=9, color=GREY)
    return figure


def _draw(ax, verdict: Verdict, limit: float) -> None:
    length, steps = verdict.length, sorted(verdict.shown)
    colour = COLOURS[1] if verdict.is_surprising else COLOURS[0]
    for row in verdict.rows.values():
        ax.plot(verdict.frames, row, color=GREY, linewidth=0.8, alpha=0.5)
    ax.plot(verdict.frames, verdict.energy, color=colour, linewidth=2.0)
    ax.plot([verdict.moment], [verdict.score], "o", color=colour, markersize=6)
    top = max(np.nanmax(list(verdict.rows.values())), limit if np.isfinite(limit) else 0.0) * 1.08
    if np.isfinite(limit):
        ax.axhline(limit, color=GREY, linewidth=1.0, linestyle="--")
        ax.text(-0.5, limit, f" alarm at p ≤ {verdict.level:g}", fontsize=7, color=GREY, va="top")
    width = (length - 1) / max(len(steps) - 1, 1) * 0.92 / max(length - 1, 1)
    strip = 0.42  # share of the panel's height that the frames take
    for step in steps:
        at = ax.inset_axes(_place(step, length, width, strip), transform=ax.transAxes)
        at.imshow(verdict.shown[step].transpose(1, 2, 0))
        at.set_xticks([])
        at.set_yticks([])
        near = abs(step - verdict.moment) <= (length - 1) / max(len(steps) - 1, 1) / 2
        for spine in at.spines.values():
            spine.set_color(colour if near and verdict.is_surprising else GREY)
            spine.set_linewidth(2.5 if near and verdict.is_surprising else 0.4)
    ax.set_xlim(-0.5, length - 0.5)
    ax.set_ylim(0, top / (1 - strip))
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= top])
    ax.set_ylabel("energy", fontsize=8, color=GREY)
    word = "surprising" if verdict.is_surprising else "plausible"
    ax.set_title(f"{verdict.name}: {word}, p = {verdict.p_value:.3g}", fontsize=9, color=GREY, loc="left")


def _place(step: int, length: int, width: float, strip: float) -> tuple[float, float, float, float]:
    centre = (step + 0.5) / length
    return centre - width / 2, 1 - strip, width, strip * 0.96
