"""Two gloo processes under torchrun give the curve and the weights of one process with the double batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from training_toy import TOYS, Toy, ToyConfig, ToySource, quick

from openjepa.nn.distributed import GlobalBatchNorm, all_mean, use_global_batch_norm
from openjepa.train import load_method, train
from openjepa.train.log import read_metrics

SCRIPT = Path(__file__).with_name("training_two.py")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Everything that needs two processes, in one start of torchrun."""
    root = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, str(SCRIPT), str(root)], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one")
    method = train(Toy(ToyConfig(dropout=0.0)), ToySource(), quick(log_every=1), path).method
    return path, method


def curve(path):
    return [(row["step"], row["loss"], row["spread"], row["grad_norm"]) for row in read_metrics(path / "metrics.jsonl")]


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_same_curve_and_weights_as_one_process(two, one, name):
    path, method = one
    for got, wanted in zip(curve(two / name), curve(path), strict=True):
        assert got == pytest.approx(wanted, rel=2e-4)
    whole = load_method(two / name, methods=TOYS)
    for (key, a), b in zip(whole.state_dict().items(), method.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3, msg=key)


def test_diagnostics_see_whole_weights(two):
    ddp, fsdp2 = (read_metrics(two / name / "metrics.jsonl")[-1] for name in ("ddp", "fsdp2"))
    assert ddp["entries"] == fsdp2["entries"] == 8 * 12
    assert fsdp2["probe"] == pytest.approx(ddp["probe"], rel=1e-3)


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_accumulating_gives_the_curve_of_one_process_that_accumulates(two, name, tmp_path):
    train(Toy(ToyConfig(dropout=0.0)), ToySource(), quick(log_every=1, accumulate=2), tmp_path)
    for got, wanted in zip(curve(two / f"{name}-accumulated"), curve(tmp_path), strict=True):
        assert got == pytest.approx(wanted, rel=2e-4)


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_a_stopped_run_resumes_bit_identically(two, name):
    whole, resumed = (load_method(two / folder, methods=TOYS) for folder in (name, f"{name}-resumed"))
    for (key, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_a_run_of_two_processes_goes_on_in_one(two, one):
    """Checkpoints hold whole tensors: eight steps under fsdp2, the other four alone."""
    resumed = train(Toy(ToyConfig(dropout=0.0)), ToySource(), quick(log_every=1), two / "fsdp2-stopped").method
    for (key, a), b in zip(resumed.state_dict().items(), one[1].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3, msg=key)


def test_all_mean_and_its_gradient(two):
    # Rank r holds x = r + (1, 2). L_r = (r + 1) * sum(mean over ranks of x)^2, of which the mean is trained.
    results = json.loads((two / "all_mean.json").read_text())
    mean = torch.tensor([1.5, 2.5])
    # d(mean_r L_r)/dx_s = mean_r (r + 1) * 2 * mean / 2; DDP divides by 2 later.
    expected = 1.5 * 2 * mean
    for value, grad in results:
        torch.testing.assert_close(torch.tensor(value), mean)
        torch.testing.assert_close(torch.tensor(grad), expected)


def test_errors_reach_every_process(two):
    messages = json.loads((two / "errors.json").read_text())
    assert len(messages) == 2
    for message in messages:
        assert message["nan"].startswith("`prediction` must be finite; it is not at step 5. The last good checkpoint")
        assert "the disk is full" in message["full"]
        assert message["sharding"].startswith("`sharding` must be auto, ddp or fsdp2 with 2 processes; got 'none'.")


def test_alone_everything_is_the_identity():
    x = torch.randn(3, requires_grad=True)
    assert all_mean(x) is x


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 4)), (nn.BatchNorm2d, (3, 4, 2, 5))])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_global_batch_norm_equals_pytorchs(kind, shape, momentum):
    torch.manual_seed(0)
    local = nn.Sequential(kind(4, momentum=momentum))
    with torch.no_grad():
        local[0].weight.uniform_(), local[0].bias.uniform_()
    other = nn.Sequential(kind(4, momentum=momentum))
    other.load_state_dict(local.state_dict())
    use_global_batch_norm(other)
    assert isinstance(other[0], GlobalBatchNorm)
    for _ in range(3):
        x = torch.randn(shape) * 3 + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        out_a, out_b = local(a), other(b)
        torch.testing.assert_close(out_b, out_a, atol=1e-5, rtol=1e-5)
        weight = torch.randn(shape)
        (out_a * weight).sum().backward(), (out_b * weight).sum().backward()
        torch.testing.assert_close(b.grad, a.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.state_dict(), local.state_dict(), atol=1e-6, rtol=1e-5)
    local.eval(), other.eval()
    torch.testing.assert_close(other(x), local(x), atol=1e-5, rtol=1e-5)
