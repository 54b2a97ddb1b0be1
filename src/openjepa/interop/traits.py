"""What the tensors of a published network do not show."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["ijepa", "vjepa", "vjepa2", "vjepa2_1"]


@dataclass(frozen=True)
class Traits:
    """What the tensors of a network do not show."""

    family: Family
    num_heads: int
    img_size: tuple[int, int]
    num_frames: int = 1
    predictor_heads: int = 12
    layer_norm_eps: float = 1e-6
    predictor_eps: float = 1e-6
    level_layers: tuple[int, ...] = ()  # V-JEPA 2.1
    pretrained_grid: int = 16  # V-JEPA 2.1: rows and columns that positions are stretched to
    predictor_stretch: bool = True  # V-JEPA 2.1: its training code stretches predictor positions, its hub does not
