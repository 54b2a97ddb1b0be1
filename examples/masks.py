"""Shows who sees what: the block masks of I-JEPA and the tube masks of V-JEPA 2.

    python examples/masks.py

`#` is seen by the context encoder, a digit is predicted (the number of its target block), `.` is neither.
"""

import torch

from openjepa.masking import LONG_TUBES, SHORT_TUBES, BlockMaskConfig, Masks, sample_blocks, sample_tubes

Grid = tuple[int, int, int]


def draw(masks: Masks, grid: Grid, sample: int = 0, frame: int = 0) -> str:
    """One frame of one sample as text."""
    t, h, w = grid
    cells = ["."] * (t * h * w)
    for i in masks.context_idx[sample].tolist():
        cells[i] = "#"
    for block, tokens in enumerate(masks.target_idx[sample].tolist()):
        for i in tokens:
            cells[i] = str(block)
    rows = [cells[(frame * h + row) * w : (frame * h + row + 1) * w] for row in range(h)]
    return "\n".join("  " + " ".join(row) for row in rows)


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    grid: Grid = (1, 14, 14)  # a picture of 224 pixels in patches of 16
    masks = sample_blocks(BlockMaskConfig(), 4, grid, generator=generator)
    print(f"I-JEPA: context {tuple(masks.context_idx.shape)}, targets {tuple(masks.target_idx.shape)} [B, M, Q]")
    print(draw(masks, grid))

    grid = (8, 16, 16)  # 16 frames of 256 pixels in tubelets of 2 x 16 x 16
    for name, kind in (("short", SHORT_TUBES), ("long", LONG_TUBES)):
        masks = sample_tubes(kind, 4, grid, generator=generator)
        share = masks.target_idx[0].numel() / (grid[0] * grid[1] * grid[2])
        print(f"\nV-JEPA 2, {name} tubes: {share:.0%} of the tokens are predicted; frame 0 of 8")
        print(draw(masks, grid))
        both = torch.cat([masks.context_idx, masks.target_idx.flatten(1)], 1)  # [B, K + Q]
        assert all(len(set(row)) == len(row) for row in both.tolist())  # context and targets are disjoint


if __name__ == "__main__":
    main()
