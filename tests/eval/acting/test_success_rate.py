import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from openjepa.envs.policies import make_policy
from openjepa.envs.two_rooms import TwoRooms, TwoRoomsConfig
from openjepa.errors import ConfigError, DataError
from openjepa.eval.acting.floors import PolicyPlayer, StateView, StraightLinePlayer, simulator_player
from openjepa.eval.acting.manifest import Manifest, Pair, draw_two_rooms_pairs
from openjepa.eval.acting.outcomes import (
    Outcome,
    SuccessReport,
    success_difference,
)
from openjepa.eval.acting.success_rate import JudgeConfig, evaluate
from openjepa.eval.intervals import wilson

CONFIG = TwoRoomsConfig()
QUICK = JudgeConfig(budget=30, latency_pairs=0)


def pairs(*tasks: tuple[float, float, float, float], groups: Sequence[str] | None = None) -> Manifest:
    """A manifest of (x, y, goal x, goal y) in the fixed layout."""
    groups = groups or ["cross room" if (a < 32) != (c < 32) else "same room" for a, _, c, _ in tasks]
    made = tuple(
        Pair(7 * i, (a, b, 32.0, 24.0), (c, d, 32.0, 24.0), float(np.hypot(c - a, d - b)), groups[i])
        for i, (a, b, c, d) in enumerate(tasks)
    )
    return Manifest("two-rooms", {"reached_px": 3.0}, 0, {}, made)


def pictures(count: int) -> TwoRooms:
    return TwoRooms(count, CONFIG)


def truth(count: int) -> StateView:
    return StateView(TwoRooms(count, CONFIG))


class Rightwards:
    """Walks to the right for ever, and remembers what it was shown."""

    def __init__(self) -> None:
        self.goals: list[np.ndarray] = []
        self.ids: list[int] = []
        self.active: list[list[bool]] = []

    def start(
        self,
        goal_frames: np.ndarray,
        env_ids: Sequence[int] | None = None,
        goal_proprio: np.ndarray | None = None,
    ) -> None:
        assert goal_proprio is None
        assert env_ids is not None
        self.goals.append(goal_frames)
        self.ids += env_ids

    def act(
        self, frames: np.ndarray, proprio: np.ndarray | None = None, active: np.ndarray | None = None
    ) -> np.ndarray:
        assert proprio is None
        assert active is not None
        self.active.append(active.tolist())
        return np.tile(np.array([1.0, 0.0], np.float32), (len(frames), 1))


# 3 px per step: 12 px away is nearer than 3 px for the first time after 4 steps; behind the wall it never gets.
THREE = pairs((6, 45, 18, 45), (6, 10, 15, 10), (6, 45, 50, 45))


def test_first_hits_are_what_walking_gives_on_paper() -> None:
    player = Rightwards()
    report = evaluate(player, pictures, THREE, replace(QUICK, batch_size=2), name="right", seeds={"training": 4})
    assert [o.steps for o in report.outcomes] == [4, 3, None]
    assert [o.pair_id for o in report.outcomes] == [0, 7, 14] == player.ids
    assert report.success == wilson(2, 3)
    assert report.success_by_group == {"cross room": wilson(0, 1), "same room": wilson(2, 2)}
    assert report.success_at_end is None
    assert report.steps_to_goal["0.5"] == 3.5
    first, _, last = report.outcomes
    assert (first.first_distance, first.last_distance) == pytest.approx((12, 0))
    assert last.closest_distance == last.last_distance == pytest.approx(50 - 28)  # the wall ends the way at 28
    assert report.seeds == {"pairs": 0, "training": 4}
    assert report.manifest_sha256 == THREE.sha256
    # The goal is a picture of the goal state, and those who arrived are told that they are done.
    np.testing.assert_array_equal(player.goals[0], TwoRooms(2).reset_to(THREE.goals[:2]))
    assert player.active[2:5] == [[True, True], [True, False], [True]]


