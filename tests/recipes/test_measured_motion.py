"""Drawn worlds whose motion is known: a dot that its actions move, one that they push, one that turns and steps."""

import numpy as np
import pytest

from openjepa.data import EpisodeStore
from openjepa.protocols import Episode
from openjepa.recipes.measured_motion import (
    Clip,
    categories_of,
    cell_of,
    compare_scenes,
    find_background,
    idle_choices,
    measure_motion,
    variance_within,
)
from openjepa.recipes.world import WorldConfig, resolve

SIDE = 48


def dot(x, y, size=6.0):
    """A picture [3, SIDE, SIDE] of a bright square with soft edges at (x, y) on a background with a bar."""
    cells = np.arange(SIDE)
    across = np.clip(size / 2 + 0.5 - np.abs(cells - x), 0, 1)
    down = np.clip(size / 2 + 0.5 - np.abs(cells - y), 0, 1)
    picture = np.full((3, SIDE, SIDE), 40.0)
    picture[:, 10:14] = 90
    return (picture + 150 * down[:, None] * across).astype(np.uint8)


def glide(rng, inertia, steps=40, size=6):
    """A dot whose place (or, with inertia, speed) changes by its action; it bounces off the border."""
    actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
    place, speed, frames = rng.uniform(14, 34, 2), rng.uniform(-2, 2, 2) * inertia, []
    for t in range(steps + 1):
        frames.append(dot(*place, size))
        if t < steps:
            speed = inertia * speed + (0.4 if inertia else 2.5) * actions[t]
            bounces = (place + speed < 5) | (place + speed > SIDE - 5)
            speed = np.where(bounces, -speed, speed)
            place = place + speed
    return Clip(np.stack(frames), actions)


def turn_and_step(rng, cell=6, steps=60):
    """An arrow on a grid that turns left, right, or steps forward."""
    turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
    x, y, heading, frames, actions = *rng.integers(1, 7, 2), rng.integers(4), [], []
    for _ in range(steps + 1):
        picture = np.full((3, SIDE, SIDE), 40, np.uint8)
        top, left = y * cell, x * cell
        picture[0, top : top + cell, left : left + cell] = 120
        dx, dy = turns[heading]
        nose = slice(top + 2 + 2 * dy, top + 4 + 2 * dy), slice(left + 2 + 2 * dx, left + 4 + 2 * dx)
        picture[(slice(None), *nose)] = 255
        frames.append(picture)
        choice = rng.choice(3, p=(0.25, 0.25, 0.5))
        actions.append(np.eye(3, dtype=np.float32)[choice])
        if choice < 2:
            heading = (heading + (1, -1)[choice]) % 4
        else:
            dx, dy = turns[heading]
            x, y = np.clip(x + dx, 0, 7), np.clip(y + dy, 0, 7)
    return Clip(np.stack(frames), np.stack(actions[:-1]))


def lit(rng):
    """The same with a light two cells wide around the arrow, which walls cut off."""
    clip = turn_and_step(rng, steps=60)
    frames = clip.frames.copy()
    for picture, frame in zip(clip.frames, frames, strict=True):
        rows, columns = np.nonzero(picture[0] >= 120)
        y, x = rows.min() // 6, columns.min() // 6
        light = frame[:, max(0, y - 2) * 6 : (y + 3) * 6, max(0, x - 2) * 6 : (x + 3) * 6]
        light[light == 40] = 75
        frame[0][frame[0] == 120] = 200
    return Clip(frames, clip.actions)


def clips(make, count=40, **options):
    rng = np.random.default_rng(0)
    return [make(rng, **options) for _ in range(count)]


def test_a_dot_that_actions_move_has_no_velocity():
    found = measure_motion(clips(glide, inertia=0.0))
    assert found.has_background
    assert found.size == pytest.approx(6.5, abs=0.7)  # 6 px, and soft edges
    assert found.step == pytest.approx(2.5 * 0.765, abs=0.2)  # mean length of a way in a square of side 2 * 2.5
    assert found.cell is None
    assert found.known > 0.9
    assert found.known_with_velocity - found.known < 0.05


def test_a_dot_with_inertia_is_told_by_its_velocity():
    found = measure_motion(clips(glide, inertia=1.0))
    assert found.cell is None
    assert found.known < 0.5
    assert found.known_with_velocity - found.known > 0.6


def test_a_heading_is_seen_and_is_no_velocity():
    found = measure_motion(clips(turn_and_step))
    assert found.cell == pytest.approx(6, abs=0.1)
    assert found.known_with_velocity - found.known < 0.1
    assert found.known > 0.8


def test_choices_that_change_no_picture_are_idle():
    def dawdle(rng):
        """Before every step ahead or turn, one of two choices that do nothing."""
        clip = turn_and_step(rng)
        frames, actions = np.repeat(clip.frames, 2, 0)[:-1], np.zeros((2 * len(clip.actions), 5), np.float32)
        actions[1::2, :3] = clip.actions
        actions[0::2, 3:] = np.eye(2)[rng.integers(2, size=len(clip.actions))]
        return Clip(frames, actions)

    assert idle_choices(clips(turn_and_step, count=6)) == ()
    assert idle_choices(clips(dawdle, count=6)) == (3, 4)
    assert idle_choices(clips(dawdle, count=1)) == ()  # too little was seen


