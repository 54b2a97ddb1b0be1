"""Random windows of 4 frames: the episode store against HDF5 files of the same data.

One process, one thread, warm page cache, the same windows for every form, medians of alternating rounds. Both
sides deliver frames [B, 4, 3, 64, 64] uint8 and the actions of the windows.

HDF5 is read as fast as h5py's documented interface allows: uncompressed, files and datasets kept open, each
window one slice of consecutive rows. `windows_per_s_hdf5` is the better of the two chunked forms (one frame,
16 frames per chunk), since an HDF5 dataset that grows by episodes must be chunked, and growing is what a
store does. A contiguous dataset is faster, but its size is fixed when it is made; it is measured beside them
as `contiguous`.

    python benchmarks/data_loading.py [--episodes 500] [--rounds 7] [--batch 256]
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.protocols import Episode

STEPS, LENGTH = 40, 4
LAYOUTS = {
    "contiguous": None,  # cannot grow
    "chunks_of_1": (1, 3, 64, 64),
    "chunks_of_16": (16, 3, 64, 64),
}


def write(folder, episodes):
    rng = np.random.default_rng(0)
    frames = np.empty((episodes, STEPS + 1, 3, 64, 64), np.uint8)
    actions = rng.uniform(-1, 1, (episodes, STEPS, 2)).astype(np.float32)
    with EpisodeStore.create(folder / "store") as store:
        for i in range(episodes):
            frames[i] = rng.integers(0, 256, frames[i].shape, dtype=np.uint8)
            store.append(Episode(frames[i], actions[i]))
    for name, chunks in LAYOUTS.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            grows = {"maxshape": (None, 3, 64, 64), "chunks": chunks} if chunks else {}
            file.create_dataset("frames", data=frames.reshape(-1, 3, 64, 64), **grows)
            grows = {"maxshape": (None, 2), "chunks": (1024, 2)} if chunks else {}
            file.create_dataset("actions", data=actions.reshape(-1, 2), **grows)


def read_hdf5(datasets, numbers):
    """The windows with these numbers, as `WindowSource.windows` counts them."""
    all_frames, all_actions = datasets
    episode, offset = np.divmod(numbers, STEPS + 1 - LENGTH + 1)
    frames = np.empty((len(numbers), LENGTH, 3, 64, 64), np.uint8)
    actions = np.empty((len(numbers), LENGTH - 1, 2), np.float32)
    frame_rows, action_rows = episode * (STEPS + 1) + offset, episode * STEPS + offset
    for b, (f, a) in enumerate(zip(frame_rows.tolist(), action_rows.tolist(), strict=True)):
        frames[b] = all_frames[f : f + LENGTH]
        actions[b] = all_actions[a : a + LENGTH - 1]
    return torch.from_numpy(frames), torch.from_numpy(actions)


def rate(read, batches):
    begin = time.perf_counter()
    for numbers in batches:
        read(numbers)
    return batches.size / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.episodes)
        source = WindowSource(EpisodeStore.open(folder / "store"), None, WindowConfig(LENGTH, options.batch))
        files = {layout: h5py.File(folder / f"{layout}.h5") for layout in LAYOUTS}
        readers = {"openjepa": source.windows}
        datasets = {layout: (file["frames"], file["actions"]) for layout, file in files.items()}
        readers |= {layout: partial(read_hdf5, pair) for layout, pair in datasets.items()}

        rng = np.random.default_rng(1)
        batches = rng.integers(source.num_windows, size=(12, options.batch))
        for layout in LAYOUTS:  # the same data on both sides
            ours, theirs = source.windows(batches[0]), readers[layout](batches[0])
            assert torch.equal(ours.frames, theirs[0]), layout
            assert torch.equal(ours.actions, theirs[1]), layout
        rates = {form: [] for form in readers}
        for round_ in range(options.rounds + 1):
            for form, read in readers.items():
                found = rate(read, batches)
                if round_:  # the first one warms up
                    rates[form].append(found)
        for file in files.values():
            file.close()
    median = {form: statistics.median(found) for form, found in rates.items()}
    for form, found in median.items():
        print(f"{form:14s} {found:10.0f} windows/s  (rounds {min(rates[form]):.0f} to {max(rates[form]):.0f})")
    best = max(("chunks_of_1", "chunks_of_16"), key=median.get)
    result = {
        "windows_per_s_openjepa": round(median["openjepa"]),
        "windows_per_s_hdf5": round(median[best]),
        "speedup": round(median["openjepa"] / median[best], 2),
        "hdf5_form": best,
        "speedup_over_contiguous": round(median["openjepa"] / median["contiguous"], 2),
        "windows_per_s_hdf5_by_form": {layout: round(median[layout]) for layout in LAYOUTS},
        "window": [LENGTH, 3, 64, 64],
        "batch": options.batch,
        "megabytes": round(options.episodes * (STEPS + 1) * 3 * 64 * 64 / 1e6),
        "h5py": h5py.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
