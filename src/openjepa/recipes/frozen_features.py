"""What a frozen encoder sees in every frame of a store, computed once and kept on disk.

A file is named by what it was computed from: the weights of the encoder and the checksums of the frames. It is a NumPy
array of half precision, one row a frame; delete it when the disk is needed.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from openjepa.data import EpisodeStore
from openjepa.data.store_format import INDEX
from openjepa.errors import DataError
from openjepa.files import refused, replacing, sha256
from openjepa.models.frozen_tokens import FrozenTokens
from openjepa.train.state import method_state

BATCH = 64  # frames in one call


def cached_features(store: EpisodeStore, encoder: FrozenTokens, folder: Path) -> np.ndarray:
    """Tokens [rows, N, D] float16 of all frames of a store, in the order of its rows; a map of a file.

    Args:
        store: its frames are compared with their checksums when they are read.
        encoder: on any device.
        folder: of such files; made where it is missing.

    Raises:
        DataError: for frames that the encoder cannot take.
        TrainingError: where the disk is full or refuses.
    """
    path = folder / f"{_key(store, encoder)}.npy"
    if path.is_file():
        return np.load(path, mmap_mode="r")
    frames = store.column("frames")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            _write(draft, store, frames, encoder)
    except OSError as error:
        raise refused(path, error) from None
    return np.load(path, mmap_mode="r")


def _write(path: Path, store: EpisodeStore, frames: np.ndarray, encoder: FrozenTokens) -> None:
    store.verify("frames", np.arange(len(store)))
    device = next(encoder.parameters()).device
    out: np.memmap | None = None
    for first in tqdm(range(0, len(frames), BATCH), desc="features", unit="batch", disable=not sys.stderr.isatty()):
        pictures = torch.from_numpy(np.array(frames[first : first + BATCH])).to(device)
        try:
            found = encoder(pictures).half().cpu().numpy()
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"frames of `{store.path}` are {list(frames.shape[1:])}, which this encoder cannot take: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if out is None:
            shape = (len(frames), *found.shape[1:])
            out = np.lib.format.open_memmap(path, "w+", np.float16, shape)
            assert isinstance(out, np.memmap)
        out[first : first + len(found)] = found
    if out is not None:
        out.flush()


def _key(store: EpisodeStore, encoder: nn.Module) -> str:
    seen = hashlib.sha256(sha256(store.path / INDEX).encode())
    seen.update(repr(encoder.config).encode())
    for name, tensor in sorted(method_state(encoder).items()):
        seen.update(name.encode())
        seen.update(tensor.contiguous().numpy().tobytes())
    return seen.hexdigest()[:16]
