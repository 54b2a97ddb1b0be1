import numpy as np
import pytest
import torch

from openjepa.data import EpisodeStore
from openjepa.data.frame_mean import frame_statistics
from openjepa.errors import DataError
from openjepa.protocols import Episode


@pytest.fixture
def store(tmp_path):
    generator = np.random.default_rng(0)
    with EpisodeStore.create(tmp_path / "store") as store:
        for steps in (4, 1, 6):
            frames = generator.integers(0, 256, (steps + 1, 3, 4, 5), np.uint8)
            store.append(Episode(frames, np.zeros((steps, 1), np.float32)))
    return EpisodeStore.open(tmp_path / "store")


def test_statistics_of_some_episodes(store):
    frames = np.concatenate([store.frames_of(0), store.frames_of(2)]).astype(np.float64)
    found = frame_statistics(store, [0, 2])
    torch.testing.assert_close(found.mean.double(), torch.from_numpy(frames.mean(0)))
    assert found.rms == pytest.approx(frames.std(0).__pow__(2).mean() ** 0.5, rel=1e-5)


def test_few_frames_are_spread_over_all(store):
    every_third = store.column("frames")[[0, 3, 6, 10, 13]].astype(np.float64)  # of 14 rows
    torch.testing.assert_close(
        frame_statistics(store, max_frames=5).mean.double(), torch.from_numpy(every_third.mean(0))
    )


def test_no_episodes(store):
    with pytest.raises(DataError, match="need at least one episode; got none"):
        frame_statistics(store, [])
