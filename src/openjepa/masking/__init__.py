"""Who sees what: blocks (image), tubes (video), causal (frames), and the random subsets under them."""

from openjepa.masking.blocks import BlockMaskConfig, sample_blocks
from openjepa.masking.causal import CausalMaskConfig, sample_causal
from openjepa.masking.subset import Grid, Masks, hide_random_tokens, keep_random_tokens
from openjepa.masking.tubes import LONG_TUBES, SHORT_TUBES, TubeMaskConfig, sample_all_tubes, sample_tubes

__all__ = [
    "BlockMaskConfig",
    "sample_blocks",
    "TubeMaskConfig",
    "SHORT_TUBES",
    "LONG_TUBES",
    "sample_tubes",
    "sample_all_tubes",
    "CausalMaskConfig",
    "sample_causal",
    "Masks",
    "Grid",
    "keep_random_tokens",
    "hide_random_tokens",
]
