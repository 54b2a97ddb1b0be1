import re

import pytest
import torch

from openjepa.data.crops import VIDEO_CROP, CropConfig, draw_boxes
from openjepa.errors import ConfigError


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


def test_options_are_checked():
    with pytest.raises(ConfigError, match=re.escape("`scale` must be two ascending numbers in (0, 1]")):
        CropConfig(scale=(0.5, 1.5))
