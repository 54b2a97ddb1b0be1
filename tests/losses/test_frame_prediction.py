"""The loss of V-JEPA 2-AC beside a straight one; `openjepa verify` faces it with recorded results."""

import pytest
import torch
import torch.nn.functional as F

from openjepa.errors import ConfigError
from openjepa.losses.frame_prediction import frame_prediction_loss
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig


def straight(predictor, z, actions, poses, steps):
    """Equations (2) to (4) of arXiv 2506.09985, a frame at a time."""
    forced = rolled = 0.0
    for t in range(1, z.shape[1]):
        found = predictor(z[:, :t], actions[:, :t], poses[:, :t])[:, -1]
        forced = forced + (F.layer_norm(found, found.shape[-1:]) - z[:, t]).abs().mean() / (z.shape[1] - 1)
    own = z[:, :1]
    for t in range(1, steps + 1):
        found = predictor(own, actions[:, :t], poses[:, :t])[:, -1:]
        own = torch.cat((own, F.layer_norm(found, found.shape[-1:])), 1)
        rolled = rolled + (own[:, -1] - z[:, t]).abs().mean() / steps
    return forced + rolled, forced, rolled


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_loss_is_the_straight_one_with_its_gradients(steps):
    config = PoseActionPredictorConfig(embed_dim=12, predictor_dim=24, depth=2, num_heads=2, native_rows=2)
    predictor = PoseActionPredictor(config, generator=torch.Generator().manual_seed(1))
    z = F.layer_norm(torch.randn(3, 5, 4, 12), (12,))
    actions, poses = torch.randn(3, 4, 7), torch.randn(3, 5, 7)
    found = frame_prediction_loss(predictor, z, actions, poses, rollout_steps=steps)
    wanted = straight(predictor, z, actions, poses, steps)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    weight = predictor.blocks[0].mlp.fc1.weight
    gradients = [torch.autograd.grad(loss, weight)[0] for loss in (found.loss, wanted[0])]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_a_rollout_longer_than_the_clip_is_refused():
    with pytest.raises(ConfigError, match="`rollout_steps` must be from 1 to 2, the actions of a clip; got 3"):
        frame_prediction_loss(
            None, torch.zeros(1, 3, 1, 2), torch.zeros(1, 2, 7), torch.zeros(1, 3, 7), rollout_steps=3
        )
