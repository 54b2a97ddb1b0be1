import numpy as np
import pytest
import torch

from openjepa.envs.shapes import SHAPES, ShapesConfig, ShapeSource, draw_clips
from openjepa.errors import ConfigError

PLAIN = ShapesConfig(size=48, num_frames=6, background="plain", noise=0.0, speed=(0.02, 0.08))


def object_mask(clips, index):
    """Where a frame differs from the colour of its border corners, [T, H, W]."""
    frames = clips.frames[index].astype(int)
    paint = np.rint(255 * clips.colors[index]).astype(int)
    return (abs(frames - paint[:, None, None]) <= 2).all(1)


def test_the_stated_position_is_the_centre_of_what_is_drawn():
    clips = draw_clips(PLAIN, np.arange(40))
    for i in range(40):
        mask = object_mask(clips, i)
        ys, xs = np.nonzero(mask[0])
        x, y = (xs.mean() + 0.5) / 48, (ys.mean() + 0.5) / 48
        # A triangle's extent is centred by its centroid too; pixels are 1 / 48 wide.
        assert abs(x - clips.positions[i, 0, 0]) < 0.02
        assert abs(y - clips.positions[i, 0, 1]) < 0.02


def test_positions_follow_the_velocity_except_at_a_bounce():
    clips = draw_clips(PLAIN, np.arange(200))
    step = np.diff(clips.positions, axis=1)
    straight = np.isclose(clips.velocities[:, 1:], clips.velocities[:, :-1]).all(2)
    np.testing.assert_allclose(step[straight], clips.velocities[:, :-1][straight], atol=1e-5)
    assert 0.5 < straight.mean() < 1  # most steps are straight, some bounce
    assert (clips.positions >= clips.radii[:, None, None] - 1e-6).all()
    assert (clips.positions <= 1 - clips.radii[:, None, None] + 1e-6).all()
    speed = np.linalg.norm(clips.velocities, axis=2)
    assert speed.min() >= 0.02 - 1e-6
    assert speed.max() <= 0.08 + 1e-6


def test_every_class_occurs_alike_and_looks_different():
    clips = draw_clips(ShapesConfig(size=16, num_frames=1, noise=0.0), np.arange(2000))
    counts = np.bincount(clips.labels, minlength=8)
    assert len(SHAPES) == 8
    assert abs(counts - 250).max() < 5 * np.sqrt(250)
    # The share of the square [-r, r] that each shape fills, from geometry.
    areas = {0: np.pi / 4, 1: 0.64, 3: np.pi / 4 * 0.75, 4: 0.51, 6: 0.28}
    large = draw_clips(
        ShapesConfig(size=64, num_frames=1, background="plain", noise=0.0, radius=(0.3, 0.3)), np.arange(80)
    )
    for kind, share in areas.items():
        pixels = [object_mask(large, i)[0].mean() / 0.36 for i in np.flatnonzero(large.labels == kind)]
        assert np.mean(pixels) == pytest.approx(share, abs=0.06)


def test_shapes_turn_as_far_as_they_may():
    options = {"size": 64, "num_frames": 1, "background": "plain", "noise": 0.0, "radius": (0.3, 0.3)}
    upright = draw_clips(ShapesConfig(**options, rotation=0.0), np.arange(200))
    quarter = draw_clips(ShapesConfig(**options, rotation=0.25), np.arange(200))
    heights = {}
    for name, clips in (("upright", upright), ("quarter", quarter)):
        masks = [object_mask(clips, i)[0] for i in np.flatnonzero(clips.labels == SHAPES.index("bar"))]
        heights[name] = np.array([mask.any(1).sum() for mask in masks])
    # A bar is 2 r long and 0.56 r high: 38.4 and 10.8 pixels here, and up to 38.4 high when it has turned.
    np.testing.assert_allclose(heights["upright"], 10.8, atol=2)
    assert heights["quarter"].min() < 20
    assert heights["quarter"].max() > 33


def test_a_number_names_one_clip_for_good():
    both = draw_clips(PLAIN, np.array([3, 900]))
    alone = draw_clips(PLAIN, np.array([900]))
    assert np.array_equal(both.frames[1], alone.frames[0])
    other = draw_clips(ShapesConfig(**{**PLAIN.__dict__, "seed": 1}), np.array([900]))
    assert not np.array_equal(other.frames, alone.frames)


@pytest.mark.parametrize("options", [{}, {"num_items": 40}])
def test_ranks_share_a_batch(options):
    source = ShapeSource(ShapesConfig(size=16, num_frames=2, batch_size=8, **options))
    whole = source.batch(5)
    halves = [source.batch(5, rank=r, world_size=2) for r in range(2)]
    assert torch.equal(whole.clips, torch.cat([h.clips for h in halves]))
    assert torch.equal(whole.labels, torch.cat([h.labels for h in halves]))
    assert not torch.equal(whole.clips, source.batch(6).clips)
    assert whole.clips.shape == (8, 2, 3, 16, 16)
    assert whole.clips.dtype == torch.uint8


def test_a_set_of_items_is_drawn_once():
    config = ShapesConfig(size=16, num_frames=2, batch_size=200, num_items=70, noise=0.0)
    source = ShapeSource(config)
    every = draw_clips(config, np.arange(70))
    assert np.array_equal(source.kept.frames, every.frames)
    batch = source.clips(3)
    known = {frames.tobytes(): row for row, frames in enumerate(every.frames)}
    rows = [known[frames.tobytes()] for frames in batch.frames]
    assert np.array_equal(batch.positions, every.positions[rows])
    assert len(set(rows)) > 50


def test_pictures_are_first_frames_and_held_out_clips_are_others():
    config = ShapesConfig(size=16, num_frames=3, batch_size=4, noise=0.0, distractors=2)
    clips, pictures = ShapeSource(config).batch(0), ShapeSource(config, "pictures").batch(0)
    assert torch.equal(clips.clips[:, 0], pictures.images)
    held_out = ShapeSource(ShapesConfig(**{**config.__dict__, "held_out": True})).batch(0)
    assert not torch.equal(held_out.clips, clips.clips)


@pytest.mark.parametrize("background", ["plain", "gradient", "texture"])
def test_backgrounds_do_not_hide_the_object(background):
    config = ShapesConfig(size=32, num_frames=1, background=background, noise=0.0)
    clips = draw_clips(config, np.arange(100))
    for i in range(100):
        corner = clips.frames[i, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(float)
        paint = 255 * clips.colors[i][:, None]
        assert (abs(corner - paint).max(0) > 30).mean() >= 0.5


def test_options_are_checked():
    with pytest.raises(ConfigError, match="`num_classes` must be 2 to 8; got 9"):
        ShapesConfig(num_classes=9)
    with pytest.raises(ConfigError, match=r"`rotation` must lie in \[0, 1\]; got 1.5"):
        ShapesConfig(rotation=1.5)
    with pytest.raises(ConfigError, match="`batch_size` must be a multiple of the 3 processes"):
        ShapeSource(ShapesConfig(batch_size=8)).batch(0, rank=0, world_size=3)
