import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from openjepa.errors import ConfigError
from openjepa.losses.sigreg import (
    SIGRegConfig,
    directions,
    sigreg,
    sigreg_states,
)
from openjepa.losses.vicreg import vicreg

GLOBAL = SIGRegConfig(num_samples_ref=None)
GAUSSIAN_VALUE = 1.0525  # expectation on exactly N(0, I) samples with K = 17, t_max = 3, when n = number of samples


def constant_value(num_knots: int = 17, t_max: float = 3.0) -> float:
    """SIGReg of a constant zero latent divided by n: .402 for the defaults, the value of full collapse."""
    spacing = t_max / (num_knots - 1)
    total = 0.0
    for k in range(1, num_knots):
        normal = math.exp(-0.5 * (k * spacing) ** 2)
        total += (1 if k == num_knots - 1 else 2) * spacing * normal * (1 - normal) ** 2
    return total


def reference(z: Tensor, config: SIGRegConfig, seed: int, step: int) -> Tensor:
    """The formula as printed, for samples [S, D], with cos and sin of every knot."""
    a = directions(z.shape[-1], config.num_directions, seed, step).to(z)
    t = torch.linspace(0, config.t_max, config.num_knots, dtype=z.dtype)
    window = torch.exp(-0.5 * t**2)
    u = (z @ a)[..., None] * t  # [S, M, K]
    error = (u.cos().mean(0) - window) ** 2 + u.sin().mean(0) ** 2
    return (config.num_samples_ref or len(z)) * torch.trapezoid(2 * error * window, t).mean()


def test_expectation_on_normal_samples_is_1_0525() -> None:
    z = torch.randn(64, 128, 24, generator=torch.Generator().manual_seed(0))
    value = sigreg(z, GLOBAL, seed=0, step=0)
    assert value.item() == pytest.approx(GAUSSIAN_VALUE, rel=0.03)


def test_constant_embeddings_score_0_402_per_sample() -> None:
    assert constant_value() == pytest.approx(0.402, abs=5e-4)
    z = torch.zeros(3, 50, 7)
    torch.testing.assert_close(sigreg(z, GLOBAL, seed=0, step=0).item(), 50 * constant_value(), rtol=1e-5, atol=0)
    assert sigreg(z, seed=0, step=0).item() == pytest.approx(128 * constant_value(), rel=1e-5)


@pytest.mark.parametrize(
    ("std", "per_sample"),
    [
        (0.25, 0.316),
        (0.5, 0.151),
        (0.8, 0.0218),
        (0.9, 0.0051),
        (1.1, 0.0045),
        (1.25, 0.0253),
        (1.5, 0.0842),
        (2, 0.236),
    ],
)
def test_wrong_scale_scores_what_the_integral_says(std: float, per_sample: float) -> None:
    # Quantiles of a normal distribution: a sample with (almost) no sampling error.
    quantile = torch.special.ndtri((torch.arange(200_001, dtype=torch.float64) + 0.5) / 200_001)
    config = SIGRegConfig(num_directions=1, num_samples_ref=1)
    value = sigreg(std * quantile[:, None], config, seed=0, step=0)
    assert value.item() == pytest.approx(per_sample, rel=0.011)


@pytest.mark.parametrize(("shift", "per_sample"), [(0.1, 0.0048), (0.25, 0.030), (0.5, 0.118), (1.0, 0.444)])
def test_mean_shift_scores_what_the_integral_says(shift: float, per_sample: float) -> None:
    quantile = torch.special.ndtri((torch.arange(200_001, dtype=torch.float64) + 0.5) / 200_001)
    config = SIGRegConfig(num_directions=1, num_samples_ref=1)
    assert sigreg(quantile[:, None] + shift, config, seed=0, step=0).item() == pytest.approx(per_sample, rel=0.02)


def test_value_and_gradient_equal_autograd_through_the_formula() -> None:
    config = SIGRegConfig(num_directions=100)
    z = torch.randn(60, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.3
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    value, expected = sigreg(ours, config, seed=3, step=5), reference(theirs, config, 3, 5)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)
    single = z.float().requires_grad_()
    sigreg(single, config, seed=3, step=5).backward()
    torch.testing.assert_close(single.grad, theirs.grad.float(), rtol=1e-4, atol=1e-6)


