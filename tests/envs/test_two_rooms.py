import numpy as np
import pytest
import torch

from openjepa.envs.two_rooms import (
    AGENT,
    BACKGROUND,
    REACHED,
    WALL,
    TwoRooms,
    TwoRoomsConfig,
    draw_layout,
    draw_position,
    is_free,
    is_held_out,
    move,
    path_length,
)
from openjepa.envs.two_rooms_oracle import TwoRoomsSimulator, path_distance
from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import check_world_model
from openjepa.planning.costs import PathCost

FIXED = np.array([32.0, 24.0])  # wall at x = 32, door at y = 24
CONFIGS = [
    TwoRoomsConfig(),
    TwoRoomsConfig(layout="random"),
    TwoRoomsConfig(layout="four-rooms"),
    TwoRoomsConfig(distractors=2),
    TwoRoomsConfig(objects=3, distractors=1),
    TwoRoomsConfig(layout="random", background="noise"),
]
RIGHT, LEFT, DOWN, UP = (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)


def name(config: TwoRoomsConfig) -> str:
    return f"{config.layout}-{config.distractors}-{config.background}"


def state(x: float, y: float) -> np.ndarray:
    return np.array([[x, y, 32.0, 24.0]], np.float32)


def random_actions(steps: int, envs: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(0, 2 * np.pi, (steps, envs)), rng.uniform(0, 1, (steps, envs)) ** 0.5
    return np.stack([speed * np.cos(angle), speed * np.sin(angle)], -1)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_seeds_and_actions_determine_everything(config: TwoRoomsConfig) -> None:
    actions = random_actions(12, 3)
    first, second, alone = TwoRooms(3, config), TwoRooms(3, config), TwoRooms(1, config)
    assert np.array_equal(first.reset([5, 6, 7]), second.reset([5, 6, 7]))
    alone.reset([6])
    for a in actions:
        frames = first.step(a)
        assert np.array_equal(frames, second.step(a))
        assert np.array_equal(frames[1:2], alone.step(a[1:2]))
        assert np.array_equal(first.states(), second.states())
        assert np.array_equal(first.states()[1], alone.states()[0])
    assert not np.array_equal(first.states()[0], first.states()[1])


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_reset_to_a_state_restores_the_picture_and_the_future(config: TwoRoomsConfig) -> None:
    world, other = TwoRooms(4, config), TwoRooms(4, config)
    world.reset([1, 2, 3, 4])
    for a in random_actions(10, 4):
        frames = world.step(a)
    assert np.array_equal(other.reset_to(world.states()), frames)
    assert np.array_equal(other.states(), world.states())
    assert len(world.state_names) == world.states().shape[1]
    for a in random_actions(10, 4, seed=1):
        # states are float32 and the world computes in float64: one grey level of antialiasing may differ
        difference = np.abs(world.step(a).astype(int) - other.step(a))
        assert difference.max() <= 1
        np.testing.assert_allclose(world.states(), other.states(), atol=1e-4)


def test_an_agent_in_the_open_moves_three_pixels() -> None:
    world = TwoRooms(1)
    world.reset_to(state(12, 40))
    for action, expected in ((RIGHT, (15, 40)), (DOWN, (15, 43)), ((-0.6, -0.8), (13.2, 40.6))):
        world.step(np.array([action]))
        np.testing.assert_allclose(world.states()[0, :2], expected, atol=1e-5)


def test_walls_stop_what_heads_into_them_and_let_the_rest_slide() -> None:
    world = TwoRooms(1)
    world.reset_to(state(26.5, 45))  # free up to x = 28
    world.step(np.array([RIGHT]))
    np.testing.assert_allclose(world.states()[0, :2], (27.5, 45))
    world.step(np.array([(0.6, 0.8)]))  # 0.6 px per substep does not fit, 0.8 px along the wall does
    np.testing.assert_allclose(world.states()[0, :2], (27.5, 47.4), atol=1e-5)


def test_the_door_is_a_corridor_of_ten_pixels() -> None:
    for y, passes in ((19.0, True), (29.0, True), (18.9, False), (29.1, False), (24.0, True)):
        world = TwoRooms(1)
        world.reset_to(state(25, y))
        for _ in range(5):
            world.step(np.array([RIGHT]))
        assert (world.states()[0, 0] > 36) == passes, y


@pytest.mark.parametrize("layout", ["fixed", "random", "four-rooms"])
def test_no_sequence_of_actions_enters_a_wall_or_jumps_over_one(layout: str) -> None:
    count = 200
    world = TwoRooms(count, TwoRoomsConfig(layout=layout))
    world.reset(range(count))
    heading = random_actions(1, count)[0]
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)  # long straight runs at full speed find gaps
    rng = np.random.default_rng(0)
    before = world.states().astype(np.float64)
    crossings = 0
    for step in range(120):
        turn = rng.uniform(size=count) < 0.1
        fresh = random_actions(1, count, seed=step)[0]
        fresh /= np.linalg.norm(fresh, axis=1, keepdims=True)
        heading = np.where(turn[:, None], fresh, heading)
        world.step(heading)
        now = world.states().astype(np.float64)
        assert is_free(world._positions, world._layouts).all()
        assert np.linalg.norm(now[:, :2] - before[:, :2], axis=1).max() <= 3 + 1e-4
        crosses = (now[:, 0] < now[:, 2]) != (before[:, 0] < before[:, 2])
        doors = now[:, [3, 7]] if layout == "four-rooms" else now[:, [3]]
        in_door = (np.abs(now[:, 1:2] - doors) <= 5 + 1e-4).any(1)
        assert in_door[crosses].all()
        crossings += crosses.sum()
        before = now
    assert crossings > 10


