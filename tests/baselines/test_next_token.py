import math

import pytest
import torch
from torch import Tensor

from openjepa.baselines import RIVALS
from openjepa.baselines.next_token import NextToken, NextTokenConfig
from openjepa.errors import ConfigError
from openjepa.eval.health.conformance import check_method, check_world_model
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.models.quantizer import ScalarQuantizer
from openjepa.models.token_transformer import TokenTransformer, TokenTransformerConfig
from openjepa.protocols import TrajectoryBatch

SEEING = FrameEncoderConfig(image_size=32, width=4)
SHAPE = TokenTransformerConfig(embed_dim=16, depth=2, num_heads=2, context_len=1)


def batch(steps: int = 4) -> TrajectoryBatch:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (3, steps, 3, 32, 32), generator=generator).to(torch.uint8)
    return TrajectoryBatch(frames, torch.randn(3, steps - 1, 2, generator=generator))


def small(**options) -> NextToken:
    options = {"encoder": SEEING, "levels": (3, 4), "predictor": SHAPE, "decoder_width": 8, **options}
    return NextToken(NextTokenConfig(**options))


def stirred(model: NextToken) -> NextToken:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.6 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


# ---------------------------------------------------------------------------------------------------------- quantiser


def test_codes_of_three_and_four_levels_by_hand():
    """3 levels: -1, 0, 1. 4 levels: -2, -1, 0, 1 halved; an input of 0 is level 0 in both."""
    quantizer = ScalarQuantizer([3, 4])
    x = torch.tensor([[9.0, 9.0], [-9.0, -9.0], [0.0, 0.0], [0.4, -0.6]])
    codes = quantizer(x)
    # tanh(.4) * 1.001 = .38 -> 0;  tanh(-.6 + atanh(.5 / 1.5015)) * 1.5015 - .5 = tanh(-.254) * 1.5 - .5 = -.87 -> -1
    assert codes.tolist() == [[1.0, 0.5], [-1.0, -1.0], [0.0, 0.0], [0.0, -0.5]]
    assert quantizer.index(codes).tolist() == [2 + 3 * 3, 0, 1 + 3 * 2, 1 + 3 * 1]


def test_numbers_and_codes_are_inverse():
    quantizer = ScalarQuantizer([8, 5, 5, 5])
    numbers = torch.arange(quantizer.num_codes)
    assert quantizer.num_codes == 1000
    assert torch.equal(quantizer.index(quantizer.codes(numbers)), numbers)
    assert quantizer.codes(numbers).abs().max() == 1


def test_the_gradient_passes_the_rounding():
    x = torch.tensor([[0.3, 0.1]], requires_grad=True)
    ScalarQuantizer([3, 5])(x).sum().backward()
    # d/dx tanh(x) * half / scale: half = 1.001 and 2.002, scale = 1 and 2
    expected = 1.001 * (1 - torch.tensor([[0.3, 0.1]]).tanh().square())
    torch.testing.assert_close(x.grad, expected)


# -------------------------------------------------------------------------------------------------------- transformer


def test_reading_in_parts_equals_reading_at_once():
    net = TokenTransformer(TokenTransformerConfig(embed_dim=16, depth=3, num_heads=2, context_len=1)).eval()
    x = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(0))
    frames = torch.arange(5).repeat_interleave(4)
    whole = net(x, frames)
    cache, parts = net.start(2, 16, x), []
    for first, last in [(0, 3), (3, 4), (4, 9), (9, 10), (10, 16), (16, 20)]:
        cache = cache.without_frames_before(int(frames[first]) - 1)  # what is out of sight is dropped
        found, cache = net.read(x[:, first:last], frames[first:last], cache)
        parts.append(found)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_a_token_sees_no_later_token_and_no_distant_frame():
    net = TokenTransformer(TokenTransformerConfig(embed_dim=16, depth=1, num_heads=2, context_len=1)).eval()
    x = torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(0))
    frames = torch.arange(4).repeat_interleave(3)
    before = net(x, frames)
    for changed, moved in [(7, range(7, 12)), (0, range(0, 6))]:  # frame 2 moves 2 and 3; frame 0 moves 0 and 1
        other = x.clone()
        other[:, changed, 0] += 1
        difference = (net(other, frames) - before).abs().amax((0, 2))
        assert {i for i in range(12) if difference[i] > 1e-6} == set(moved)