def test_groups_are_averaged() -> None:
    z = torch.randn(4, 30, 5, generator=torch.Generator().manual_seed(0))
    each = [sigreg(group, seed=0, step=0) for group in z]
    torch.testing.assert_close(sigreg(z, seed=0, step=0), torch.stack(each).mean())


def test_directions_are_unit_and_follow_seed_and_step_only() -> None:
    torch.manual_seed(0)
    first = directions(6, 40, seed=1, step=2)
    torch.manual_seed(1)
    assert torch.equal(first, directions(6, 40, seed=1, step=2))
    assert not torch.allclose(first, directions(6, 40, seed=1, step=3))
    assert not torch.allclose(first, directions(6, 40, seed=2, step=2))
    torch.testing.assert_close(first.norm(dim=0), torch.ones(40))


def test_stays_in_float32_under_autocast() -> None:
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        low = sigreg(z, seed=0, step=0)
    assert low.dtype == torch.float32
    assert torch.equal(low, sigreg(z, seed=0, step=0))


def test_pooling_decides_what_a_sample_is() -> None:
    z = torch.randn(32, 5, 1, 4, generator=torch.Generator().manual_seed(0))
    per_step = torch.stack([sigreg(z[:, t, 0], seed=0, step=0) for t in range(5)]).mean()
    torch.testing.assert_close(sigreg_states(z, seed=0, step=0), per_step)
    pooled = SIGRegConfig(pool="pooled")
    torch.testing.assert_close(
        sigreg_states(z, pooled, seed=0, step=0), sigreg(z.reshape(-1, 4), pooled, seed=0, step=0)
    )


def test_only_temporal_centring_sees_a_latent_that_is_constant_within_episodes() -> None:
    scene = torch.randn(128, 1, 1, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 8, -1, -1)
    assert sigreg_states(scene, seed=0, step=0) < 2
    centred = SIGRegConfig(centre_time=True)
    assert sigreg_states(scene, centred, seed=0, step=0).item() == pytest.approx(128 * constant_value(), rel=1e-3)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="`num_samples_ref` must be positive, or None for the batch; got 0"):
        SIGRegConfig(num_samples_ref=0)
    odd: Any = "all"
    with pytest.raises(ConfigError, match="`pool` must be per_step, pooled or per_sample; got all"):
        sigreg_states(torch.zeros(2, 2, 1, 2), SIGRegConfig(pool=odd), seed=0, step=0)


REGULARIZERS = {
    "sigreg": lambda z: sigreg(z, SIGRegConfig(num_directions=32), seed=1, step=7),
    "sigreg_global": lambda z: sigreg(z, SIGRegConfig(32, num_samples_ref=None), seed=1, step=7),
    "vicreg": lambda z: sum(vicreg(0.5 * z)),
}


def _two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    for name, regularizer in REGULARIZERS.items():
        z = torch.from_numpy(np.load(f"{folder}/z.npy"))[:, rank * 20 : rank * 20 + 20].requires_grad_()
        value = regularizer(z)
        value.backward()
        np.savez(f"{folder}/{name}_{rank}.npz", value=value.detach().numpy(), grad=z.grad.numpy())
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path) -> None:
    z = torch.randn(3, 40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    np.save(tmp_path / "z.npy", z.numpy())
    mp.spawn(_two_processes, (str(tmp_path),), nprocs=2)
    for name, regularizer in REGULARIZERS.items():
        whole = z.clone().requires_grad_()
        value = regularizer(whole)
        value.backward()
        assert whole.grad is not None
        for rank in range(2):
            part = np.load(tmp_path / f"{name}_{rank}.npz")
            assert math.isclose(part["value"], value.item(), rel_tol=1e-12)
            # Data parallelism averages gradients over processes, so each one carries twice its share.
            share = torch.from_numpy(part["grad"]) / 2
            expected = whole.grad[:, rank * 20 : rank * 20 + 20]
            torch.testing.assert_close(share, expected, rtol=1e-9, atol=1e-12)
