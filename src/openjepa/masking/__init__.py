"""Who sees what: blocks (image), tubes (video), and the random subsets under them."""

from openjepa.masking.blocks import sample_blocks
from openjepa.masking.options import LONG_TUBES, SHORT_TUBES, BlockMaskConfig, TubeMaskConfig
from openjepa.masking.subset import Grid, Masks, hide_random_tokens, keep_random_tokens
from openjepa.masking.tubes import sample_all_tubes, sample_tubes

__all__ = [
    "BlockMaskConfig",
    "sample_blocks",
    "TubeMaskConfig",
    "SHORT_TUBES",
    "LONG_TUBES",
    "sample_tubes",
    "sample_all_tubes",
    "Masks",
    "Grid",
    "keep_random_tokens",
    "hide_random_tokens",
]
