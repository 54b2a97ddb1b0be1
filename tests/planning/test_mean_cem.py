"""The published planner of V-JEPA 2-AC; `openjepa verify` and tests/interop face it with recorded results."""

from typing import Any

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig
from openjepa.models.posed_world_model import PosedWorldModel
from openjepa.planning import MeanCEM, MeanCEMConfig, PathCost, bind, vjepa2_ac_planner
from openjepa.planning.costs import final, l1, squared_l2
from openjepa.protocols import ActionBounds

NEVER = bind(PathCost(), torch.zeros(1, 1, 2))


class Hand:
    """A robot whose picture is its pose: the state after an action is the integrated pose."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def rollout(self, z: torch.Tensor, actions: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
        self.seen.append(actions)
        assert poses.shape[1] == actions.shape[1]
        return (poses + actions)[:, z.shape[1] - 1 :].unsqueeze(2)  # [B, H, 1, 7]; no rotation here


def test_the_hand_reaches_its_goal_and_does_not_turn(streams: Any) -> None:
    hand, pose = Hand(), torch.tensor([[[0.3, 0.0, 0.2, 0.1, 0.2, 0.3, 0.5]]])  # [B, T, 7]
    goal = pose + torch.tensor([0.05, -0.1, 0.02, 0.0, 0.0, 0.0, 0.3])
    model = PosedWorldModel(lambda clips: clips, hand, pose)
    cost = bind(PathCost(squared_l2, final), goal)
    plan = vjepa2_ac_planner(num_samples=200).plan(model, pose.unsqueeze(2), cost, generators=streams(1))
    torch.testing.assert_close(plan.actions.sum(1), (goal - pose)[:, 0], atol=0.01, rtol=0)
    assert (plan.actions[..., 3:6] == 0).all()
    for actions in hand.seen:
        assert (actions[..., :3].abs() <= 0.075).all()
        assert (actions[..., 6].abs() <= 0.75).all()
    assert plan.model_steps == 10 * 200 * 2 + 2
    # The cost is that of exactly these actions.
    torch.testing.assert_close(plan.cost, cost(model.rollout(pose.unsqueeze(2), plan.actions)[None])[0])


def test_forced_and_fixed_axes_and_the_dead_zone(streams: Any) -> None:
    hand, pose = Hand(), torch.zeros(1, 1, 7)
    model = PosedWorldModel(lambda clips: clips, hand, pose)
    planner = vjepa2_ac_planner(num_samples=50, num_iterations=3, horizon=3, close_gripper=1, fixed=((2, 0.01),))
    cost = bind(PathCost(squared_l2, final), pose)  # stay where you are: the gripper moves by less than 0.25
    plan = planner.plan(model, pose.unsqueeze(2), cost, generators=streams(1))
    for actions in hand.seen[:-1]:
        assert (actions[:, 1:, 6] == 1).all()
        assert (actions[:, 0, 6].abs() <= 0.75).all()
        assert (actions[..., 2] == torch.tensor(0.01)).all()
    assert plan.actions[0, 0, 6] == 0
    torch.testing.assert_close(plan.actions[0, 1:, 6], torch.full((2,), 1 - 0.15**3))  # the mean keeps its share


def test_the_l1_ball_shortens_what_the_box_allows(recording_world: Any, streams: Any) -> None:
    bounds = ActionBounds(-np.ones(3, np.float32), np.ones(3, np.float32))
    config = MeanCEMConfig(num_samples=300, num_iterations=2, max_l1=1.0)
    z = torch.zeros(1, 1, 1, 3)
    MeanCEM(bounds, config).plan(recording_world, z, bind(PathCost(), z[:, 0] + 1), generators=streams(1))
    sums = recording_world.seen[0].abs().sum(-1)
    assert sums.max() <= 1 + 1e-6
    assert (sums > 0.999).float().mean() > 0.5  # on the ball, not far inside


def test_candidates_share_the_pose_of_their_environment() -> None:
    poses = torch.tensor([[[1.0] + [0.0] * 6], [[2.0] + [0.0] * 6]])
    model = PosedWorldModel(lambda clips: clips, Hand(), poses)
    z_path = model.rollout(torch.zeros(6, 1, 1, 7), torch.zeros(6, 1, 7))
    assert z_path[:, 0, 0, 0].tolist() == [1, 1, 1, 2, 2, 2]
    moved = model.at(poses + 1).rollout(torch.zeros(2, 1, 1, 7), torch.zeros(2, 1, 7))
    assert moved[:, 0, 0, 0].tolist() == [2, 3]
    with pytest.raises(ShapeError, match="`poses` must be those of the 1 context frames of 3 candidates"):
        model.rollout(torch.zeros(3, 1, 1, 7), torch.zeros(3, 1, 7))


def test_frames_are_encoded_one_by_one_and_normalised() -> None:
    model = PosedWorldModel(lambda clips: clips.flatten(2).mT, Hand(), torch.zeros(1, 1, 7))
    frames = torch.randint(256, (2, 3, 3, 4, 4), dtype=torch.uint8)
    z = model.encode(frames)
    assert z.shape == (2, 3, 48, 1)
    torch.testing.assert_close(model.encode(frames[:, 1:2]), z[:, 1:2])


def plan_for(goals: torch.Tensor, streams: Any, seed: int = 0, **options: Any) -> Any:
    pose = torch.zeros(len(goals), 1, 7)
    model = PosedWorldModel(lambda clips: clips, Hand(), pose)
    cost = bind(PathCost(squared_l2, final), goals[:, None])
    generators = streams(seed + len(goals))[seed:]
    return vjepa2_ac_planner(num_samples=100, **options).plan(model, pose.unsqueeze(2), cost, generators=generators)


def test_a_search_whose_elites_agree_ends_and_nobody_waits_for_others(streams: Any) -> None:
    goals = torch.zeros(2, 7)
    goals[0, 0], goals[1, 0], goals[1, 6] = 0.05, -0.1, 0.6
    whole = plan_for(goals, streams, num_iterations=30)
    ended = plan_for(goals, streams, num_iterations=30, cost_stop=1e-4)
    assert ended.model_steps < whole.model_steps / 2
    torch.testing.assert_close(ended.actions.sum(1), whole.actions.sum(1), atol=1e-2, rtol=0)
    for i in (0, 1):  # as if the other environment were not there
        alone = plan_for(goals[i : i + 1], streams, seed=i, num_iterations=30, cost_stop=1e-4)
        torch.testing.assert_close(ended.actions[i], alone.actions[0])
    assert (plan_for(goals, streams, cost_stop=1e9).actions == plan_for(goals, streams, num_iterations=1).actions).all()


@pytest.mark.parametrize("context", [1, 3])
def test_plans_with_a_real_predictor_do_not_depend_on_neighbours_or_memory(context: int, streams: Any) -> None:
    config = PoseActionPredictorConfig(embed_dim=12, predictor_dim=24, depth=2, num_heads=2, native_rows=2)
    predictor = PoseActionPredictor(config, generator=torch.Generator().manual_seed(0)).eval()
    generator = torch.Generator().manual_seed(1)
    z, poses, past, goal = (
        torch.randn(*shape, generator=generator)
        for shape in ((2, context, 4, 12), (2, context, 7), (2, context - 1, 7), (2, 4, 12))
    )
    model = PosedWorldModel(lambda clips: clips, predictor, poses)

    def plan(rows: slice, micro_batch: int | None) -> torch.Tensor:
        planner = vjepa2_ac_planner(num_samples=20, num_iterations=3, micro_batch=micro_batch)
        cost = bind(PathCost(l1, final), goal[rows])
        generators = streams(2)[rows]
        return planner.plan(
            model.at(poses[rows]), z[rows], cost, generators=generators, context_actions=past[rows]
        ).actions

    both = plan(slice(0, 2), None)
    for micro_batch in (None, 2, 7):
        torch.testing.assert_close(plan(slice(1, 2), micro_batch), both[1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_elites": 1}, "`num_elites` must be at least 2 and below `num_samples`"),
        ({"limit": (0.0,)}, "`limit` in"),
        ({"momentum_std": (1.0,)}, "`momentum_std` must be in"),
        ({"cost_stop": 0.0}, "`cost_stop` must be > 0, or None for all iterations; got 0.0."),
        ({"max_l1": 0.0}, "`max_l1` must be > 0, or None for no limit; got 0.0."),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MeanCEMConfig(**options)


def test_axes_that_are_not_there(box: ActionBounds, streams: Any) -> None:
    with pytest.raises(ConfigError, match=r"`fixed` and `forced` must name axes below 2; got \[6\]"):
        MeanCEM(box, MeanCEMConfig(fixed=((6, 0.0),)))
    planner = MeanCEM(box, MeanCEMConfig(limit=(1.0, 1.0, 0.5)))
    with pytest.raises(ConfigError, match="must have 1 or 2 entries"):
        planner.plan(Hand(), torch.zeros(1, 1, 1, 2), NEVER, generators=streams(1))  # type: ignore[arg-type]
