"""Silhouettes: what has changed, whatever its colour, under a light that changes and a camera that drifts."""

import numpy as np
import pytest
import torch

from openjepa.models.silhouettes import CONTRAST, NOISE, camera_drift, in_view, silhouettes


def scene(steps=4):
    """A grey wall with a darker half, before which a red square appears in frame 1 and moves."""
    clip = torch.full((1, steps, 3, 16, 16), 160, dtype=torch.uint8)
    clip[..., 8:] = 100
    for t in range(1, steps):
        clip[0, t, :, 4:7, t : t + 3] = torch.tensor([200, 20, 40], dtype=torch.uint8)[:, None, None]
    return clip


def strength(levels):
    return 255 * (1 - torch.exp(torch.tensor(-(levels - NOISE) / CONTRAST)))


def wall(drift, *, steps=6, size=48, body=True):
    """A patterned wall seen by a camera that drifts by [across, down] px a frame, and a disc that falls before it.

    The pattern is a sum of waves and so known between pixels: where the camera has moved by d, x shows what x + d was.
    """
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    frames = []
    for t in range(steps):
        across, down = x + drift[0] * t, y + drift[1] * t
        picture = 130 + 30 * np.sin(across / 3) + 25 * np.sin(down / 4 + 1) + 20 * np.sin((across - down) / 5)
        if body and t:
            picture = np.where((across - 20) ** 2 + (down - 6 - 4 * t) ** 2 < 16, 10, picture)
        frames.append(picture)
    grey = torch.from_numpy(np.stack(frames)).round().to(torch.uint8)
    return grey[None, :, None].expand(-1, -1, 3, -1, -1).contiguous()


def test_a_silhouette_is_what_has_changed():
    found = silhouettes(scene())
    assert found.shape == (1, 4, 3, 16, 16)
    assert found[0, 0].abs().max() == 0
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[4:7, 2:5] = False
    assert found[0, 2, :, outside].abs().max() == 0
    assert torch.allclose(found[0, 2, :, 5, 3], strength(140.0).expand(3))  # |20 - 160|: green differs most
    weaker = silhouettes(scene(), torch.tensor([0.1]))
    assert torch.allclose(weaker[0, 2, 0, 5, 3], strength(14.0))


def test_a_change_of_the_light_everywhere_is_no_change():
    clip = scene().float()
    clip[:, 2:] *= torch.tensor([0.9, 0.7, 0.5])[:, None, None]
    dim = silhouettes(clip.round().to(torch.uint8))
    where = torch.ones(16, 16, dtype=torch.bool)
    where[4:7, 2:5] = False
    assert dim[0, 2, :, where].max() == 0
    assert dim[0, 2, 0, 5, 3] == pytest.approx(float(silhouettes(scene())[0, 2, 0, 5, 3]), abs=1)


@pytest.mark.parametrize("light", [0.5, 0.1, 0.0])
def test_a_light_that_almost_goes_out_shows_nothing_new(light):
    clip = scene(8).flip(1).float()  # a square that leaves; in the last frames none is there
    clip[:, 4:] *= light
    dim = silhouettes(clip.round().to(torch.uint8), camera_moves=False)
    full = silhouettes(scene(8).flip(1), camera_moves=False)
    assert torch.all(dim[:, 4:] <= full[:, 4:] + 30)  # of 255: a grey level of rounding on what did change


@pytest.mark.parametrize("step", [(0.0, 0.0), (0.7, -0.4), (-1.2, 0.9), (0.3, 0.0)])
def test_the_drift_of_a_camera_is_found_behind_what_moves(step):
    clip = wall(step).float()
    found = camera_drift(clip, clip[:, :1])[0]
    t = torch.arange(6.0)[:, None]
    # What x showed at first is now where the camera has moved less far: at x - t * step.
    true = -t * torch.tensor(step)
    shows = true.abs().amax(1) >= 1  # a camera that moved by less may count as still: no silhouette tells
    assert torch.allclose(found[shows], true[shows], atol=0.12)
    assert torch.all(torch.isclose(found, true, atol=0.12) | (found == 0))
    if step == (0.0, 0.0):
        assert found.abs().max() == 0


def test_a_wall_that_drifts_by_leaves_the_body_alone():
    still, drifting = silhouettes(wall((0.0, 0.0)))[:, :, 0], silhouettes(wall((0.7, -0.4)))[:, :, 0]
    seen = in_view(-torch.arange(6.0)[:, None] * torch.tensor([0.7, -0.4]), 48, 48)
    body = still > 200
    assert float((drifting[0] * seen)[~body[0]].mean()) < 2  # of 255; the disc's edge lies between pixels
    assert float(drifting[0][body[0]].mean()) > 200
    raw = silhouettes(wall((0.7, -0.4)), camera_moves=False)[:, :, 0]
    assert float(raw[0, 3:].mean()) > 40  # without steadying, the wall is everywhere


def test_frames_are_judged_one_by_one():
    clip = wall((0.7, -0.4))
    parts = [silhouettes(torch.cat([clip[:, :1], clip[:, i : i + 1]], 1))[:, 1:] for i in range(1, 6)]
    assert torch.allclose(torch.cat(parts, 1), silhouettes(clip)[:, 1:], atol=1e-3)


def test_what_lies_beyond_the_border_is_not_in_view():
    seen = in_view(torch.tensor([[2.0, 0.0], [0.0, -1.0]]), 4, 5)
    assert seen[0].tolist() == [[1, 1, 1, 0, 0]] * 4
    assert seen[1].tolist() == [[0] * 5] + [[1] * 5] * 3
