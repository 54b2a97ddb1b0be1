"""Plots for reports, in one quiet style that reads on light and on dark pages.

Every function returns a `matplotlib.figure.Figure` of its own; nothing touches pyplot or global settings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

GREY = "#848b98"  # legible on white and on near-black
COLOURS = ("#2f7fe0", "#e0592f", "#1f9d6b", "#a864d8", "#d69a10", "#d64f8c", "#3aa6b9", "#8b8f3a")

FEW = 5  # points of a curve, up to which each is marked
NOT_CURVES = {"step", "lr", "weight_decay", "steps_per_second", "seconds"}


def blank(rows: int = 1, columns: int = 1, *, width: float = 3.3, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """Makes a figure with a transparent background and its axes, row by row; sizes in inches per panel."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for ax in axes:
        ax.patch.set_alpha(0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(which="both", colors=GREY, labelsize=8, length=3)
        ax.grid(True, color=GREY, alpha=0.18, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def training_curves(metrics: Sequence[Mapping[str, Any]], *, columns: int = 3) -> Figure:
    """Plots every number of `metrics.jsonl` over the steps, one small panel each.

    Args:
        metrics: lines with `step` and numbers; a line need not have all of them.
        columns: panels per row.
    """
    names = [n for n in dict.fromkeys(n for row in metrics for n in row) if n not in NOT_CURVES]
    rows = max(1, -(-len(names) // columns))
    figure, axes = blank(rows, min(columns, max(1, len(names))))
    for i, (ax, name) in enumerate(zip(axes, names, strict=False)):
        points = [(row["step"], row[name]) for row in metrics if row.get(name) is not None]
        steps, values = np.array(points, np.float64).reshape(-1, 2).T
        marker = "o" if len(steps) <= FEW else None  # a line of one point is not seen
        ax.plot(steps, values, color=COLOURS[i % len(COLOURS)], linewidth=1.6, marker=marker, markersize=4)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        spread = values.max() / max(values.min(), 1e-12) if len(values) and values.min() > 0 else 1.0
        if spread > 30:
            ax.set_yscale("log")
        ax.set_title(name, fontsize=9, color=GREY, loc="left")
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    return figure


def landscape(energy: np.ndarray, background: np.ndarray, goal: Sequence[float], *, label: str = "energy") -> Figure:
    """Draws the energy of being at each place, over a picture of the world.

    Args:
        energy: [H, W], NaN where one cannot be.
        background: [3, h, w] uint8 picture of the world.
        goal: (x, y) in px of the picture.
        label: what the colour means.
    """
    figure, (ax,) = blank(width=4.6, height=3.8)
    size = background.shape[2], background.shape[1]
    extent = (0.0, float(size[0]), float(size[1]), 0.0)
    ax.imshow(background.transpose(1, 2, 0), extent=extent)
    shown = ax.imshow(energy, extent=extent, cmap="viridis", alpha=0.82, interpolation="bilinear")
    ax.plot(*goal, marker="*", markersize=15, color="#ff3b30", markeredgecolor="white")
    ax.set_axis_off()
    bar = figure.colorbar(shown, ax=ax, shrink=0.85)
    bar.set_label(label, color=GREY, fontsize=8)
    bar.ax.tick_params(colors=GREY, labelsize=8)
    return figure


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str) -> Figure:
    """Draws named curves (x, y) in one panel, such as rollout error by horizon."""
    figure, (ax,) = blank(width=5.2, height=3.2)
    for i, (name, (x, y)) in enumerate(series.items()):
        ax.plot(x, y, color=COLOURS[i % len(COLOURS)], linewidth=1.8, label=name)
    ax.set_xlabel(x_label, color=GREY, fontsize=9)
    ax.set_ylabel(y_label, color=GREY, fontsize=9)
    ax.legend(frameon=False, fontsize=8, labelcolor=GREY)
    return figure


def blind_spots(frame: np.ndarray, unseen: np.ndarray, motion: np.ndarray, blind: np.ndarray) -> Figure:
    """Draws where in the frame a model is blind: in one picture, and over all held-out ones.

    Args:
        frame: [C, H, W] uint8 picture in which much moves that the latent does not hold.
        unseen: [h, w] what of it cannot be read, 0 to 1.
        motion: [h, w] how often a moving thing is at each place.
        blind: [h, w] the part of it that cannot be read.
    """
    figure, axes = blank(1, 3, width=2.7, height=2.9)
    extent = (0.0, float(frame.shape[2]), float(frame.shape[1]), 0.0)
    grey = np.broadcast_to(frame.mean(0, keepdims=True), (3, *frame.shape[1:]))
    picture = (0.6 * grey + 0.4 * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    top = max(float(motion.max()), 1e-6)
    panels = (
        ("unseen in this frame", unseen, 1.0, "Reds"),
        ("where things move", motion, top, "Blues"),
        ("where the latent is blind", blind, top, "Reds"),
    )
    for ax, (title, values, highest, colours) in zip(axes, panels, strict=True):
        ax.imshow(picture, extent=extent)
        strength = np.clip(values / highest, 0, 1)
        ax.imshow(values, extent=extent, cmap=colours, vmin=0, vmax=highest, alpha=0.9 * np.sqrt(strength))
        ax.set_title(title, fontsize=9, color=GREY, loc="left")
        ax.set_axis_off()
    return figure
