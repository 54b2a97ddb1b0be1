"""Pictures of several futures: the fan of one state, the same in the plane of its latents, and a reliability plot."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from openjepa.eval.pages.figures import COLOURS, GREY, blank
from openjepa.planning.support import NearestNeighbours
from openjepa.studies.fork.futures import Calibration


@dataclass(frozen=True)
class Fan:
    """The futures of one state.

    Attributes:
        z: [F, H, D], the states of each path.
        weights: [F], their probabilities.
    """

    z: Tensor
    weights: Tensor


def draw_fans(
    picture: np.ndarray,
    fans: Mapping[str, Fan],
    real: Fan,
    support: NearestNeighbours,
    positions: np.ndarray,
) -> Figure:
    """Two rows: futures on the picture, and in the plane of the latents; one column per predictor, the truth first.

    A predicted latent stands where the nearest real latent stands, joined to the start by its path. It is hollow where
    it is farther from all real latents than the support's threshold: then its place on the picture means nothing.

    Args:
        picture: [3, H, W] uint8, the present.
        fans: of each predictor, by name.
        real: what really may follow.
        support: training latents, with the distance beyond which nothing is possible.
        positions: [M, 2], where the disc is in each of the training latents, px.
    """
    everything = {"what really may happen": real, **fans}
    figure, axes = blank(2, len(everything), width=2.3, height=2.3)
    plane = _plane(real.z[:, -1])
    cloud = plane(support.memory[:: max(1, len(support.memory) // 3000)])
    for column, (name, fan) in enumerate(everything.items()):
        colour = COLOURS[2] if column == 0 else COLOURS[1 if column == 1 else 0]
        places = positions[_nearest(fan.z, support)]  # [F, H, 2]
        off = (support.distance(fan.z[:, -1:]) > support.threshold).numpy()
        above, below = axes[column], axes[column + len(everything)]
        above.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        above.set_title(name, fontsize=9, color=GREY, loc="left")
        below.scatter(cloud[:, 0], cloud[:, 1], s=1, color=GREY, alpha=0.35, linewidths=0)
        for path, end, weight, far in zip(places, plane(fan.z[:, -1]), fan.weights.tolist(), off, strict=True):
            if weight <= 0:
                continue
            size = 12 + 160 * weight if column else 14
            face = "none" if far else colour
            above.plot(path[:, 0] - 0.5, path[:, 1] - 0.5, color=colour, alpha=0.25, linewidth=1)
            above.scatter(
                path[-1, 0] - 0.5, path[-1, 1] - 0.5, s=size, facecolors=face, edgecolors=colour, alpha=0.8, zorder=3
            )
            below.scatter(end[0], end[1], s=size, facecolors=face, edgecolors=colour, alpha=0.8, zorder=3)
        for ax in (above, below):
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
        below.set_aspect("equal", adjustable="datalim")
    axes[0].set_ylabel("picture", fontsize=8, color=GREY)
    axes[len(everything)].set_ylabel("latents", fontsize=8, color=GREY)
    return figure


def reliability(calibrations: Mapping[str, Calibration]) -> Figure:
    """Stated against realised probability of each bin, one line per predictor; the diagonal is perfect."""
    figure, (ax,) = blank(width=3.4, height=3.1)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for i, (name, found) in enumerate(calibrations.items()):
        colour = COLOURS[i % len(COLOURS)]
        ax.plot(found.stated, found.realised, color=colour, marker="o", markersize=3.5, linewidth=1.4, label=name)
    ax.set_xlabel("stated probability", fontsize=8, color=GREY)
    ax.set_ylabel("share in which it happened", fontsize=8, color=GREY)
    ax.legend(fontsize=7, frameon=False, labelcolor=GREY)
    return figure


def _nearest(z: Tensor, support: NearestNeighbours) -> np.ndarray:
    """Index of the nearest training latent of states [..., D]; [...]."""
    rows = z.flatten(0, -2)
    return torch.cdist(rows, support.memory).argmin(1).view(z.shape[:-1]).numpy()


def _plane(z: Tensor):
    """The projection [..., D] to [..., 2] on the two directions in which states [F, D] differ most."""
    middle = z.mean(0)
    directions = torch.linalg.svd(z - middle, full_matrices=False).Vh[:2]
    return lambda x: ((x - middle) @ directions.T).numpy()
