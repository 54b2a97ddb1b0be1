"""World models whose state holds a velocity, whose actions are choices, and whose encoder sees what differs."""

from dataclasses import replace

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.eval.health.conformance import check_method, check_world_model
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.refine import RefineConfig, refine_predictor
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.protocols import TrajectoryBatch

ENCODER = FrameEncoderConfig("attn", image_size=18, patch_size=5, width=4, num_keypoints=3, gain=0.5)
TOY = LeWMConfig(embed_dim=4, encoder=ENCODER, predictor=LatentPredictorConfig(predictor_dim=16), state="pair")


def make(**options):
    """A toy whose predictor depends on everything: the zeros it starts from would hide mistakes."""
    method = LeWM(replace(TOY, **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.predictor.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return method.eval()


def windows(length=5, width=2):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, length, 3, 18, 18), dtype=torch.uint8, generator=generator)
    return TrajectoryBatch(frames, torch.randn(3, length - 1, width, generator=generator))


def choices():
    """Windows whose actions are one of three, beside one of two."""
    batch = windows(width=5)
    groups = [torch.eye(n)[part.argmax(-1)] for n, part in zip((3, 2), batch.actions.split([3, 2], -1), strict=True)]
    return replace(batch, actions=torch.cat(groups, -1))


# ---------------------------------------------------------------------------------------------------- velocity


def test_a_pair_is_a_pose_and_the_way_from_the_one_before():
    method, batch = make(), windows()
    poses = method.context_encoder(batch.frames.flatten(0, 1)).view(3, 5, 4)
    z = method.encode(batch.frames)
    assert z.shape == (3, 5, 1, 8)
    torch.testing.assert_close(z[:, :, 0, :4], poses)
    torch.testing.assert_close(z[:, 0, 0, 4:], torch.zeros(3, 4))
    torch.testing.assert_close(z[:, 2, 0, 4:], poses[:, 2] - poses[:, 1])
    still = method.encode(batch.frames[:, :1].expand(-1, 2, -1, -1, -1))[:, 1]
    torch.testing.assert_close(still[:, 0, 4:], torch.zeros(3, 4))  # a picture that is repeated does not move


def test_velocity_is_the_difference_of_imagined_poses():
    method = make()
    z = torch.randn(2, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    actions = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(2))
    path = method.rollout(z, actions)
    pose, way = z[:, 0, 0].split(4, -1)
    for t in range(3):
        step = method.predictor.change(torch.cat([pose, 4 * way, actions[:, t]], -1))
        pose, way = pose + step, step
        torch.testing.assert_close(path[:, t, 0], torch.cat([pose, way], -1))


def test_a_pair_model_keeps_the_contracts():
    check_world_model(make(), windows().frames, windows().actions)
    check_method(make().train(), windows())


def test_the_loss_knows_no_velocity_for_the_first_frame():
    """Squared errors of poses alone, from the second state of a window on."""
    off = {"variance_weight": 0.0, "covariance_weight": 0.0, "inverse_dynamics_weight": 0.0}
    method, batch = make(rollout="one_step", **off), windows()
    z = method.encode(batch.frames)[:, :, 0]
    expected = (method.predictor(z[:, 1:-1], batch.actions[:, 1:])[..., :4] - z[:, 2:, :4]).square().mean()
    torch.testing.assert_close(method.loss(batch, 0).loss, expected)
    with pytest.raises(ShapeError, match="`frames` must hold at least 3 time steps to predict; got 2"):
        method.loss(windows(length=2), 0)


def test_inverse_dynamics_reads_three_frames():
    """An action changes a velocity: neither the pose after it nor the way before it alone may tell."""
    method, z = make(), torch.randn(2, 2, 1, 8, generator=torch.Generator().manual_seed(0))
    seen = []
    method.action_readout.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    method.action_readout(z[:, :1], z[:, 1:])
    pose, way, way_next = z[:, 0, 0, :4], z[:, 0, 0, 4:], z[:, 1, 0, 4:]
    torch.testing.assert_close(seen[0][:, 0], torch.cat([pose, 4 * way, 4 * way_next], -1))


