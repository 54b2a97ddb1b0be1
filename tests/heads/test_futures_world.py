import pytest
import torch

from openjepa.eval.health.conformance import PointWorld, check_branching_model, check_world_model
from openjepa.heads.futures import FuturesConfig
from openjepa.heads.futures_fitting import FuturesFitConfig
from openjepa.heads.futures_world import add_futures


def drunken_points(episodes=300, steps=5):
    """Pictures of a point [E, T, 2, 4, 4] that follows its action or, one time in four, runs against it."""
    draws = torch.Generator().manual_seed(0)
    actions = 2 + torch.rand(episodes, steps, 2, generator=draws)
    signs = torch.where(torch.rand(episodes, steps, 1, generator=draws) < 0.75, 1.0, -1.0)
    z = torch.cat([torch.zeros(episodes, 1, 2), (actions * signs / 4).cumsum(1)], 1)
    pixels = (z * 32 + 128).round().clamp(0, 255).to(torch.uint8)
    return pixels[..., None, None].expand(-1, -1, -1, 4, 4).contiguous(), actions


@pytest.mark.parametrize("context_len", [1, 2])
def test_a_world_model_without_futures_gets_them(context_len):
    frames, actions = drunken_points()
    plain = PointWorld()  # knows nothing of the drunkenness
    model = add_futures(
        plain,
        plain.encode(frames),
        actions,
        FuturesConfig(num_futures=2, hidden_dim=32),
        FuturesFitConfig(steps=400, lr=4e-3),
        generator=torch.Generator().manual_seed(0),
        context_len=context_len,
    )
    check_world_model(model, frames[:4], actions[:4], context_len=context_len)
    z = model.encode(frames[:4, :context_len])
    check_branching_model(model, z, actions[:4])
    push = torch.full((4, context_len, 2), 2.5)
    found = model.rollout_futures(z, push, num_futures=4, generator=torch.Generator().manual_seed(0))
    jump = found.z[:, :, 0, 0, 0] - z[:, -1:, 0, 0]  # [B, F]
    up = found.log_weights.exp().masked_fill(jump < 0, 0).sum(1)
    torch.testing.assert_close(up, torch.full((4,), 0.75), atol=0.08, rtol=0)
    torch.testing.assert_close(jump.abs()[found.log_weights > -2], torch.tensor(0.625).expand(8), atol=0.1, rtol=0)