def test_scenes_of_their_own_are_no_common_background():
    def scene(rng):
        clip = glide(rng, 0.0, steps=20)
        wall = rng.integers(0, 256, (3, SIDE, SIDE), np.uint8)
        is_dot = np.abs(clip.frames.astype(int) - dot(-50, -50)) > 12
        return Clip(np.where(is_dot, clip.frames, wall).astype(np.uint8), clip.actions)

    found = clips(scene, count=8)
    backgrounds, is_common = find_background(found)
    assert not is_common
    assert (np.abs(backgrounds[0] - found[0].frames[0]) > 12).mean() < 0.1  # an episode's own wall, without its dot


def test_scenes_that_recur_are_alike_and_differ_by_what_stands_still():
    """Three episodes with a door open and one with it closed; a dot that moves is no scene."""
    made = clips(glide, 4, inertia=0.0)
    assert compare_scenes(made) == (1.0, 0.0)
    shut = made[3].frames.copy()
    shut[:, :, 0:2, 10:14] = 200  # where the dot never comes
    alike, scene = compare_scenes([*made[:3], Clip(shut, made[3].actions)])
    assert alike == 0.5  # pairs of the first three, of six
    assert scene == pytest.approx(4 / SIDE**2)  # between no difference and 8 px

    motion = measure_motion(made)
    assert (motion.alike, motion.scene) == (1.0, 0.0)


def few_cells(rng, cell=12, steps=40):
    """An arrow that turns and steps among three by three cells, from one corner on; one of the middle ones is free."""
    gap, turns = rng.integers(3), ((1, 0), (0, 1), (-1, 0), (0, -1))
    x, y, heading, frames, actions = 0, 0, 0, [], []
    for _ in range(steps + 1):
        picture = np.zeros((3, SIDE, SIDE), np.uint8)
        for row in range(3):
            if row != gap:
                picture[:2, 6 + row * cell : 6 + (row + 1) * cell, 6 + cell : 6 + 2 * cell] = ((255,),), ((128,),)
        dx, dy = turns[heading]
        top, left = 6 + y * cell, 6 + x * cell
        picture[0, top + 3 : top + 9, left + 3 : left + 9] = 255
        picture[1:, top + 3 : top + 9, left + 3 : left + 9] = 0
        picture[0, top + 5 + 4 * dy : top + 7 + 4 * dy, left + 5 + 4 * dx : left + 7 + 4 * dx] = 255
        frames.append(picture)
        choice = rng.choice(3, p=(0.25, 0.25, 0.5))
        actions.append(np.eye(3, dtype=np.float32)[choice])
        if choice < 2:
            heading = (heading + (1, -1)[choice]) % 4
        elif 0 <= x + dx <= 2 and 0 <= y + dy <= 2 and (x + dx != 1 or y + dy == gap):
            x, y = x + dx, y + dy
    return Clip(np.stack(frames), np.stack(actions[:-1]))


def test_cells_are_found_where_few_scenes_and_few_places_recur():
    found = measure_motion(clips(few_cells))
    assert found.cell == pytest.approx(12, abs=0.2)
    free = [clip for clip in clips(few_cells) if clip.frames[0, 0, 24, 24] == 0]  # the gap is in the middle
    background, _ = find_background(free + clips(few_cells))
    assert np.ptp([one[:, 18:30, 18:30].max() for one in background[: len(free)]]) == 0
    assert background[0][:, 18:30, 18:30].max() == 0  # the arrow stood there, and is no part of it


