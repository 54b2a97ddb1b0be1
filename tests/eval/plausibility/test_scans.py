"""A clip in parts is judged as the clip in one piece, and needs no more memory than its parts do."""

import numpy as np
import pytest
import torch

from openjepa.data.clips import PART, Clip, read_clip
from openjepa.errors import DataError
from openjepa.eval.plausibility.conformal import Calibration
from openjepa.eval.plausibility.energy import CausalEnergy, ChangeEnergy, Judge, copy_last, energy_model, nan_mean
from openjepa.eval.plausibility.surprise import clip_scores, judge, tint_light
from openjepa.methods.causal_jepa import CausalJEPA, CausalJEPAConfig
from openjepa.methods.vjepa2 import VJEPA2, VJEPA2Config
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.vit import ViTConfig

ENCODER = ViTConfig(img_size=(16, 16), patch_size=8, embed_dim=24, depth=1, num_heads=2, num_frames=8, tubelet_size=2)


def causal():
    sizes = {
        "embed_dim": 3,
        "trait_dim": 1,
        "predictor_dim": 12,
        "depth": 1,
        "num_heads": 2,
        "horizons": (1, 2, 4),
        "context_len": 7,
    }
    return CausalEnergy(
        CausalJEPA(CausalJEPAConfig(FrameEncoderConfig("keypoints", 16, 4, 8, 2), **sizes)), batch_size=3
    )


def masked():
    return energy_model(VJEPA2(VJEPA2Config(encoder=ENCODER, predictor_dim=12, predictor_depth=1, predictor_heads=1)))


class Whole(Judge):
    """Writes `energies` only."""

    name, window, size, rows = "whole", 2, None, ("1 ahead",)

    def energies(self, clips):
        return np.abs(np.diff(clips.double().mean((2, 3, 4)).numpy(), axis=1))[:, None]


JUDGES = {
    "causal": causal,
    "masked": masked,
    "copy of the causal": lambda: copy_last(causal()),
    "copy of the masked": lambda: copy_last(masked()),
    "pixels": ChangeEnergy,
    "whole": Whole,
}


def clips(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("length", [8, 9, 23, 24])
@pytest.mark.parametrize("kind", JUDGES)
def test_parts_cut_anywhere_give_the_energies_of_the_whole(kind, length):
    model, video = JUDGES[kind](), clips(2, length, 3, 16, 16)
    whole = model.energies(video)
    for parts in ([1] * length, [5, 3, length - 8], [length - 1, 1]):
        scan = model.scan(length)
        found = np.concatenate([scan.add(part) for part in video.split([p for p in parts if p], 1)], -1)
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)  # NaN in the same places


def test_a_long_clip_by_windows_written_out():
    model, video = causal(), clips(1, 40, 3, 16, 16)
    with torch.no_grad():
        z = model.method.encode(video)
        sums = [[] for _ in range(40)]
        for start in [*range(0, 34, 2), 33]:
            energies = model.method.surprise(z[:, start : start + 7])[0, :, 1:].numpy()  # horizons 2 and 4 judge
            for t in range(3 if start else 0, 7):
                sums[start + t].append(energies[t])
    expected = np.stack([nan_mean(np.stack(found), 0) for found in sums])[2:].T
    np.testing.assert_allclose(model.energies(video)[0], expected, rtol=1e-5)


class Counted(Clip):
    """Notes how many frames are handed over at once."""

    most = 0

    def __iter__(self):
        for part in super().__iter__():
            self.most = max(self.most, len(part))
            yield part


@pytest.mark.parametrize("make", [causal, masked])
def test_what_is_kept_does_not_grow_with_the_length(make):
    """After each part a scan holds as much as after any other: no list of frames, latents or energies."""

    def held(value):
        if isinstance(value, (torch.Tensor, np.ndarray)):
            return value.nbytes if isinstance(value, np.ndarray) else value.numel() * value.element_size()
        return sum(held(part) for part in vars(value).values()) if type(value).__module__.endswith("scans") else 0

    scan, sizes = make().scan(400), []
    for part in clips(1, 400, 3, 16, 16).split(20, 1):
        scan.add(part)
        sizes.append(held(scan))
    assert max(sizes) <= 2 * sizes[0]
    assert sizes[0] < 20 * 3 * 16 * 16


def test_a_file_is_judged_in_parts_as_in_memory(tmp_path):
    video = clips(PART + 20, 3, 16, 16).numpy()
    np.save(tmp_path / "long.npy", video)
    model, clip = causal(), Counted(tmp_path / "long.npy", size=16)
    controls = {"pixel difference": (50.0, 85.3), "copy last frame": (0.0, 9.0)}
    nets = [model.untrained(1)]
    scores = {"model": 0.9, "net": 0.8}
    calibration = Calibration((scores["model"], 99.0), {}, controls, ((scores["net"], 99.0),))
    found = judge(model, clip, calibration, level=0.4, untrained=nets, keep=(0, PART, PART + 1, len(video) - 1))
    assert clip.most == PART
    whole = model.energies(torch.from_numpy(video)[None])[0]
    np.testing.assert_allclose(list(found.rows.values()), whole, rtol=1e-5, atol=1e-6)
    assert found.score == pytest.approx(np.nanmax(nan_mean(whole, 0)), abs=1e-6)
    for name, control in (("pixel difference", ChangeEnergy()), ("copy last frame", copy_last(model))):
        highest = clip_scores(control, video[None])[0]
        assert found.controls[name] == (1 + sum(s >= highest for s in controls[name])) / 3
    assert found.untrained == ((1 + sum(s >= clip_scores(nets[0], video[None])[0] for s in (0.8, 99.0))) / 3,)
    tinted = clip_scores(model, tint_light(video[None]))[0]
    assert found.tinted == (1 + sum(s >= tinted for s in (0.9, 99.0))) / 3
    assert all(np.array_equal(frame, video[number]) for number, frame in found.shown.items())
    assert sorted(found.shown) == [0, PART, PART + 1, len(video) - 1]


@pytest.mark.parametrize("step", [1, 3])
def test_parts_of_a_video_are_its_frames(tmp_path, step):
    pytest.importorskip("av")
    from openjepa.data.video_file import VideoFile, write_video

    grey = np.arange(PART + 30, dtype=np.uint8)[:, None, None, None]
    write_video(tmp_path / "a.mp4", np.broadcast_to(grey, (PART + 30, 3, 32, 32)))
    with VideoFile(tmp_path / "a.mp4") as video:
        frames = np.stack(list(video.frames(16)))[::step]
    clip = Counted(tmp_path / "a.mp4", size=16, frame_step=step)
    assert len(clip) == len(frames)
    for _ in range(2):  # from the start each time
        assert np.array_equal(np.concatenate(list(clip)), frames)
    assert clip.most == min(PART, len(frames))
    assert np.array_equal(read_clip(tmp_path / "a.mp4", size=16, frame_step=step), frames)


def test_a_clip_that_ends_before_its_length_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", clips(9, 3, 8, 8).numpy())
    clip = Clip(tmp_path / "a.npy")
    clip._length = 11
    with pytest.raises(DataError, match="must show its 11 frames; it shows"):
        list(clip)
