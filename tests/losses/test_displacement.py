from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.data import EpisodeStore, WindowConfig, WindowSource
from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.losses.displacement import UNIT, displacement_loss, displacement_term, ways_of
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.protocols import Episode


def test_the_loss_is_the_mean_over_all_pairs_written_out() -> None:
    rng = np.random.default_rng(0)
    places, ways = rng.normal(size=(2, 3, 5, 2))
    total, count = 0.0, 0
    for b in range(3):
        for i in range(5):
            for j in range(5):
                if i != j:
                    found, wanted = places[b, j] - places[b, i], ways[b, j] - ways[b, i]
                    total, count = total + ((found - wanted) ** 2).mean(), count + 1
    loss = displacement_loss(torch.tensor(places), torch.tensor(ways))
    assert loss.item() == pytest.approx(total / count, rel=1e-6)


def test_a_map_to_scale_costs_nothing_wherever_its_origin_is() -> None:
    ways = torch.randn(2, 4, 3)
    assert displacement_loss(ways + 7.0, ways).item() == pytest.approx(0, abs=1e-10)
    with pytest.raises(ShapeError, match="`ways` must be"):
        displacement_loss(ways, ways[:, :2])


def test_ways_add_up_the_primitive_actions() -> None:
    actions = torch.tensor([[[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 5.0]]])  # frameskip 2, two numbers each
    assert ways_of(actions, 2).tolist() == [[[0, 0], [3, 0], [3, 6]]]


@pytest.fixture
def walks(tmp_path):
    """Four walks whose frames show, in grey levels, the number of the step, and whose place is the sum of actions."""
    rng = np.random.default_rng(0)
    with EpisodeStore.create(tmp_path / "walks") as store:
        for i, steps in enumerate((6, 9, 7, 12)):
            frames = np.full((steps + 1, 3, 16, 16), i * 40, np.uint8)
            frames += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None]
            actions = rng.normal(size=(steps, 2)).astype(np.float32)
            places = np.concatenate([np.zeros((1, 2)), actions.cumsum(0)]).astype(np.float32)
            store.append(Episode(frames, actions, states=places))
    return store


@pytest.mark.parametrize("frameskip", [1, 2])
def test_batches_say_how_far_it_is_to_their_other_frames(walks, frameskip: int) -> None:
    config = WindowConfig(length=3, batch_size=40, frameskip=frameskip, num_others=2)
    batch = WindowSource(walks, None, config).batch(0)
    assert batch.others is not None
    assert batch.ways is not None
    for b in range(40):
        first, others = int(batch.frames[b, 0, 0, 0, 0]), batch.others[b, :, 0, 0, 0].tolist()
        episode, step = divmod(first, 40)
        places = walks.episode(episode).states
        for k, shown in enumerate(others):
            assert shown // 40 == episode
            np.testing.assert_allclose(batch.ways[b, k], places[shown % 40] - places[step], atol=1e-5)


def test_the_term_is_that_of_the_read_out_and_reaches_the_encoder(walks) -> None:
    seeing = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    config = LeWMConfig(encoder=seeing, embed_dim=6, displacement_weight=2.0, displacement_dim=2)
    method = LeWM(config)
    method.set_action_statistics(torch.zeros(2), torch.tensor([0.5, 2.0]))
    batch = WindowSource(walks, None, WindowConfig(length=3, batch_size=8, num_others=1)).batch(0)
    assert batch.others is not None
    assert batch.ways is not None
    z = torch.cat([method.encode(batch.frames), method.encode(batch.others)], 1)[:, :, 0]
    places = (z @ method.displacement.weight.T).detach()
    ways = torch.cat([ways_of(batch.actions, 2), batch.ways], 1) / (UNIT * torch.tensor([0.5, 2.0]))
    found = method.loss(batch, 0)
    assert found.terms["displacement"].item() == pytest.approx(displacement_loss(places, ways).item(), rel=1e-5)
    found.loss.backward()
    assert method.displacement.weight.grad is not None
    with pytest.raises(ConfigError, match="batches with `others` and `ways`"):
        method.loss(WindowSource(walks, None, WindowConfig(length=3, batch_size=8)).batch(0), 0)


def test_measured_places_are_true_where_actions_were_not_done_and_lie_in_one_frame(tmp_path) -> None:
    rng = np.random.default_rng(1)
    with EpisodeStore.create(tmp_path / "held") as store:
        for i in range(3):  # of every action half is done; a third number of proprioception is no place
            actions = rng.normal(size=(6, 2)).astype(np.float32)
            places = rng.normal(size=2) + np.concatenate([np.zeros((1, 2)), actions.cumsum(0) / 2])
            felt = np.c_[places, np.full(7, 9.0)].astype(np.float32)
            frames = np.full((7, 3, 16, 16), 10 * i, np.uint8) + np.arange(7, dtype=np.uint8)[:, None, None, None]
            store.append(Episode(frames, actions, proprio=felt))
    batch = WindowSource(store, None, WindowConfig(3, batch_size=4, num_others=2, ways="proprio")).batch(0)
    shown = torch.cat([batch.frames, batch.others], 1)[:, :, 0, 0, 0].tolist()
    places = np.array([[store.episode(f // 10).proprio[f % 10, :2] for f in row] for row in shown])
    unit, read = torch.tensor([0.5, 2.0]), rng.normal(size=places.shape)
    rows, wanted = read.reshape(-1, 2), (places / unit.numpy()).reshape(-1, 2)
    pairs = [(rows[i] - rows[j]) - (wanted[i] - wanted[j]) for i in range(20) for j in range(20) if i != j]
    found = displacement_term(torch.tensor(read), batch, unit, 0, "proprio")
    assert found.item() == pytest.approx(np.square(pairs).mean(), rel=1e-5)
    with pytest.raises(ConfigError, match="must begin with the 2 numbers"):
        displacement_term(torch.tensor(read), replace(batch, proprio=None), unit, 0, "proprio")
    config = LeWMConfig(
        encoder=FrameEncoderConfig(image_size=16, width=4, hidden_dim=8),
        embed_dim=6,
        displacement_weight=2.0,
        displacement_dim=2,
        displacement_from="proprio",
    )
    assert LeWM(config).loss(batch, 0).terms["displacement"].isfinite()


def test_where_nothing_is_felt_nothing_is_measured(walks) -> None:
    with pytest.raises(DataError, match="has no proprioception to tell ways"):
        WindowSource(walks, None, WindowConfig(3, num_others=1, ways="proprio"))
    with pytest.raises(ConfigError, match="`ways` must be actions or proprio; got eyes"):
        WindowConfig(ways="eyes")
    with pytest.raises(ConfigError, match="`displacement_from` must be one of actions, proprio; got eyes"):
        LeWMConfig(displacement_from="eyes")
