"""`openjepa export`: a saved agent as files that act without PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from openjepa.command_line.command import OK


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`."""

    run: tyro.conf.Positional[Path]  # folder of a finished run, or of an agent
    to: Literal["onnx"] = "onnx"  # the format
    out: Path | None = None  # a new folder; None = RUN/onnx
    tolerance: float = 1e-4  # largest difference from PyTorch, absolute and relative, that a part may have


def export(options: ExportOptions) -> int:
    """Writes every part of an agent, and says how far each is from PyTorch."""
    from openjepa.interop.onnx_export import export_onnx

    out = options.out or options.run / "onnx"
    parts = export_onnx(options.run, out, tolerance=options.tolerance, say=print)
    print(f"{out}: {len(parts)} parts of {options.run}")
    return OK
