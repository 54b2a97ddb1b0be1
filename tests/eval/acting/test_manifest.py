import json
from pathlib import Path

import numpy as np
import pytest

from openjepa.envs.two_rooms import TwoRooms, TwoRoomsConfig, is_free, is_held_out
from openjepa.errors import ConfigError, DataError, ShapeError
from openjepa.eval.acting.manifest import Manifest, Pair, draw_recorded_pairs, draw_two_rooms_pairs

LAYOUTS = [TwoRoomsConfig(), TwoRoomsConfig(layout="random", split="held-out"), TwoRoomsConfig(layout="four-rooms")]


@pytest.mark.parametrize("config", LAYOUTS, ids=lambda c: c.layout)
def test_drawn_pairs_keep_every_promise(config: TwoRoomsConfig) -> None:
    manifest = draw_two_rooms_pairs(config, 101, seed=3)
    starts, goals = manifest.starts, manifest.goals
    world = TwoRooms(101, config)
    assert len(manifest) == 101
    np.testing.assert_array_equal(starts[:, 2:], goals[:, 2:])  # one layout
    assert not world.is_success(starts, goals).any()
    assert (np.linalg.norm(starts[:, :2] - goals[:, :2], axis=1) >= 10).all()
    groups = world.groups(starts, goals)
    assert groups.count("cross room") == 51  # at least half of an odd number
    assert [pair.group for pair in manifest.pairs] == groups
    np.testing.assert_allclose([p.distance for p in manifest.pairs], world.distance(starts, goals))
    for states in (starts, goals):
        for offset in ((2, 0), (-2, 0), (0, 2), (0, -2)):  # 4 px from the wall, 2 of which are the clearance
            assert is_free(states[:, :2] + np.array(offset), states[:, 2:]).all()
        assert (np.abs(states[:, 0] - states[:, 2]) >= 6).all()  # nobody stands in a door
    if config.split == "held-out":
        assert all(is_held_out(int(x), int(y)) for x, y in starts[:, 2:4])
        assert len({tuple(row) for row in starts[:, 2:4].tolist()}) > 50
    s = manifest.statistics
    assert s["drawn"] == 101 + s["dropped_wrong_rooms"] + s["dropped_pre_solved"] + s["dropped_too_near"]


def test_pre_solved_pairs_are_dropped_and_counted() -> None:
    manifest = draw_two_rooms_pairs(TwoRoomsConfig(), 200, min_distance=0.0, cross_share=0.0)
    assert manifest.statistics["dropped_pre_solved"] > 0
    assert manifest.statistics["dropped_too_near"] == 0
    assert min(pair.distance for pair in manifest.pairs) >= 3


def test_drawing_is_a_function_of_the_seed_and_nuisances_differ() -> None:
    config = TwoRoomsConfig(distractors=2, background="noise")
    first, again = (draw_two_rooms_pairs(config, 20, seed=1) for _ in range(2))
    assert first == again
    assert first.sha256 == again.sha256
    assert first.sha256 != draw_two_rooms_pairs(config, 20, seed=2).sha256
    assert (first.starts[:, 4:] != first.goals[:, 4:]).any(1).all()
    assert first.starts.shape == (20, 14)


def test_a_manifest_survives_the_disk_exactly(tmp_path: Path) -> None:
    manifest = draw_two_rooms_pairs(TwoRoomsConfig(layout="random", split="held-out"), 10)
    path = manifest.save(tmp_path / "pairs" / "doors.json")
    loaded = Manifest.load(path)
    assert loaded == manifest
    np.testing.assert_array_equal(loaded.starts, manifest.starts)
    content = json.loads(path.read_text())
    assert content["schema_version"] == 2
    assert content["protocol"]["reached_px"] == 3.0
    assert content["protocol"]["world"]["split"] == "held-out"


