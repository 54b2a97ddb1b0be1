"""What an encoder sees: its tokens, pooled vectors, and their principal components as a picture.

    python examples/vit_features.py [MODEL]

MODEL is the name of a published checkpoint (it is downloaded), a file or a folder; without it the encoder is a
ViT-tiny with random weights, which is what the numbers of any probe must be compared with.
"""

import sys
from pathlib import Path

import torch
from PIL import Image

from openjepa.envs import make_world
from openjepa.eval.probing.features import FeaturesConfig, run_features
from openjepa.eval.probing.frozen_encoder import frozen
from openjepa.interop import load
from openjepa.models.vit import VisionTransformer, vit_tiny


def main(words: list[str]) -> None:
    if words:
        network = load(words[0])
    else:
        config = vit_tiny(img_size=(64, 64), patch_size=8)
        network = VisionTransformer(config, generator=torch.Generator().manual_seed(0))
    encoder = frozen(network)  # evaluation mode, no gradients, uint8 pictures in

    frames = make_world("four-rooms", 2).reset(seeds=[0, 1])  # [2, 3, 64, 64] uint8
    tokens = encoder.tokens(torch.from_numpy(frames))  # [B, t, h, w, D]
    print(f"tokens {tuple(tokens.shape)}, pooled {tuple(encoder.pooled(torch.from_numpy(frames)).shape)}")

    Image.fromarray(frames[0].transpose(1, 2, 0)).save("four-rooms.png")
    report = run_features(encoder, FeaturesConfig(Path("four-rooms.png"), Path("features.png"), size=64))
    print(report.text())


if __name__ == "__main__":
    main(sys.argv[1:])
