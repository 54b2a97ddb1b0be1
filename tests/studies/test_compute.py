import pytest
import torch
from torch import nn

from openjepa.baselines.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from openjepa.errors import ConfigError
from openjepa.models.frame_encoder import FrameEncoderConfig
from openjepa.protocols import TrajectoryBatch
from openjepa.studies.comparison.compute import (
    count_flops,
    count_parameters,
    fit_width,
    match,
    steps_within,
    training_flops,
)


def test_a_matrix_product_is_two_operations_for_each_multiply_add():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_attention_is_counted_on_a_cpu():
    q = torch.randn(1, 1, 4, 8)
    found = count_flops(lambda: nn.functional.scaled_dot_product_attention(q, q, q))
    assert found == 2 * (2 * 4 * 4 * 8)  # scores, and their mixture of values


def test_a_training_step_counts_what_it_does_backwards():
    method = InverseDynamics(InverseDynamicsConfig(encoder=FrameEncoderConfig(image_size=16, width=4, hidden_dim=8)))
    batch = TrajectoryBatch(torch.zeros(2, 3, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 2, 2))
    forward = count_flops(lambda: method.loss(batch, 0))
    assert 2 * forward < training_flops(method, batch) <= 3 * forward  # the first layer needs no gradient of pixels
    assert all(p.grad is None for p in method.parameters())


def test_steps_parameters_and_widths_by_hand():
    assert steps_within(100.0, 8.0) == 12  # 12.5 rounds to even
    assert steps_within(1.0, 8.0) == 1
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert count_parameters(net) == 6
    assert fit_width(lambda w: 10 * w, 47, range(1, 20)) == 5
    assert fit_width(lambda w: 10 * w, 44, range(1, 20)) == 4
    assert fit_width(lambda w: 10 * w, 1000, range(1, 20)) == 19
    with pytest.raises(ConfigError, match="`budget` and `flops_of_step`"):
        steps_within(0, 1)


def test_budgets_match_within_five_percent():
    found = match({"a": 96.0, "b": 104.0}, 100.0)
    assert found.matched
    assert found.worst == pytest.approx(0.04)
    assert found.shares == {"a": 0.96, "b": 1.04}
    assert not match({"a": 94.0}, 100.0).matched