def test_a_changed_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = draw_two_rooms_pairs(TwoRoomsConfig(), 5).save(tmp_path / "pairs.json")
    content = json.loads(path.read_text())
    content["pairs"][2]["goal_state"][0] += 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="was changed after it was frozen"):
        Manifest.load(path)
    path.write_text(json.dumps({**content, "schema_version": 7}))
    with pytest.raises(DataError, match="schema_version 2; got 7"):
        Manifest.load(path)
    path.write_text(json.dumps({**content, "colour": "red"}))
    with pytest.raises(DataError, match="is not a manifest of pairs"):
        Manifest.load(path)
    del content["pairs"][0]["distance"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not a manifest of pairs"):
        Manifest.load(path)
    for text in ("", "[1, 2]", "{}", '{"sha256": "x"'):
        path.write_text(text)
        with pytest.raises(DataError, match="is not a manifest of pairs"):
            Manifest.load(path)
    with pytest.raises(DataError, match="there is no manifest at"):
        Manifest.load(tmp_path / "nowhere.json")


def test_empty_and_ambiguous_manifests_are_refused() -> None:
    pair = Pair(0, (1.0,), (2.0,), 1.0)
    with pytest.raises(DataError, match="must not be empty"):
        Manifest("t", {}, 0, {}, ())
    with pytest.raises(DataError, match="must be different"):
        Manifest("t", {}, 0, {}, (pair, pair))
    with pytest.raises(ConfigError, match="`cross_share` in"):
        draw_two_rooms_pairs(TwoRoomsConfig(), 5, cross_share=1.5)


# From recordings ------------------------------------------------------------------------------------------------


def walk(speeds: list[float], steps: int = 12) -> dict[int, np.ndarray]:
    """Episodes 10, 11, ... that go right at constant speeds (px per step) in the left room, state [x, y, 32, 24]."""
    rows = {}
    for i, speed in enumerate(speeds):
        x = 5 + speed * np.arange(steps + 1)
        rows[10 + i] = np.stack([x, np.full_like(x, 45), np.full_like(x, 32), np.full_like(x, 24)], 1).astype(
            np.float32
        )
    return rows


def test_recorded_pairs_lie_an_offset_apart_in_one_episode() -> None:
    states = walk([1.0] * 8)
    manifest = draw_recorded_pairs(TwoRooms(1), states, 8, offset=5, seed=0, task="two-rooms")
    assert {pair.episode_id for pair in manifest.pairs} == set(states)  # one candidate per episode
    for pair in manifest.pairs:
        assert pair.episode_id is not None
        assert pair.start_step is not None
        rows = states[pair.episode_id]
        assert pair.start_state == tuple(rows[pair.start_step].tolist())
        assert pair.goal_state == tuple(rows[pair.start_step + 5].tolist())
        assert pair.distance == pytest.approx(5)
        assert pair.group == "same room"
    assert len({pair.start_step for pair in manifest.pairs}) > 2
    assert manifest.protocol["offset"] == 5
    again = draw_recorded_pairs(TwoRooms(1), states, 8, offset=5, seed=0, task="two-rooms")
    assert again.sha256 == manifest.sha256


def test_recorded_pairs_that_are_solved_at_the_start_are_dropped_and_counted() -> None:
    states = walk([1.0, 0.1, 1.0, 0.1])  # 0.5 px in 5 steps is solved before it begins
    states[99] = states[10][:4]  # shorter than the offset
    manifest = draw_recorded_pairs(TwoRooms(1), states, 2, offset=5, task="two-rooms", protocol={"reached_px": 3.0})
    assert {pair.episode_id for pair in manifest.pairs} == {10, 12}
    s = manifest.statistics
    assert (s["episodes"], s["dropped_short_episodes"]) == (5, 1)
    assert (s["candidates"], s["candidates_pre_solved"]) == (4 * 8, 2 * 8)
    assert s["drawn"] == 2 + s["dropped_pre_solved"]
    assert manifest.protocol["reached_px"] == 3.0
    with pytest.raises(DataError, match="must give 3 pairs; they give 2"):
        draw_recorded_pairs(TwoRooms(1), states, 3, offset=5, task="two-rooms")
    more = draw_recorded_pairs(TwoRooms(1), states, 16, offset=5, pairs_per_episode=8, task="two-rooms")
    assert len({(p.episode_id, p.start_step) for p in more.pairs}) == 16


def test_recorded_pairs_check_their_arguments() -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        draw_recorded_pairs(TwoRooms(1), walk([1.0]), 1, offset=0, task="x")
    with pytest.raises(ShapeError, match=r"states\[3\]"):
        draw_recorded_pairs(TwoRooms(1), {3: np.zeros(4)}, 1, offset=1, task="x")
    with pytest.raises(DataError, match="the 0 episodes of more than 50 steps"):
        draw_recorded_pairs(TwoRooms(1), walk([1.0]), 1, offset=50, task="x")
