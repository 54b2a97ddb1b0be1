"""How much memory a transformer needs to be trained, estimated before the run.

A closed form: four bytes for every weight, its gradient and AdamW's two means; the activations that a pre-norm
block keeps for the backward pass; and the batch. It is an estimate: allocators fragment, and fused kernels keep
less. Attention is assumed to be fused, so nothing is quadratic in the number of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

KEPT = 22  # values of width D that a block keeps for each token: norms 4, qkv 3, rotation 2, attention 2, MLP 9, sums 2


@dataclass(frozen=True)
class Stage:
    """A stack of blocks that a gradient passes through.

    Attributes:
        tokens: of one sample, all passes together.
        width: D of a token.
        depth: blocks.
        checkpointed: whether activations are recomputed; then a block keeps its input only.
    """

    tokens: float
    width: int
    depth: int
    checkpointed: bool = False

    def values(self) -> float:
        """Numbers kept for the backward pass of one sample."""
        per_layer = self.tokens * self.width
        if self.checkpointed:
            return per_layer * (self.depth + KEPT)  # one block at a time is recomputed in full
        return per_layer * self.depth * KEPT


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what they are for.

    Attributes:
        weights: parameters with gradients and optimiser, and those of averaged networks.
        activations: kept for the backward pass of one part of a batch.
        batch: pixels, as uint8 and as float32.
    """

    weights: float
    activations: float
    batch: float

    @property
    def total(self) -> float:
        """Bytes in all."""
        return self.weights + self.activations + self.batch

    def text(self) -> str:
        """One line for a terminal.

        >>> MemoryEstimate(6e9, 3e9, 5e8).text()
        'about 9.5 GB: weights and optimiser 6.0, activations 3.0, batch 0.5'
        """
        total, *parts = (x / 1e9 for x in (self.total, self.weights, self.activations, self.batch))
        digits = 1 if total >= 1 else 2
        words = zip(("weights and optimiser", "activations", "batch"), parts, strict=True)
        return f"about {total:.{digits}f} GB: " + ", ".join(f"{word} {x:.{digits}f}" for word, x in words)


def estimate_memory(
    trained: int, averaged: int, stages: Sequence[Stage], *, samples: int, pixels: int, half: bool
) -> MemoryEstimate:
    """Estimates what training needs on one device.

    Args:
        trained: parameters with a gradient.
        averaged: parameters of a target encoder, without one.
        stages: the stacks of blocks.
        samples: of one part of the batch on this device.
        pixels: values of one sample, frames * channels * height * width.
        half: whether the blocks compute in bf16, under autocast.
    """
    weights = 16.0 * trained + 4.0 * averaged + (2.0 * (trained + averaged) if half else 0.0)
    # Under autocast norms and sums stay in float32, matrices are bf16: about 3 bytes a value.
    activations = samples * sum(stage.values() for stage in stages) * (3.0 if half else 4.0)
    return MemoryEstimate(weights, activations, samples * pixels * 5.0)
