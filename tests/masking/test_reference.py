"""The published samplers, against recorded sizes, exact draws and statistics of the originals."""

import json
from pathlib import Path

import pytest
import torch

from openjepa.masking import BlockMaskConfig, TubeMaskConfig, sample_blocks, sample_tubes
from openjepa.masking.reference import reference_block_sizes, reference_tube_size

GOLDEN = Path(__file__).parents[1] / "golden" / "masks"
BLOCKS = BlockMaskConfig(sampler="reference")
TUBES = {
    "short": TubeMaskConfig(num_blocks=8, spatial_scale=(0.15, 0.15), sampler="reference"),
    "long": TubeMaskConfig(num_blocks=2, spatial_scale=(0.7, 0.7), sampler="reference"),
}


def load(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", list(load("block_sizes_by_counter")))
def test_block_sizes_by_counter(name):
    sides = tuple(int(n) for n in name.split("_")[-1].split("x"))
    for counter, expected in load("block_sizes_by_counter")[name].items():
        if name.startswith("ijepa"):
            found = [list(size) for size in reference_block_sizes(BLOCKS, sides, int(counter))]
        else:
            kind = "short" if "short" in name else "long"
            found = list(reference_tube_size(TUBES[kind], sides, int(counter)))
        assert found == expected, (name, counter)


def test_exact_draws():
    for name, case in load("exact_draws").items():
        generator = torch.Generator().manual_seed(case["position_seed"])
        for i, batch in enumerate(case["batches"]):
            counter, size = case["first_counter"] + i, case["samples_per_batch"]
            grid = tuple(case["grid"]) if "grid" in case else tuple(case["grid_time_height_width"])
            if name.startswith("ijepa"):
                masks = sample_blocks(BLOCKS, size, (1, *grid), generator=generator, counter=counter)
                targets = masks.target_idx.transpose(0, 1).tolist()  # the original lists blocks first
            else:
                config = TUBES["short" if "short" in name else "long"]
                masks = sample_tubes(config, size, grid, generator=generator, counter=counter)
                targets = masks.target_idx[:, 0].tolist()
            assert masks.context_idx.tolist() == batch["context_indices"]
            assert targets == batch["target_indices"]


def assert_agrees(found, table, batches, own_batches, slack):
    """The tolerance that case.json prescribes: 4 standard errors of both samples, and a little more."""
    expected, error = (torch.tensor(table[k]) for k in ("probability", "standard_error"))
    limit = 4 * error * (1 + batches / own_batches) ** 0.5 + slack
    assert ((found - expected).abs() <= limit).all()


@pytest.mark.parametrize("index", range(len(load("ijepa_statistics")["tables"])))
def test_ijepa_statistics(index):
    table = load("ijepa_statistics")["tables"][index]
    grid = (1, *table["grid"])
    size = table["samples_per_batch"]
    own = max(25, 600 // size)
    generator = torch.Generator().manual_seed(3)
    totals = {"context": torch.zeros(grid[1:]), "target": torch.zeros(grid[1:])}
    for counter in range(own):
        masks = sample_blocks(BLOCKS, size, grid, generator=generator, counter=counter)
        for kind, idx in (("context", masks.context_idx), ("target", masks.target_idx)):
            rows = idx.reshape(-1, idx.shape[-1])
            hits = torch.bincount(rows.flatten(), minlength=grid[1] * grid[2])
            totals[kind] += hits.reshape(grid[1:]) / len(rows) / own
    for kind, rates in totals.items():
        assert_agrees(rates.mean(1), table[f"{kind}_probability_per_row"], table["batches"], own, 0.002)
        assert_agrees(rates.mean(0), table[f"{kind}_probability_per_column"], table["batches"], own, 0.002)
    assert totals["context"][-1].sum() == totals["target"][:, -1].sum() == 0  # the bias itself


@pytest.mark.parametrize("index", range(len(load("vjepa2_statistics")["tables"])))
def test_vjepa2_statistics(index):
    table = load("vjepa2_statistics")["tables"][index]
    grid, size = tuple(table["grid_time_height_width"]), table["samples_per_batch"]
    config = TubeMaskConfig(
        num_blocks=table["blocks"], spatial_scale=tuple(table["spatial_scale"]), sampler="reference"
    )
    own = max(20, 400 // size)
    generator = torch.Generator().manual_seed(4)
    totals = {"context": torch.zeros(grid), "target": torch.zeros(grid)}
    for counter in range(own):
        masks = sample_tubes(config, size, grid, generator=generator, counter=counter)
        for kind, idx in (("context", masks.context_idx), ("target", masks.target_idx)):
            hits = torch.bincount(idx.flatten(), minlength=grid[0] * grid[1] * grid[2])
            totals[kind] += hits.reshape(grid) / size / own
    for kind, rates in totals.items():
        for axis, name in enumerate(("per_latent_frame", "per_row", "per_column")):
            line = rates.mean([a for a in (0, 1, 2) if a != axis])
            assert_agrees(line, table[f"{kind}_probability"][name], table["batches"], own, 0.002)
