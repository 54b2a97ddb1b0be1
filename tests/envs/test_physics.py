"""Quadruples: shared halves, equal first frames, and possible histories that obey their law."""

import numpy as np
import pytest

from openjepa.envs.physics.clips import (
    PAIRS,
    PROPERTIES,
    render_novel,
    render_possible,
    render_quadruple,
)
from openjepa.envs.physics.drawing import SCENES, draw_look, drifting
from openjepa.envs.physics.stories import FLOOR, SIDE, tell
from openjepa.errors import ConfigError


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", PROPERTIES)
def test_the_impossible_is_spliced_from_the_possible(name, scene):
    for seed in range(4):
        q = render_quadruple(name, seed, scene=scene)
        aa, bb, ab, ba = q.clips
        v = q.violation_frame
        assert q.clips.shape == (4, 32, 3, 64, 64)
        assert q.clips.dtype == np.uint8
        assert q.possible.tolist() == [True, True, False, False]
        assert all(np.array_equal(clip[0], aa[0]) for clip in q.clips)
        assert np.array_equal(ab[:v], aa[:v])
        assert np.array_equal(ab[v:], bb[v:])
        assert np.array_equal(ba[:v], bb[:v])
        assert np.array_equal(ba[v:], aa[v:])
        # the splice is invisible: around it A and B are the same picture
        assert np.array_equal(aa[v - 1], bb[v - 1])
        assert np.array_equal(aa[v], bb[v])
        assert not np.array_equal(aa[:v], bb[:v])
        assert not np.array_equal(aa[v:], bb[v:])


def test_pixel_differences_cannot_tell_the_impossible():
    for name in PROPERTIES:
        q = render_quadruple(name, 7)
        change = np.abs(np.diff(q.clips.astype(np.int16), axis=1)).mean((1, 2, 3, 4))
        assert change[:2].sum() == pytest.approx(change[2:].sum())  # every change occurs on both sides


def test_no_single_frame_can_tell_the_impossible():
    for name in PROPERTIES:
        aa, bb, ab, ba = render_quadruple(name, 11).clips
        for t in range(len(aa)):  # at every moment the impossible clips show the two pictures of the possible ones
            straight = np.array_equal(ab[t], aa[t]) and np.array_equal(ba[t], bb[t])
            crossed = np.array_equal(ab[t], bb[t]) and np.array_equal(ba[t], aa[t])
            assert straight or crossed


def test_bodies_move_by_the_law_of_their_property():
    for seed in range(20):
        drop = tell("continuity", seed, 64).a[0].path[:, 1]
        inside = (drop > 2) & (drop < 40)
        second = np.diff(drop, 2)[inside[1:-1]] * 4  # frames are half a unit of time apart
        assert np.allclose(second, second[0])  # constant acceleration on the way down and up
        assert 0.49 < second[0] < 0.61
        _, ball = tell("solidity", seed, 64).a
        block = tell("solidity", seed, 64).a[0]
        gap = np.abs(ball.path[:, 0] - block.path[-1, 0]) - ball.half[0] - block.half[0]
        assert gap.min() > -1e-9  # never inside each other
        steps = np.abs(np.diff(ball.path[:, 0]))
        assert np.all(steps <= steps.max() + 1e-9)
        other, light = tell("collision", seed, 256).a
        touching = np.abs(other.path[:, 0] - light.path[:, 0]) - other.half[0] - light.half[0]
        assert touching.min() > -1e-9
        speeds = np.abs(np.diff(light.path[:, 0])) * 8
        assert speeds[-1] == pytest.approx(speeds.max() / 2)  # thrown back by three times its mass
        plank = tell("support", seed, 64).b
        assert plank[-1].path[-1, 1] == pytest.approx(FLOOR - plank[-1].half[0])
        straight = np.diff(tell("inertia", seed, 64).a[0].path, axis=0)
        moving = straight[np.abs(straight[:, 0]) > 0.5]
        assert np.allclose(moving[1:], moving[1])


def test_a_ball_comes_back_from_where_it_fell():
    story = tell("continuity", 3, 32)
    assert np.ptp(story.a[0].path[:, 0]) == 0
    assert abs(story.a[0].path[0, 0] - story.b[0].path[0, 0]) > 25


def test_clips_are_functions_of_their_seed_and_of_the_rate():
    once, again = render_possible([3, 4]), render_possible([4, 3])
    assert np.array_equal(once[0], again[1])
    assert np.array_equal(once[1], again[0])
    assert np.array_equal(render_possible([3], length=16)[0], once[0][::2])
    assert render_possible([3], size=32).shape == (1, 32, 3, 32, 32)
    assert not np.array_equal(once[0], render_possible([3], scene="evening")[0])


