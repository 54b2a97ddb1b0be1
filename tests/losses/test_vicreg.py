import numpy as np
import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.losses.pooling import pool_samples
from openjepa.losses.vicreg import time_similarity, vicreg, vicreg_states


def test_hand_computed_case() -> None:
    # Two dimensions: variances 1/3 * (1 + 1 + 1 + 1) = 4/3 and 4/3 * .25 = 1/3; covariance 2/3 (second =
    # first / 2).
    z = torch.tensor([[1.0, 0.5], [-1.0, -0.5], [1.0, 0.5], [-1.0, -0.5]])
    terms = vicreg(z, eps=0.0)
    torch.testing.assert_close(terms.variance.item(), (0 + 1 - (1 / 3) ** 0.5) / 2)
    torch.testing.assert_close(terms.covariance.item(), 2 * (2 / 3) ** 2 / 2)
    assert vicreg(z, scale="mean").covariance.item() == pytest.approx(2 * (2 / 3) ** 2 / (2 * 1))


def test_conventions_differ_by_d_minus_1_and_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 20, 5))
    cov = np.stack([np.cov(group, rowvar=False) for group in z])
    off = (cov**2).sum((1, 2)) - (np.einsum("gii->gi", cov) ** 2).sum(1)
    hinge = np.maximum(0, 1.5 - np.sqrt(z.var(1, ddof=1) + 1e-4)).mean()
    terms = vicreg(torch.from_numpy(z), target_std=1.5)
    assert terms.covariance.item() == pytest.approx((off / 5).mean(), rel=1e-10)
    assert terms.variance.item() == pytest.approx(hinge, rel=1e-10)
    assert vicreg(torch.from_numpy(z), scale="mean").covariance.item() == pytest.approx((off / 20).mean(), rel=1e-10)


def test_collapse_has_a_finite_gradient() -> None:
    z = torch.zeros(8, 3, requires_grad=True)
    terms = vicreg(z)
    assert terms.variance.item() == pytest.approx(0.99)
    (terms.variance + terms.covariance).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_only_per_sample_statistics_see_a_constant_scene() -> None:
    scene = torch.randn(256, 1, 1, 3, generator=torch.Generator().manual_seed(0)).expand(-1, 6, -1, -1)
    assert vicreg_states(scene, pool="per_step").variance < 0.1
    assert vicreg_states(scene, pool="pooled").variance < 0.1
    assert vicreg_states(scene, pool="per_sample").variance.item() == pytest.approx(0.99)


def test_pools_group_the_axes_they_name() -> None:
    z = torch.arange(2 * 3 * 2 * 1).view(2, 3, 2, 1)  # B T N D
    assert pool_samples(z, "per_step")[1, :, 0].tolist() == [2, 3, 8, 9]
    assert pool_samples(z, "per_sample")[1, :, 0].tolist() == [1, 3, 5]
    assert pool_samples(z, "pooled").shape == (1, 12, 1)


def test_time_similarity() -> None:
    z = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1)
    assert time_similarity(z).item() == (1 + 4) / 2


def test_errors() -> None:
    with pytest.raises(ShapeError, match="at least 2 samples"):
        vicreg(torch.zeros(1, 4))
    with pytest.raises(ConfigError, match="`scale` must be vicreg or mean; got sum"):
        vicreg(torch.zeros(2, 4), scale="sum")  # type: ignore[arg-type]