def test_only_differences_of_frame_numbers_matter():
    net = TokenTransformer(TokenTransformerConfig(embed_dim=16, num_heads=2)).eval()
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))
    frames = torch.arange(3).repeat_interleave(2)
    torch.testing.assert_close(net(x, frames + 1000), net(x, frames), atol=1e-3, rtol=1e-3)


# -------------------------------------------------------------------------------------------------------------- model


def test_it_conforms_as_a_method_and_as_a_world_model():
    check_method(small(), batch())
    model = stirred(small())
    check_world_model(model, batch().frames, batch().actions)
    check_world_model(model, batch().frames, batch().actions, context_len=2)


def test_every_rival_is_in_the_table():
    kinds = {name: load() for name, load in RIVALS.items()}
    assert kinds["next_token"] == (NextToken, NextTokenConfig)
    assert all(hasattr(kind, "loss") and hasattr(kind, "after_step") for kind, _ in kinds.values())


def uncached_rollout(model: NextToken, z: Tensor, actions: Tensor) -> Tensor:
    """Greedy generation that reads the whole stream anew for every code."""
    tokens, known = z.shape[2], z.shape[1]
    for t in range(known, actions.shape[1] + 1):
        codes = torch.zeros(len(z), 0, z.shape[3])
        for _ in range(tokens):
            stream = model._tokens(z[:, :t], actions[:, :t]).flatten(1, 2)
            written = model.code_in(codes) + model.slots[: codes.shape[1]]
            numbers = torch.cat([torch.arange(t).repeat_interleave(tokens + 1), torch.full((codes.shape[1],), t)])
            hidden = model.predictor(torch.cat([stream, written], 1), numbers)
            best = model.head(hidden[:, -1]).argmax(-1)
            codes = torch.cat([codes, model.quantizer.codes(best)[:, None]], 1)
        z = torch.cat([z, codes[:, None]], 1)
    return z[:, known:]


@pytest.mark.parametrize(("context_len", "known"), [(1, 1), (1, 3), (2, 2), (4, 1)])
def test_the_cached_rollout_equals_the_uncached_one(context_len, known):
    shape = TokenTransformerConfig(embed_dim=16, depth=2, num_heads=2, context_len=context_len)
    model = stirred(small(predictor=shape))
    actions = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        z = model.encode(batch(4).frames)[:, :known]
        found = model.rollout(z, actions)
        expected = uncached_rollout(model, z, actions)
    assert torch.equal(found, expected)
    assert len(found.flatten(0, 1).flatten(1).unique(dim=0)) > 5  # the codes do change


def test_an_ignorant_model_spreads_its_likelihood_evenly():
    model = small().eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    found = model.log_likelihood(batch().frames, batch().actions)
    torch.testing.assert_close(found, torch.full((3, 3), -4 * math.log(12)))  # 4 codes of 12 each


def test_probabilities_of_all_futures_sum_to_one():
    """Two cells of two codes each: four futures; their exact likelihoods are a distribution."""
    seeing = FrameEncoderConfig(image_size=16, width=4)
    model = stirred(small(encoder=seeing, levels=(3,), predictor=SHAPE))
    z = model.quantizer.codes(torch.tensor([[[2], [0]]]).expand(3, 2, 1)).clone()  # [3, T=2, N=1, D=1]
    z[:, 1, 0, 0] = torch.tensor([-1.0, 0.0, 1.0])
    with torch.no_grad():
        nll = model._negative_log_likelihood(z, torch.zeros(3, 1, 2))
    torch.testing.assert_close(torch.exp(-nll).sum(), torch.tensor(1.0))


