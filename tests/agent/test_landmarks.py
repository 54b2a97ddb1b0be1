"""A ring of eight places, walked in one direction only, with a wall between two of them."""

import pytest
import torch

from openjepa.agent.landmarks import LandmarkConfig, fit_landmarks
from openjepa.agent.stuck_steps import StuckSteps
from openjepa.errors import ConfigError
from openjepa.planning.costs import PathCost, bind, final

PLACES = 8


def ring(numbers):
    """States [..., 1, 2] of places on a circle."""
    angle = torch.as_tensor(numbers) * (2 * torch.pi / PLACES)
    return torch.stack([angle.cos(), angle.sin()], -1).unsqueeze(-2)


@pytest.fixture(scope="module")
def landmarks():
    """From place 7 nobody ever went on to 0; some stand still; a second episode is padded with nonsense."""
    walks = torch.tensor([[0, 1, 1, 2, 3, 4, 5, 6, 7], [5, 6, 6, 7, 0, 3, 0, 3, 0]])
    return fit_landmarks(ring(walks), lengths=torch.tensor([9, 4]))


def test_every_place_has_its_landmark(landmarks):
    found = landmarks.nearest(ring(torch.arange(8)))
    assert len(landmarks) == 8
    assert sorted(found.tolist()) == list(range(8))
    assert torch.equal(landmarks.nearest(ring(torch.tensor([[1.2, 1.8]]))), found[None, [1, 2]])


def test_distance_is_the_number_of_steps_along_recorded_ways(landmarks):
    steps = landmarks(ring(torch.tensor([0, 3, 5, 6])), ring(torch.tensor(5)))
    assert steps.tolist() == [5, 2, 0, 8]  # from 6 the way back was never walked
    both = landmarks(ring(torch.tensor([[0], [2]])), ring(torch.tensor([2, 7])))
    assert both.tolist() == [[2, 7], [0, 5]]


def test_few_landmarks_make_a_coarse_map():
    walk = ring(torch.arange(9).clamp(max=7)[None])
    assert len(fit_landmarks(walk, LandmarkConfig(capacity=3))) == 3
    assert len(fit_landmarks(walk, LandmarkConfig(radius_share=1.5))) < 8
    with pytest.raises(ConfigError, match="must be > 0 and `capacity` at least 1; got 0"):
        LandmarkConfig(0.0, 8)


def test_small_steps_beside_large_ones_keep_their_places():
    """A turn is ten times as long as a step ahead, and rounding shorter still; no two places become one."""
    line = torch.tensor([[0.0, 10.0, 10.5, 11.0, 11.0 + 1e-5, 21.0, 21.5, 11.0]])
    assert len(fit_landmarks(line[..., None, None].expand(-1, -1, 1, 2))) == 6


def test_a_map_is_kept_with_its_weights(landmarks):
    again = type(landmarks)(len(landmarks), landmarks.edges.shape[1], (1, 2))
    again.load_state_dict(landmarks.state_dict())
    z, goal = ring(torch.arange(8)), ring(torch.tensor(6))
    assert torch.equal(again(z, goal), landmarks(z, goal))


def corridor(numbers):
    """States [..., 1, 2] on a line; one step is one unit."""
    x = torch.as_tensor(numbers, dtype=torch.float32)
    return torch.stack([x, torch.zeros_like(x)], -1).unsqueeze(-2)


def test_ways_are_stitched_from_pieces_that_were_seen_often_enough():
    """Walks of a corridor of ten places; the jump from 9 to 0 was seen once only."""
    walks = torch.tensor(
        [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9], [9, 0, 0, 0, 0, 0]]
    )
    options = {"min_count": 2, "max_gap": 3}
    one_way = fit_landmarks(corridor(walks), LandmarkConfig(**options))
    assert one_way(corridor([0, 9]), corridor([9, 0])).tolist() == [9, one_way.far]
    both = fit_landmarks(corridor(walks), LandmarkConfig(**options, reversible=True))
    assert both(corridor([0, 9]), corridor([9, 0])).tolist() == [9, 9]
    assert int(both.gaps.max()) == 3


def test_subgoals_lie_within_reach_and_on_the_way():
    walks = torch.tensor([[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9]])
    places = fit_landmarks(corridor(walks))
    z, goal = corridor([0, 2, 7, 6]), corridor([9, 9, 9, 2])
    found = places.subgoals(z, goal, 4)
    assert found[:, 0, 0].tolist() == [4, 6, 9, 2]  # the goal itself where it is near, or no way is known
    assert torch.equal(found[2:], goal[2:])


