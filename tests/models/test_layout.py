"""Weights laid out for acting: the same numbers, names and files, in another order of memory."""

import copy

import pytest
import torch
from torch import nn

from openjepa.models.frame_encoder import FrameEncoder, FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig, build_predictor
from openjepa.models.layout import lay_out_for_acting


@pytest.mark.parametrize("kind", ["conv", "two-conv", "keypoints", "split", "context", "attn"])
def test_encoders_see_the_same(kind: str) -> None:
    torch.manual_seed(0)
    scene_dim = 2 if kind in ("split", "two-conv") else 0
    encoder = FrameEncoder(FrameEncoderConfig(kind=kind, image_size=32, patch_size=8), 6, scene_dim).eval()  # type: ignore[arg-type]
    before, frames = copy.deepcopy(encoder), torch.randint(255, (3, 3, 32, 32), dtype=torch.uint8)
    lay_out_for_acting(encoder)
    changed = [name for name, value in encoder.named_parameters() if not value.is_contiguous()]
    assert changed
    for name, value in before.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    with torch.no_grad():
        torch.testing.assert_close(encoder(frames), before(frames), rtol=1e-5, atol=1e-5)


def test_predictors_foretell_the_same_and_can_be_trained_on() -> None:
    torch.manual_seed(0)
    predictor = build_predictor(LatentPredictorConfig(predictor_dim=32), 6, 2)
    nn.init.normal_(predictor.change[-1].weight)  # type: ignore[index, union-attr]
    before, z, actions = copy.deepcopy(predictor), torch.randn(5, 4, 6), torch.randn(5, 4, 2)
    lay_out_for_acting(predictor, None, len)  # what is no module is left alone
    torch.testing.assert_close(predictor(z, actions), before(z, actions), rtol=1e-5, atol=1e-5)
    rolled = [one.rollout(z[:, 0], actions) for one in (predictor, before)]  # type: ignore[operator]
    torch.testing.assert_close(*rolled, rtol=1e-5, atol=1e-5)
    for one in (predictor, before):
        optimizer = torch.optim.Adam(one.parameters(), 1e-3)
        one(z, actions).square().sum().backward()
        optimizer.step()
    for ours, theirs in zip(predictor.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