def test_without_a_stop_the_first_hit_is_the_same_and_the_end_is_judged() -> None:
    report = evaluate(Rightwards(), pictures, THREE, replace(QUICK, stop_at_goal=False))
    assert [o.steps for o in report.outcomes] == [4, 3, None]
    assert [o.success_at_end for o in report.outcomes] == [False, False, False]  # it walks on, to x = 28
    assert report.success == wilson(2, 3)
    assert report.success_at_end == wilson(0, 3)
    stays = evaluate(StraightLinePlayer(), truth, THREE, replace(QUICK, stop_at_goal=False))
    assert [o.success_at_end for o in stays.outcomes] == [True, True, False]
    assert stays.outcomes[0].last_distance == pytest.approx(0, abs=1e-5)


def test_the_budget_is_counted_in_steps() -> None:
    report = evaluate(Rightwards(), pictures, THREE, replace(QUICK, budget=3))
    assert [o.steps for o in report.outcomes] == [None, 3, None]
    one = evaluate(Rightwards(), pictures, pairs((6, 45, 50, 45)), replace(QUICK, budget=3))
    assert one.success == wilson(0, 1)
    assert one.steps_to_goal == {}
    assert one.success_by_group == {"cross room": wilson(0, 1)}


def test_solved_pairs_and_unknown_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="pair 7 is solved"):
        evaluate(Rightwards(), pictures, pairs((6, 45, 18, 45), (6, 10, 8, 10)), QUICK)
    with pytest.raises(DataError, match="3 are not in it"):
        evaluate(Rightwards(), pictures, THREE, QUICK, keep=[3])
    with pytest.raises(ConfigError, match="`budget`"):
        JudgeConfig(budget=0)


def test_the_simulator_planner_is_a_ceiling_and_random_play_a_floor() -> None:
    for config in (TwoRoomsConfig(), TwoRoomsConfig(layout="random", split="held-out")):
        manifest = draw_two_rooms_pairs(config, 40, seed=1)
        bounds = TwoRooms(1).bounds
        oracle = simulator_player(bounds, config)
        judged = JudgeConfig(latency_pairs=0)
        best = evaluate(oracle, lambda n, c=config: StateView(TwoRooms(n, c)), manifest, judged)
        floor = PolicyPlayer(make_policy("smooth", bounds))
        worst = evaluate(floor, lambda n, c=config: TwoRooms(n, c), manifest, judged)
        straight = evaluate(StraightLinePlayer(), lambda n, c=config: StateView(TwoRooms(n, c)), manifest, judged)
        assert best.success.estimate == 1
        assert worst.success.estimate < 0.3
        assert straight.success_by_group["same room"] == wilson(20, 20)
        assert straight.success_by_group["cross room"].estimate < 0.8
        gain = success_difference(best, worst)
        assert gain.low > 0.6
        assert gain.estimate == pytest.approx(best.success.estimate - worst.success.estimate)


def test_outcomes_do_not_depend_on_the_batch() -> None:
    manifest = draw_two_rooms_pairs(CONFIG, 12, seed=5)
    floor = PolicyPlayer(make_policy("smooth", TwoRooms(1).bounds), seed=3)
    together, alone = (
        evaluate(floor, pictures, manifest, replace(QUICK, batch_size=size, stop_at_goal=False)) for size in (12, 1)
    )
    assert together.outcomes == alone.outcomes
    oracle = simulator_player(TwoRooms(1).bounds, CONFIG)
    together, alone = (evaluate(oracle, truth, manifest, replace(QUICK, batch_size=n)) for n in (12, 5))
    assert [o.steps for o in together.outcomes] == [o.steps for o in alone.outcomes]
    other = evaluate(PolicyPlayer(floor.policy, seed=4), pictures, manifest, QUICK)
    assert other.outcomes != alone.outcomes


def test_planning_work_is_counted_and_timed_alone() -> None:
    manifest = pairs((6, 45, 18, 45), (6, 10, 15, 10))
    report = evaluate(
        simulator_player(TwoRooms(1).bounds, CONFIG),
        truth,
        manifest,
        JudgeConfig(budget=2, latency_pairs=2, latency_decisions=3),
    )
    times = report.times
    assert times.model_steps == 64 * 3 * 9 + 2 * 9  # candidates x iterations x horizon, and two finalists
    assert times.decisions == 4  # two environments, two steps
    assert times.timed_decisions == 3  # two alone and two alone, without the first
    assert times.median_ms is not None
    assert times.p95_ms is not None
    assert 0 < times.median_ms <= times.p95_ms
    assert times.batch_size == 2
    plain = evaluate(Rightwards(), pictures, THREE, QUICK).times
    assert (plain.model_steps, plain.decisions, plain.median_ms) == (0, 0, None)


