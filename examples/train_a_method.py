"""Pre-trains a small I-JEPA on pictures of a simulator, reopens it, and encodes with its target encoder.

    python examples/train_a_method.py [STEPS]

Twenty steps show the pieces, not a result. A second start with more STEPS goes on where the first one ended, as
does one after a kill; a schedule that depends on the length of the run would refuse.
"""

import sys
from pathlib import Path

import torch

from openjepa.envs import make_world
from openjepa.methods.ijepa import IJEPA, IJEPAConfig
from openjepa.models.vit import vit_tiny
from openjepa.protocols import ImageBatch
from openjepa.train import TrainConfig, load_method, train


class Pictures:
    """A `BatchSource`: batch number `step` is a pure function of its arguments, so nothing is saved to resume."""

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> ImageBatch:
        """Returns this process's share of 16 rooms that no other step shows."""
        share = 16 // world_size
        first = 16 * step + share * rank
        frames = make_world("four-rooms", share).reset(range(first, first + share))
        return ImageBatch(torch.from_numpy(frames))  # [B, 3, 64, 64] uint8


def main(steps: int) -> None:
    encoder = vit_tiny(img_size=(64, 64), patch_size=8, depth=2, positions="sincos", sincos_order="column_first")
    method = IJEPA(IJEPAConfig(encoder=encoder, predictor_depth=1, ema_steps=1000))
    config = TrainConfig(steps=steps, schedule="constant", warmup_steps=2, log_every=5, device="cpu")
    result = train(method, Pictures(), config, Path("runs/ijepa-example"))
    print(f"finished {result.step} steps, loss {result.metrics['loss']:.3f}")

    reopened = load_method("runs/ijepa-example")  # by what the checkpoint says; no recipe is needed
    pixels = torch.zeros(1, 3, 64, 64)
    assert torch.equal(reopened.target_encoder(pixels), result.method.target_encoder(pixels))
    print("reopened:", type(reopened).__name__, tuple(reopened.target_encoder(pixels).shape))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20)
