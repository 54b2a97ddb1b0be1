"""Recomputes recorded masks of the published samplers: block sizes and draws exactly, probabilities statistically."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from openjepa.interop.state_files import read_json
from openjepa.masking import BlockMaskConfig, Masks, TubeMaskConfig, sample_blocks, sample_tubes
from openjepa.masking.reference import reference_block_sizes, reference_tube_size
from openjepa.parity.recorded_case import Case, Found

SLACK = 0.002  # of a probability, beside four standard errors
BLOCKS = BlockMaskConfig(sampler="reference")
TUBES = {
    "short": TubeMaskConfig(num_blocks=8, spatial_scale=(0.15, 0.15), sampler="reference"),
    "long": TubeMaskConfig(num_blocks=2, spatial_scale=(0.7, 0.7), sampler="reference"),
}
Sampler = Callable[..., Masks]  # (batch_size, grid, generator=, counter=)


def masks(case: Case) -> Found:
    """Counts differences where draws are exact, and compares probabilities by the recorded rule."""
    found = Found()
    for name, sizes in read_json(case.folder / "block_sizes_by_counter.json").items():
        found.extra[f"{name}: block sizes that differ"] = _exactly(_wrong_sizes(name, sizes))
    for name, draws in read_json(case.folder / "exact_draws.json").items():
        found.extra[f"{name}: draws that differ"] = _exactly(_wrong_draws(name, draws))
    for file, prefix in (("ijepa_statistics.json", "ijepa"), ("vjepa2_statistics.json", "vjepa2")):
        for table in read_json(case.folder / file)["tables"]:
            found.extra |= _statistics(prefix, table)
    return found


def _exactly(wrong: int) -> tuple[float, float]:
    """A count that must be 0, as a difference and its limit."""
    return float(wrong), 0.5


def _wrong_sizes(name: str, sizes: dict[str, Any]) -> int:
    sides = tuple(int(n) for n in name.split("_")[-1].split("x"))
    wrong = 0
    for counter, expected in sizes.items():
        if name.startswith("ijepa"):
            found: list[Any] = [list(size) for size in reference_block_sizes(BLOCKS, sides, int(counter))]  # type: ignore[arg-type]
        else:
            found = list(reference_tube_size(_tubes(name), sides, int(counter)))  # type: ignore[arg-type]
        wrong += found != expected
    return wrong


def _wrong_draws(name: str, draws: dict[str, Any]) -> int:
    generator = torch.Generator().manual_seed(draws["position_seed"])
    sampler, grid = _sampler(name, draws)
    wrong = 0
    for i, batch in enumerate(draws["batches"]):
        drawn = sampler(draws["samples_per_batch"], grid, generator=generator, counter=draws["first_counter"] + i)
        # I-JEPA's lists name the block first, V-JEPA's have one set of targets.
        images = name.startswith("ijepa")
        targets = drawn.target_idx.transpose(0, 1) if images else drawn.target_idx[:, 0]
        pairs = ((drawn.context_idx, "context_indices"), (targets, "target_indices"))
        wrong += any(x.tolist() != batch[key] for x, key in pairs)
    return wrong


def _statistics(prefix: str, table: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The entry of every recorded table of probabilities that is farthest from its limit."""
    sampler, grid = _sampler(prefix, table)
    size = table["samples_per_batch"]
    own = max(25, 600 // size)
    rates = _rates(partial(sampler, size, grid), grid, own, seed=table.get("position_seed", 0) + 1000)
    label = f"{prefix} {table.get('kind', '')} {'x'.join(map(str, grid))}, {size} a batch".replace("  ", " ")
    found = {}
    for kind, rate in rates.items():
        for axis, name in enumerate(("per_latent_frame", "per_row", "per_column")):
            recorded = table.get(f"{kind}_probability", {}).get(name) or table.get(f"{kind}_probability_{name}")
            if recorded is None:
                continue
            expected, error = (torch.tensor(recorded[key]) for key in ("probability", "standard_error"))
            difference = (rate.mean([a for a in (0, 1, 2) if a != axis]) - expected).abs()
            limit = 4 * error * (1 + table["batches"] / own) ** 0.5 + SLACK
            worst = int((difference / limit).argmax())
            found[f"{label}: {kind} {name}"] = (float(difference[worst]), float(limit[worst]))
    return found


def _rates(sample: Callable[..., Masks], grid: tuple[int, int, int], batches: int, *, seed: int) -> dict[str, Tensor]:
    """Share of draws in which each token is context, or target; [t, h, w] each."""
    generator = torch.Generator().manual_seed(seed)
    totals = {"context": torch.zeros(grid), "target": torch.zeros(grid)}
    for counter in range(batches):
        drawn = sample(generator=generator, counter=counter)
        for kind, idx in (("context", drawn.context_idx), ("target", drawn.target_idx)):
            rows = idx.reshape(-1, idx.shape[-1])
            hits = torch.bincount(rows.flatten(), minlength=grid[0] * grid[1] * grid[2])
            totals[kind] += hits.reshape(grid) / len(rows) / batches
    return totals


def _sampler(name: str, entry: dict[str, Any]) -> tuple[Sampler, tuple[int, int, int]]:
    if "grid" in entry:
        return partial(sample_blocks, BLOCKS), (1, *entry["grid"])
    config = _tubes(entry.get("kind", name))
    if "blocks" in entry:
        scale = tuple(entry["spatial_scale"])
        config = TubeMaskConfig(num_blocks=entry["blocks"], spatial_scale=scale, sampler="reference")
    return partial(sample_tubes, config), tuple(entry["grid_time_height_width"])


def _tubes(name: str) -> TubeMaskConfig:
    return TUBES["short" if "short" in name else "long"]
