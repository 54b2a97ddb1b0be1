"""Moments of the features of a LeRobot data set: per episode, over all, and held against what a file says."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from openjepa.errors import DataError

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
PICTURES = 100  # that are looked at in an episode
Stats = dict[str, np.ndarray]


def of_numbers(values: np.ndarray) -> Stats:
    """Moments over the rows of [T, ...]; scalars count as vectors of one."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    shape = values.shape[1:] or (1,)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {name: np.quantile(rows, q, axis=0) for name, q in QUANTILES.items()}
    return {**{name: value.reshape(shape) for name, value in found.items()}, "count": np.array([len(rows)])}


def of_pictures(pictures: np.ndarray) -> Stats:
    """Moments of each channel of pictures [T, 3, H, W] uint8, evenly chosen, in units of 255; [3, 1, 1]."""
    chosen = pictures[np.unique(np.linspace(0, len(pictures) - 1, PICTURES).astype(int))]
    sparse = chosen[:, :, :: max(1, chosen.shape[2] // 64), :: max(1, chosen.shape[3] // 64)]
    channels = sparse.transpose(0, 2, 3, 1).reshape(-1, chosen.shape[1])
    found = of_numbers(channels)
    count = np.array([len(chosen)])
    return {**{n: v.reshape(-1, 1, 1) / 255 for n, v in found.items() if n != "count"}, "count": count}


def together(parts: list[Stats]) -> Stats:
    """Moments of several episodes as one; quantiles are averages, as LeRobot's own are."""
    counts = np.array([float(part["count"][0]) for part in parts])
    weights = counts / counts.sum()
    means = np.stack([part["mean"] for part in parts])
    spread = np.stack([part["std"] for part in parts]) ** 2
    weights = weights.reshape(-1, *(1,) * (means.ndim - 1))
    mean = (means * weights).sum(0)
    found = {
        "min": np.min([part["min"] for part in parts], 0),
        "max": np.max([part["max"] for part in parts], 0),
        "mean": mean,
        "std": np.sqrt(((spread + (means - mean) ** 2) * weights).sum(0)),
        "count": np.array([int(counts.sum())]),
    }
    return found | {name: (np.stack([p[name] for p in parts]) * weights).sum(0) for name in QUANTILES}


def check_stats(stated: Mapping[str, Any], found: Stats, key: str, where: str) -> None:
    """Holds the moments that a file states against those of the numbers.

    Args:
        stated: min, max, mean, std and count; what is missing is not compared.
        found: the moments of the numbers.
        key: name of the feature.
        where: what errors call the file.

    Raises:
        DataError: for the first that disagrees.
    """
    scale = np.maximum(found["std"], 1e-6 + 1e-4 * np.abs(found["mean"])).ravel()
    for name in ("count", "min", "max", "mean", "std"):
        if name not in stated:
            continue
        try:
            value = np.asarray(stated[name], float).ravel()
        except (TypeError, ValueError) as error:
            raise DataError(f"`{name}` of `{key}` in {where} must be numbers; got {stated[name]!r}.") from error
        real = found[name].ravel().astype(float)
        limit = 0.5 if name == "count" else np.maximum(0.01 * scale, 1e-5 * np.abs(real))
        if value.shape != real.shape or not (np.abs(value - real) <= limit).all():
            raise DataError(
                f"`{name}` of `{key}` in {where} must be that of the data, {_short(real)}; it says "
                f"{_short(value)}. The "
                "statistics are of other data; write them anew."
            )


def _short(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:4])
    return f"[{shown}{', ...' if len(values) > 4 else ''}]"
