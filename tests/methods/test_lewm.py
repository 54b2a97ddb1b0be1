import copy
from dataclasses import replace

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.losses.scene import scene_loss
from openjepa.losses.sigreg import SIGRegConfig, sigreg_states
from openjepa.methods.lewm import LeWM, LeWMConfig
from openjepa.methods.lewm_presets import lewm, pldm
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.latent_predictor import LatentPredictorConfig
from openjepa.protocols import TrajectoryBatch
from openjepa.train import load_method
from openjepa.train.checkpoint import save_checkpoint

ENCODER = FrameEncoderConfig(image_size=16, width=4, hidden_dim=16)
CAUSAL = LatentPredictorConfig("transformer", predictor_dim=16, depth=1, context_len=3, num_heads=1, dropout=0.0)
TOY = LeWMConfig(embed_dim=4, encoder=ENCODER, predictor=LatentPredictorConfig(predictor_dim=16))
PREDICTION_ONLY = {"variance_weight": 0.0, "covariance_weight": 0.0, "inverse_dynamics_weight": 0.0}


def make(**options):
    """A toy whose predictor depends on everything: the zeros it starts from would hide mistakes."""
    method = LeWM(replace(TOY, **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.predictor.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return method


def windows(seed=0, size=6, length=4):
    """A white square of 4 px that each action moves by up to 4 px."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.rand(size, length - 1, 2, generator=generator) * 2 - 1
    start = 6 + 4 * (torch.rand(size, 1, 2, generator=generator) - 0.5)
    corners = torch.cat([start, start + 4 * actions.cumsum(1)], 1).clamp(0, 12).round().long()
    frames = torch.zeros(size, length, 3, 16, 16, dtype=torch.uint8)
    for b, t in torch.cartesian_prod(torch.arange(size), torch.arange(length)):
        row, column = corners[b, t]
        frames[b, t, :, row : row + 4, column : column + 4] = 255
    return TrajectoryBatch(frames, actions)


def states(method, batch=2, steps=1, seed=0):
    return torch.randn(batch, steps, 1, method.config.embed_dim, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------ world model


@pytest.mark.parametrize("predictor", [TOY.predictor, LatentPredictorConfig("gru"), CAUSAL])
def test_a_rollout_of_one_step_is_a_prediction(predictor):
    method = make(predictor=predictor).eval()
    z, actions = states(method), torch.tensor([[[0.5, -1.0]], [[0.0, 2.0]]])
    expected = method.predictor(z[:, :, 0], actions).unsqueeze(2)  # whose kernels differ by the shape of a batch
    torch.testing.assert_close(method.rollout(z, actions), expected, atol=1e-6, rtol=0)


def test_a_longer_rollout_feeds_predictions_back():
    method = make()
    z, actions = states(method), torch.randn(2, 3, 2)
    found, z_next = method.rollout(z, actions), z[:, 0]  # [B, N, D]
    for t in range(3):
        z_next = method.predictor(z_next, actions[:, t : t + 1])
        torch.testing.assert_close(found[:, t], z_next)


def test_a_rollout_with_context_sees_the_last_states_and_their_actions():
    method = make(predictor=CAUSAL).eval()
    z, actions = states(method, steps=2), torch.randn(2, 4, 2)
    found = method.rollout(z, actions)  # [B, 3, 1, D]
    path = z[:, :, 0]
    for t in range(3):
        past = slice(max(0, t - 1), t + 2)  # at most three states
        path = torch.cat([path, method.predictor(path[:, past], actions[:, past])[:, -1:]], 1)
    torch.testing.assert_close(found[:, :, 0], path[:, 2:])


def test_context_beyond_the_limit_does_not_matter():
    method = make(predictor=CAUSAL).eval()
    z, actions = states(method, steps=5), torch.randn(2, 6, 2)
    torch.testing.assert_close(method.rollout(z, actions), method.rollout(z[:, 2:], actions[:, 2:]))


@pytest.mark.parametrize("context", [1, 2, 3])
def test_a_rollout_ignores_the_future(context):
    method = make(predictor=CAUSAL).eval()
    z = states(method, steps=context)
    actions = torch.randn(2, context + 4, 2, generator=torch.Generator().manual_seed(context))
    before = method.rollout(z, actions)  # [B, 5, 1, D]
    for t in range(4):
        changed = actions.clone()
        changed[:, context + t] += 1.0  # the action that leads to state t + 1
        after = method.rollout(z, changed)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1], atol=1e-6, rtol=0)
        assert (after[:, t + 1] - before[:, t + 1]).abs().max() > 1e-4


def test_actions_are_standardised_by_the_given_statistics():
    method, plain = make(), make()
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    method.set_action_statistics(mean, std)
    z, actions = states(method), torch.randn(2, 3, 2)
    torch.testing.assert_close(method.rollout(z, mean + std * actions), plain.rollout(z, actions))
    batch = windows()
    scaled = replace(batch, actions=mean + std * batch.actions)
    torch.testing.assert_close(method.loss(scaled, 0).loss, plain.loss(batch, 0).loss)
    assert {"action_mean", "action_std"} <= method.state_dict().keys()


def test_proprioception_is_added_to_the_latent():
    method = make(proprio_dim=3).eval()
    batch, proprio = windows(), torch.randn(6, 4, 3)
    z = method.encode(batch.frames, proprio)
    bare = make().encode(batch.frames)
    assert z.shape == (6, 4, 1, 4)
    torch.testing.assert_close(z[2, 1, 0] - bare[2, 1, 0], method.proprio_encoder(proprio[2, 1]))
    with pytest.raises(ConfigError, match="`proprio` must be given"):
        method.encode(batch.frames)


# --------------------------------------------------------------------------------------------------------- training


def test_open_loop_loss_by_hand():
    method, batch = make(**PREDICTION_ONLY), windows()
    z = method.encode(batch.frames)
    errors, z_next = [], z[:, 0]
    for t in range(3):
        z_next = method.predictor(z_next, batch.actions[:, t : t + 1])
        errors.append((z_next - z[:, t + 1]).square().mean())
    torch.testing.assert_close(method.loss(batch, 0).loss, sum(errors) / 3)


def test_both_is_the_mean_of_the_two_losses():
    batch = windows()
    apart = [make(rollout=kind, **PREDICTION_ONLY).loss(batch, 0).loss for kind in ("open_loop", "one_step")]
    torch.testing.assert_close(make(rollout="both", **PREDICTION_ONLY).loss(batch, 0).loss, sum(apart) / 2)


@pytest.mark.parametrize("predictor", [TOY.predictor, CAUSAL])
def test_one_step_loss_by_hand(predictor):
    method, batch = make(rollout="one_step", predictor=predictor, **PREDICTION_ONLY).eval(), windows()
    z = method.encode(batch.frames)
    errors = []
    for t in range(3):
        past = slice(0, t + 1) if predictor is CAUSAL else slice(t, t + 1)
        z_next = method.predictor(z[:, past, 0], batch.actions[:, past])[:, -1]
        errors.append((z_next - z[:, t + 1, 0]).square().mean())
    torch.testing.assert_close(method.loss(batch, 0).loss, sum(errors) / 3)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    weights = {
        "prediction": 2.0,
        "sigreg": 0.3,
        "variance": 0.5,
        "covariance": 0.25,
        "variance_t": 0.7,
        "covariance_t": 0.9,
        "similarity": 1.1,
        "inverse_dynamics": 1.3,
        "straightening": 1.7,
        "scene": 1.9,
    }
    method = make(scene_dim=2, **{f"{name}_weight": weight for name, weight in weights.items()})
    with torch.no_grad():
        method.context_encoder.head.weight.mul_(100)  # so that covariances count
    found = method.loss(windows(), 0)
    assert found.terms.keys() == {*weights, "scene_covariance"}
    assert found.terms["scene_covariance"] > 1e-5 * found.loss
    weights["scene_covariance"] = 4 * 0.25
    expected = sum(weights[name] * term for name, term in found.terms.items())
    torch.testing.assert_close(found.loss.detach(), expected)


def test_terms_by_hand():
    method, batch = make(sigreg_weight=1.0, similarity_weight=1.0, sigreg=SIGRegConfig(8)), windows()
    terms, z = method.loss(batch, 3).terms, method.encode(batch.frames)
    flat = z.reshape(24, 4)
    std = (flat.var(0) + 1e-4).sqrt()
    off_diagonal = torch.cov(flat.T) - torch.diag(flat.var(0))
    read = method.action_readout(z[:, :-1], z[:, 1:])
    expected = {
        "variance": (1 - std).relu().mean(),
        "covariance": off_diagonal.square().sum() / 4,
        "similarity": (z[:, 1:] - z[:, :-1]).square().mean(),
        "inverse_dynamics": (read - batch.actions).square().mean(),
        "sigreg": sigreg_states(z, SIGRegConfig(8), seed=0, step=3),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def test_a_weight_of_zero_turns_a_term_off():
    assert make(**PREDICTION_ONLY).loss(windows(), 0).terms.keys() == {"prediction"}


def test_the_scene_is_read_from_its_dimensions_alone():
    method, batch = make(scene_dim=1), windows()
    z = method.encode(batch.frames)
    expected = (method.action_readout(z[:, :-1, :, 1:], z[:, 1:, :, 1:]) - batch.actions).square().mean()
    torch.testing.assert_close(method.loss(batch, 0).terms["inverse_dynamics"], expected)


def test_a_rollout_copies_the_scene():
    method, batch = make(scene_dim=2), windows()
    with torch.no_grad():
        for parameter in method.predictor.parameters():  # it starts as the identity
            parameter.add_(0.1)
    z = method.encode(batch.frames)
    path = method.rollout(z[:, :1], batch.actions)
    assert torch.equal(path[..., :2], z[:, :1, :, :2].expand(-1, 3, -1, -1))
    assert (path[:, 1:, :, 2:] - path[:, :-1, :, 2:]).abs().min() > 0


def test_scene_loss_by_hand():
    # Two episodes at 0 and 1, each constant: the distance to the other is 1, its logit -8.
    z = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    torch.testing.assert_close(scene_loss(z, z), torch.tensor(-8.0).exp().log1p())
    torch.testing.assert_close(scene_loss(z, z, scale=2.0), torch.tensor(-2.0).exp().log1p())
    wide = z.expand(2, 1, 5)
    torch.testing.assert_close(scene_loss(wide, wide), scene_loss(z, z))  # a mean over dimensions
    # A code that is the same everywhere tells nothing apart; one of the wrong scene is worse.
    torch.testing.assert_close(scene_loss(torch.zeros(4, 1, 2), torch.zeros(4, 1, 2)), torch.tensor(4.0).log())
    assert scene_loss(z, 1 - z) > 7.9


def test_the_scene_is_compared_with_the_other_frame_where_there_is_one():
    method, batch = make(scene_dim=2, scene_weight=1.0, scene_scale=3.0), windows()
    z = method.encode(batch.frames)[..., :2]
    torch.testing.assert_close(method.loss(batch, 0).terms["scene"], scene_loss(z[:, 0], z[:, -1], scale=3.0))
    found = method.loss(replace(batch, others=batch.frames[:, 1:2]), 0).terms["scene"]
    torch.testing.assert_close(found, scene_loss(z[:, 0], z[:, 1], scale=3.0))


@pytest.mark.parametrize("target", ["encoder", "ema"])
def test_gradients_reach_context_encoder_and_predictor_never_the_target_encoder(target):
    method = make(target=target, **PREDICTION_ONLY)
    method.loss(windows(), 0).loss.backward()
    for part in (method.context_encoder, method.predictor):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.target_encoder.parameters())
    assert bool(list(method.target_encoder.parameters())) == (target == "ema")


def test_the_prediction_error_reaches_both_sides_unless_an_ema_gives_the_targets():
    """The last frame is only ever a target, so its pixels get a gradient from that side alone."""
    for target, reaches in (("encoder", True), ("ema", False)):
        method, batch, seen = make(target=target, **PREDICTION_ONLY), windows(), []

        def keep(module, args, out, seen=seen):
            out.retain_grad()
            seen.append(out)

        method.context_encoder.register_forward_hook(keep)
        method.loss(batch, 0).loss.backward()
        grad = seen[0].grad.view(6, 4, -1)[:, -1]
        assert bool(grad.abs().max() > 0) == reaches


def test_target_encoder_follows_the_formula():
    method = make(target="ema", ema_decay=0.75)
    old = copy.deepcopy(method.target_encoder.state_dict())
    with torch.no_grad():
        for parameter in method.context_encoder.parameters():
            parameter.add_(1.0)
    method.after_step(7)
    for name, parameter in method.target_encoder.named_parameters():
        torch.testing.assert_close(parameter, old[name] + 0.25, atol=1e-6, rtol=1e-6)


def test_targets_come_from_the_target_encoder():
    method, batch = make(target="ema", rollout="one_step", **PREDICTION_ONLY), windows()
    with torch.no_grad():
        method.target_encoder.head.weight.zero_()
        method.target_encoder.head.bias.fill_(2.0)
    z = method.encode(batch.frames)[:, :-1, 0]
    expected = (method.predictor(z, batch.actions) - 2.0).square().mean()
    torch.testing.assert_close(method.loss(batch, 0).loss, expected)


def test_the_prediction_weight_rises():
    method = make(prediction_start=0.2, prediction_weight=1.0, prediction_ramp=(10, 20), **PREDICTION_ONLY)
    for step, weight in ((0, 0.2), (10, 0.2), (15, 0.6), (20, 1.0), (99, 1.0)):
        found = method.loss(windows(), step)
        torch.testing.assert_close(found.loss.detach(), weight * found.terms["prediction"])


def spread_after(steps=50, **options):
    """Mean std of the latents over samples, after a short training."""
    method = LeWM(replace(TOY, **options))
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    batches = [windows(seed, size=32) for seed in range(4)]
    for step in range(steps):
        optimizer.zero_grad()
        method.loss(batches[step % 4], step).loss.backward()
        optimizer.step()
        method.after_step(step)
    with torch.no_grad():
        return float(method.eval().encode(batches[0].frames).flatten(0, 2).std(0).mean())


@pytest.mark.parametrize(
    "terms",
    [
        {"variance_weight": 1.0, "covariance_weight": 0.05},
        {"sigreg_weight": 0.5, "sigreg": SIGRegConfig(64)},
        {"inverse_dynamics_weight": 5.0},
    ],
    ids=["vicreg", "sigreg", "inverse_dynamics"],
)
def test_latents_stay_apart_with_a_regularizer(terms):
    assert spread_after(**{**PREDICTION_ONLY, **terms}) > 10 * spread_after(steps=0)


def test_latents_collapse_when_every_such_term_is_off():
    assert spread_after(**PREDICTION_ONLY) < 0.3 * spread_after(steps=0)


def test_the_seed_decides_the_weights_and_leaves_the_global_one_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = LeWM(TOY)
    assert torch.equal(torch.rand(3), expected)
    second, other = LeWM(TOY), LeWM(replace(TOY, seed=1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.context_encoder.head.weight, other.context_encoder.head.weight)


def test_directions_change_with_seed_and_step():
    method, batch = make(sigreg_weight=1.0, sigreg=SIGRegConfig(4)), windows()
    first = method.loss(batch, 0).terms["sigreg"]
    assert torch.equal(first, method.loss(batch, 0).terms["sigreg"])
    assert not torch.equal(first, method.loss(batch, 1).terms["sigreg"])


@pytest.mark.parametrize("options", [{}, {"predictor": CAUSAL, "target": "ema", "scene_dim": 1, "scene_weight": 1.0}])
def test_a_checkpoint_reopens(options, tmp_path):
    method = make(**options)
    method.set_action_statistics(torch.tensor([0.1, 0.2]), torch.tensor([2.0, 3.0]))
    again = load_method(save_checkpoint(tmp_path / "checkpoints", 5, method))
    assert again.config == method.config
    assert not again.training
    z, actions = states(method), torch.randn(2, 3, 2)
    assert torch.equal(again.rollout(z, actions), method.eval().rollout(z, actions))


# ---------------------------------------------------------------------------------------------------------- presets


def test_size_of_the_published_preset():
    """By hand, from the widths of 2603.19312; the published count is 18,034,478.

    The only difference: our vision transformer has fixed positions, the published one learns 257 x 192.
    """
    method = LeWM(lewm())
    dim, wide, inner = 192, 2048, 16 * 64
    projector = (dim * wide + wide) + 2 * wide + (wide * dim + dim)
    norm = 2 * dim
    layer = norm + dim * 3 * dim + 3 * dim + dim * dim + dim + norm + dim * 768 + 768 + 768 * dim + dim
    vit = 3 * 14 * 14 * dim + dim + dim + 12 * layer + norm
    attention = norm + dim * 3 * inner + inner * dim + dim
    mlp = norm + dim * wide + wide + wide * dim + dim
    modulation = dim * 6 * dim + 6 * dim
    predictor = 3 * dim + 6 * (attention + mlp + modulation) + norm
    actions = 10 * 10 + 10 + 10 * 768 + 768 + 768 * dim + dim
    expected = vit + predictor + 2 * projector + actions
    assert sum(p.numel() for p in method.parameters()) == expected == 17_985_134
    assert expected + 257 * dim == 18_034_478
    assert not torch.count_nonzero(torch.cat([b.modulation[1].weight for b in method.predictor.blocks]))


def test_lewm_keeps_the_published_loss():
    small = FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)
    config = lewm(encoder=small, embed_dim=8, predictor=CAUSAL, sigreg=SIGRegConfig(16), action_dim=2)
    method = LeWM(config)
    found = method.loss(windows(), 0)
    expected = found.terms["prediction"] + 0.09 * found.terms["sigreg"]
    assert found.terms.keys() == {"prediction", "sigreg"}
    torch.testing.assert_close(found.loss.detach(), expected)


def test_pldm_keeps_the_published_weights():
    """Its covariance is a mean over the 512 x 511 pairs, ours their sum over 512."""
    config = pldm()
    assert config.covariance_weight * 511 == pytest.approx(6.9238)
    assert (config.variance_weight, config.similarity_weight) == (3.9843, 0.74242)
    assert config.predictor.kind == "gru"
    assert pldm(embed_dim=8, seed=3).seed == 3


# ----------------------------------------------------------------------------------------------------------- errors


def test_a_wrong_picture_size():
    with pytest.raises(ShapeError, match=r"`frames` must be \[B C=3 H=16 W=16\] with H = 16; got .*H = 32"):
        make().encode(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"`frames` must be \[B T C H W\]; got \[1, 3, 16, 16\]"):
        make().encode(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_wrong_actions():
    method = make()
    with pytest.raises(ShapeError, match=r"`actions` must be .* with A = 2; got \[2, 1, 3\]"):
        method.rollout(states(method), torch.zeros(2, 1, 3))
    with pytest.raises(ShapeError, match=r"`actions` must be .* with B = 2; got \[3, 1, 2\]"):
        method.rollout(states(method), torch.zeros(3, 1, 2))
    with pytest.raises(ConfigError, match="at least 3 steps for 3 states; got 2"):
        method.rollout(states(method, steps=3), torch.zeros(2, 2, 2))
    with pytest.raises(ShapeError, match="`mean` must be"):
        method.set_action_statistics(torch.zeros(3), torch.ones(3))


def test_windows_longer_than_the_context_slide():
    method, batch = make(predictor=CAUSAL, rollout="one_step").eval(), windows(length=6)
    z, context = method.encode(batch.frames).squeeze(2), CAUSAL.context_len
    expected = []
    for t in range(5):
        first = max(0, t + 1 - context)
        expected.append(method.predictor(z[:, first : t + 1], batch.actions[:, first : t + 1])[:, -1])
    error = (torch.stack(expected, 1) - z[:, 1:]).square().mean().detach()
    torch.testing.assert_close(method.loss(batch, 0).terms["prediction"], error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene_weight": 1.0}, "`scene_weight` needs scene dimensions. Set `scene_dim` above 0"),
        ({"scene_kind": "sharp"}, "`scene_kind` must be one of contrast, slow; got sharp"),
        ({"scene_dim": 4, "scene_kind": "slow", "scene_redundancy": 1.0}, "`scene_redundancy` must go with contrast"),
        ({"scene_dim": 3, "scene_redundancy": 1.0}, "a `scene_dim` in parts of 2"),
        ({"scene_dim": 16}, "`scene_dim` must be 0 to below `embed_dim` 16; got 16"),
        ({"sigreg_weight": -0.1}, "`sigreg_weight` must be 0 or more; got -0.1"),
        ({"rollout": "half"}, "`rollout` must be one of open_loop, one_step, both; got half"),
        ({"target": "teacher"}, "`target` must be one of encoder, ema; got teacher"),
        ({"ema_decay": 1.5}, r"`ema_decay` must be in \[0, 1\]; got 1.5"),
        ({"categories": (3,)}, r"`categories` must be sizes >= 1 that sum to `action_dim` 2; got \(3,\)"),
        ({"state": "triple"}, "`state` must be one of frame, pair; got triple"),
        ({"state": "pair", "scene_dim": 2}, "`state` must be frame where there are scene dimensions"),
        ({"action_dim": 0}, "`action_dim` and `embed_dim` must be >= 1"),
    ],
)
def test_impossible_configs(options, message):
    with pytest.raises(ConfigError, match=message):
        LeWMConfig(**options)


def test_float_frames_are_left_alone():
    frames = windows().frames.float()
    kept = frames.clone()
    make().encode(frames)
    assert torch.equal(frames, kept)


def test_the_loss_refuses_actions_of_another_width():
    batch = windows()
    with pytest.raises(ShapeError, match="`actions` must be"):
        make().loss(replace(batch, actions=batch.actions[..., :1]), 0)


@pytest.mark.parametrize("std", [torch.ones(1), torch.tensor([1.0, 0.0])], ids=["width", "zero"])
def test_action_statistics_refuse_a_wrong_std(std):
    with pytest.raises((ShapeError, ConfigError), match="`std` must be"):
        make().set_action_statistics(torch.zeros(2), std)


def test_one_step_loss_of_a_transformer_that_sees_one_state():
    method, batch = make(rollout="one_step", predictor=replace(CAUSAL, context_len=1)).eval(), windows()
    z = method.encode(batch.frames)
    errors = []
    for t in range(3):
        z_next = method.predictor(z[:, t : t + 1, 0], batch.actions[:, t : t + 1])
        errors.append((z_next - z[:, t + 1 : t + 2, 0]).square().mean())
    torch.testing.assert_close(method.loss(batch, 0).terms["prediction"], sum(errors).detach() / 3)