def test_variance_within_and_between_episodes_sums_to_that_of_all_frames():
    rng = np.random.default_rng(3)
    found = [
        Clip(rng.integers(0, 256, (t, 3, 4, 4)).astype(np.uint8) // k, np.zeros((t - 1, 1)))
        for t, k in ((5, 1), (9, 4))
    ]
    frames = np.concatenate([clip.frames for clip in found]).astype(float)
    inside = sum(np.square(clip.frames - clip.frames.mean(0)).sum() for clip in found)
    assert variance_within(found) == pytest.approx(inside / np.square(frames - frames.mean(0)).sum())


@pytest.mark.parametrize(
    ("moves", "side"),
    [
        ([(5, 0), (-5, 0), (0, 5), (0, 0), (0.8, 0.6)], 5.0),
        ([(3.37, 0), (0, -3.37), (0, 0)], 3.37),
        ([(5, 0), (10, 0), (0, 5)], 5.0),
        ([(4, 0), (2.4, 0), (1.3, 0), (0, 3.1)], None),
        ([(3, 3), (2, -3), (3, 1)], None),
        ([(0, 0)], None),
    ],
)
def test_cells_are_where_ways_have_one_length(moves, side):
    found = cell_of(np.array(moves * 20, float))
    assert found == (None if side is None else pytest.approx(side))


def test_categories_are_groups_of_ones():
    assert categories_of(np.eye(3)[[0, 2, 1, 1]]) == (3,)
    assert categories_of(np.array([[1, 0, 0, 0, 1.0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]])) == (3, 2)
    assert categories_of(np.array([[0.0, 1.0], [1.0, 1.0]])) == ()
    assert categories_of(np.array([[0.0, 0.0], [1.0, 0.0]])) == ()
    assert categories_of(np.array([[0.2, 0.8]])) == ()


def test_a_picture_in_which_nothing_moves():
    still = [Clip(np.full((20, 3, 16, 16), 9, np.uint8), np.zeros((19, 1), np.float32))] * 4
    assert variance_within(still) == 1.0
    found = measure_motion(still)
    assert (found.step, found.still, found.cell, found.known_with_velocity) == (0.0, 1.0, None, 0.0)


def resolved(tmp_path, made, **options):
    with EpisodeStore.create(tmp_path / "store") as store:
        for clip in made:
            store.append(Episode(clip.frames, clip.actions))
    return resolve(WorldConfig(data=tmp_path / "store", **options), "", {})


def test_choices_on_a_grid_are_searched_on_a_map(tmp_path):
    found = resolved(tmp_path, clips(turn_and_step))
    encoder = found.method.encoder
    assert (encoder.kind, encoder.image_size, encoder.patch_size, encoder.gain) == ("attn", 40, 5, 0.5)  # 8 cells
    assert (found.method.categories, found.method.state, found.frameskip) == ((3,), "frame", 1)
    assert (found.act.critic, found.act.exhaustive.horizon) == ("map", 5)  # 3^5 plans
    assert any("jumps between 8 cells" in line for line in found.choices)


@pytest.mark.parametrize(("encoder", "unit"), [("conv", 16), ("keypoints", 16), ("vit", 14)])
def test_an_encoder_that_the_user_wants_gets_a_size_that_it_takes(tmp_path, encoder, unit):
    found = resolved(tmp_path, clips(turn_and_step, count=8), encoder=encoder)
    assert found.method.encoder.kind == encoder
    assert found.method.encoder.image_size % unit == 0


@pytest.mark.parametrize(("sizes", "options"), [((2,) * 13, {}), ((3,), {"horizon": 12})])
def test_choices_are_sampled_where_the_plans_are_too_many(tmp_path, sizes, options):
    """13 switches are 8,192 choices at every step, three choices over 12 steps half a million plans."""
    rng = np.random.default_rng(0)

    def switches(clip):
        drawn = [np.eye(size, dtype=np.float32)[rng.integers(size, size=len(clip.actions))] for size in sizes]
        return Clip(clip.frames, np.concatenate(drawn, 1))

    found = resolved(tmp_path, [switches(clip) for clip in clips(turn_and_step, count=8)], **options)
    assert found.method.categories == sizes
    assert found.act.exhaustive is None
    assert any(line.startswith("search by samples: ") for line in found.choices)


@pytest.mark.parametrize(("size", "encoder", "steps"), [(4, "attn", 3000), (8, "keypoints", 1500)])
def test_inertia_makes_a_pair_and_the_size_of_what_moves_its_encoder(tmp_path, size, encoder, steps):
    found = resolved(tmp_path, clips(glide, inertia=1.0, size=size))
    assert (found.method.state, found.method.encoder.kind) == ("pair", encoder)
    assert (found.act.replan_every, found.act.distance.form, found.act.distance.max_gap) == (1, "euclidean", 10)
    assert (found.train.steps, found.act.refine.steps) == (steps, 2500)
    assert any(line.startswith("state pair: ") for line in found.choices)


@pytest.mark.parametrize(("frameskip", "horizon", "knots"), [(1, 24, 3), (2, 15, 1)])
def test_what_moves_quickly_is_pushed_for_several_steps(tmp_path, frameskip, horizon, knots):
    found = resolved(tmp_path, clips(glide, inertia=1.0, size=8), frameskip=frameskip)
    assert found.act.refine.predictor.scaled
    planner = found.act.planner
    assert planner.horizon == min(horizon, 40 // frameskip)
    assert planner.knot_steps == knots


@pytest.mark.parametrize(("landmarks", "reach", "gap"), [(True, 1.5, 6), (True, None, 32), (False, 1.5, 39)])
def test_a_critic_beside_a_map_learns_what_lies_near(tmp_path, landmarks, reach, gap):
    """Episodes of 40 steps, plans of 24; the map knows what is more than four times its reach away."""
    found = resolved(tmp_path, clips(glide, inertia=0.0), landmarks=landmarks, reach=reach, frameskip=1)
    assert found.act.distance.max_gap == gap
    assert (found.act.landmarks is not None) == landmarks


def test_things_that_glide_are_convolved(tmp_path):
    found = resolved(tmp_path, clips(glide, inertia=0.0))
    assert (found.method.state, found.method.encoder.kind, found.act.critic) == ("frame", "conv", "steps")
    assert (found.act.exhaustive, found.method.variance_t_weight) == (None, 0.0)


def test_cells_are_found_though_a_light_glides_along_walls():
    found = measure_motion(clips(lit))
    assert found.cell == pytest.approx(6, abs=0.2)
