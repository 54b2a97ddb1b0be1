import torch
from torch import Tensor, nn

from openjepa.eval.health.conformance import check_world_model
from openjepa.methods.refine import RefineConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.nn.random import keyed_generator
from openjepa.studies.comparison.frozen_world import FrozenWorld, OwnDynamics


class Point(nn.Module):
    """A frame's first two channels of the first pixel are the position; two tokens of one number each."""

    def encode(self, frames: Tensor, proprio: Tensor | None = None) -> Tensor:
        return frames[..., :2, 0, 0].float().unsqueeze(-1)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        return z[:, -1:] + actions[:, z.shape[1] - 1 :].cumsum(1).unsqueeze(-1)


def world() -> tuple[FrozenWorld, Tensor, Tensor]:
    actions = 3 * torch.randn(40, 6, 2, generator=torch.Generator().manual_seed(0))
    latents = torch.cat([torch.zeros(40, 1, 2), actions.cumsum(1)], 1).unsqueeze(-1) + 100  # [E, T, N=2, D=1]
    shape = LatentPredictorConfig("mlp", 64)
    return FrozenWorld(Point(), latents, actions, shape, generator=keyed_generator(0)), latents, actions


def test_its_states_have_one_token_of_unit_variance():
    made, latents, _ = world()
    flat = made.flat(latents)
    assert flat.shape == (40, 7, 1, 2)
    torch.testing.assert_close(flat.flatten(0, 2).mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.flatten(0, 2).std(0), torch.ones(2), atol=1e-3, rtol=0)


def test_it_learns_the_dynamics_of_what_it_stands_on():
    made, latents, actions = world()
    before = (made.rollout(made.flat(latents)[:, :1], actions) - made.flat(latents)[:, 1:]).square().mean()
    made.learn(latents, actions, RefineConfig(steps=300, rollout=4, batch_size=64), generator=keyed_generator(1))
    after = (made.rollout(made.flat(latents)[:, :1], actions) - made.flat(latents)[:, 1:]).square().mean()
    assert after < 0.05 * before
    frames = torch.randint(90, 110, (3, 4, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    check_world_model(made.eval(), frames, actions[:3, :3])


def test_own_dynamics_are_those_of_the_model_in_the_scale_of_the_world():
    made, latents, actions = world()
    own = OwnDynamics(made).eval()
    torch.testing.assert_close(own.rollout(made.flat(latents)[:, :1], actions), made.flat(latents)[:, 1:])
    frames = torch.full((2, 1, 3, 8, 8), 100, dtype=torch.uint8)
    torch.testing.assert_close(own.encode(frames), made.encode(frames))