def test_move_is_pure_and_takes_any_leading_axes() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(5, 27, (4, 6, 2))
    actions, kept = random_actions(4, 6), positions.copy()
    moved = move(positions, actions, np.broadcast_to(FIXED, (4, 6, 2)))
    assert np.array_equal(positions, kept)
    single = move(positions[2, 3], actions[2, 3], FIXED)
    np.testing.assert_array_equal(moved[2, 3], single)


def test_held_out_layouts_never_occur_in_training() -> None:
    layouts = {}
    for split in ("train", "held-out", "all"):
        world = TwoRooms(600, TwoRoomsConfig(layout="random", split=split))
        world.reset(range(600))
        layouts[split] = {tuple(row) for row in world.states()[:, 2:4].astype(int)}
    assert not layouts["train"] & layouts["held-out"]
    assert all(is_held_out(*layout) for layout in layouts["held-out"])
    assert layouts["all"] & layouts["train"]
    assert layouts["all"] & layouts["held-out"]
    share = np.mean([is_held_out(x, y) for x in range(20, 45) for y in range(14, 51)])
    assert share == pytest.approx(0.2, abs=0.01)
    for held_out in (True, False):  # both kinds know nearly every wall and every door
        kind = [(x, y) for x in range(20, 45) for y in range(14, 51) if is_held_out(x, y) == held_out]
        assert {x for x, _ in kind} == set(range(20, 45))
        assert {y for _, y in kind} == set(range(14, 51))


def test_the_fixed_layout_ignores_seed_and_split() -> None:
    for split in ("all", "train", "held-out"):
        layout = draw_layout(np.random.default_rng(3), TwoRoomsConfig(split=split))
        np.testing.assert_array_equal(layout, FIXED)


@pytest.mark.parametrize("layout", ["fixed", "random", "four-rooms"])
def test_drawn_positions_are_free_with_their_margin(layout: str) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        rooms = draw_layout(rng, TwoRoomsConfig(layout=layout))
        position = draw_position(rng, rooms, margin=2.0)
        for offset in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)):
            assert is_free(position + np.array(offset), rooms)


def test_known_pixels() -> None:
    frame = TwoRooms(1).reset_to(state(12.5, 45.5))[0].transpose(1, 2, 0)  # [y, x, colour]
    assert frame.shape == (64, 64, 3)
    assert frame.dtype == np.uint8
    for y, x in ((0, 10), (1, 10), (62, 10), (10, 0), (10, 63), (45, 30), (45, 33), (16, 31), (31, 32)):
        assert tuple(frame[y, x]) == WALL, (y, x)
    for y, x in ((2, 10), (61, 10), (10, 2), (45, 29), (45, 34), (17, 31), (30, 32), (24, 32)):
        assert tuple(frame[y, x]) == BACKGROUND, (y, x)
    # The disc of radius 2.5 around the middle of pixel (12, 45): full up to 2 px, half covered nowhere beyond 3.
    for dx, dy in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2), (1, 1)):
        assert tuple(frame[45 + dy, 12 + dx]) == AGENT
    for dx, dy in ((3, 0), (0, -3), (3, 3)):
        assert tuple(frame[45 + dy, 12 + dx]) == BACKGROUND
    blend = np.hypot(2, 2)  # 2.83 px from the middle: covered by 3 - 2.83
    expected = np.array(BACKGROUND) * (blend - 2) + np.array(AGENT) * (3 - blend)
    np.testing.assert_allclose(frame[47, 14], expected, atol=0.5)


