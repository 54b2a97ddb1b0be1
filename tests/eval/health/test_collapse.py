import math
from dataclasses import replace

import pytest
import torch

from openjepa.data.whole_episodes import recorded
from openjepa.eval.health.collapse import (
    encode_episodes,
    first_stride,
    latent_diagnostics,
    measure,
    untrained_twin,
)
from openjepa.eval.health.latent_statistics import (
    covariance_spectrum,
    effective_rank,
    flatten_tokens,
    moving_state_ratio,
    participation_ratio,
    slowness,
    temporal_variance_ratio,
)
from openjepa.eval.health.prediction import one_hot_choices, one_step_prediction
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


# ----------------------------------------------------------------------------------------------------------
# Episodes of several lengths


def test_statistics_of_ragged_episodes_by_hand():
    z = torch.tensor([[1.0, 3.0, 99.0], [5.0, 5.0, 8.0]])[..., None]
    valid = recorded(torch.tensor([2, 3]), 2, 3)
    known = torch.tensor([1.0, 3.0, 5.0, 5.0, 8.0])
    within = torch.tensor([-1.0, 1.0, -1.0, -1.0, 2.0])
    ratio = float(within.square().mean() / known.var(correction=0))
    assert temporal_variance_ratio(z, valid) == pytest.approx(ratio)
    assert moving_state_ratio(z, valid) == pytest.approx(ratio)
    assert slowness(z, valid) == pytest.approx((4 + 0 + 9) / 3 / (2 * float(known.var(correction=0))))


def padded(batch, lengths):
    """The same with garbage beyond each episode's length."""
    beyond = torch.arange(batch.frames.shape[1]) >= lengths[:, None]
    frames = batch.frames.clone()
    frames[beyond] = 251
    states = batch.states.clone()
    states[beyond] = 1e6
    actions = batch.actions.clone()
    actions[beyond[:, 1:]] = -77
    return TrajectoryBatch(frames, actions, states=states, lengths=lengths)


def test_padding_never_counts_and_every_valid_state_does():
    batch = line_episodes(episodes=12, steps=9)
    lengths = torch.tensor([10, 2, 5, 7, 10, 3, 4, 9, 2, 6, 8, 10])
    found = measure(Line(), padded(batch, lengths), untrained=Line(gain=0.0), probes=QUICK)
    known = torch.cat([row[:n] for row, n in zip(batch.states, lengths.tolist(), strict=True)])
    assert found.frames == len(known) == 76
    assert found.std_mean == pytest.approx(float(known.std(correction=0)), rel=1e-5)
    assert found.prediction.copy_ratio == pytest.approx(0, abs=1e-9)
    assert found.idm_r2 == pytest.approx(1, abs=1e-3)
    assert found.probe.linear_within[0] == pytest.approx(1, abs=1e-3)
    assert found.action_std < 3


def test_one_short_episode_changes_nothing_for_the_others():
    batch = line_episodes(episodes=9, steps=9)
    lengths = torch.full((9,), 10)
    whole = measure(Line(), batch, probes=QUICK)
    assert measure(Line(), TrajectoryBatch(batch.frames, batch.actions, states=batch.states, lengths=lengths),
                   probes=QUICK) == whole  # fmt: skip
    lengths[4] = 2
    cut = measure(Line(), padded(batch, lengths), probes=QUICK)
    assert (cut.steps, cut.frames) == (10, 82)
    assert cut.std_mean == pytest.approx(whole.std_mean, rel=0.1)


def test_compounding_ends_where_each_episode_ends():
    class Drift(Line):  # one too far in every step: squared error k^2 after k steps
        def rollout(self, z, actions):
            path = super().rollout(z, actions)
            return path + torch.arange(1, path.shape[1] + 1).view(1, -1, 1, 1)

    batch, lengths = line_episodes(episodes=3, steps=5), torch.tensor([6, 4, 2])
    z = encode_episodes(Drift(), batch)
    found = one_step_prediction(Drift(), z, batch.actions, lengths=lengths)
    assert found.compounding == pytest.approx((25 + 9) / 2)  # an episode of one step says nothing about growth


def test_states_that_remember_are_encoded_in_the_order_of_their_episode():
    class Remembers(Line):  # a state is the sum of all frames so far: it needs the row whole and in order
        def encode(self, frames, proprio=None):
            return super().encode(frames).cumsum(1)

    batch, lengths = line_episodes(episodes=5, steps=6), torch.tensor([7, 3, 5, 2, 6])
    ragged = TrajectoryBatch(batch.frames, batch.actions, lengths=lengths)
    found = encode_episodes(Remembers(), ragged, rows=14)  # two episodes at a time
    wanted = batch.states.cumsum(1)[:, :, None]
    for row, truth, n in zip(found, wanted, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:n], truth[:n])
    assert found.shape == (5, 7, 1, 1)


