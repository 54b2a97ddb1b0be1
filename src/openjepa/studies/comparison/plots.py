"""The plots of the comparison: one colour for each kind of rival, everywhere the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from openjepa.eval.pages.figures import COLOURS, GREY, blank
from openjepa.studies.comparison import rivals
from openjepa.studies.comparison.scale import CONDITIONS, HIDDEN, SHIFTS, WORDS

COLOUR = {
    rivals.LATENT: COLOURS[0],
    rivals.LATENT_ONLY: "#8ab8f0",
    rivals.INVERSE: COLOURS[3],
    rivals.PIXELS: COLOURS[1],
    rivals.PIXELS_ONLY: "#f0a98f",
    rivals.TOKENS: COLOURS[2],
    rivals.CLONING: COLOURS[4],
}
Found = Mapping[str, Any]


def success_bars(found: Found) -> Figure:
    """Goals reached in every condition, with intervals and a dot for each seed."""
    names = found["methods"]
    figure, axes = blank(2, 3, width=3.5, height=0.9 + 0.26 * len(names))
    for i, (ax, condition) in enumerate(zip(axes, (*CONDITIONS, *SHIFTS), strict=False)):
        for row, name in enumerate(names):
            entry = found["figures"][name]["success"][condition]["all"]
            low, high = entry["ci95"]
            ax.barh(row, 100 * entry["mean"], height=0.62, color=COLOUR[name], alpha=0.85)
            ax.plot([100 * low, 100 * high], [row, row], color=GREY, linewidth=1.6)
            ax.plot([100 * s for s in entry["seeds"]], [row] * len(entry["seeds"]), "o", color=GREY, markersize=2.6)
        floor = found["floors"].get(condition, found["floors"]["clean"])["random play"]["all"]["mean"]
        ax.axvline(100 * floor, color=GREY, linestyle=":", linewidth=1.2)
        ax.set_title(WORDS[condition], fontsize=9, color=GREY, loc="left")
        ax.set_xlim(0, 103)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), names if i % 3 == 0 else [""] * len(names), fontsize=8)
        ax.grid(False, axis="y")
        ax.set_xlabel("% of goals", fontsize=8, color=GREY)
    axes[-1].set_axis_off()
    axes[-1].text(
        0.02,
        0.62,
        "bar: mean over seeds\nline: 95 % interval\ndots: seeds\ndotted: random play\n\n"
        "changed colours and slanting\nlight come at the test only",
        fontsize=8,
        color=GREY,
        va="center",
        transform=axes[-1].transAxes,
    )
    return figure


def rollout_curves(found: Found) -> Figure:
    """Error in px over the horizon, own dynamics where there are some, and the mark of copying."""
    figure, axes = blank(1, len(CONDITIONS), width=3.7, height=3.1)
    for ax, condition in zip(axes, CONDITIONS, strict=True):
        highest = 1.0
        for name in rivals.MODELS:
            curves = found["figures"][name]["rollout_px"][condition]
            steps = range(1, len(curves["frozen"]["predicted"]) + 1)
            ax.plot(steps, curves["frozen"]["predicted"], color=COLOUR[name], linewidth=1.8, label=name)
            ax.fill_between(
                steps, curves["frozen"]["lowest"], curves["frozen"]["highest"], color=COLOUR[name], alpha=0.12
            )
            highest = max(highest, *curves["frozen"]["copied"])
            if "own" in curves:
                ax.plot(steps, curves["own"]["predicted"], color=COLOUR[name], linewidth=1, linestyle="--")
        copied = found["figures"][rivals.LATENT]["rollout_px"][condition]["frozen"]["copied"]
        ax.plot(steps, copied, color=GREY, linewidth=1.2, linestyle=":", label="the first frame, kept")
        ax.set_ylim(0, 1.25 * highest)
        ax.set_title(WORDS[condition], fontsize=9, color=GREY, loc="left")
        ax.set_xlabel("steps ahead", fontsize=8, color=GREY)
    axes[0].set_ylabel("px from the true position", fontsize=8, color=GREY)
    axes[0].legend(frameon=False, fontsize=7, labelcolor=GREY)
    return figure


def probe_dots(found: Found) -> Figure:
    """Linear R2 of the agent's position, with the untrained encoder as a mark."""
    names = found["methods"]
    figure, axes = blank(1, len(CONDITIONS), width=3.5, height=0.8 + 0.26 * len(names))
    for i, (ax, condition) in enumerate(zip(axes, CONDITIONS, strict=True)):
        for row, name in enumerate(names):
            for score, face in (("linear", COLOUR[name]), ("mlp", "none")):
                entry = found["figures"][name]["probe_r2"][condition][score]
                value = max(entry["mean"], 0)
                ax.plot([max(v, 0) for v in entry["range"]], [row, row], color=COLOUR[name], linewidth=1.4)
                ax.plot(value, row, "o", markersize=7, color=COLOUR[name], markerfacecolor=face)
        floor = found["floors"][condition]["untrained_probe_r2"]["latent"]["linear"]["mean"]
        ax.axvline(max(floor, 0), color=GREY, linestyle=":", linewidth=1.2)
        ax.set_title(WORDS[condition], fontsize=9, color=GREY, loc="left")
        ax.set_xlim(-0.02, 1.03)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), names if i == 0 else [""] * len(names), fontsize=8)
        ax.set_xlabel("R2 of the position", fontsize=8, color=GREY)
    return figure


