import math

import pytest
import torch

from openjepa.eval.health.collapse import (
    covariance_spectrum,
    effective_rank,
    encode_episodes,
    flatten_tokens,
    latent_diagnostics,
    measure,
    moving_state_ratio,
    one_step_prediction,
    participation_ratio,
    slowness,
    temporal_variance_ratio,
    untrained_twin,
)
from openjepa.eval.probing.probes import ProbeConfig
from openjepa.protocols import TrajectoryBatch

QUICK = ProbeConfig(mlp_steps=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Line(torch.nn.Module):
    """A world on a line: the picture's first pixel is the position, an action is added to it."""

    config = None

    def __init__(self, config=None, gain=1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def encode(self, frames, proprio=None):
        return (frames[:, :, 0, 0, 0].float() * self.gain)[..., None, None]  # [B, T, 1, 1]

    def rollout(self, z, actions):
        steps = actions[:, z.shape[1] - 1 :].cumsum(1)  # [B, H, 1]
        return z[:, -1:] + self.gain * steps[..., None]


def line_episodes(episodes=8, steps=6):
    actions = torch.randint(-3, 4, (episodes, steps, 1), generator=generator()).float()
    start = torch.randint(50, 200, (episodes, 1), generator=generator(1)).float()
    x = torch.cat([start, start + actions[..., 0].cumsum(1)], 1)  # [E, T]
    frames = x.to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 3, 4, 4).contiguous()
    return TrajectoryBatch(frames, actions, states=x[..., None])


def test_ranks_by_hand():
    spectrum = torch.tensor([4.0, 4.0, 0.0])
    assert participation_ratio(spectrum) == pytest.approx(2)
    assert effective_rank(spectrum) == pytest.approx(2)
    assert participation_ratio(torch.tensor([9.0, 1.0])) == pytest.approx(100 / 82)
    p = 3 / 4  # singular values 3 and 1
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert effective_rank(torch.tensor([9.0, 1.0])) == pytest.approx(math.exp(entropy))
    assert participation_ratio(torch.zeros(4)) == 1


def test_spectrum_is_that_of_the_covariance():
    rows = torch.randn(1000, 4, generator=generator()) * torch.tensor([3.0, 2.0, 1.0, 0.0]) + 7
    expected = torch.linalg.eigvalsh(torch.cov(rows.double().T, correction=0)).flip(0)
    torch.testing.assert_close(covariance_spectrum(rows), expected, atol=1e-8, rtol=1e-6)


def test_temporal_variance_ratio_and_slowness_by_hand():
    # Two episodes with means +-2 and swings of +-1: within 1, between 4.
    swing = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    z = torch.stack([2 + swing, -2 + swing])[..., None]
    assert temporal_variance_ratio(z) == pytest.approx(1 / 5)
    assert slowness(z) == pytest.approx(4 / (2 * 5))
    constant = torch.tensor([2.0, -2.0]).view(2, 1, 1).expand(2, 4, 1)
    assert temporal_variance_ratio(constant) == 0
    assert slowness(constant) == 0
    assert slowness(torch.randn(50, 100, 3, generator=generator())) == pytest.approx(1, abs=0.05)


def test_state_ratio_counts_only_what_moves():
    moving = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])  # all variance within
    layout = torch.tensor([[5.0, 5.0], [9.0, 9.0]])  # none
    assert moving_state_ratio(torch.stack([moving, layout], -1)) == pytest.approx(1)
    assert moving_state_ratio(layout[..., None]) is None


def test_a_perfect_model_of_the_line():
    batch = line_episodes()
    found = measure(Line(), batch, untrained=Line(gain=0.0), probes=QUICK)
    assert found.prediction.copy_ratio == pytest.approx(0, abs=1e-9)
    assert found.prediction.permutation_ratio > 1e6
    assert found.prediction.action_sensitivity > 0.5
    assert found.idm_r2 == pytest.approx(1, abs=1e-3)
    assert found.random_idm_r2 < 0.01
    assert found.probe.linear_within[0] == pytest.approx(1, abs=1e-3)
    assert found.random_std_mean == 0
    assert found.state_temporal_variance_ratio == pytest.approx(found.temporal_variance_ratio)


def test_a_model_that_copies():
    class Copy(Line):
        def rollout(self, z, actions):
            return z[:, -1:].expand(-1, actions.shape[1] - z.shape[1] + 1, -1, -1)

    found = measure(Copy(), line_episodes(), probes=QUICK).prediction
    assert (found.copy_ratio, found.permutation_ratio, found.action_sensitivity) == (1, 1, 0)


def test_compounding_by_hand():
    class Drift(Line):  # one too far in every step: squared error k^2 after k steps
        def rollout(self, z, actions):
            path = super().rollout(z, actions)
            return path + torch.arange(1, path.shape[1] + 1).view(1, -1, 1, 1)

    batch = line_episodes(steps=5)
    model = Drift()
    z = encode_episodes(model, batch)
    assert one_step_prediction(model, z, batch.actions).compounding == pytest.approx(25)


def test_images_without_actions_have_what_can_be_known():
    found = latent_diagnostics(torch.randn(100, 1, 8, generator=generator()))
    assert found.std_mean == pytest.approx(1, abs=0.1)
    assert found.participation_ratio > 6
    assert (found.temporal_variance_ratio, found.idm_r2, found.probe, found.prediction) == (None,) * 4


def test_measuring_leaves_mode_and_random_state_alone():
    model = Line().train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    measure(model, line_episodes(), untrained=untrained_twin(model), probes=QUICK)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_wide_latents_are_averaged_over_tokens():
    z = torch.randn(2, 3, 4, 5, generator=generator())
    assert torch.equal(flatten_tokens(z), z.flatten(2))
    wide = torch.randn(2, 3, 64, 32, generator=generator())
    assert torch.equal(flatten_tokens(wide), wide.mean(2))


def test_diagnostics_are_plain_values_for_files_and_curves():
    import json

    found = measure(Line(), line_episodes(), untrained=Line(gain=0.0), state_names=("x",), probes=QUICK)
    assert json.loads(json.dumps(found.as_json()))["state_names"] == ["x"]
    curves = found.metrics()
    assert curves["latent_std"] == found.std_mean
    assert curves["probe_r2"] == pytest.approx(1, abs=1e-3)
    assert all(isinstance(value, float) for value in curves.values())