# ----------------------------------------------------------------------------------------------------------
# Which part of the action is heard


def test_each_column_of_the_action_is_shuffled_alone():
    class Half(Line):  # hears the first column only
        def rollout(self, z, actions):
            return super().rollout(z, actions[..., :1])

    batch = line_episodes(episodes=16, steps=9)
    actions = torch.cat([batch.actions, torch.randn(16, 9, 1, generator=generator(8)), torch.ones(16, 9, 1)], -1)
    z = encode_episodes(Half(), batch) + 0.1 * torch.randn(16, 10, 1, 1, generator=generator(9))
    first, second, third = one_step_prediction(Half(), z, actions).permutation_by_part
    assert first > 10
    assert second == pytest.approx(1)
    assert third is None  # the data do not vary it


def test_each_choice_of_one_hot_actions_is_replaced_alone():
    chosen = torch.randint(3, (20, 9), generator=generator(3))
    moves = torch.tensor([-2.0, 0.0, 2.0])[chosen][..., None]
    z = torch.cat([torch.zeros(20, 1, 1), moves.cumsum(1)], 1)[:, :, None]

    class Deaf(Line):  # cannot tell the second choice from the third
        def rollout(self, z, actions):
            return z[:, -1:] + (actions @ torch.tensor([-2.0, 1.0, 1.0])).cumsum(1)[..., None, None]

    found = one_step_prediction(Deaf(), z, torch.eye(3)[chosen])
    assert len(found.permutation_by_part) == 3
    # Errors: 0 for the first choice, where another one gives 3; 1 for the others, where the first gives 2 or 4.
    assert found.permutation_by_part[0] > 1e6
    assert 1 < found.permutation_by_part[1] < 5
    assert 1 < found.permutation_by_part[2] < 20


def test_one_hot_actions_are_known_by_their_numbers():
    eye = torch.eye(3)
    assert torch.equal(one_hot_choices(eye), eye)
    twice = torch.cat([eye, eye[[0, 0, 1]]], 1)  # a frameskip of 2
    assert one_hot_choices(twice).tolist() == [[2, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert one_hot_choices(torch.ones(4, 2)) is None
    assert one_hot_choices(torch.rand(4, 3)) is None
    assert one_hot_choices(torch.zeros(4, 3)) is None


def test_the_stride_of_the_first_convolution_is_that_of_the_patches():
    assert first_stride(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 5, 5))) == 5
    assert first_stride(Line()) is None


class Felt(Line):
    """The same, with the pose in the latent: `beside` the picture's part, or added to it; a dead one sees nothing."""

    def __init__(self, gain=1.0, *, beside):
        super().__init__(gain=gain)
        self.beside = beside

    def encode(self, frames, proprio=None):
        z, pose = super().encode(frames), proprio.unsqueeze(2)
        return torch.cat([z, pose], -1) if self.beside else z + pose

    def rollout(self, z, actions):
        steps = actions[:, z.shape[1] - 1 :].cumsum(1)[..., None]
        moved = torch.cat([self.gain * steps, steps], -1) if self.beside else (1 + self.gain) * steps
        return z[:, -1:] + moved.detach()


@pytest.mark.parametrize("beside", [True, False])
def test_a_pose_that_is_felt_does_not_hide_a_dead_encoder(beside):
    batch = line_episodes()
    felt = replace(batch, proprio=batch.states)
    alive, dead = (measure(Felt(gain, beside=beside), felt, probes=QUICK) for gain in (1.0, 0.0))
    alone = measure(Line(), batch, probes=QUICK)
    assert (alive.width, alive.std_mean) == (1, pytest.approx(alone.std_mean, rel=1e-5))
    assert alive.idm_r2 == pytest.approx(alone.idm_r2, abs=1e-4)
    assert dead.std_mean == pytest.approx(0, abs=1e-4)
    assert dead.idm_r2 < 0.1
    assert dead.width == 1


def test_prediction_is_measured_where_pictures_move_a_latent():
    batch = line_episodes()
    felt = replace(batch, proprio=batch.states)
    model = Felt(beside=True)
    z = encode_episodes(model, felt)
    own = model.rollout

    def still(z, actions):
        path = own(z, actions)
        return torch.cat([z[:, -1:, :, :1].expand_as(path[..., :1]), path[..., 1:]], -1)

    model.rollout = still
    everything = one_step_prediction(model, z, batch.actions)
    pictures = one_step_prediction(model, z, batch.actions, counted=torch.tensor([True, False]))
    assert everything.copy_ratio == pytest.approx(0.5)  # the pose, half of the change, is known
    assert pictures.copy_ratio == pytest.approx(1)
    assert pictures.action_sensitivity == 0
    assert measure(model, felt, probes=QUICK).prediction.copy_ratio == pytest.approx(1)