def test_likelihood_of_a_rollout_is_the_product_of_its_choices():
    model = stirred(small())
    with torch.no_grad():
        z = model.encode(batch().frames)
        path = torch.cat([z[:, :1], model.rollout(z[:, :1], batch().actions)], 1)
        greedy = -model._negative_log_likelihood(path, batch().actions).sum((1, 2))
        for seed in range(5):
            drawn = model.sample(z[:, :1], batch().actions, generator=torch.Generator().manual_seed(seed))
            other = torch.cat([z[:, :1], drawn], 1)
            first = -model._negative_log_likelihood(other, batch().actions)[:, 0, 0]
            best = -model._negative_log_likelihood(path, batch().actions)[:, 0, 0]
            assert bool((first <= best + 1e-5).all())  # no first code is likelier than the likeliest
    assert bool(torch.isfinite(greedy).all())


def test_low_temperature_is_greedy_and_high_temperature_is_uniform():
    model = stirred(small())
    with torch.no_grad():
        z = model.encode(batch().frames)[:, :1].repeat(200, 1, 1, 1)
        actions = batch().actions[:, :1].repeat(200, 1, 1)
        generator = torch.Generator().manual_seed(0)
        cold = model.sample(z, actions, temperature=1e-4, generator=generator)
        hot = model.quantizer.index(model.sample(z, actions, temperature=1e4, generator=generator)).flatten()
        assert torch.equal(cold, model.rollout(z, actions))
    counts = torch.bincount(hot, minlength=12).double() / len(hot)  # 2,400 draws of 12 codes
    assert float((counts - 1 / 12).abs().max()) < 4 * math.sqrt((1 / 12) * (11 / 12) / 2400)


def test_the_tokenizer_is_frozen_after_its_steps_and_the_transformer_waits():
    model = small(tokenizer_steps=2, predictor_start=1)
    off = {name for name, term in model.loss(batch(), 0).terms.items() if term == 0}
    assert off == {"next_token"}
    assert all(float(term) > 0 for term in model.loss(batch(), 1).terms.values())
    found = model.loss(batch(), 2)
    assert float(found.terms["reconstruction"]) == 0 < float(found.terms["next_token"])
    found.loss.backward()
    assert model.context_encoder.stem.weight.grad is None
    assert model.code_in.weight.grad is not None


def test_it_learns_a_world_of_two_pictures():
    """The action says whether the picture turns white or black: after a little training the model knows."""
    generator = torch.Generator().manual_seed(0)
    white = torch.rand(16, 3, generator=generator) < 0.5
    frames = (255 * white).to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 3, 32, 32).contiguous()
    actions = (2.0 * white[:, 1:] - 1).unsqueeze(-1).expand(-1, -1, 2)
    data, model = TrajectoryBatch(frames, actions), small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        model.loss(data, step).loss.backward()
        optimizer.step()
        model.after_step(step)
    model.eval()
    with torch.no_grad():
        z = model.encode(frames)
        assert torch.equal(model.rollout(z[:, :1], actions), z[:, 1:])
        pictures = model.decode(z).float() / 255
    assert float((pictures - frames.float() / 255).abs().mean()) < 0.2
    assert float(model.surprise(frames, actions).mean()) < 0.5 < float(model.surprise(frames, -actions).mean())


def test_errors_name_the_option():
    with pytest.raises(ConfigError, match=r"`encoder\.kind` must be conv"):
        NextTokenConfig(encoder=FrameEncoderConfig("keypoints"))
    with pytest.raises(ConfigError, match="`tokenizer_steps` must be at least 1"):
        NextTokenConfig(tokenizer_steps=3, predictor_start=5)
    with pytest.raises(ConfigError, match="`levels` must hold"):
        ScalarQuantizer([1])
    with pytest.raises(ConfigError, match="`temperature` must be above 0"):
        small().eval().sample(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 2), temperature=0)
