import re

import pytest
import torch
import torch.nn.functional as F

from openjepa.data.transforms import (
    VIDEO_CROP,
    AugmentedSource,
    CropConfig,
    crop_resize,
    draw_boxes,
    normalize,
    random_resized_crop,
)
from openjepa.errors import ConfigError
from openjepa.protocols import ImageBatch, VideoBatch


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_crop_equals_slicing_where_nothing_is_resized():
    x = torch.randint(0, 256, (2, 3, 12, 16), dtype=torch.uint8)
    out = crop_resize(x, boxes([2, 3, 8, 8], [4, 0, 8, 8]), 8)
    assert torch.equal(out[0], x[0, :, 2:10, 3:11])
    assert torch.equal(out[1], x[1, :, 4:12, 0:8])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("side", [5, 13, 40])
def test_bilinear_equals_torch_on_the_cut_out(antialias, side):
    x = torch.rand(1, 3, 30, 40)
    ours = crop_resize(x, boxes([3, 5, 20, 24]), side, antialias=antialias)
    theirs = F.interpolate(x[:, :, 3:23, 5:29], (side, side), mode="bilinear", antialias=antialias)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", [7, 31])
def test_bicubic_equals_torch_on_the_cut_out(side):
    x = torch.rand(1, 3, 30, 30)
    ours = crop_resize(x, boxes([4, 2, 20, 25]), side, filter="bicubic")
    theirs = F.interpolate(x[:, :, 4:24, 2:27], (side, side), mode="bicubic", antialias=True)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_frames_of_a_clip_share_crop_and_flip():
    clip = torch.randint(0, 256, (3, 5, 3, 20, 20), dtype=torch.uint8)
    box, flip = boxes([0, 0, 20, 20], [5, 5, 10, 10], [1, 2, 15, 12]), torch.tensor([True, False, True])
    out = crop_resize(clip, box, 10, flip)
    for t in range(5):
        torch.testing.assert_close(out[:, t], crop_resize(clip[:, t], box, 10, flip), atol=0, rtol=0)
    unflipped = crop_resize(clip, box, 10)
    assert torch.equal(out[0], unflipped[0].flip(-1))
    assert torch.equal(out[1], unflipped[1])


def test_boxes_obey_their_ranges():
    generator = torch.Generator().manual_seed(0)
    found, flips = draw_boxes(VIDEO_CROP, 4000, (128, 128), generator=generator)
    top, left, height, width = found.T
    assert (top >= 0).all()
    assert (top + height <= 128).all()
    assert (left + width <= 128).all()
    area, aspect = height * width / 128**2, width / height
    assert area.min() > 0.29
    assert area.max() <= 1
    assert aspect.min() > 0.73
    assert aspect.max() < 1.39
    assert abs(flips.float().mean() - 0.5) < 0.03
    # Both ends of the offset are reached, and alike.
    small = (height < 120) & (width < 120)
    slack = ((left + width)[small] + left[small]).mean()  # 128 in the mean for a symmetric draw
    assert abs(slack - 128) < 2


def test_a_shape_that_no_crop_fits_takes_the_centre():
    config = CropConfig(scale=(1.0, 1.0), aspect=(1.0, 1.0))
    found, _ = draw_boxes(config, 2, (10, 40), generator=torch.Generator().manual_seed(0))
    assert found.tolist() == [[0, 15, 10, 10]] * 2


def test_normalize_by_hand():
    x = torch.tensor([[[255]], [[0]], [[51]]], dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(normalize(x).flatten(), torch.tensor(expected))


class Ramp:
    def batch(self, step, *, rank=0, world_size=1):
        images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8) + step
        return ImageBatch(images, torch.tensor([0, 1]))


def test_augmentation_is_a_function_of_the_step():
    def augment(x, generator):
        return random_resized_crop(x, 4, CropConfig(flip=0.5), generator=generator)

    source = AugmentedSource(Ramp(), augment, seed=3)
    first, again = (source.batch(7).to("cpu") for _ in range(2))
    assert first.images.shape == (2, 3, 4, 4)
    assert first.images.dtype == torch.uint8
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, torch.tensor([0, 1]))
    other_seed = AugmentedSource(Ramp(), augment, seed=4).batch(7).to("cpu")
    assert not torch.equal(first.images, other_seed.images)


def test_clips_stay_clips():
    class Clips:
        def batch(self, step, *, rank=0, world_size=1):
            return VideoBatch(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8))

    assert isinstance(AugmentedSource(Clips(), lambda x, g: x).batch(0).to("cpu"), VideoBatch)


def test_options_are_checked():
    with pytest.raises(ConfigError, match=re.escape("`scale` must be two ascending numbers in (0, 1]")):
        CropConfig(scale=(0.5, 1.5))
    with pytest.raises(ConfigError, match="`antialias` must be on for the bicubic filter"):
        crop_resize(torch.zeros(1, 3, 4, 4), boxes([0, 0, 4, 4]), 2, antialias=False, filter="bicubic")