def test_places_that_lead_nowhere_can_be_left_out():
    """From 3 a walk went on to 4 and ended; a state there then counts as its nearest place that leads on."""
    walks = torch.tensor([[0, 1, 2, 3, 2, 1, 0]] * 200 + [[0, 1, 2, 3, 2, 3, 4]])
    assert len(fit_landmarks(corridor(walks))) == 5
    places = fit_landmarks(corridor(walks), LandmarkConfig(connected=True))
    assert sorted(places.places[:, 0, 0].tolist()) == [0, 1, 2, 3]
    assert places(corridor(torch.tensor([4, 0])), corridor(torch.tensor([0, 4]))).tolist() == [3, 3]


def test_large_parts_stay_though_no_way_joins_them():
    """Play never went through the door between 2 and 3: in the second room too an agent must know where it is."""
    walks = torch.tensor([[0, 1, 2, 1, 0]] * 3 + [[3, 4, 5, 4, 3]] * 2)
    places = fit_landmarks(corridor(walks), LandmarkConfig(connected=True))
    assert sorted(places.places[:, 0, 0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert places(corridor(torch.tensor([3, 0])), corridor(torch.tensor([5, 5]))).tolist() == [2, places.far]


def test_a_map_of_poses_takes_states_with_a_velocity_and_gives_places_at_rest():
    poses = corridor(torch.arange(9.0)[None])
    places = fit_landmarks(poses, LandmarkConfig())
    moving = torch.cat([poses, torch.full_like(poses, 7.0)], -1)[0]  # [9, 1, 2 D]
    assert torch.equal(places.nearest(moving), places.nearest(poses[0]))
    found = places.subgoals(moving[:1], moving[8:], 3.0)
    assert torch.equal(found, torch.cat([poses[0, 3:4], torch.zeros_like(poses[0, 3:4])], -1))
    assert torch.equal(places.subgoals(moving[6:7], moving[8:], 3.0), moving[8:])


def test_a_map_in_the_space_of_a_critic_ignores_what_it_ignores():
    """The embedding sees the first number only."""
    walks = corridor(torch.tensor([[0, 1, 2, 3]]))
    walks[..., 1] = torch.tensor([0.0, 50, -50, 7])[None, :, None]
    places = fit_landmarks(walks, embedding=lambda z: z[..., 0, :1])
    assert len(places) == 4
    assert places(corridor([0]), corridor([3])).item() == 3


def test_a_step_that_led_nowhere_is_not_believed_there_again(landmarks):
    """Two environments at places 2 and 3; the first one could not step from 2 to 3."""
    memory = StuckSteps(landmarks)
    cost = bind(PathCost(landmarks, final), ring(torch.tensor([5, 5])))
    z, rows = ring(torch.tensor([2, 3])), torch.arange(2)
    paths = ring(torch.tensor([[[3, 4], [2, 2]], [[4, 5], [3, 4]]]))  # [B, S, T]
    assert memory.doubt(cost, z, 2, rows) is cost
    memory.compare(z, ring(torch.tensor([3, 4])), ring(torch.tensor([2, 4])))
    assert memory.doubt(cost, z, 2, rows)(paths).tolist() == [[3, 3], [0, 1]]
    only = memory.doubt(bind(PathCost(landmarks, final), ring(torch.tensor([5]))), z[1:], 2, rows[1:])
    assert only(paths[1:]).tolist() == [[0, 1]]
    later = ring(torch.tensor([1]))  # the same step deeper in a path
    path = ring(torch.tensor([[[2, 3]]]))
    doubtful = memory.doubt(bind(PathCost(landmarks, final), ring(torch.tensor([5]))), later, 2, rows[:1])
    assert doubtful(path).tolist() == [[3]]  # as far as place 2, and no farther


def test_scenes_that_recur_have_maps_of_their_own():
    """A corridor of ten places with a door between 4 and 5, which is closed in every second episode."""
    rng = torch.Generator().manual_seed(0)
    walks = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
    shut = torch.tensor([[0, 1, 2, 3, 4, 4, 3, 2, 1, 0], [9, 8, 7, 6, 5, 5, 6, 7, 8, 9]])
    poses = torch.cat([corridor(walks), corridor(shut)])
    code = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(4, 1, 1, 1) + 0.02 * torch.randn(4, 10, 1, 1, generator=rng)
    latents = torch.cat([code, poses], -1)

    def walked(z):
        return z[..., 0, 1:2]

    known = fit_landmarks(latents, embedding=walked, scene_dim=1)
    assert known.num_scenes == (2, 1)
    assert len(known) == 20
    open_, closed = (torch.cat([torch.full((10, 1, 1), x), corridor(torch.arange(10))], -1) for x in (0.03, 0.97))
    assert float(known(open_[2], open_[7])) == 5
    assert float(known(closed[2], closed[7])) == known.far
    assert float(known(closed[2], closed[4])) == 2
    assert torch.equal(known.subgoals(open_[2:3], open_[7:8], 3.0)[..., 1:], corridor(torch.tensor([5])))
    one = fit_landmarks(torch.cat([0 * code, poses], -1), embedding=walked, scene_dim=1)
    assert one.num_scenes == (0, 0)
    assert len(one) == 10
