import math

import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError
from openjepa.models.latent_predictor import ActionReadout, LatentPredictorConfig, build_predictor
from openjepa.models.latent_states import STATES

CAUSAL = LatentPredictorConfig("transformer", predictor_dim=16, depth=2, context_len=3, num_heads=2)
KINDS = [LatentPredictorConfig(predictor_dim=8), LatentPredictorConfig("gru"), CAUSAL]


def shaken(config, embed_dim=6, action_dim=2):
    """A predictor without the zeros and ones that it starts from."""
    predictor = build_predictor(config, embed_dim, action_dim)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return predictor.eval()


def inputs(batch=2, steps=3, embed_dim=6, action_dim=2):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, steps, embed_dim, generator=generator),
        torch.randn(batch, steps, action_dim, generator=generator),
    )


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_no_position_sees_a_later_one(config):
    predictor, (z, actions) = shaken(config), inputs()
    before = predictor(z, actions)
    assert before.shape == z.shape
    for t in range(2):
        for changed in ((z + _at(z, t + 1), actions), (z, actions + _at(actions, t + 1))):
            after = predictor(*changed)
            torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1], atol=1e-6, rtol=0)
            assert (after[:, t + 1] - before[:, t + 1]).abs().max() > 1e-3


def _at(like, t):
    change = torch.zeros_like(like)
    change[:, t] = torch.arange(1.0, like.shape[-1] + 1)  # not constant, which a LayerNorm would take away
    return change


def test_only_the_transformer_sees_the_past():
    z, actions = inputs()
    for config in KINDS:
        predictor = shaken(config)
        change = predictor(z + _at(z, 0), actions)[:, -1] - predictor(z, actions)[:, -1]
        assert bool(change.abs().max() > 1e-3) == (config.kind == "transformer")


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_samples_do_not_mix(config):
    predictor, (z, actions) = shaken(config), inputs()
    torch.testing.assert_close(predictor(z[1:], actions[1:]), predictor(z, actions)[1:])


def test_at_first_nothing_moves_for_the_mlp():
    predictor, (z, actions) = build_predictor(LatentPredictorConfig(), 6, 2), inputs()
    assert torch.equal(predictor(z, actions), z)


def test_mlp_by_hand():
    predictor = build_predictor(LatentPredictorConfig(predictor_dim=1, depth=1), 1, 1)
    with torch.no_grad():
        predictor.change[0].weight.copy_(torch.tensor([[2.0, -1.0]]))
        predictor.change[0].bias.fill_(0.5)
        predictor.change[2].weight.fill_(3.0)
        predictor.change[2].bias.fill_(0.25)
    # z + 3 relu(2 z - a + 1/2) + 1/4
    found = predictor(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[1.0], [4.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[1 + 4.5 + 0.25], [1.25]]]))


def test_gru_equals_its_equations():
    predictor, (z, actions) = shaken(LatentPredictorConfig("gru")), inputs()
    w_a, w_z, b_a, b_z = (p.detach().double().numpy() for p in predictor.cell.parameters())
    z0, a = z.double().numpy(), actions.double().numpy()
    from_a, from_z = np.split(a @ w_a.T + b_a, 3, -1), np.split(z0 @ w_z.T + b_z, 3, -1)
    reset, keep = (1 / (1 + np.exp(-(from_a[i] + from_z[i]))) for i in (0, 1))
    new = np.tanh(from_a[2] + reset * from_z[2])
    expected = (1 - keep) * new + keep * z0
    torch.testing.assert_close(predictor(z, actions).double(), torch.from_numpy(expected), atol=1e-6, rtol=1e-5)


def test_transformer_starts_with_identical_blocks():
    """AdaLN-zero: all gates are closed, so the action does not matter yet and the blocks pass x on."""
    predictor, (z, actions) = build_predictor(CAUSAL, 6, 2).eval(), inputs()
    for block in predictor.blocks:
        assert torch.equal(block(z, actions.repeat(1, 1, 3)), z)
    expected = predictor.head(predictor.project(predictor.norm(z + predictor.pos_embed).flatten(0, 1)))
    torch.testing.assert_close(predictor(z, actions), expected.view_as(z))
    assert torch.equal(predictor(z, actions), predictor(z, -actions))


def layer_norm(x, eps=1e-5, weight=1.0, bias=0.0):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


def erf(x):
    return np.vectorize(math.erf)(x)


