import numpy as np
import pytest
import torch

from openjepa.data import EpisodeStore, WindowConfig, WindowSource, split, statistics
from openjepa.errors import ConfigError, DataError
from openjepa.protocols import Episode, TrajectoryBatch

LENGTHS = (12, 3, 20, 7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Frame t of episode e shows t in one channel and e in another; action t is (t, e)."""
    path = tmp_path_factory.mktemp("windows") / "store"
    with EpisodeStore.create(path) as store:
        for e, steps in enumerate(LENGTHS):
            frames = np.zeros((steps + 1, 3, 2, 2), np.uint8)
            frames[:, 0] = np.arange(steps + 1)[:, None, None]
            frames[:, 1] = e
            time = np.arange(steps + 1.0)[:, None]
            actions = np.concatenate([time[:-1], np.full((steps, 1), e)], 1)
            store.append(Episode(frames, actions, states=time, proprio=time * 10))
    return EpisodeStore.open(path)


def every_window(store, **config):
    source = WindowSource(store, None, WindowConfig(**config))
    return source, source.windows(np.arange(source.num_windows))


def test_windows_are_all_those_that_fit_and_no_others(store):
    source, batch = every_window(store, length=4)
    wanted = [(e, t) for e, steps in enumerate(LENGTHS) for t in range(steps + 1 - 3)]
    assert source.num_windows == len(wanted) == 10 + 1 + 18 + 5
    assert batch.frames.dtype == torch.uint8
    assert batch.frames.shape == (34, 4, 3, 2, 2)
    assert batch.actions.shape == (34, 3, 2)
    times = torch.tensor([[t, t + 1, t + 2, t + 3] for _, t in wanted])
    torch.testing.assert_close(batch.frames[:, :, 0, 0, 0].long(), times)
    torch.testing.assert_close(batch.actions[..., 0].long(), times[:, :-1])
    torch.testing.assert_close(batch.proprio[..., 0], times.float() * 10)
    assert batch.states is None
    episodes = torch.tensor([e for e, _ in wanted])
    assert (batch.frames[:, :, 1, 0, 0] == episodes[:, None]).all()
    assert (batch.actions[..., 1] == episodes[:, None]).all()


def test_frameskip_keeps_every_primitive_action_in_time_order(store):
    source, batch = every_window(store, length=3, frameskip=5, with_states=True)
    assert source.num_short == 2  # episodes of 3 and 7 steps hold no window of 10
    assert source.num_windows == (12 - 10 + 1) + (20 - 10 + 1)
    assert source.action_dim == 10
    start = batch.frames[:, 0, 0, 0, 0].long()
    torch.testing.assert_close(batch.frames[:, :, 0, 0, 0].long(), start[:, None] + torch.tensor([0, 5, 10]))
    torch.testing.assert_close(batch.states[..., 0].long(), start[:, None] + torch.tensor([0, 5, 10]))
    primitive = batch.actions.unflatten(2, (5, 2))[..., 0].long()  # [B, 2, 5]
    wanted = start[:, None, None] + torch.arange(10).view(2, 5)
    torch.testing.assert_close(primitive, wanted)
    assert start.max() == 20 - 10  # the last window uses the last action that exists


def test_a_batch_depends_on_its_number_and_seed_alone(store):
    config = WindowConfig(length=3, batch_size=16, seed=4)
    source, other = WindowSource(store, None, config), WindowSource(store, None, config)
    other.batch(9)
    torch.testing.assert_close(source.batch(3).frames, other.batch(3).frames, rtol=0, atol=0)
    assert not torch.equal(source.batch(3).frames, source.batch(4).frames)
    reseeded = WindowSource(store, None, WindowConfig(length=3, batch_size=16, seed=5))
    assert not torch.equal(source.batch(3).frames, reseeded.batch(3).frames)


@pytest.mark.parametrize("sampling", ["uniform", "epoch"])
def test_ranks_share_the_same_global_batch(store, sampling):
    source = WindowSource(store, None, WindowConfig(length=3, batch_size=12, sampling=sampling))
    whole = source.batch(5)
    parts = [source.batch(5, rank=r, world_size=3) for r in range(3)]
    assert isinstance(whole, TrajectoryBatch)
    for name in ("frames", "actions", "proprio"):
        torch.testing.assert_close(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))
    with pytest.raises(ConfigError, match="multiple of the 5 processes; got 12"):
        source.batch(0, world_size=5)


def test_the_other_frame_is_any_moment_of_the_same_episode(store):
    source = WindowSource(store, None, WindowConfig(length=3, batch_size=600, num_others=1))
    batch = source.batch(0)
    assert batch.others.shape == (600, 1, 3, 2, 2)
    assert torch.equal(batch.others[:, 0, 1, 0, 0], batch.frames[:, 0, 1, 0, 0])  # the episode
    in_longest = batch.frames[:, 0, 1, 0, 0] == 2
    assert set(batch.others[in_longest, 0, 0, 0, 0].tolist()) == set(range(21))  # every frame, the last one included
    parts = [source.batch(0, rank=r, world_size=2).others for r in range(2)]
    assert torch.equal(torch.cat(parts), batch.others)
    assert source.batch(0).to("cpu").others is not None
    assert WindowSource(store, None, WindowConfig(length=3)).batch(0).others is None


def test_an_epoch_shows_every_window_once(store):
    source = WindowSource(store, None, WindowConfig(length=4, batch_size=17, sampling="epoch"))
    assert source.steps_per_epoch == 2

    def seen(*steps):
        frames = torch.cat([source.batch(s).frames[:, 0, :2, 0, 0] for s in steps])
        return [tuple(row) for row in frames.tolist()]

    assert len(set(seen(0, 1))) == 34
    assert sorted(seen(0, 1)) == sorted(seen(2, 3))
    assert seen(0, 1) != seen(2, 3)
    assert seen(1) == seen(1)


def test_uniform_sampling_is_uniform_over_windows(store):
    source = WindowSource(store, [0, 3], WindowConfig(length=4, batch_size=4096))
    frames = source.batch(0).frames
    counts = torch.bincount(frames[:, 0, 1, 0, 0].long(), minlength=4)
    assert counts[1] == counts[2] == 0  # only the episodes that were given
    assert abs(counts[0].item() / 4096 - 10 / 15) < 0.03


def test_too_short_episodes_and_wrong_options_are_errors(store):
    with pytest.raises(DataError, match=r"need 30 steps, the longest of 4 episodes has 20. Lower"):
        WindowSource(store, None, WindowConfig(length=4, frameskip=10))
    with pytest.raises(DataError, match="`episodes` must be below 4"):
        WindowSource(store, [4])
    with pytest.raises(DataError, match="need 3 steps, the longest of 0"):
        WindowSource(store, [])
    with pytest.raises(DataError, match="at most the 34 windows"):
        WindowSource(store, None, WindowConfig(batch_size=35, sampling="epoch"))
    with pytest.raises(ConfigError, match="`length` must be >= 2"):
        WindowConfig(length=1)
    with pytest.raises(ConfigError, match="`sampling` must be uniform or epoch"):
        WindowConfig(sampling="shuffle")


def test_split_is_by_episode_and_disjoint(store):
    train, held_out = split(store, held_out=0.25, seed=1)
    assert len(held_out) == 1
    assert sorted([*train, *held_out]) == [0, 1, 2, 3]
    again = split(store, held_out=0.25, seed=1)
    np.testing.assert_array_equal(train, again[0])
    assert len({split(store, 0.25, seed)[1][0] for seed in range(20)}) > 1
    assert len(split(store, held_out=0.0)[1]) == 0
    assert len(split(store, held_out=0.01)[1]) == 1
    with pytest.raises(ConfigError, match="`held_out` must be in"):
        split(store, held_out=1.0)


def test_statistics_are_those_of_the_given_episodes(store):
    found = statistics(store, "actions", [0, 1])
    times = np.concatenate([np.arange(12), np.arange(3)])
    episode = np.repeat([0, 1], [12, 3])
    np.testing.assert_allclose(found.mean, [times.mean(), episode.mean()], rtol=1e-6)
    np.testing.assert_allclose(found.std, [times.std(), episode.std()], rtol=1e-6)
    assert statistics(store, "actions", [2]).std[1] == 1.0  # constant
    tiled = found.with_frameskip(5)
    assert tiled.mean.shape == (10,)
    torch.testing.assert_close(tiled.mean[8:], found.mean)
