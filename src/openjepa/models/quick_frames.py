"""Networks as few operations of NumPy, for one picture at a time: the convolutional encoder of frames, and layers.

At a batch of 1 the operations of PyTorch cost more than the sums in them: a frame takes a fifth of the time here. Two
things save operations: max(x + b, 0) is max(x, -b) + b, whose last b is linear and belongs to the next layer; and what
a convolution reads is laid out once.
"""

from collections.abc import Sequence

import numpy as np
from torch import nn

from openjepa.models.frame_encoder import ConvTrunk, FrameEncoder
from openjepa.models.frame_input import HALF, Centred, Gain

PATCH, REACH, STRIDE = 4, 3, 2  # px of the stem's patches; of the other convolutions, cells that are read, and between

Layer = tuple[np.ndarray, np.ndarray]  # weight [in, out] and bias [out]


def folded(layers: Sequence[Layer]) -> tuple[list[Layer], np.ndarray]:
    """Layers with rectifiers between them as (weight, floor) each, and one bias [out] at the end.

    A layer is `np.maximum(x @ weight, floor)`, the last one `x @ weight + bias`.

    Args:
        layers: where one takes a multiple of what the one before gives, cells of it follow one another.
    """
    found, before = list[Layer](), np.zeros(1)
    for weight, bias in layers:
        before = bias + np.tile(before, len(weight) // len(before)) @ weight.astype(np.float64)
        found.append((np.ascontiguousarray(weight, np.float32), -before.astype(np.float32)))
    return found, before.astype(np.float32)


class QuickFrames:
    """Frames [B, 3, H, W] uint8 to latents [B, D] float32, those of a `FrameEncoder` of kind `conv` on the CPU.

    Its weights are copied: they are those of this moment.

    Args:
        encoder: see `reads`.
    """

    def __init__(self, encoder: FrameEncoder) -> None:
        trunk, pixels = encoder.trunk, encoder.pixels
        assert isinstance(trunk, ConvTrunk)
        assert isinstance(pixels, Centred | Gain)
        self.size = encoder.config.image_size
        self.side = self.size // PATCH
        level, scale = np.full((3, self.size, self.size), HALF), 1 / HALF
        if isinstance(pixels, Gain):
            level, scale = pixels.mean.double().numpy(), float(pixels.scale)
        weight, bias = _numbers(trunk.stem)
        stem = scale * weight.reshape(len(weight), -1).T  # [3 * 4 * 4, W]
        cut = level.reshape(3, self.side, PATCH, self.side, PATCH).transpose(1, 3, 0, 2, 4)
        self.stem = stem.astype(np.float32), (bias - cut.reshape(self.side**2, -1) @ stem).astype(np.float32)
        one, other = (_rows(trunk.body[i]) for i in (0, 2))
        weight, bias = _numbers(trunk.body[5])
        mixed = weight.reshape(len(bias), len(other[1]), -1).transpose(
            2, 1, 0
        )  # channels came first; here they are last
        weight, last = _numbers(encoder.head)
        self.layers, self.bias = folded([one, other, (mixed.reshape(-1, len(bias)), bias), (weight.T, last)])
        self._sights: list[_Sight] = []  # for the last number of frames

    @staticmethod
    def reads(encoder: nn.Module) -> bool:
        """Whether it can stand for this encoder."""
        return (
            isinstance(encoder, FrameEncoder)
            and isinstance(encoder.trunk, ConvTrunk)
            and isinstance(encoder.pixels, Centred | Gain)
            and encoder.config.shrink_from is None
            and not encoder.config.hidden
            and encoder.head.weight.device.type == "cpu"
        )

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """See the class."""
        count, (one, other, dense, head) = len(frames), self.layers
        if not self._sights or len(self._sights[0].padded) != count:
            nothing = np.zeros(self.stem[0].shape[1], np.float32)
            self._sights = [_Sight(count, self.side, nothing), _Sight(count, self.side // STRIDE, one[1])]
        weight, bias = self.stem
        x = (self._patches(frames) @ weight).reshape(count, self.side**2, -1)
        x += bias
        x = self._sights[0](x) @ one[0]
        x = self._sights[1](x) @ other[0]
        x = np.maximum(x, other[1], out=x).reshape(count, -1) @ dense[0]
        x = np.maximum(x, dense[1], out=x) @ head[0]
        x += self.bias
        return x

    def _patches(self, frames: np.ndarray) -> np.ndarray:
        """Patches [B * cells, 3 * 4 * 4] of frames [B, 3, H, W]; four pixels are moved as one number."""
        count, side = len(frames), self.side
        four = np.ascontiguousarray(frames).view(np.uint32).reshape(count, 3, side, PATCH, side)
        cut = np.ascontiguousarray(four.transpose(0, 2, 4, 1, 3)).view(np.uint8)
        return cut.astype(np.float32).reshape(count * side**2, -1)


class _Sight:
    """What a convolution of 3 x 3 cells reads at every second cell: of x [B, G * G, C], [B * cells, 3 * 3 * C].

    Its memory is its own. Nothing lies below the floor [C], nor beyond the border.
    """

    def __init__(self, count: int, side: int, floor: np.ndarray) -> None:
        self.floor = floor
        self.padded = np.tile(floor, (count, side + 2, side + 2, 1))
        self.inner = self.padded[:, 1:-1, 1:-1]
        batch, down, right, one = self.padded.strides
        shape = (count, side // STRIDE, side // STRIDE, REACH, REACH * len(floor))
        strides = (batch, STRIDE * down, STRIDE * right, down, one)
        self.seen = np.lib.stride_tricks.as_strided(self.padded, shape, strides, writeable=False)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        np.maximum(x.reshape(self.inner.shape), self.floor, out=self.inner)
        return self.seen.reshape(-1, self.seen.shape[3] * self.seen.shape[4])


def _numbers(layer: nn.Module) -> Layer:
    """Weight, as the layer has it, and bias."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    assert layer.bias is not None
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def _rows(layer: nn.Module) -> Layer:
    """A convolution as a matrix [3 * 3 * C, W] of what a `_Sight` reads, and its bias."""
    weight, bias = _numbers(layer)
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(bias)), bias