def falling(episodes=100, steps=12):
    """Poses [E, T, 1, 1] of a mass whose acceleration is its action, tiny in units of the latent, and the actions."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(episodes, steps, 1, generator=generator) * 2 - 1
    speed, place, path = torch.zeros(episodes, 1), 5 * torch.rand(episodes, 1, generator=generator), []
    for t in range(steps + 1):
        path.append(place)
        if t < steps:
            speed = speed + 0.3 * actions[:, t]
            place = place + speed
    return 0.01 * torch.stack(path, 1).unsqueeze(-1), actions


def test_a_refined_scaled_predictor_carries_velocity():
    poses, actions = falling()
    model = LeWM(replace(TOY, action_dim=1, embed_dim=1))
    latents = model.states.of(poses)
    options = RefineConfig(
        steps=300, rollout=4, batch_size=128, noise=0.02, predictor=LatentPredictorConfig("mlp", 64, scaled=True)
    )
    refined = refine_predictor(model, latents, actions, options, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(refined.predictor.scale.std, poses[:, 1:].std(dim=(0, 1, 2)))
    path = refined.rollout(latents[:, 2:3], actions[:, 2:8])
    error = (path[..., :1] - poses[:, 3:9].unsqueeze(2)[:, :, 0]).square().mean().sqrt()
    copying = (poses[:, 2:3] - poses[:, 3:9]).square().mean().sqrt()
    assert error < 0.05 * copying
    again = LeWM(refined.config)  # what the refined model says it is
    again.load_state_dict(refined.state_dict())
    torch.testing.assert_close(again.rollout(latents[:, 2:3], actions[:, 2:8]), path)


def test_refinement_leaves_out_episodes_without_a_step_of_known_velocity():
    poses, actions = falling(episodes=4)
    model = LeWM(replace(TOY, action_dim=1, embed_dim=1))
    options = RefineConfig(steps=2, rollout=4, batch_size=8)
    lengths, generator = torch.tensor([13, 2, 3, 7]), torch.Generator().manual_seed(0)
    latents = model.states.of(poses)
    latents[1:, 7:] = torch.nan  # beyond every one of them
    refined = refine_predictor(model, latents, actions, options, generator=generator, lengths=lengths)
    assert all(p.isfinite().all() for p in refined.parameters())


# ----------------------------------------------------------------------------------------------------- choices


def test_choices_stay_one_hot_and_are_named_by_cross_entropy():
    method, batch = make(state="frame", action_dim=5, categories=(3, 2)), choices()
    method.set_action_statistics(torch.full((5,), 0.4), torch.full((5,), 0.5))
    z = method.encode(batch.frames)
    odds = method.action_readout(z[:, :-1], z[:, 1:])
    named = [
        (-part.log_softmax(-1) * truth).sum(-1).mean()
        for part, truth in zip(odds.split([3, 2], -1), batch.actions.split([3, 2], -1), strict=True)
    ]
    torch.testing.assert_close(method.loss(batch, 0).terms["inverse_dynamics"], ((named[0] + named[1]) / 2).detach())
    torch.testing.assert_close(
        method.rollout(z[:, :1], batch.actions), make(state="frame", action_dim=5).rollout(z[:, :1], batch.actions)
    )


# ------------------------------------------------------------------------------------------------ what is seen


def test_frame_statistics_reach_every_encoder_and_the_checkpoint():
    method = make(target="ema")
    mean = torch.arange(256.0)[torch.randint(0, 256, (3, 18, 18), generator=torch.Generator().manual_seed(3))]
    method.set_frame_statistics(mean, 20.0)
    for encoder in (method.context_encoder, method.target_encoder):
        pixels = encoder.pixels(torch.full((1, 3, 18, 18), 255, dtype=torch.uint8))
        torch.testing.assert_close(pixels[0], (255 - mean) * 0.5 / 20)
    again = LeWM(method.config)
    again.load_state_dict(method.state_dict())
    torch.testing.assert_close(again.encode(windows().frames), method.encode(windows().frames))


def test_an_encoder_that_sees_frames_as_they_are_has_no_statistics():
    method = make(encoder=replace(ENCODER, gain=None))
    with pytest.raises(ConfigError, match=r"`encoder.gain` must be set for frame statistics; it is None"):
        method.set_frame_statistics(torch.zeros(3, 18, 18), 1.0)
    with pytest.raises(ConfigError, match=r"`rms` must be above 0; got 0.0"):
        make().set_frame_statistics(torch.zeros(3, 18, 18), 0.0)