def test_the_picture_follows_the_door_and_the_subpixel_position() -> None:
    world = TwoRooms(2)
    frames = world.reset_to(np.array([[12, 45, 22, 40], [12.4, 45, 22, 40]], np.float32))
    assert tuple(frames[0, :, 40, 22]) == BACKGROUND
    assert tuple(frames[0, :, 24, 22]) == WALL
    assert tuple(frames[0, :, 24, 32]) == BACKGROUND
    red = (frames[:, 0].astype(int) - frames[:, 1]).clip(0)
    columns = np.arange(64) + 0.5
    centre = (red.sum(1) * columns).sum(1) / red.sum((1, 2))
    np.testing.assert_allclose(centre, [12, 12.4], atol=0.06)


def test_nuisances_change_the_picture_and_not_the_agent() -> None:
    actions = random_actions(8, 2)
    noisy, quiet = TwoRooms(2, TwoRoomsConfig(background="noise")), TwoRooms(2)
    noisy.reset([0, 1])
    quiet.reset([0, 1])
    last = noisy.render()
    for a in actions:
        frames = noisy.step(a)
        quiet.step(a)
        np.testing.assert_array_equal(noisy.states()[:, :4], quiet.states()[:, :4])
        assert (frames != last).mean() > 0.5
        last = frames
    busy = TwoRooms(2, TwoRoomsConfig(distractors=2))
    busy.reset([0, 1])
    before = busy.states()[:, 4:]
    busy.step(np.zeros((2, 2)))
    assert (busy.states()[:, 4:].reshape(2, 2, 4)[..., :2] != before.reshape(2, 2, 4)[..., :2]).all()


def test_success_is_three_pixels_and_rooms_are_told_apart() -> None:
    world = TwoRooms(1)
    near, far = state(10 + REACHED - 0.01, 40), state(10 + REACHED, 40)
    assert world.is_success(state(10, 40), near).tolist() == [True]
    assert world.is_success(state(10, 40), far).tolist() == [False]
    assert world.distance(state(10, 40), state(13, 44)).tolist() == [5.0]
    assert world.groups(state(10, 40), state(40, 40)) == ["cross room"]
    assert world.groups(state(10, 40), state(20, 10)) == ["same room"]
    four = TwoRooms(1, TwoRoomsConfig(layout="four-rooms"))
    rooms = np.array([[10, 10, 32, 20, 32, 16, 48, 48]], np.float32)
    below = rooms.copy()
    below[0, 1] = 50
    assert four.groups(rooms, below) == ["cross room"]


def test_path_length_is_straight_in_a_room_and_bends_at_the_door() -> None:
    start, same = np.array([10.0, 40.0]), np.array([13.0, 44.0])
    assert path_length(start, same, FIXED) == pytest.approx(5)
    # Level with the door: straight through.
    assert path_length(np.array([10.0, 24.0]), np.array([50.0, 24.0]), FIXED) == pytest.approx(40)
    # From (28, 40): 11 px up along the wall to the corridor's lower edge at y = 29, 8 px through, 11 px down.
    assert path_length(np.array([28.0, 40.0]), np.array([36.0, 40.0]), FIXED) == pytest.approx(30)
    forth = path_length(np.array([12.0, 50.0]), np.array([55.0, 9.0]), FIXED)
    back = path_length(np.array([55.0, 9.0]), np.array([12.0, 50.0]), FIXED)
    assert forth == pytest.approx(back)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([[1.0, 0.5]], "norm of at most 1; got 1.12"),
        ([[float("nan"), 0.0]], "norm of at most 1; got nan"),
        ([[float("inf"), 0.0]], "norm of at most 1; got inf"),
    ],
)
def test_actions_out_of_range_are_refused(actions: list[list[float]], message: str) -> None:
    world = TwoRooms(1)
    world.reset([0])
    before = world.states()
    with pytest.raises(ConfigError, match=message):
        world.step(np.array(actions))
    np.testing.assert_array_equal(world.states(), before)


def test_shapes_and_options_are_checked() -> None:
    world = TwoRooms(2)
    with pytest.raises(ConfigError, match=r"one entry per environment \(2\); got 1"):
        world.reset([0])
    with pytest.raises(ShapeError, match="`actions` must be"):
        world.step(np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="`states` must be"):
        world.reset_to(np.zeros((2, 5)))
    for options, message in (
        ({"layout": "five"}, "`layout` must be"),
        ({"split": "test"}, "`split` must be"),
        ({"background": "red"}, "`background` must be"),
        ({"distractors": -1}, "`distractors` must be"),
        ({"max_steps": 0}, "`distractors` must be"),
    ):
        with pytest.raises(ConfigError, match=message):
            TwoRoomsConfig(**options)