def test_transformer_equals_its_equations():
    """One sample, one block, in NumPy: double normalisation, AdaLN order shift, scale, gate; causal attention."""
    config = LatentPredictorConfig("transformer", predictor_dim=8, depth=1, context_len=3, num_heads=2)
    predictor, (z, actions) = shaken(config), inputs(batch=1)
    p = {name: value.double().numpy() for name, value in predictor.state_dict().items()}

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)

    def affine(x, name):
        return layer_norm(x, weight=p[f"{name}.weight"], bias=p[f"{name}.bias"])

    def gelu(x):
        return x * (1 + erf(x / math.sqrt(2))) / 2

    def silu(x):
        return x / (1 + np.exp(-x))

    x = z[0].double().numpy() + p["pos_embed"][0]
    hidden = silu(linear(linear(actions[0].double().numpy(), "action_encoder.0"), "action_encoder.1"))
    condition = linear(hidden, "action_encoder.3")
    modulation = linear(silu(condition), "blocks.0.modulation.1")
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = np.split(modulation, 6, -1)
    q, k, v = np.split(linear(affine(layer_norm(x, 1e-6) * (1 + scale_a) + shift_a, "blocks.0.attn_norm"),
                              "blocks.0.qkv"), 3, -1)  # fmt: skip
    mixed = np.zeros((3, 128))
    for head in (slice(0, 64), slice(64, 128)):
        for t in range(3):
            scores = np.exp(q[t, head] @ k[: t + 1, head].T / 8.0)
            mixed[t, head] = scores / scores.sum() @ v[: t + 1, head]
    x = x + gate_a * linear(mixed, "blocks.0.out.0")
    inner = affine(layer_norm(x, 1e-6) * (1 + scale_m) + shift_m, "blocks.0.mlp.0")
    x = x + gate_m * linear(gelu(linear(inner, "blocks.0.mlp.1")), "blocks.0.mlp.4")
    wide = linear(affine(x, "norm"), "project.0")
    wide = wide / math.sqrt(1 + 1e-5) * p["project.1.weight"] + p["project.1.bias"]  # fresh running statistics
    expected = torch.from_numpy(linear(gelu(wide), "head"))
    scale = float(expected.abs().max())
    torch.testing.assert_close(predictor(z, actions)[0].double() / scale, expected / scale, atol=1e-5, rtol=0)


def test_dropout_acts_in_training_only():
    predictor, (z, actions) = shaken(CAUSAL), inputs()
    assert torch.equal(predictor(z, actions), predictor(z, actions))
    predictor.train()
    torch.manual_seed(0)
    assert not torch.equal(predictor(z, actions), predictor(z, actions))


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_predictions_keep_float32_under_autocast(config):
    predictor, (z, actions) = shaken(config), inputs()
    exact = predictor(z, actions)
    with torch.autocast("cpu", torch.bfloat16):
        found = predictor(z, actions)
    assert found.dtype == torch.float32
    if config.kind != "transformer":  # the small ones compute in float32 throughout
        torch.testing.assert_close(found, exact)


def test_the_readout_sees_states_and_their_scaled_difference():
    readout = ActionReadout(4, 2).eval()
    z, z_next = torch.randn(3, 5, 2, 2), torch.randn(3, 5, 2, 2)  # two tokens of width 2
    seen = []
    readout.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    assert readout(z, z_next).shape == (3, 5, 2)
    torch.testing.assert_close(seen[0][0, 0], torch.cat([z[0, 0].flatten(), 4 * (z_next - z)[0, 0].flatten()]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lstm"}, "`kind` must be mlp, gru or transformer; got lstm"),
        ({"kind": "gru", "context_len": 3}, "`context_len` must be 1 for `kind` gru; got 3"),
        ({"depth": 0}, "must be at least 1"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\); got 1.0"),
    ],
)
def test_impossible_configs(options, message):
    with pytest.raises(ConfigError, match=message):
        LatentPredictorConfig(**options)


def test_too_many_states():
    with pytest.raises(ConfigError, match="`z` must hold at most `context_len` = 3 states; got 4"):
        shaken(CAUSAL)(*inputs(steps=4))


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("state", ["frame", "pair", "scene"])
def test_a_rollout_is_as_many_calls_each_fed_with_the_last_state(state, scaled):
    states = STATES["pair" if state == "pair" else "frame"](6)
    scene_dim = 2 if state == "scene" else 0
    predictor = states.predictor(LatentPredictorConfig(predictor_dim=8, scaled=scaled), 2)
    with torch.no_grad():
        for number, parameter in enumerate(predictor.parameters()):
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(number))
    z, actions = inputs(batch=3, steps=4, embed_dim=states.dim)
    if scaled:
        predictor.scale.measure(3 * z[..., :6].flatten(0, 1) + 1, z[..., :6].flatten(0, 1) / 5)
    z = z[:, 0].requires_grad_()
    path, now = [], z
    for t in range(4):
        found = predictor(now.unsqueeze(1), actions[:, t : t + 1])[:, 0]
        now = torch.cat([z[:, :scene_dim], found[:, scene_dim:]], 1)
        path.append(now)
    expected = torch.stack(path, 1)
    rolled = predictor.rollout(z, actions, scene_dim)
    torch.testing.assert_close(rolled, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(rolled.shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.autograd.grad((weights * x).sum(), z)[0] for x in (rolled, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
