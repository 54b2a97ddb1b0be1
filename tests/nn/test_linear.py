import copy

import pytest
import torch
import torch.nn.functional as F

import openjepa.nn.linear as module
from openjepa.nn.linear import Linear, linear
from openjepa.nn.processor import parse


@pytest.fixture
def used(monkeypatch):
    """Makes every processor take the oneDNN path; counts its products."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this build of PyTorch has no oneDNN")
    calls = []
    original = module._multiply
    monkeypatch.setattr(module, "onednn_pays", lambda: module.PAYS["Zen 5"])
    monkeypatch.setattr(module, "_multiply", lambda *args: calls.append(1) or original(*args))
    return calls


def inputs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 70, 96, generator=generator, requires_grad=True)
    weight = (torch.randn(128, 96, generator=generator) / 10).requires_grad_()
    return x, weight, torch.randn(128, generator=generator, requires_grad=True)


@pytest.mark.parametrize("with_bias", [True, False])
def test_value_and_gradients_are_those_of_pytorch(used, with_bias):
    found = []
    for function in (linear, F.linear):
        x, weight, bias = inputs()
        out = function(x, weight, bias if with_bias else None)
        (out * torch.arange(128.0) / 100).sin().sum().backward()
        found.append([out, x.grad, weight.grad] + ([bias.grad] if with_bias else []))
    assert len(used) == 3
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_second_derivatives(used):
    found = []
    for function in (linear, F.linear):
        x, weight, bias = inputs()
        (grad,) = torch.autograd.grad(function(x, weight, bias).pow(2).sum(), x, create_graph=True)
        grad.pow(2).sum().backward()
        found.append(weight.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-2)


def test_inputs_in_any_order_of_memory(used):
    x, weight, bias = (t.detach() for t in inputs())
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(linear(strided, weight, bias), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
    assert len(used) == 1


def test_what_pytorch_does_itself(used):
    layer = Linear(96, 128)
    x = torch.randn(2, 70, 96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert copy.deepcopy(layer).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert layer(x[:0]).shape == (0, 70, 128)
    assert Linear(96, 128, device="meta")(x.to("meta")).shape == (2, 70, 128)
    assert layer(x[0, :2]).shape == (2, 128)
    torch.func.vmap(layer)(x)
    assert used == []


def test_names_and_weights_are_those_of_a_linear_layer(used):
    layer, other = Linear(96, 128), torch.nn.Linear(96, 128)
    layer.load_state_dict(other.state_dict())
    x = torch.randn(2, 70, 96)
    torch.testing.assert_close(layer(x), other(x), atol=1e-5, rtol=1e-5)
    assert isinstance(layer, torch.nn.Linear)


def test_weight_gradients_stay_with_pytorch_where_they_lose(used, monkeypatch):
    monkeypatch.setattr(module, "onednn_pays", lambda: module.PAYS["Zen 4"])
    x, weight, bias = inputs()
    linear(x, weight, bias).sum().backward()
    assert len(used) == 2  # the output and the gradient of the input
    torch.testing.assert_close(weight.grad, x.detach().sum((0, 1)).expand(128, 96), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("vendor", "family", "flags", "expected"),
    [
        ("AuthenticAMD", 26, "avx2 avx512f", {"outputs", "weight gradients"}),
        ("AuthenticAMD", 25, "avx2 avx512f", {"outputs"}),
        ("AuthenticAMD", 25, "avx2", set()),  # Zen 3
        ("AuthenticAMD", 27, "avx2 avx512f", set()),  # not known yet
        ("GenuineIntel", 26, "avx2 avx512f", set()),
        ("", 0, "", set()),
    ],
)
def test_the_rule_follows_the_generation_of_the_core(monkeypatch, vendor, family, flags, expected):
    core = parse(f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\nflags\t\t: {flags}\n\nvendor_id : x\n")
    monkeypatch.setattr(module, "processor", lambda: core)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    usable = torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert module.onednn_pays.__wrapped__() == (expected if usable else set())
