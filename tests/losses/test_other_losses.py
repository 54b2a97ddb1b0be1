import math

import pytest
import torch

from openjepa.errors import ConfigError, ShapeError
from openjepa.losses.inverse_dynamics import inverse_dynamics_loss
from openjepa.losses.latent_prediction import latent_prediction_loss
from openjepa.losses.straightening import straightening_loss


def test_prediction_losses_by_hand() -> None:
    z_pred, z_target = torch.tensor([[0.5, -2.0]]), torch.tensor([[0.0, 1.0]])
    assert latent_prediction_loss(z_pred, z_target, "l2").item() == (0.25 + 9) / 2
    assert latent_prediction_loss(z_pred, z_target, "l1").item() == (0.5 + 3) / 2
    assert latent_prediction_loss(z_pred, z_target, "smooth_l1").item() == (0.125 + 2.5) / 2


def test_prediction_weights_apply_to_steps() -> None:
    z_target = torch.zeros(1, 2, 1, 3)
    z_pred = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(-1, -1, -1, 3)
    weights = torch.tensor([1.0, 0.5])[:, None]
    assert latent_prediction_loss(z_pred, z_target, weights=weights).item() == (1 + 0.5 * 4) / 2


def test_prediction_errors() -> None:
    with pytest.raises(ShapeError, match=r"`z_pred` must be \[2, 4\]"):
        latent_prediction_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="`kind` must be l1, l2 or smooth_l1; got mse"):
        latent_prediction_loss(torch.zeros(2), torch.zeros(2), "mse")  # type: ignore[arg-type]


def test_inverse_dynamics_of_a_latent_that_adds_actions_is_zero() -> None:
    actions = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    z = torch.cat([torch.zeros(1, 1, 2), actions.cumsum(1)], 1).unsqueeze(2).requires_grad_()

    def head(z_now: torch.Tensor, z_next: torch.Tensor) -> torch.Tensor:
        return (z_next - z_now)[:, :, 0]

    assert inverse_dynamics_loss(head, z, actions).item() == 0
    loss = inverse_dynamics_loss(lambda a, b: 0 * head(a, b), z, actions)
    assert loss.item() == (1 + 4 + 9 + 1) / 4
    (gradient,) = torch.autograd.grad(inverse_dynamics_loss(lambda a, b: 2 * head(a, b), z, actions), z)
    assert gradient.abs().sum() > 0


def test_inverse_dynamics_of_choices_is_the_mean_cross_entropy_of_groups() -> None:
    z = torch.zeros(1, 2, 1, 1)
    actions = torch.tensor([[[0.0, 1.0, 0.0, 1.0, 0.0]]])  # the second of three, the first of two
    odds = torch.tensor([[[0.0, math.log(2), 0.0, 0.0, math.log(3)]]])
    loss = inverse_dynamics_loss(lambda a, b: odds, z, actions, categories=(3, 2))
    assert loss.item() == pytest.approx((math.log(4 / 2) + math.log(4)) / 2)


def test_straightening_is_one_minus_the_cosine_of_the_bend() -> None:
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [2.0, 2.0]]).view(1, 4, 1, 2)
    expected = ((1 - 0) + (1 - math.sqrt(0.5))) / 2
    assert straightening_loss(square).item() == pytest.approx(expected, rel=1e-6)


def test_straightening_leaves_out_standstill_and_has_finite_gradients() -> None:
    z = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0]).view(1, 5, 1, 1).requires_grad_()
    loss = straightening_loss(z)
    assert loss.item() == 0
    loss.backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert straightening_loss(torch.zeros(1, 3, 1, 2)).item() == 0


def test_straightening_may_pool_tokens() -> None:
    z = torch.zeros(1, 3, 2, 1)
    z[0, :, 0, 0] = torch.tensor([0.0, 3.0, 2.0])  # forth, back a little
    z[0, :, 1, 0] = torch.tensor([0.0, 1.0, 3.0])
    assert straightening_loss(z).item() == pytest.approx((2 + 0) / 2)
    assert straightening_loss(z, pool_tokens=True).item() == pytest.approx(0, abs=1e-6)  # +4, then +1
