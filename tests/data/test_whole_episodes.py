import numpy as np
import pytest
import torch

from openjepa.data import EpisodeStore
from openjepa.data.whole_episodes import long_enough, read_episodes
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import Episode

LENGTHS = (12, 1, 20, 7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Frame t of episode e shows t in one channel and e in another; action t is (t + 1, e)."""
    path = tmp_path_factory.mktemp("episodes") / "store"
    with EpisodeStore.create(path) as store:
        for e, steps in enumerate(LENGTHS):
            frames = np.zeros((steps + 1, 3, 2, 2), np.uint8)
            frames[:, 0] = np.arange(steps + 1)[:, None, None]
            frames[:, 1] = e
            time = np.arange(steps + 1.0)[:, None]
            actions = np.concatenate([time[:-1] + 1, np.full((steps, 1), e)], 1)
            store.append(Episode(frames, actions, states=time, proprio=time * 10))
    return EpisodeStore.open(path)


def test_the_longest_is_whole_and_the_others_are_padded(store):
    batch = read_episodes(store, range(4))
    assert batch.lengths.tolist() == [13, 2, 21, 8]
    assert batch.frames.shape == (4, 21, 3, 2, 2)
    assert batch.actions.shape == (4, 20, 2)
    for e, steps in enumerate(LENGTHS):
        times = torch.arange(21).clamp(max=steps)  # the last frame is repeated
        torch.testing.assert_close(batch.frames[e, :, 0, 0, 0].long(), times)
        torch.testing.assert_close(batch.states[e, :, 0], times.float())
        torch.testing.assert_close(batch.proprio[e, :, 0], times * 10.0)
        taken = torch.arange(1, 21) * (torch.arange(20) < steps)
        torch.testing.assert_close(batch.actions[e, :, 0].long(), taken)
        assert (batch.actions[e, steps:] == 0).all()


def test_frameskip_leaves_out_what_has_no_model_step_and_says_which(store):
    batch = read_episodes(store, [3, 1, 0], frameskip=5)
    assert long_enough(store, [3, 1, 0], 5).tolist() == [3, 0]
    assert batch.frames[:, 0, 1, 0, 0].tolist() == [3, 0]
    assert batch.lengths.tolist() == [2, 3]
    assert batch.frames[1, :, 0, 0, 0].tolist() == [0, 5, 10]
    primitive = batch.actions.unflatten(2, (5, 2))[..., 0]
    torch.testing.assert_close(primitive[1], torch.arange(1.0, 11).view(2, 5))
    assert (primitive[0, 1] == 0).all()


def test_long_episodes_can_be_cut_without_cutting_the_others(store):
    batch = read_episodes(store, range(4), max_frames=10)
    assert batch.frames.shape[1] == 10
    assert batch.lengths.tolist() == [10, 2, 10, 8]
    assert batch.actions[2, :, 0].tolist() == list(range(1, 10))


def test_what_cannot_be_read_is_said(store):
    with pytest.raises(DataError, match="at least 21 steps, those of one model step; none of 4 in"):
        read_episodes(store, range(4), frameskip=21)
    with pytest.raises(
        ConfigError, match="`frameskip` must be >= 1, `max_frames` >= 2 and `first` >= 0; got 1, 1 and 0"
    ):
        read_episodes(store, range(4), max_frames=1)


def test_another_beginning_shows_other_frames_of_the_same_episodes(store):
    batch = read_episodes(store, range(4), frameskip=5, first=3)
    assert long_enough(store, range(4), 5, 3).tolist() == [0, 2]
    assert batch.lengths.tolist() == [2, 4]
    assert batch.frames[1, :, 0, 0, 0].tolist() == [3, 8, 13, 18]
    torch.testing.assert_close(batch.actions.unflatten(2, (5, 2))[0, 0, :, 0], torch.arange(4.0, 9))