def test_kept_episodes_show_frames_goal_and_the_plan_in_force() -> None:
    manifest = pairs((6, 45, 18, 45), (6, 10, 25, 10), (6, 45, 50, 45))
    oracle = simulator_player(TwoRooms(1).bounds, CONFIG)
    report = evaluate(oracle, truth, manifest, QUICK, keep=[7])
    (episode,) = report.kept
    steps = report.outcomes[1].steps
    assert steps is not None
    assert episode.pair_id == 7
    assert episode.success
    assert episode.frames.shape == (steps + 1, 3, 64, 64)
    assert episode.states.shape == (steps + 1, 4)
    assert len(episode.z_paths) == steps + 1
    np.testing.assert_array_equal(TwoRooms(steps + 1).reset_to(episode.states), episode.frames)
    np.testing.assert_array_equal(episode.goal_frame, TwoRooms(1).reset_to(manifest.goals[1:2])[0])
    for t in range(steps):
        path = episode.z_paths[t]
        assert path is not None
        assert path.shape == (9, 1, 4)
        torch.testing.assert_close(path[0, 0], torch.from_numpy(episode.states[t + 1]))  # what then happened
    assert evaluate(Rightwards(), pictures, THREE, QUICK, keep=[0]).kept[0].z_paths == (None,) * 5


def test_a_report_is_plain_json() -> None:
    report = evaluate(Rightwards(), pictures, THREE, QUICK, name="right")
    content = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert content["success"] == {"rate": pytest.approx(2 / 3), "ci95": [report.success.low, report.success.high]}
    assert content["success_at_end"] is None
    assert [o["steps"] for o in content["outcomes"]] == [4, 3, None]
    assert content["distance"]["first"]["0.5"] == 12


def made(flags: Sequence[bool], episodes: Sequence[int | None], **changes: object) -> SuccessReport:
    report = evaluate(Rightwards(), pictures, pairs((6, 45, 50, 45)), replace(QUICK, budget=1))
    outcomes = tuple(
        Outcome(i, episode, None, 5 if flag else None, None, 9.0, 1.0, 1.0)
        for i, (flag, episode) in enumerate(zip(flags, episodes, strict=True))
    )
    return replace(report, outcomes=outcomes, **changes)


def test_differences_are_paired_and_resample_episodes_together() -> None:
    flags = [True] * 30 + [False] * 10
    apart, together = ([*range(40)], [i // 10 for i in range(40)])
    same = made(flags, apart)
    assert success_difference(same, same).low == success_difference(same, same).high == 0
    none = [False] * 40
    single = success_difference(made(flags, apart), made(none, apart))
    clustered = success_difference(made(flags, together), made(none, together))
    assert single.estimate == clustered.estimate == 0.75
    assert clustered.high - clustered.low > 1.5 * (single.high - single.low)
    with pytest.raises(ConfigError, match="must be judged on the same pairs"):
        success_difference(same, replace(same, manifest_sha256="0" * 64))
    with pytest.raises(ConfigError, match="same budget"):
        success_difference(same, replace(same, budget=9))


def test_players_of_the_truth_say_that_they_need_it() -> None:
    for player in (StraightLinePlayer(), simulator_player(TwoRooms(1).bounds, CONFIG)):
        with pytest.raises(ConfigError, match=r"Wrap the world in `StateView`"):
            evaluate(player, pictures, THREE, QUICK)
    with pytest.raises(ConfigError, match="`layout` must be fixed or random"):
        simulator_player(TwoRooms(1).bounds, TwoRoomsConfig(layout="four-rooms"))
    with pytest.raises(ConfigError, match="must follow `start`"):
        StraightLinePlayer().act(np.zeros((1, 3, 64, 64), np.uint8), np.zeros((1, 4)))
