import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig

SMALL = {"embed_dim": 24, "predictor_dim": 32, "depth": 2, "num_heads": 2, "native_rows": 3}


def make(**options):
    config = PoseActionPredictorConfig(**{**SMALL, **options})
    return PoseActionPredictor(config, generator=torch.Generator().manual_seed(0)).eval()


def test_published_parameter_count():
    with torch.device("meta"):
        predictor = PoseActionPredictor(
            PoseActionPredictorConfig(embed_dim=1408, predictor_dim=1024, depth=24, num_heads=16)
        )
    assert sum(p.numel() for p in predictor.parameters()) == 305_220_992


def test_a_frame_never_sees_the_future():
    predictor = make()
    z, actions, poses = torch.randn(2, 4, 9, 24), torch.randn(2, 4, 7), torch.randn(2, 4, 7)
    before = predictor(z, actions, poses)
    for changed in (z, actions, poses):
        keep = changed.clone()
        changed[:, 2] += 1.0
        after = predictor(z, actions, poses)
        torch.testing.assert_close(after[:, :2], before[:, :2], atol=1e-6, rtol=1e-6)
        assert (after[:, 2:] - before[:, 2:]).abs().max() > 1e-4
        changed.copy_(keep)
    torch.testing.assert_close(predictor(z[:, :2], actions[:, :2], poses[:, :2]), before[:, :2], atol=1e-5, rtol=1e-5)


def test_a_rollout_of_one_step_is_a_prediction():
    predictor = make()
    z, actions, poses = torch.randn(1, 2, 9, 24), torch.randn(1, 4, 7), torch.randn(1, 4, 7)
    rolled = predictor.rollout(z, actions, poses)
    assert rolled.shape == (1, 3, 9, 24)
    one = torch.nn.functional.layer_norm(predictor(z, actions[:, :2], poses[:, :2])[:, -1], (24,))
    torch.testing.assert_close(rolled[:, 0], one)


def test_cameras_are_wanted_or_not():
    z, actions, poses = torch.randn(1, 1, 9, 24), torch.randn(1, 1, 7), torch.randn(1, 1, 7)
    assert make(use_camera=True)(z, actions, poses, torch.randn(1, 1, 6)).shape == z.shape
    with pytest.raises(ConfigError, match="`cameras` must be given exactly where"):
        make(use_camera=True)(z, actions, poses)
    with pytest.raises(ShapeError, match="no square frame"):
        make()(torch.randn(1, 1, 8, 24), actions, poses)
    with pytest.raises(ShapeError, match="`actions`"):
        make()(z, torch.randn(1, 2, 7), poses)