def physics_bars(found: Found) -> Figure:
    """AUROC of impossible against possible clips by property, beside the untrained network and pixel difference."""
    figure, axes = blank(1, len(HIDDEN), width=3.3, height=2.5)
    rows: Sequence[tuple[str, str, str]] = [
        *((name, name, "trained") for name in rivals.CLIP_METHODS),
        ("untrained latent", rivals.LATENT_ONLY, "untrained"),
        ("untrained tokens", rivals.TOKENS, "untrained"),
        ("pixel difference", rivals.LATENT_ONLY, "pixel difference"),
    ]
    for i, (ax, name) in enumerate(zip(axes, HIDDEN, strict=True)):
        for row, (_, method, who) in enumerate(rows):
            entry = found["physics"][method][who][name]["auroc"]
            colour = COLOUR[method] if who == "trained" else GREY
            ax.plot(entry["ci95"], [row, row], color=colour, linewidth=2)
            ax.plot(entry["mean"], row, "o", color=colour, markersize=6)
        ax.axvline(0.5, color=GREY, linestyle=":", linewidth=1.2)
        ax.set_title(name, fontsize=9, color=GREY, loc="left")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), [label for label, _, _ in rows] if i == 0 else [""] * len(rows), fontsize=8)
        ax.set_xlabel("AUROC", fontsize=8, color=GREY)
    return figure


def cost_scatter(found: Found) -> Figure:
    """Success in the clean world against the time of a decision; hollow marks plan with their own dynamics."""
    figure, (ax,) = blank(width=5.6, height=3.2)
    for name in found["methods"]:
        entry = found["figures"][name]
        ax.plot(
            entry["ms_per_decision"],
            100 * entry["success"]["clean"]["all"]["mean"],
            "o",
            color=COLOUR[name],
            markersize=8,
            label=name,
        )
        if "own_dynamics" in entry:
            own = entry["own_dynamics"]
            point = (own["ms_per_decision"], 100 * own["success"]["mean"])
            ax.plot(*point, "o", color=COLOUR[name], markerfacecolor="none", markersize=8)
    ax.set_xscale("log")
    ax.set_ylim(-4, 104)
    ax.set_xlabel("milliseconds per decision", fontsize=8, color=GREY)
    ax.set_ylabel("% of goals, clean", fontsize=8, color=GREY)
    ax.legend(frameon=False, fontsize=7, labelcolor=GREY, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