def test_possible_clips_are_histories_of_their_quadruples():
    only = render_possible(range(6), properties=["inertia"])
    for seed, clip in enumerate(only):
        q = render_quadruple("inertia", seed)
        assert any(np.array_equal(clip, q.clips[role]) for role, _ in PAIRS)


def test_the_novel_clip_differs_in_colour_only():
    for seed in range(6):
        plain = render_possible([seed])[0]
        for novelty in ("turns", "new", "light"):
            clip = render_novel([seed], novelty=novelty)[0]
            if novelty == "light":
                assert np.array_equal(clip[:10], plain[:10])
                continue
            # Where anything ever happens; in dim light a body may have just the grey level of what is behind it.
            moved = sum(np.abs(np.diff(c.astype(int), axis=0)).max((0, 1)) for c in (plain, clip)) > 0
            assert np.array_equal(clip[..., ~moved], plain[..., ~moved])
    turned = render_novel([5], novelty="turns")[0]
    assert np.array_equal(turned[:3], render_possible([5])[0][:3])


def test_a_camera_that_drifts_shows_the_same_story_elsewhere():
    clip = render_novel([3], novelty="camera", length=16)[0]
    assert clip.shape == (16, 3, 64, 64)
    again = render_novel([3], novelty="camera", length=16)[0]
    assert np.array_equal(clip, again)
    flat = np.full((4, 3, 128, 128), 90, np.uint8)
    assert np.array_equal(drifting(flat, np.array([2.0, -3.0])), np.full((4, 3, 64, 64), 90))
    # A ramp of one grey level a px of the large picture: 4 units of drift are 8 px there, in three steps of 8 / 3.
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8), (4, 3, 128, 128))
    middle = drifting(ramp, np.array([4.0, 0.0]))[:, 0, 32, 32].astype(float)
    assert np.allclose(np.diff(middle), 8 / 3, atol=1)


def looks(count):
    return [
        draw_look(np.random.default_rng(seed), "plain", 64, from_above=False, closest=1.3, aside=4.5)
        for seed in range(count)
    ]


def test_cameras_stand_as_close_and_as_far_aside_as_asked_and_see_nobody_wait():
    drawn = looks(400)
    zooms, shifts = np.array([look.zoom for look in drawn]), np.array([look.shift for look in drawn])
    assert 1 <= zooms.min() < 1.02
    assert 1.28 < zooms.max() <= 1.3
    assert 4.3 < np.abs(shifts).max() <= 4.5
    # What waits beside the stage ends 1 unit beyond it; the corners 0.9 units beyond it are out of every picture.
    corners = np.stack([look.place(np.array([[-0.9, -0.9], [SIDE + 0.9, SIDE + 0.9]]), 64) for look in drawn])
    assert corners[:, 0].max() <= 0
    assert corners[:, 1].min() >= 64


def test_a_camera_that_stands_aside_shows_the_floor_elsewhere():
    lines = []
    for look in looks(20):
        line = 32 + (FLOOR - 32) * look.zoom + look.shift[1]  # in a picture of 64 px a unit is a px
        if line < 63:
            grey = look.backdrop.mean((1, 2))
            assert np.argmax(np.abs(np.diff(grey))) + 1 == pytest.approx(line, abs=1)
            lines.append(line)
    assert np.ptp(lines) > 6


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_story_that_begins_late_is_the_same_story_later(name):
    for seed in range(4):
        soon, late = tell(name, seed, 16), tell(name, seed, 16, late=6.0)  # frames are 2 units of time apart
        for one, other in zip(soon.a + soon.b + soon.screens, late.a + late.b + late.screens, strict=True):
            if len(one.path) == 1:
                assert np.array_equal(one.path, other.path)
                continue
            assert np.allclose(other.path[3:], one.path[:-3])
            assert np.allclose(other.path[:3], one.path[0])


def test_half_of_all_clips_do_not_wait():
    soon, late = (render_possible(range(60), length=16, size=32, wait=wait) for wait in (0.0, 8.0))
    assert np.array_equal(soon[:, 0], late[:, 0])
    equal = (soon == late).all((1, 2, 3, 4))
    assert 20 <= equal.sum() <= 45  # 30 are expected, and some clips in which nothing ever happens


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: render_quadruple("permanense", 0), "unknown property `permanense`; did you mean `permanence`"),
        (lambda: render_quadruple("permanence", 0, scene="plane"), "unknown scene `plane`; did you mean `plain`"),
        (lambda: render_quadruple("permanence", 0, length=4), "`length` must be >= 12"),
        (lambda: render_novel([0], novelty="sound"), "`novelty` must be turns, new, light or camera; got sound"),
    ],
)
def test_what_does_not_exist_is_refused(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
