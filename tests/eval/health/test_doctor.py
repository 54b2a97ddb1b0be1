from dataclasses import replace

import pytest
import torch

from openjepa.eval.health.collapse import Prediction, latent_diagnostics
from openjepa.eval.health.doctor import THRESHOLDS, diagnose, intrinsic_dimension
from openjepa.eval.probing.probes import ProbeConfig, ProbeScores

E, T = 48, 30
GOOD = Prediction(copy_ratio=0.3, permutation_ratio=5.0, action_sensitivity=1.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def walk():
    """A disc on the plane, in rooms that differ between episodes: actions [E, T - 1, 2], states [E, T, 4]."""
    actions = torch.randn(E, T - 1, 2, generator=generator()) * 0.5
    start = torch.randn(E, 1, 2, generator=generator(1)) * 4
    place = torch.cat([start, start + actions.cumsum(1)], 1)
    layout = torch.randn(E, 1, 2, generator=generator(2)).expand(E, T, 2)
    return actions, torch.cat([place, layout], -1)


def lift(x, width=16, seed=3):
    """A fixed random linear map into a wide latent of standard deviation 1."""
    z = x @ torch.randn(x.shape[-1], width, generator=generator(seed))
    return (z - z.mean((0, 1))) / z.std((0, 1)).clamp_min(1e-9)


def verdict(z, prediction=GOOD, **known):
    actions, states = walk()
    known = {"actions": actions, "states": states, **known}
    return diagnose(latent_diagnostics(z, prediction=prediction, probes=ProbeConfig(mlp_steps=60), **known))


def test_a_good_latent_of_a_plane_is_healthy_although_its_rank_is_two():
    _, states = walk()
    found = verdict(lift(states[..., :2]))
    assert found.kind == "healthy"
    assert found.healthy
    assert not found.remedies
    assert found.text().startswith("healthy: no sign of collapse")


def test_position_and_layout_together_are_healthy():
    _, states = walk()
    assert verdict(lift(states)).healthy


def test_a_small_scale_alone_is_not_collapse():
    _, states = walk()
    assert verdict(0.02 * lift(states[..., :2])).healthy


@pytest.mark.parametrize("scale", [0.0, 1e-4])
def test_a_constant_latent_is_complete_collapse(scale):
    _, states = walk()
    found = verdict(0.7 + scale * lift(states))
    assert found.kind == "complete collapse"
    assert "Every picture gets the same latent" in found.findings[0]
    assert any("SIGReg" in line for line in found.remedies)
    assert any("inverse dynamics" in line for line in found.remedies)


def test_a_shrunken_latent_that_tells_nothing_is_complete_collapse():
    noise = 0.01 * torch.randn(E, T, 16, generator=generator(7))
    assert verdict(noise).kind == "complete collapse"


def test_encoding_only_the_layout_is_slow_features():
    _, states = walk()
    noise = 0.01 * torch.randn(E, T, 16, generator=generator(7))
    found = verdict(lift(states[..., 2:]) + noise)
    assert found.kind == "slow features"
    assert "Only what never changes inside an episode is encoded" in found.findings[0]
    assert "Raise the weight of inverse dynamics" in found.remedies[0]
    assert "time similarity to 0" in found.remedies[1]


def test_slow_features_are_seen_without_states_too():
    _, states = walk()
    assert verdict(lift(states[..., 2:]), states=None).kind == "slow features"
    assert verdict(lift(states[..., :2]), states=None).healthy


def test_following_noise_is_nuisance():
    found = verdict(torch.randn(E, T, 16, generator=generator(9)))
    assert found.kind == "nuisance features"
    assert "like noise" in found.findings[0]


def test_one_direction_that_is_not_the_state_is_dimensional_collapse():
    other = torch.randn(E, T, 1, generator=generator(11)).cumsum(1)
    assert verdict(lift(other)).kind == "dimensional collapse"


def test_a_predictor_that_ignores_actions_is_named():
    _, states = walk()
    deaf = Prediction(copy_ratio=1.0, permutation_ratio=1.0, action_sensitivity=0.01)
    found = verdict(lift(states[..., :2]), deaf)
    assert found.kind == "dead actions"
    assert "ignores actions" in found.findings[0]
    assert "`actions[:, t]` leads from frame t to frame t + 1" in found.remedies[0]


def test_constant_actions_come_first():
    assert verdict(torch.zeros(E, T, 4), actions=torch.ones(E, T - 1, 2)).kind == "constant actions"


def test_pictures_without_actions_and_states():
    features = torch.randn(200, 1, 32, generator=generator())
    alone = {"actions": None, "states": None, "prediction": None}
    assert verdict(0.04 * features, **alone).healthy  # unit-norm features have a std near 1 / sqrt(D)
    assert verdict(features[..., :1].expand(-1, -1, 32), **alone).kind == "dimensional collapse"
    assert verdict(1e-5 * features, **alone).kind == "complete collapse"


def test_degrees_of_freedom_are_those_that_move():
    found = latent_diagnostics(torch.randn(E, T, 3, generator=generator()))
    assert intrinsic_dimension(found) == 2
    known = replace(found, probe=ProbeScores((0.9, 0.9, 0.1), (0.9, 0.9, None)))
    assert intrinsic_dimension(known) == 2
    assert intrinsic_dimension(replace(known, probe=ProbeScores((0.9,), (0.9,)))) == 1


def test_a_run_halfway_to_collapse_must_beat_an_untrained_encoder():
    _, states = walk()
    z = 0.02 * lift(states[..., :2])
    assert verdict(z, z_random=z).kind == "complete collapse"
    assert verdict(z, z_random=torch.zeros_like(z)).healthy


def test_thresholds_keep_their_distance_from_the_measured_runs():
    # Largest reading of a run made sick on purpose, smallest of a healthy one (Two-Rooms, see `Thresholds`).
    assert 2e-4 < THRESHOLDS.dead_std < 0.11
    assert 0.05 < THRESHOLDS.informed < 0.34
    assert 0.004 < THRESHOLDS.slow_ratio < 1.3
    assert 0.0 < THRESHOLDS.blind < 0.56
