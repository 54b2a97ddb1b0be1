import numpy as np
import pytest
import torch
from PIL import Image

from openjepa.errors import ConfigError, DataError
from openjepa.eval.probing.features import FeaturesConfig, pca_colors, run_features
from openjepa.eval.probing.frozen_encoder import FrozenEncoder


def patch_encoder():
    """Tokens are the mean colours of 8-pixel patches, rotated into six dimensions."""
    basis = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(0))).Q

    def network(x):
        tokens = torch.nn.functional.avg_pool2d(x, 8).flatten(2).mT
        return tokens @ basis.T

    return FrozenEncoder(network, False, 8)


def test_components_are_those_of_numpy():
    tokens = torch.randn(2, 4, 5, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    colors, explained = pca_colors(tokens)
    flat = tokens.reshape(-1, 8).double().numpy()
    flat = flat - flat.mean(0)
    _, values, axes = np.linalg.svd(flat, full_matrices=False)
    assert explained == pytest.approx((values[:3] ** 2).sum() / (values**2).sum())
    for i in range(3):
        score = flat @ axes[i]
        found = colors.reshape(-1, 3)[:, i].double().numpy()
        middle = (found > 0) & (found < 1)
        assert abs(np.corrcoef(score[middle], found[middle])[0, 1]) > 0.9999
    assert colors.min() == 0
    assert colors.max() == 1


def test_a_picture_of_two_halves_gets_two_colours(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = (250, 120, 30)
    Image.fromarray(picture).save(tmp_path / "x.png")
    report = run_features(patch_encoder(), FeaturesConfig(tmp_path / "x.png", size=64))
    assert report.output == tmp_path / "x_features.png"
    assert report.grid == (1, 8, 8)
    assert report.explained == pytest.approx(1.0)
    drawn = np.asarray(Image.open(report.output)).astype(int)
    assert drawn.shape == (64, 128, 3)
    assert np.abs(drawn[:, :64] - picture).max() == 0
    left, right = drawn[:, 64:90].reshape(-1, 3), drawn[:, 104:].reshape(-1, 3)
    assert np.ptp(left, 0).max() == 0
    assert np.ptp(right, 0).max() == 0
    assert abs(left[0] - right[0]).max() == 255
    assert "1x8x8 tokens" in report.text()


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_videos_become_videos(tmp_path, suffix):
    pytest.importorskip("av")
    from openjepa.data.video_file import VideoFile, write_video

    frames = np.zeros((12, 3, 32, 32), np.uint8)
    for t in range(12):
        frames[t, :, :, 2 * t : 2 * t + 8] = 200
    write_video(tmp_path / "v.mp4", frames)
    config = FeaturesConfig(tmp_path / "v.mp4", tmp_path / f"f{suffix}", size=32, num_frames=6)
    report = run_features(patch_encoder(), config)
    assert report.grid == (6, 4, 4)
    if suffix == ".gif":
        with Image.open(report.output) as picture:
            assert picture.n_frames == 6
    else:
        with VideoFile(report.output) as video:
            assert (video.info.num_frames, video.info.width, video.info.height) == (6, 64, 32)


def test_bad_input_is_one_line(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        run_features(patch_encoder(), FeaturesConfig(tmp_path / "x.png"))
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    with pytest.raises(ConfigError, match=r"`output` must end in .png, .gif or .mp4; got x.pdf"):
        run_features(patch_encoder(), FeaturesConfig(tmp_path / "x.png", tmp_path / "x.pdf", size=16))