# The oracle -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS[:4], ids=name)
def test_the_simulator_predicts_what_the_world_does(config: TwoRoomsConfig) -> None:
    world = TwoRooms(5, config)
    world.reset(range(5))
    model = TwoRoomsSimulator(config)
    z = model.encode(torch.zeros(5, 1, 3, 64, 64), torch.from_numpy(world.states())[:, None])
    actions = random_actions(9, 5).astype(np.float32)
    path = model.rollout(z, torch.from_numpy(actions).transpose(0, 1))
    assert path.shape == (5, 9, 1, z.shape[-1])
    for t, a in enumerate(actions):
        world.step(a)
        np.testing.assert_allclose(path[:, t, 0, :2].numpy(), world.states()[:, :2], atol=1e-4)
    np.testing.assert_array_equal(path[:, -1, 0, 2:].numpy(), z[:, 0, 0, 2:].numpy())


def test_the_simulator_is_a_world_model() -> None:
    rng = np.random.default_rng(0)
    states = np.concatenate([rng.uniform(5, 27, (3, 2, 2)), np.broadcast_to(FIXED, (3, 2, 2))], 2)
    actions = torch.from_numpy(random_actions(3, 4)).float() * 0.5
    proprio = torch.from_numpy(states).float()
    check_world_model(TwoRoomsSimulator(), torch.zeros(3, 2, 3, 64, 64, dtype=torch.uint8), actions, proprio)


def test_the_oracles_cost_is_the_length_of_the_way() -> None:
    path = torch.tensor([[10.0, 24.0, 32.0, 24.0], [28.0, 24.0, 32.0, 24.0]]).view(1, 1, 2, 1, 4)
    goal = torch.tensor([[50.0, 24.0, 32.0, 24.0]]).view(1, 1, 1, 4)
    torch.testing.assert_close(PathCost(path_distance)(path, goal), torch.tensor([[(40.0 + 22.0) / 2]]))


def test_the_simulator_wants_states() -> None:
    with pytest.raises(ConfigError, match="`proprio` must be the true states"):
        TwoRoomsSimulator().encode(torch.zeros(1, 1, 3, 64, 64))


def test_changed_colours_and_slanting_light_change_the_picture_and_nothing_else():
    usual, changed, slanting = (
        TwoRooms(1, TwoRoomsConfig(**o)) for o in ({}, {"colours": "changed"}, {"light": "slanting"})
    )
    first, blue, dim = (world.reset([3])[0] for world in (usual, changed, slanting))
    assert np.array_equal(usual.states(), changed.states())
    assert np.array_equal(usual.states(), slanting.states())
    floor, wall = (first == 235).all(0), (first == np.array([60, 60, 80])[:, None, None]).all(0)
    assert (blue[:, floor] == np.array([196, 222, 240])[:, None]).all()
    assert (blue[:, wall] == np.array([112, 74, 42])[:, None]).all()
    assert np.array_equal(blue[:, ~floor & ~wall][0] > 195, first[:, ~floor & ~wall][0] > 195)  # the disc stays red
    assert np.array_equal(dim[:, :, -1], first[:, :, -1])  # all the light at the right edge
    assert np.array_equal(dim[0, :, 0], np.rint(0.55 * first[0, :, 0]).astype(np.uint8))
    with pytest.raises(ConfigError, match="`colours` must be usual or changed"):
        TwoRoomsConfig(colours="pink")


# ----------------------------------------------------------------------------------------------------------
# Objects


def test_objects_lie_apart_within_rooms_and_elsewhere_in_every_episode() -> None:
    world = TwoRooms(50, TwoRoomsConfig(objects=4))
    world.reset(range(50))
    places = world.states()[:, 4:].reshape(50, 4, 2)
    gaps = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)[:, *np.triu_indices(4, 1)]
    assert gaps.min() >= 12
    assert abs(places[..., 0] - 32).min() >= 5.5  # off the wall and out of the door
    assert np.ptp(places, axis=0).min() > 30
    assert world.state_names[4:6] == ("red_disc_x", "red_disc_y")
    assert world.name == "object-rooms"


def test_objects_are_seen_and_stay_where_they_are() -> None:
    world = TwoRooms(1, TwoRoomsConfig(objects=2))
    frame = world.reset_to(np.array([[10, 50, 32, 24, 20, 20, 50, 40]], np.float32))[0]
    assert frame[:, 20, 20].tolist() == [220, 40, 40]
    assert frame[:, 40, 50].tolist() == [40, 160, 70]
    assert frame[:, 50, 10].tolist() == [150, 40, 190]  # the agent
    for _ in range(5):
        world.step(np.array([RIGHT]))
    assert world.states()[0, 4:].tolist() == [20, 20, 50, 40]
    with pytest.raises(ConfigError, match="`objects` must be from 0 to 4; got 5"):
        TwoRoomsConfig(objects=5)
