"""A recorded case on disk, and what a recomputation returns."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from openjepa.errors import CheckpointError
from openjepa.interop.state_files import State, read_file
from openjepa.interop.traits import Traits


@dataclass(frozen=True)
class Case:
    """`case.json` and the folder around it."""

    description: dict[str, Any]
    folder: Path

    @property
    def family(self) -> str:
        """Family of models, as the case calls it."""
        return str(self.description.get("family", ""))

    @property
    def architecture(self) -> dict[str, Any]:
        """Sizes, in the case's own words."""
        return self.description.get("architecture", {})

    @property
    def outputs(self) -> list[str]:
        """Names of the recorded outputs."""
        return list(self.description["outputs"])

    @property
    def source(self) -> str:
        """Path of the checkpoint."""
        return str(self.folder / self.description["checkpoint"].get("file", ""))

    def inputs(self) -> State:
        """Reads the recorded inputs."""
        return read_file(self.folder / "inputs.safetensors")

    def checkpoint(self, name: str = "file") -> dict[str, Any]:
        """Reads a checkpoint that `case.json` names."""
        listed = self.description.get("checkpoint", {})
        file = listed.get(name) or f"{listed.get('files', {}).get(name, '')}".split(":")[0]
        if not file:
            raise CheckpointError(f"{self.folder / 'case.json'} must name a checkpoint; it names none.")
        return read_file(self.folder / file)

    def traits(self, family: Any, **extra: Any) -> Traits:
        """What the checkpoint does not show, read from the architecture."""
        arch = self.architecture
        predictor = arch.get("predictor", {})
        stretch = re.search(r"\((\d+) - 1\) / \(rows", str(arch.get("rope", {}).get("positions", "")))
        return Traits(
            **{
                "family": family,
                "num_heads": arch["num_heads"],
                "img_size": _pair(arch["image_size"]),
                "num_frames": arch.get("frames", 1),
                "predictor_heads": predictor.get("num_heads", 1),
                "layer_norm_eps": arch.get("layer_norm_eps", 1e-6),
                "predictor_eps": predictor.get("layer_norm_eps", 1e-6),
                "level_layers": tuple(arch.get("hierarchical_layers", ())),
                "pretrained_grid": int(stretch[1]) if stretch else 16,
                **extra,
            }
        )


@dataclass
class Found:
    """Recomputed outputs by name; and differences that have limits of their own, as (difference, limit)."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, tuple[float, float]] = field(default_factory=dict)


def _pair(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
