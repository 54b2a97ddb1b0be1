"""A map that grows while acting, and episodes that a kill cannot lose."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch

from openjepa.agent import Agent, AgentConfig
from openjepa.agent.experience import Experience, grown, keep, recall
from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.errors import CheckpointError
from openjepa.eval.health.conformance import PointWorld
from openjepa.planning import CEM, CEMConfig, PathCost
from openjepa.protocols import ActionBounds


def corridor(numbers):
    x = torch.as_tensor(numbers, dtype=torch.float32)
    return torch.stack([x, torch.zeros_like(x)], -1).unsqueeze(-2)


def lived(numbers, failed=(), every=1):
    steps = every * torch.arange(len(numbers))
    return Experience(corridor(numbers), steps, corridor(torch.tensor(failed, dtype=torch.float32).view(-1, 2)))


def walked(numbers, **options):
    return fit_landmarks(corridor(torch.tensor([numbers])), LandmarkConfig(**options))


def far(places, one, other):
    return float(places(corridor(one), corridor(other)))


def test_new_places_and_ways_join_the_map():
    places = walked([0, 1, 2, 3], max_gap=2)
    after = grown(places, [lived([3, 4, 5, 6])])
    assert (len(places), len(after)) == (4, 7)
    assert far(after, 0, 6) == 6
    assert far(places, 0, 6) == 3  # the old map is left as it was, and takes 6 for its nearest place
    assert torch.equal(after.places[:4], places.places)
    slow = grown(places, [lived([3, 4, 5], every=2)])
    assert far(slow, 0, 5) == 3 + 4


def test_ways_are_believed_as_the_map_believes_them():
    places = walked([0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0], min_count=2)
    once, twice = (grown(places, count * [lived([3, 0])]) for count in (1, 2))
    assert [far(one, 3, 0) for one in (places, once, twice)] == [3, 3, 1]
    both = grown(walked([0, 1, 2, 3], reversible=True), [lived([3, 0])])
    assert far(both, 0, 3) == 1


def test_an_edge_goes_where_it_failed_more_often_than_it_was_walked():
    places = walked([0, 1, 2, 9, 3, 4, 9])  # by 9 it is two steps from 2 to 3
    assert far(places, 2, 3) == 2
    assert far(grown(places, [lived([0, 1], failed=[(9, 3)])]), 2, 3) == places.far
    assert far(grown(places, [lived([9, 3], failed=[(9, 3)])]), 2, 3) == 2


def test_episodes_are_kept_and_recalled_in_their_order(tmp_path):
    for number in range(3):
        keep(tmp_path / "experience", lived([number, number + 1], failed=[(0, number)]))
    again = recall(tmp_path / "experience")
    assert [int(one.z[0, 0, 0]) for one in again] == [0, 1, 2]
    assert again[2].failed.shape == (1, 2, 1, 2)
    assert recall(tmp_path / "nothing") == []
    path = sorted((tmp_path / "experience").glob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"is damaged .* only it is lost"):
        recall(tmp_path / "experience")


def write_for_ever(folder, kept):
    torch.set_num_threads(1)
    while True:
        keep(folder, lived(list(range(50))))
        kept.value += 1


def test_a_kill_while_memory_is_written_loses_no_episode(tmp_path):
    context = multiprocessing.get_context("fork")
    kept = context.Value("i", 0)
    for number in range(2):
        before = kept.value
        writer = context.Process(target=write_for_ever, args=(tmp_path, kept))
        writer.start()
        while kept.value < before + 5:
            time.sleep(0.001)
        time.sleep(0.003 * number)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = recall(tmp_path)
        assert len(found) >= kept.value
        assert all(one.z.shape == (50, 1, 2) for one in found)
    keep(tmp_path, lived([1, 2]))  # and life goes on
    assert len(recall(tmp_path)) == len(found) + 1


def frames(*positions):
    """Pictures [B, 2, 8, 8] of the point world: 32 grey levels per unit around 128."""
    values = np.array([[128 + 32 * x, 128] for x in positions]).round().astype(np.uint8)
    return np.broadcast_to(values[:, :, None, None], (*values.shape, 8, 8)).copy()


def test_an_agent_with_a_diary_knows_more_after_each_episode(tmp_path):
    bounds = ActionBounds(-np.ones(2, np.float32), np.ones(2, np.float32))
    places = walked([0, 0.25, 0.5, 0.75, 1.0])
    search = CEM(bounds, CEMConfig(4, num_samples=16, num_elites=4))
    options = AgentConfig(reach=1.0)
    player = Agent(PointWorld(), search, PathCost(), bounds, options, None, places, None, tmp_path / "experience")
    player.start(frames(1.0, 1.0))
    for x in (1.0, 1.25, 1.5):
        player.act(frames(x, 0.0), active=np.array([True, False]))
    player.finish()
    assert len(recall(tmp_path / "experience")) == 1
    assert far(player.landmarks, 0, 1.5) == 6
    assert far(grown(places, recall(tmp_path / "experience")), 0, 1.5) == 6
    player.finish()  # there is no episode to end
    assert len(recall(tmp_path / "experience")) == 1
